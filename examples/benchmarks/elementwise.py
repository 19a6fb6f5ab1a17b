"""The elementwise kernels against NumPy, at the sizes of a training step.

python examples/benchmarks/elementwise.py            ten minutes; writes elementwise.md, .json and .png
python examples/benchmarks/elementwise.py --quick    to test that it runs

Needs nothing but vqnp. ReLU's gradient and GELU are kernels of vqnp and are compared with NumPy's forms. For
the sum of squared differences vqnp has no kernel: the table shows what each form in NumPy costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size

from vqnp.kernels.gelu import gelu, gelu_plain
from vqnp.kernels.relu import relu_gradient

Array = np.ndarray[Any, Any]

SIZES = [(batch, width) for batch in (32, 256, 1024) for width in (512, 784)]
"""(B, n): images a step, and units of a layer or pixels."""
QUICK = [(4, 16)]


def data(size: Size) -> tuple[Array, Array]:
    """Two arrays of standard normal numbers: half of the signs are negative, in random order."""
    a, b = np.random.default_rng(0).standard_normal((2, *size), dtype=np.float32)
    return a, b


# ReLU's gradient: dy, y -> dx.


def by_where(dy: Array, y: Array) -> Array:
    return np.where(y > 0, dy, 0)


def by_product(dy: Array, y: Array) -> Array:
    """Not quite the same: -0.0 and NaN where dy is negative or not finite, and y <= 0."""
    return dy * (y > 0)


def by_assignment(dy: Array, y: Array) -> Array:
    dx = dy.copy()
    dx[y <= 0] = 0
    return dx


# x Φ(x) and its slope, Φ(x) = erfc(−x/√2)/2: x, _ -> the pair.


def by_kernel(x: Array, _: Array) -> Array:
    return np.stack(gelu(x))


def by_erfc(x: Array, _: Array) -> Array:
    """Python's erfc, called for each element: NumPy has none."""
    return np.stack(gelu_plain(x))


# Σ(a − b)²: a, b -> r and the sum.


def by_float64(a: Array, b: Array) -> tuple[Array, Any]:
    r = a - b
    return r, np.square(r, dtype=np.float64).sum()


def by_rounded_squares(a: Array, b: Array) -> tuple[Array, Any]:
    r = a - b
    return r, (r * r).sum(dtype=np.float64)


def by_float32(a: Array, b: Array) -> tuple[Array, Any]:
    r = a - b
    return r, (r * r).sum()


def by_einsum(a: Array, b: Array) -> tuple[Array, Any]:
    r = a - b
    return r, np.einsum("bn,bn->b", r, r).sum(dtype=np.float64)


FUNCTIONS: dict[str, dict[str, Callable[[Array, Array], Any]]] = {
    "ReLU's gradient": {
        OURS: relu_gradient,
        "np.where": by_where,
        "dy * (y > 0)": by_product,
        "dx[y <= 0] = 0": by_assignment,
    },
    "GELU and its slope": {OURS: by_kernel, "math.erfc": by_erfc},
    "Σ(a − b)²": {
        "all in float64": by_float64,
        "squares in float32, sum in float64": by_rounded_squares,
        "all in float32": by_float32,
        "einsum": by_einsum,
    },
}
"""What is computed: by whom. The first of each is what vqnp does."""


class Contest:
    """Picklable: size -> a call without arguments."""

    def __init__(self, function: str, name: str) -> None:
        self.function, self.name = function, name

    def __call__(self, size: Size) -> harness.Run:
        a, b = data(size)
        function = FUNCTIONS[self.function][self.name]
        return lambda: function(a, b)


ERRORS: dict[str, float] = {}
"""Of each form of the sum of squares, the largest relative error."""


def same(size: Size, answers: dict[str, Any]) -> None:
    """Values equal to float32's rounding, and sums to 1e-6 of the exact one."""
    first = next(iter(answers))
    if isinstance(answers[first], tuple):
        r = np.subtract(*data(size))
        exact = math.fsum(float(x) ** 2 for x in r.flat)
        for name, (difference, total) in answers.items():
            ERRORS[name] = max(ERRORS.get(name, 0.0), abs(float(total) - exact) / exact)
            if (difference != r).any() or not ERRORS[name] < 1e-6:
                raise SystemExit(f"{name} at {size}: the sum is off by {ERRORS[name]:.1e}")
    elif any(not np.allclose(answer, answers[first], rtol=1e-6, atol=1e-6) for answer in answers.values()):
        raise SystemExit(f"{', '.join(answers)} at {size}: not the same values")


def table(timings: list[harness.Timing]) -> str:
    """A row for each size and number of threads: microseconds of each, and ratios to the first."""
    names = list(dict.fromkeys(t.contender for t in timings))
    lines = [
        "| batch, width | threads | "
        + " | ".join(f"{name}, µs" for name in names)
        + " | "
        + " | ".join(f"{name} / {names[0]}: median (quartiles)" for name in names[1:])
        + " |",
        "|---" * (1 + 2 * len(names)) + "|",
    ]
    for (threads, size), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        cells = [f"{1e6 * by_name[n].median:.3g} (least {1e6 * min(by_name[n].seconds):.3g})" for n in names]
        ratios = [reports.ratio(by_name[n], by_name[names[0]]) for n in names[1:]]
        lines.append(f"| {', '.join(map(str, size))} | {threads} | {' | '.join([*cells, *ratios])} |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "elementwise")
    results = {
        function: harness.compete({name: Contest(function, name) for name in contenders}, args, same)
        for function, contenders in FUNCTIONS.items()
    }
    sections = "\n\n".join(f"## {function}\n\n{table(timings)}" for function, timings in results.items())
    everything = [
        t._replace(contender=f"{function}: {t.contender}") for function, ts in results.items() for t in ts
    ]
    errors = ", ".join(f"{name} {error:.0e}" for name, error in ERRORS.items())
    text = f"""# Elementwise kernels against NumPy

{reports.about()}

`python examples/benchmarks/elementwise.py --rounds {args.rounds} --seconds {args.seconds}`; float32,
standard normal data. Each cell is a median, with the least time beside it: other programs ran on the
machine meanwhile.

{sections}

Largest relative error of the sum: {errors}.
"""
    figure = reports.dots(
        results["ReLU's gradient"],
        lambda t: 1e6 * t.median,
        lambda s: "B={} n={}".format(*s),
        "microseconds for ReLU's gradient (lower is better)",
    )
    reports.write(args, "elementwise", text, everything, figure)


if __name__ == "__main__":
    main()
