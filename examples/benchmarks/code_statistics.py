"""How often each code is used, and the sum of its vectors: vqnp compared with PyTorch, SciPy, NumPy.

python examples/benchmarks/code_statistics.py            two minutes; writes .md, .json and .png
python examples/benchmarks/code_statistics.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. First the answer of each is compared with exact
sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size

import vqnp

Array = np.ndarray[Any, Any]

SIZES = [
    (65536, 64, 512),
    (65536, 16, 128),
    (200000, 4, 256),
    (65536, 256, 1024),
    (16384, 16, 128),
    (512, 16, 128),
]
"""(N, D, K)"""
QUICK = [(512, 16, 32)]


def data(size: Size) -> tuple[Array, Array, int]:
    """Standard normal vectors z: (N, D), codes k: (N,), K."""
    N, D, K = size
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D), dtype=np.float32), rng.integers(0, K, N), K


# The contenders: z, k, K -> n: (K,), s: (K, D).


def by_vqnp(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    return vqnp.code_statistics(z, k, K)


def by_index_add(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    import torch

    i, a = torch.from_numpy(k), torch.from_numpy(z)
    n = torch.zeros(K).index_add_(0, i, torch.ones(len(k)))
    return n.numpy(), torch.zeros(K, a.shape[1]).index_add_(0, i, a).numpy()


def by_one_hot(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    """As most VQ layers do it: n = 1ᵀO, s = Oᵀz."""
    import torch

    onehot = torch.nn.functional.one_hot(torch.from_numpy(k), K).float()
    return onehot.sum(0).numpy(), (onehot.T @ torch.from_numpy(z)).numpy()


def by_sparse(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    """The same with a sparse O."""
    from scipy.sparse import csr_array

    N = len(k)
    onehot = csr_array((np.ones(N, np.float32), k, np.arange(N + 1)), shape=(N, K))
    return np.bincount(k, minlength=K), onehot.T @ z


def by_add_at(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    s = np.zeros((K, z.shape[1]), np.float32)
    np.add.at(s, k, z)
    return np.bincount(k, minlength=K), s


def by_bincount(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    """A weighted count for each dimension; sums in float64."""
    s = np.stack([np.bincount(k, column, K) for column in z.T], axis=1)
    return np.bincount(k, minlength=K), s


ANSWERS: dict[str, Callable[[Array, Array, int], tuple[Array, Array]]] = {
    OURS: by_vqnp,
    "PyTorch index_add": by_index_add,
    "PyTorch one-hot": by_one_hot,
    "SciPy sparse": by_sparse,
    "NumPy add.at": by_add_at,
    "NumPy bincount": by_bincount,
}


class Contest:
    """Picklable: size -> a call without arguments."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        arguments = data(size)
        return lambda: ANSWERS[self.name](*arguments)


ERRORS: dict[tuple[str, Size], float] = {}
"""Largest error of a sum, relative to the largest sum."""


def same(size: Size, answers: dict[str, Any]) -> None:
    """Counts exact, sums within float32's rounding of the sum in extended precision."""
    z, k, K = data(size)
    n = np.array([np.count_nonzero(k == j) for j in range(K)])
    s = np.array([z[k == j].sum(0, dtype=np.longdouble) for j in range(K)])
    for name, (count, total) in answers.items():
        ERRORS[name, size] = float(np.abs(total - s).max() / np.abs(s).max())
        if (count != n).any() or not ERRORS[name, size] < 1e-5:
            raise SystemExit(f"{name} at {size}: wrong counts, or sums off by {ERRORS[name, size]:.1e}")


def table(timings: list[harness.Timing]) -> str:
    """The milliseconds of each contender, with a row for each size and number of threads."""
    lines = [
        "| N, D, K | threads | "
        + " | ".join(f"{name}, ms" for name in ANSWERS)
        + " | fastest other / vqnp: median (quartiles) |",
        "|---" * (3 + len(ANSWERS)) + "|",
    ]
    for (threads, size), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        cells = " | ".join(f"{1e3 * by_name[n].median:.3g}" if n in by_name else "" for n in ANSWERS)
        peer = reports.best_peer(group)
        gain = f"{reports.ratio(peer, by_name[OURS])}, {peer.contender}"
        lines.append(f"| {', '.join(map(str, size))} | {threads} | {cells} | {gain} |")
    return "\n".join(lines)


def errors() -> str:
    """The largest error of each contender over all sizes; peak memory is in the JSON."""
    names = list(ANSWERS)
    worst = [max(e for (name, _), e in ERRORS.items() if name == n) for n in names]
    return "\n".join(
        [f"| | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
        + ["| largest error of a sum | " + " | ".join(f"{w:.0e}" for w in worst) + " |"]
    )


def memory(timings: list[harness.Timing]) -> str:
    """The memory that each contender needed at the first size beyond its inputs."""
    group = next(iter(reports.grouped(timings).values()))
    cells = " | ".join(reports.mega(t.extra_bytes) for t in group)
    return f"| extra memory at the first size | {cells} |"


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "code_statistics")
    timings = harness.compete({name: Contest(name) for name in ANSWERS}, args, same)
    text = f"""# code_statistics compared with other libraries

{reports.about("torch", "scipy")}

`python examples/benchmarks/code_statistics.py`; {args.rounds} rounds. n_j is the number of codes equal to j
among the N, and s_j the sum of their vectors. vqnp sums in float64, in the order of the vectors for any
number of threads, and rounds once.

{table(timings)}

{errors()}
{memory(timings)}
"""
    figure = reports.dots(
        timings,
        lambda t: 1e3 * t.median,
        lambda s: "N={} D={} K={}".format(*s),
        "milliseconds (lower is better)",
    )
    reports.write(args, "code_statistics", text, timings, figure)


if __name__ == "__main__":
    main()
