"""One style for every figure: colours, sizes, and a mean with its range, min_s y_s ≤ ⟨y⟩ ≤ max_s y_s.

The colours are those of Okabe and Ito, which are distinct for all kinds of colour vision.
"""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator, NullFormatter

from vqnp._check import Array
from vqnp._files import atomic

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
AMBER, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"
COLOURS = (BLUE, ORANGE, GREEN, AMBER, PURPLE, SKY, GREY)  # the first of them differ most
MARKS = ("o", "s", "^", "D", "v", "P", "X")  # one for each of COLOURS: lines can be told apart in grey too
DPI = 100


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches with its own canvas, without a window or global state."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, atomically."""
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def dress(axes: Axes, title: str, x: str, y: str, integer_x: bool = True) -> None:
    """Title, labelled axes, no box; integer_x: ticks at integers only, as for epochs."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8, which="both")
    if integer_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)


def no_ticks(axes: Axes) -> None:
    """Neither ticks nor a box, for images."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


class PlainNumbers(Formatter):
    """Tick labels of a logarithmic axis as 0.02, not as 2e−02, and only as many as fit.

    Below 0.4 decades all digits, up to three decades 1, 2 and 5, above only 1; from 2 to 5 is 0.398 decades,
    so there is always at least one label.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of the tick at x, or "" for none."""
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        decades = math.log10(high / low)
        digit = round(x / 10 ** math.floor(math.log10(x) + 1e-9))
        shown = range(1, 10) if decades < 0.4 else (1, 2, 5) if decades <= 3 else (1,)
        return f"{x:g}" if digit in shown else ""


def plain_log(axes: Axes, which: str = "y") -> None:
    """A logarithmic axis with plain numbers; which: "x" or "y"."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    for formatter in (axis.set_major_formatter, axis.set_minor_formatter):
        formatter(PlainNumbers())


def plain_symlog(axes: Axes, least: float) -> None:
    """A y axis that is logarithmic beyond ± a power of ten of at most `least`, and linear between."""
    low, high = -5, math.floor(math.log10(max(least, 1e-5)))
    axes.set_yscale("symlog", linthresh=10.0 ** max(low, high), linscale=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}".replace("-", "−")))


def log_settings(axes: Axes, values: Any, which: str = "x") -> None:
    """A logarithmic axis with ticks at these values only."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks(list(values), [f"{value:g}" for value in values])
    axis.set_minor_formatter(NullFormatter())
    axis.set_ticks([], minor=True)


def spread(axes: Axes, x: Any, y: Array, label: str, index: int = 0, mark: bool = True) -> None:
    """The mean over seeds as a line, and the range from the smallest to the largest value as a band.

    x: (n,), y: (seeds, n); index: which of COLOURS and MARKS
    """
    colour = COLOURS[index % len(COLOURS)]
    axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    marker = MARKS[index % len(MARKS)] if mark else ""
    axes.plot(x, y.mean(axis=0), color=colour, marker=marker, markersize=4, linewidth=1.5, label=label)
