"""Columns of a training's history as curves over its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from vqnp.plots.style import dress, plain_log

History = Sequence[Mapping[str, float]]


def draw_curves(
    axes: Axes,
    history: History,
    title: str,
    unit: str,
    curves: Mapping[str, tuple[str, str]],
    legend: str = "upper right",
    log: bool = False,
) -> None:
    """A curve for each column that the history has and that is not 0 throughout.

    curves: {column: (colour, label)}; legend: its place; log: a logarithmic axis, if anything is above 0
    """
    epochs = [row["epoch"] for row in history]
    for name, (colour, label) in curves.items():
        values = [row[name] for row in history if name in row]
        if values and (any(values) or not log):
            marker = "o" if len(values) == 1 else None  # a line through one point would not be seen
            axes.plot(epochs[-len(values) :], values, color=colour, label=label, marker=marker)
    if log and any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
        plain_log(axes)
    elif not log:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.lines else 0.0)
    dress(axes, title, "epoch", unit)
    if axes.lines:
        axes.legend(fontsize=8, frameon=False, loc=legend)  # type: ignore[call-overload]
