"""How the time of nearest_code grows with N, D and K, on axes where a power law is a straight line.

python examples/benchmarks/scaling.py            two minutes; writes scaling.md, .json and .png
python examples/benchmarks/scaling.py --quick    to test that it runs

Needs only vqnp. It is compared with the expanded form in NumPy, which is fast and occasionally wrong.
"""

from __future__ import annotations

from functools import partial

import harness
import numpy as np
import reports
from harness import OURS, Size
from matplotlib.figure import Figure
from nearest import Contest, same

from vqnp.plots.style import BLUE, ORANGE, new_figure

BASE = (16384, 64, 512)
"""(N, D, K): the point common to all sweeps."""
SWEEPS = {
    "N": [(2**i, 64, 512) for i in range(4, 20, 2)],
    "D": [(16384, 2**i, 512) for i in range(0, 11)],
    "K": [(16384, 64, 2**i) for i in range(0, 15, 2)],
}
QUICK = {"N": [(16, 8, 8), (64, 8, 8)], "D": [(64, 4, 8), (64, 8, 8)], "K": [(64, 8, 4), (64, 8, 8)]}
NAMES = (OURS, "NumPy, expanded")
STYLE = {OURS: (BLUE, "o-"), NAMES[1]: (ORANGE, "s--")}


def exponent(x: np.ndarray, seconds: np.ndarray) -> float:
    """p of seconds ∝ xᵖ: the slope of the least-squares line through the logarithms of the upper half."""
    half = (len(x) - 1) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(seconds[half:]), 1)[0])


def curve(
    timings: list[harness.Timing], sweep: list[Size], axis: int, name: str, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """(sizes along one axis, median seconds) of one contender."""
    mine = {t.size: t.median for t in timings if t.contender == name and t.threads == threads}
    return np.array([s[axis] for s in sweep], float), np.array([mine[s] for s in sweep])


def draw(timings: list[harness.Timing], sweeps: dict[str, list[Size]], threads: int) -> Figure:
    """A panel for each of N, D, K."""
    figure = new_figure(9.0, 3.4)
    panels = figure.subplots(1, 3, sharey=True)
    figure.subplots_adjust(left=0.08, right=0.985, top=0.9, bottom=0.25, wspace=0.06)
    for axes, (letter, sweep) in zip(panels, sweeps.items(), strict=True):
        for name in NAMES:
            colour, style = STYLE[name]
            x, seconds = curve(timings, sweep, "NDK".index(letter), name, threads)
            axes.plot(x, 1e3 * seconds, style, color=colour, markersize=4, label=name)
            place = (0.97, 0.05 + 0.08 * (name == OURS))
            text = f"∝ {letter}^{exponent(x, seconds):.2f}"
            axes.text(*place, text, transform=axes.transAxes, ha="right", fontsize=8, color=colour)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel({"N": "N, vectors", "D": "D, dimensions", "K": "K, codes"}[letter], fontsize=9)
        fixed = [f"{n} = {v}" for n, v in zip("NDK", BASE, strict=True) if n != letter]
        axes.set_title(", ".join(fixed), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds", fontsize=9)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="lower center", ncols=2, fontsize=8, frameon=False
    )
    return figure


def table(timings: list[harness.Timing], sweeps: dict[str, list[Size]], threads: list[int]) -> str:
    """The exponents."""
    lines = [
        "| what grows | threads | " + " | ".join(f"{name}: exponent" for name in NAMES) + " |",
        "|---|---|---|---|",
    ]
    for letter, sweep in sweeps.items():
        for count in threads:
            p = [exponent(*curve(timings, sweep, "NDK".index(letter), name, count)) for name in NAMES]
            values = [s["NDK".index(letter)] for s in sweep]
            fitted = f"{letter}, fitted from {values[(len(values) - 1) // 2]} to {values[-1]}"
            lines.append(f"| {fitted} | {count} | {p[0]:.2f} | {p[1]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", [], [], "scaling")
    sweeps = QUICK if args.quick else SWEEPS
    args.sizes = list(dict.fromkeys(size for sweep in sweeps.values() for size in sweep))
    timings = harness.compete(
        {name: Contest(name) for name in NAMES}, args, partial(same, wrong=1e-2)
    )  # near-ties are common in one dimension

    text = f"""# How the time of nearest_code grows with N, D and K

{reports.about()}

`python examples/benchmarks/scaling.py`; {args.rounds} rounds. A time proportional to the 2NDK operations
would give exponents of 1.

{table(timings, sweeps, args.threads)}
"""
    reports.write(args, "scaling", text, timings, draw(timings, sweeps, args.threads[0]))


if __name__ == "__main__":
    main()
