"""Columns of a training's history as curves over its epochs, and sorted bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from vqnp._check import Array
from vqnp.plots.style import AMBER, BLUE, GREEN, ORANGE, PURPLE, SKY, dress, plain_log, plain_symlog

LEAST_BARS = 16  # few bars are seen, beside some of zero height
MOST_BARS = 1000  # more, each a shape of its own, take long: 20,000 of them about a minute
History = Sequence[Mapping[str, float]]

LOSSES = {
    "reconstruction_loss": (BLUE, "reconstruction, training"),
    "test_mse": (ORANGE, "reconstruction, test (clipped to [0, 1])"),
    "codebook_loss": (PURPLE, "codebook loss, training"),
    "commitment_loss": (GREEN, "commitment loss, training"),
    "entropy_loss": (SKY, "weighted entropy loss, training (nats)"),
    "kl_loss": (AMBER, "weighted KL loss, training (nats)"),
}
"""Columns of the history of a VQ-VAE: mean squared errors, but for the last two."""


def draw_losses(
    axes: Axes, history: History, likelihood: str = "squared_error", levels: bool = False
) -> None:
    """The losses of a VQ-VAE by epoch; levels: they are sums over levels.

    Under another likelihood the reconstruction loss is −log p, which may be negative as entropies may.
    """
    curves, unit = dict(LOSSES), "mean squared error"
    if likelihood != "squared_error":
        curves["reconstruction_loss"] = BLUE, "reconstruction, training: −log p (nats a value)"
        curves["test_mse"] = ORANGE, "reconstruction, test: mean squared error"
    if levels:
        curves = {name: (c, label.replace(" loss,", " losses,")) for name, (c, label) in curves.items()}
    in_nats = {"entropy_loss", "kl_loss"} & set().union(*history)
    if likelihood != "squared_error" or in_nats:
        unit = "loss"
    draw_curves(axes, history, "Loss", unit, curves, log=True)
    add_legend(axes)


def draw_curves(
    axes: Axes, history: History, title: str, unit: str, curves: Mapping[str, tuple[str, str]],
    log: bool = False,
) -> None:  # fmt: skip
    """A curve for each column that the history has; on a logarithmic axis not for columns of zeros.

    curves: {column: (colour, label)}; log: a logarithmic axis, if anything is above 0; if anything is below
    0, one that is logarithmic in both directions and linear about 0
    """
    epochs = [row["epoch"] for row in history]
    for name, (colour, label) in curves.items():
        values = [row[name] for row in history if name in row]
        if values and (any(values) or not log):
            marker = "o" if len(values) == 1 else None  # a line through one point would not be seen
            axes.plot(epochs[-len(values) :], values, color=colour, label=label, marker=marker)
    drawn = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines] or [np.zeros(0)])
    if log and (drawn > 0).any():
        if (drawn < 0).any():
            plain_symlog(axes, np.abs(drawn[drawn != 0]).min())
        else:
            plain_log(axes)
    elif not log:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.lines else 0.0)
    if len(set(epochs)) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)  # ticks at whole numbers
    dress(axes, title, "epoch", unit)


def add_legend(axes: Axes) -> None:
    """A legend with no line or label under it; if there is no such place, the y axis is made longer."""
    if not axes.lines:
        return
    legend = axes.legend(fontsize=8, frameon=False, loc="best")
    labels = [text.get_window_extent() for text in axes.texts]
    if not _covers(legend.get_window_extent().padded(4), axes, labels):
        return
    legend.set_loc("upper right")
    room = 4 + max((4 + label.height for label in labels), default=0)  # pixels; a label is above its line
    lowest = legend.get_window_extent().y0 - room
    free = float(axes.transAxes.inverted().transform((0, lowest))[1])
    axis = axes.yaxis.get_transform()
    low, top = axis.transform(np.array([axes.get_ylim()[0], axes.dataLim.y1]))
    axes.set_ylim(top=float(axis.inverted().transform(np.array([low + (top - low) / free]))[0]))


def _covers(box: Bbox, axes: Axes, labels: Sequence[Bbox]) -> bool:
    """Whether a line or a label is within the box, in pixels."""
    paths = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    if any(path.intersects_bbox(box, filled=False) or box.count_contains(path.vertices) for path in paths):
        return True
    return any(box.overlaps(label) for label in labels)


def draw_sorted(axes: Axes, values: Array, title: str, x: str, y: str) -> None:
    """Bars for values: (n,), the largest first; if three of four are 0, most of these are left out."""
    heights = np.sort(values)[::-1]
    used = int(np.count_nonzero(values))
    n = max(LEAST_BARS, 2 * used) if 4 * used < len(values) else len(values)
    if left_out := max(0, len(values) - n):
        heights, x = heights[:n], f"{x} ({left_out} more are 0)"
    if len(heights) <= MOST_BARS:
        axes.bar(np.arange(1, len(heights) + 1), heights, width=1.0, color=BLUE)
    else:  # the same picture as one shape
        axes.stairs(heights, np.arange(len(heights) + 1) + 0.5, fill=True, color=BLUE)
    axes.set_xlim(0.5, len(heights) + 0.5)
    dress(axes, title, x, y)
