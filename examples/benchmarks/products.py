"""The three products of a linear layer: vqnp compared with NumPy and PyTorch, in GFLOP/s.

python examples/benchmarks/products.py                 ten minutes; writes products.md, .json and .png
python examples/benchmarks/products.py --threads 1 2   fifty minutes
python examples/benchmarks/products.py --quick         to test that it runs

Needs NumPy and PyTorch. y = max(x W + b, 0), dx = dy Wᵀ and dW = xᵀ dy of the four layers of an MLP
784-512-256-512-784. First every result is compared with the same product in float64. nn.Linear stores W as
(outputs, inputs), vqnp as (inputs, outputs); since the layout decides PyTorch's speed, both are timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, PEAK, Size
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from vqnp.bench.measure import peak_of
from vqnp.kernels.memory import copy
from vqnp.kernels.product import linear, linear_dW, linear_dx
from vqnp.plots.style import BLUE, GREEN, ORANGE, new_figure

Array = np.ndarray[Any, Any]

LAYERS = [(784, 512), (512, 256), (256, 512), (512, 784)]
BATCHES = (32, 256, 1024)
PASSES = ("y", "dx", "dW")
SIZES = [(B, *layer, bits, p) for bits in (32, 64) for layer in LAYERS for B in BATCHES for p in range(3)]
"""(B, I, O, bits of a number, the index of the pass)"""
QUICK = [(5, 20, 12, bits, p) for bits in (32, 64) for p in range(3)]
NUMPY, LINEAR, TRANSPOSED = "NumPy", "PyTorch, nn.Linear", "PyTorch, W (I, O)"
TORCH = (LINEAR, TRANSPOSED)


def data(size: Size) -> tuple[Array, Array, Array, Array]:
    """x: (B, I), W: (I, O), b: (O,), dy: (B, O): standard normal, and aligned for every contender."""
    B, I, O, bits, _ = size
    rng = np.random.default_rng(0)
    shapes = (B, I), (I, O), (O,), (B, O)
    x, W, b, dy = (copy(rng.standard_normal(s).astype(f"float{bits}")) for s in shapes)
    return x, W, b, dy


def numpys(x: Array, W: Array, b: Array, dy: Array) -> tuple[harness.Run, ...]:
    def y() -> Array:
        y = x @ W
        y += b
        return np.maximum(y, 0, out=y)

    return y, lambda: dy @ W.T, lambda: x.T @ dy


def torchs(x: Array, W: Array, b: Array, dy: Array, layout: str) -> tuple[harness.Run, ...]:
    """Without autograd, whose bookkeeping would be counted otherwise."""
    import torch

    wide, bias, d = (torch.from_numpy(a) for a in (x, b, dy))
    if layout == LINEAR:
        weight = torch.from_numpy(copy(W.T))
        return (
            lambda: torch.nn.functional.linear(wide, weight, bias).relu_(),
            lambda: d @ weight,
            lambda: d.T @ wide,
        )
    weight = torch.from_numpy(W)
    return lambda: torch.addmm(bias, wide, weight).relu_(), lambda: d @ weight.T, lambda: wide.T @ d


class Contest:
    """Picklable: size -> a call without arguments; its first answer is a NumPy array in vqnp's layout."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        if self.name == PEAK:
            return peak_of(harness.threads())[0]
        run = self.passes(*data(size))[size[-1]]
        turn = self.name == LINEAR and PASSES[size[-1]] == "dW"
        return harness.compared(run, lambda answer: np.asarray(answer).T if turn else np.asarray(answer))

    def passes(self, x: Array, W: Array, b: Array, dy: Array) -> tuple[Callable[[], Any], ...]:
        if self.name == OURS:
            return lambda: linear(x, W, b, relu=True), lambda: linear_dx(dy, W), lambda: linear_dW(x, dy)
        if self.name == NUMPY:
            return numpys(x, W, b, dy)
        return torchs(x, W, b, dy, self.name)


def right(size: Size, answers: dict[str, Any]) -> None:
    """No entry differs from that in float64 by more than the bound of a sum of n products in any order.

    |error| ≤ γ_{n+1} Σ |a||b|, Higham 2002, section 3.1; float64 is compared with itself, so twice that
    """
    x, W, b, dy = (a.astype(np.float64) for a in data(size))
    left, other, first = ((x, W, b), (dy, W.T, 0), (x.T, dy, 0))[size[-1]]
    exact, scale = left @ other + first, np.abs(left) @ np.abs(other) + np.abs(first)
    exact = np.maximum(exact, 0) if PASSES[size[-1]] == "y" else exact
    bound = 2 * (left.shape[1] + 1) * 2.0 ** {32: -24, 64: -53}[size[3]] * scale
    for name, answer in answers.items():
        if name != PEAK and not (np.abs(answer - exact) <= bound).all():
            raise SystemExit(f"{name} at {size}: an entry is wrong by more than rounding")


# The report.


def work(size: Size) -> float:
    """2BIO operations."""
    B, I, O, _, _ = size
    return 2.0 * B * I * O


def rate(t: harness.Timing) -> float:
    """GFLOP/s."""
    return work(t.size) / t.median / 1e9


def share(t: harness.Timing, peak: harness.Timing) -> float:
    """Of the FMA peak of this dtype, in the same rounds: vectors hold half as many numbers of 64 bits."""
    turns = float(np.median(np.array(peak.seconds) / np.array(t.seconds)))
    return turns * work(t.size) / (peak_of(t.threads)[1] * 32 / t.size[3])


def gain(other: harness.Timing, ours: harness.Timing) -> float:
    """How many times as fast vqnp is: the median over the rounds."""
    return float(np.median(np.array(other.seconds) / np.array(ours.seconds)))


Groups = dict[tuple[int, Size], dict[str, harness.Timing]]


def groups_of(timings: list[harness.Timing]) -> Groups:
    return {key: {t.contender: t for t in group} for key, group in reports.grouped(timings).items()}


def best_torch(by_name: dict[str, harness.Timing]) -> harness.Timing:
    return min((by_name[name] for name in TORCH), key=lambda t: t.median)


def table(groups: Groups, bits: int, threads: int) -> str:
    """A row for each layer, batch and pass."""
    names = (OURS, NUMPY, *TORCH)
    lines = [
        "| I > O | batch | | " + " | ".join(names)
        + " | vqnp's share of the peak | / best PyTorch | / NumPy |",
        "|---" * (6 + len(names)) + "|",
    ]  # fmt: skip
    for (count, size), by_name in groups.items():
        if (count, size[3]) != (threads, bits):
            continue
        B, I, O, _, p = size
        ours = by_name[OURS]
        rates = " | ".join(f"{rate(by_name[name]):.0f}" for name in names)
        ratios = f"{gain(best_torch(by_name), ours):.2f} | {gain(by_name[NUMPY], ours):.2f}"
        peak = f"{share(ours, by_name[PEAK]):.0%}"
        lines.append(f"| {I} > {O} | {B} | {PASSES[p]} | {rates} | {peak} | {ratios} |")
    return "\n".join(lines)


def summary(groups: Groups) -> str:
    """The smallest and the median ratio of each pass, by dtype, threads and batch."""
    lines = [
        "| | threads | batch | | share of the peak, % | / best PyTorch | / NumPy |",
        "|---" * 7 + "|",
    ]  # fmt: skip
    kinds = dict.fromkeys((s[3], threads, s[0], s[-1]) for threads, s in groups)
    for bits, threads, B, p in sorted(kinds):
        some = [
            g for (count, s), g in groups.items() if (s[3], count, s[0], s[-1]) == (bits, threads, B, p)
        ]  # fmt: skip
        shares = [100 * share(g[OURS], g[PEAK]) for g in some]
        ratios = [gain(best_torch(g), g[OURS]) for g in some], [gain(g[NUMPY], g[OURS]) for g in some]
        cells = " | ".join(
            [f"{np.median(shares):.0f} ({min(shares):.0f})"]
            + [f"{np.median(r):.2f} ({min(r):.2f})" for r in ratios]
        )
        lines.append(f"| float{bits} | {threads} | {B} | {PASSES[p]} | {cells} |")
    return "\n".join(lines)


def draw(groups: Groups) -> Figure:
    """Share of the peak against the size of the product: a row for each dtype, a column for each pass."""
    rows = list(dict.fromkeys((size[3], threads) for threads, size in groups))
    figure = new_figure(9.0, 0.9 + 2.2 * len(rows))
    high = figure.get_figheight()
    panels = figure.subplots(len(rows), 3, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.98, top=1 - 0.3 / high, bottom=0.95 / high, wspace=0.06)
    figure.subplots_adjust(hspace=0.3)
    styles = ((NUMPY, GREEN, "^"), ("PyTorch, the better layout", ORANGE, "s"), (OURS, BLUE, "o"))
    for line, (bits, threads) in zip(panels, rows, strict=True):
        for p, axes in enumerate(line):
            mine = [g for (n, s), g in groups.items() if (s[3], n, s[-1]) == (bits, threads, p)]
            for name, colour, mark in styles:
                picked = [(g[name] if name in g else best_torch(g), g[PEAK]) for g in mine]
                x = [work(t.size) / 1e6 for t, _ in picked]
                y = [100 * share(t, peak) for t, peak in picked]
                fill = colour if name == OURS else "none"
                axes.plot(x, y, mark, color=colour, markerfacecolor=fill, markersize=5, label=name)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylim(0, 105)
            more = f", {threads} threads" if threads > 1 else ""
            axes.set_title(f"{PASSES[p]}, float{bits}{more}", fontsize=10)
            axes.tick_params(labelsize=8)
            axes.grid(axis="y", color="0.9")
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("% of the FMA peak", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("millions of operations", fontsize=9)
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "products", threads=(1,))
    timings = harness.compete({name: Contest(name) for name in (OURS, NUMPY, *TORCH, PEAK)}, args, right)
    groups = groups_of(timings)
    sections = [
        f"## float{bits}, {threads} thread{'s' * (threads > 1)}\n\n{table(groups, bits, threads)}"
        for threads in args.threads
        for bits in (32, 64)
    ]
    rest = "\n\n".join(sections)
    text = f"""# The products of linear layers compared with NumPy and PyTorch

{reports.about("torch")}

`python examples/benchmarks/products.py --threads {" ".join(map(str, args.threads))}`; {args.rounds} rounds.
y = max(x W + b, 0), dx = dy Wᵀ, dW = xᵀ dy, counted as 2BIO operations. "/ best PyTorch" and "/ NumPy" say
how many times as fast vqnp is as PyTorch with the better of the two layouts of W, and as NumPy: the median of
the ratios of the rounds. Every result was first compared with the product in float64. All arrays begin at
multiples of 64 bytes, and the same W is used again and again, so it is in the cache when it fits.

## Summary

The median over the four layers, and in brackets the smallest of the four.

{summary(groups)}

{rest}
"""
    reports.write(args, "products", text, timings, draw(groups))


if __name__ == "__main__":
    main()
