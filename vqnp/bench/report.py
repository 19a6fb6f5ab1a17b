"""The output of `vqnp bench`: a table, advice if NumPy's matrix products are slow, and a figure."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from vqnp.bench.measure import PEAK, Row
from vqnp.plots.style import BLUE, GREY, ORANGE, new_figure

SLOW_SHARE = 0.6  # below this share of the FMA peak, BLAS uses the wrong kernels: the right ones reach 0.8


def table(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """The rows as a Markdown table, below a description of the machine."""
    lines = [
        f"{about['processor']}, {about['cores']} cores, vectors of {about['vector_bits']} bits",
        ", ".join(f"{n} {about[n]}" for n in ("vqnp", "numpy", "numba", "python")),
        f"NumPy's matrix products by {about['blas']}, OPENBLAS_CORETYPE {about['OPENBLAS_CORETYPE']}",
        "", "| what | size | threads | time | rate | share |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        share = f"{row.share:.0%} of {row.of}" if row.share is not None else ""
        rate = "" if row.unit == "s" else f"{row.rate:,.0f} {row.unit}"
        cells = (row.what, row.size, row.threads or "", _time(row.seconds), rate, share)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, *_advice(rows, about)])


def _time(seconds: float) -> str:
    """Seconds with a unit: s, ms or µs."""
    scale, unit = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    return f"{seconds * scale:.3g} {unit}"


def _advice(rows: Sequence[Row], about: dict[str, Any]) -> list[str]:
    """Sentences below the table: if matrix products are slow, or if their threads could not be limited."""
    advice = []
    if about["blas"] == "unknown":
        advice = ["", "threadpoolctl does not know NumPy's BLAS: its number of threads was not limited."]
    shares = [r.share for r in rows if r.what.startswith("NumPy") and r.threads == 1 and r.share is not None]
    if not shares or min(shares) >= SLOW_SHARE:
        return advice
    why, cure = f"OPENBLAS_CORETYPE is {about['OPENBLAS_CORETYPE']}", "unset it"
    if about["OPENBLAS_CORETYPE"] == "unset":
        why = "its library may not know the processor"
        cure = "set OPENBLAS_CORETYPE to a processor that it does know"
    return advice + [
        "",
        f"NumPy's matrix products reach {min(shares):.0%} of what this processor can do: {why}.",
        f"vqnp's training does not use them, but other programs do; if they are OpenBLAS's, {cure}.",
    ]


def bench_figure(rows: Sequence[Row], about: dict[str, Any]) -> Figure:
    """Bars: the share of the FMA peak that each computation reaches, a colour for each number of threads."""
    shown = [row for row in rows if row.of == PEAK and row.what != "FMA peak"]
    threads = sorted({row.threads for row in shown})
    names = list(dict.fromkeys((row.what, row.size) for row in shown))
    below, above = 0.65 + 0.25 * len(threads), 0.35  # inches: the axis, its label and the legend; the title
    height = below + above + 0.42 * len(names)
    figure = new_figure(8.0, height)
    axes = figure.add_axes((0.36, below / height, 0.6, 0.42 * len(names) / height))
    height = 0.8 / len(threads)
    for i, (t, colour) in enumerate(zip(threads, (BLUE, ORANGE, GREY), strict=False)):
        measured = {(row.what, row.size): row for row in shown if row.threads == t}
        peak = next(row.rate for row in rows if row.what == "FMA peak" and row.threads == t)
        offset = (i - (len(threads) - 1) / 2) * height
        places = [n + offset for n, name in enumerate(names) if name in measured]
        values = [100 * (measured[name].share or 0) for name in names if name in measured]
        label = f"{t} thread{'s' * (t > 1)} (peak {peak:,.0f} GFLOP/s)"
        axes.barh(places, values, 0.9 * height, color=colour, label=label)
        for y, x in zip(places, values, strict=True):
            axes.text(x - 1, y, f"{x:.0f}", va="center", ha="right", color="white", fontsize=7)
    axes.set_yticks(range(len(names)), [f"{what}\n{size}" for what, size in names], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="share of the machine's peak, fused multiply-adds in float32 (%)")
    axes.set_title(f"{about['processor']}, {about['vector_bits']}-bit vectors", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    place = (0.36, 0.02 / height)
    figure.legend(loc="lower left", bbox_to_anchor=place, borderaxespad=0, fontsize=8, frameon=False)
    return figure
