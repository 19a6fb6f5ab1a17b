"""The nearest code of each vector: vqnp compared with faiss, PyTorch, SciPy, scikit-learn and NumPy.

python examples/benchmarks/nearest.py            about ten minutes; writes nearest.md, .json and .png
python examples/benchmarks/nearest.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. First every contender quantizes a million vectors,
easy ones and hard ones, and its wrong codes are counted, compared with the direct distance in float64.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, PEAK, Size
from searches import ANSWERS
from wrong_codes import wrong_codes

import vqnp
from vqnp.bench.measure import peak_of

Array = np.ndarray[Any, Any]

SIZES = [
    (65536, 64, 512),
    (65536, 64, 1024),
    (131072, 64, 512),
    (4096, 64, 512),
    (32768, 32, 128),
    (65536, 16, 512),
    (200000, 4, 256),
    (16384, 256, 1024),
    (65536, 8, 8192),
    (256, 64, 512),
]
"""(N, D, K)"""
QUICK = [(512, 16, 32), (256, 8, 64)]


def data(size: Size) -> tuple[Array, Array]:
    """Standard normal vectors and codes."""
    N, D, K = size
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D), dtype=np.float32), rng.standard_normal((K, D), dtype=np.float32)


class Contest:
    """Picklable: size -> a call without arguments."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        if self.name == PEAK:
            return peak_of(harness.threads())[0]
        z, E = data(size)
        answer = ANSWERS[self.name]
        return lambda: answer(z, E)


def same(size: Size, answers: dict[str, Any], wrong: float = 1e-3) -> None:
    """All solve the same problem: on normal data no contender has more than this share of wrong codes."""
    for name, k in answers.items():
        if name != PEAK and (share := np.mean(k != answers[OURS])) > wrong:
            raise SystemExit(f"{name} at {size}: {share:.1%} of its codes are not the nearest")


# The report.


def table(timings: list[harness.Timing]) -> str:
    """A row for each size and number of threads."""
    lines = [
        "| N, D, K | threads | vqnp, ms | GFLOP/s | share of FMA peak | fastest other | its ms | "
        "other / vqnp: median (quartiles) | speed-up over 1 thread | extra memory: vqnp, other |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = reports.grouped(timings)
    for (threads, size), group in groups.items():
        by_name = {t.contender: t for t in group}
        ours, peer = by_name[OURS], reports.best_peer(group)
        turns = np.median(np.array(by_name[PEAK].seconds) / np.array(ours.seconds))
        reached = turns * work(size) / peak_of(threads)[1]
        alone = {t.contender: t for t in groups.get((1, size), [])}.get(OURS)
        gain = f"{alone.median / ours.median:.2f}×" if alone and threads > 1 else ""
        memory = ", ".join(reports.mega(t.extra_bytes) for t in (ours, peer))
        lines.append(
            f"| {', '.join(map(str, size))} | {threads} | {1e3 * ours.median:.3g} | {rate(ours):.0f} | "
            f"{reached:.0%} | {peer.contender} | {1e3 * peer.median:.3g} | {reports.ratio(peer, ours)} | "
            f"{gain} | {memory} |"
        )
    return "\n".join(lines)


def every(timings: list[harness.Timing]) -> str:
    """GFLOP/s of all contenders, with a row for each size and number of threads."""
    lines = ["| N, D, K | threads | " + " | ".join(ANSWERS) + " |", "|---" * (2 + len(ANSWERS)) + "|"]
    for (threads, size), group in reports.grouped(timings).items():
        rates = {t.contender: rate(t) for t in group}
        cells = " | ".join(f"{rates[name]:.0f}" for name in ANSWERS)
        lines.append(f"| {', '.join(map(str, size))} | {threads} | {cells} |")
    return "\n".join(lines)


def work(size: Size) -> float:
    """2NDK operations, regardless of what a contender actually does."""
    N, D, K = size
    return 2.0 * N * D * K


def rate(t: harness.Timing) -> float:
    """GFLOP/s."""
    return work(t.size) / t.median / 1e9


def rescored(size: Size = (65536, 64, 512)) -> str:
    """How many vectors the bound could not decide."""
    z, E = data(size)
    _, n = vqnp.nearest_code(z, E, return_rescored=True)
    return f"Of the first size's {size[0]:,} vectors, {n} ({n / size[0]:.3%}) were decided in float64."


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "nearest")
    counts = wrong_codes(100 if args.quick else 100_000)
    timings = harness.compete({name: Contest(name) for name in (*ANSWERS, PEAK)}, args, same)
    text = f"""# nearest_code compared with other libraries

{reports.about("faiss-cpu", "torch", "scipy", "scikit-learn")}

`python examples/benchmarks/nearest.py`; {args.rounds} rounds. Work is counted as 2NDK operations;
the data are standard normal. Extra memory is what one call needs beyond its inputs, including the N codes.
{rescored()}

{table(timings)}

## GFLOP/s of each library

{every(timings)}

## Wrong codes

Compared with the direct squared distance in float64, ties to the lowest index:

{counts}
"""
    figure = reports.dots(
        [t for t in timings if t.contender != PEAK], rate, lambda s: "N={} D={} K={}".format(*s), "GFLOP/s"
    )
    reports.write(args, "nearest", text, timings, figure)


if __name__ == "__main__":
    main()
