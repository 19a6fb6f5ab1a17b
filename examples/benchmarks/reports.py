"""The output of the benchmarks: medians, ratios of times from the same round, the machine, a figure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from importlib import metadata

import numpy as np
from figures import SHOWN
from harness import OURS, PEAK, Size, Timing
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vqnp.bench.measure import machine
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, new_figure, save_figure


def best_peer(timings: Sequence[Timing], own: str = OURS, yardsticks: Sequence[str] = (PEAK,)) -> Timing:
    """The contender with the smallest median, excluding vqnp and the yardsticks."""
    return min((t for t in timings if t.contender not in (own, *yardsticks)), key=lambda t: t.median)


def ratio(slow: Timing, fast: Timing) -> str:
    """slow / fast: the median over the rounds (and the quartiles)."""
    r = np.array(slow.seconds) / np.array(fast.seconds)
    low, mid, high = np.percentile(r, [25, 50, 75])
    return f"{mid:.2f} ({low:.2f} to {high:.2f})"


def mega(bytes_: int | None) -> str:
    return "unknown" if bytes_ is None else f"{bytes_ / 1e6:.1f} MB"


def grouped(timings: Sequence[Timing]) -> dict[tuple[int, Size], list[Timing]]:
    """Timings by number of threads and size."""
    groups: dict[tuple[int, Size], list[Timing]] = {}
    for t in timings:
        groups.setdefault((t.threads, t.size), []).append(t)
    return groups


def about(*libraries: str) -> str:
    """The machine and the versions, in one sentence."""
    m = machine()
    versions = [f"{name} {m[name]}" for name in ("vqnp", "numpy", "numba", "python")]
    versions += [f"{name} {metadata.version(name)}" for name in libraries]
    return f"{m['processor']}, {m['cores']} cores, vectors of {m['vector_bits']} bits; {', '.join(versions)}."


def write(
    args: argparse.Namespace, name: str, text: str, timings: Sequence[Timing], figure: Figure, **more: object
) -> None:
    """Write name.md, name.json (every single time) and name.png, and print the Markdown."""
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [t._asdict() for t in timings]
    record = {"machine": machine(), "timings": rows, **more}
    (args.out / f"{name}.json").write_text(json.dumps(record) + "\n")
    text = text.rstrip() + f"\n\n![{SHOWN[name]}]({name}.png)\n"
    (args.out / f"{name}.md").write_text(text, encoding="utf-8")
    save_figure(figure, args.out / f"{name}.png")
    print(text)
    print("\n".join(f"wrote {args.out / name}{suffix}" for suffix in (".md", ".json", ".png")))


MARKS = ("s", "^", "v", "D", "P", "X", "*", "<", ">")


def dots(
    timings: Sequence[Timing],
    value: Callable[[Timing], float],
    label: Callable[[Size], str],
    unit: str,
    yardsticks: Sequence[str] = (PEAK,),
) -> Figure:
    """A row per size, a panel per number of threads, a marker per contender; vqnp's is filled."""
    threads = sorted({t.threads for t in timings})
    sizes = list(dict.fromkeys(t.size for t in timings))
    names = list(dict.fromkeys(t.contender for t in timings))
    figure = new_figure(9.0, 1.6 + 0.36 * len(sizes))
    panels = figure.subplots(1, len(threads), sharex=True, sharey=True, squeeze=False)[0]
    high = figure.get_figheight()
    figure.subplots_adjust(left=0.185, right=0.98, top=1 - 0.3 / high, bottom=1.15 / high, wspace=0.05)
    peers = [n for n in names if n != OURS and n not in yardsticks]
    for axes, count in zip(panels, threads, strict=True):
        for name in names:
            mine = [t for t in timings if t.threads == count and t.contender == name]
            x, y = [value(t) for t in mine], [sizes.index(t.size) for t in mine]
            if name == OURS:
                axes.plot(x, y, "o", color=BLUE, markersize=9, label=name, zorder=3)
            elif name in yardsticks:
                axes.plot(x, y, "|", color="black", markersize=14, markeredgewidth=1.5, label=name)
            else:
                i = peers.index(name)
                colour = (ORANGE, GREEN, GREY)[i % 3]
                axes.plot(x, y, MARKS[i], color=colour, markerfacecolor="none", markersize=6, label=name)
        axes.set_xscale("log")
        low, far = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if far < 1000 * low else (1,)))  # legible
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=8)
        axes.set_title(f"{count} thread{'s' * (count > 1)}", fontsize=10)
        axes.set_xlabel(unit, fontsize=9)
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(sizes)), [label(s) for s in sizes], fontsize=8)
    panels[0].set_ylim(len(sizes) - 0.5, -0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=8, frameon=False
    )
    return figure
