"""The figures of a hierarchy: its training, and what each level carries, in pictures."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from vqnp._check import Array
from vqnp._images import to_float
from vqnp.evaluation import HierarchyEvaluation
from vqnp.models import HierarchicalVQVAE
from vqnp.plots.curves import History, add_legend, draw_curves, draw_losses, draw_sorted
from vqnp.plots.sheets import are_signals, draw_pairs, shown_images, tiles, training_grid
from vqnp.plots.style import COLOURS, GREY, dress, new_figure, no_ticks

SHOWN = 10  # images in a row


def hierarchy_training_figure(
    model: HierarchicalVQVAE, history: History, images: Array, result: HierarchyEvaluation
) -> Figure:
    """Loss and utilization of each level by epoch, originals above reconstructions, what each level carries.

    images: (n, *data.shape) of the test set, of which the first ten are shown; result: the report on them

    Examples
    --------
    >>> from vqnp import HierarchicalVQVAE, evaluate, fit, load_dataset
    >>> images, model = load_dataset("digits", "test").images[:10], HierarchicalVQVAE.conv(channels=4)
    >>> history = fit(model, images, images, epochs=2, progress=False)
    >>> figure = hierarchy_training_figure(model, history, images, evaluate(model, images))
    >>> [axes.get_title() for axes in figure.axes][2:5]
    ['Test images, each above its reconstruction', "Error if a level is another image's",
     'Each level from another image']
    """
    figure, grid = training_grid()
    draw_losses(figure.add_subplot(grid[0, 0]), history, levels=True)
    axes = figure.add_subplot(grid[0, 1])
    shares, curves = [dict(row) for row in history], dict[str, tuple[str, str]]()
    for l, level in enumerate(result.levels, 1):
        colour = COLOURS[(l - 1) % len(COLOURS)]
        for row in shares:
            if f"perplexity_{l}" in row:
                row[f"utilization_{l}"] = 100 * row[f"perplexity_{l}"] / level.num_embeddings
        curves[f"utilization_{l}"] = (colour, f"{_name(l, level)}, {level.num_embeddings} codes")
    draw_curves(axes, shares, "Codebook use, training", "perplexity / K (%)", curves)
    axes.set_ylim(0, 112)
    add_legend(axes)
    draw_pairs(figure.add_subplot(grid[2, :]), model, images)
    _draw_errors(figure.add_subplot(grid[4, 0]), result)
    rows = level_images(model, images)
    inner = grid[4, 1].subgridspec(len(rows), 1, hspace=0.05)
    for i, (label, pictures) in enumerate(rows):
        axes = figure.add_subplot(inner[i])
        _draw_row(axes, pictures, label)
        if i == 0:
            axes.set_title("Each level from another image", fontsize=10)
    return figure


def hierarchy_figure(model: HierarchicalVQVAE, images: Array, result: HierarchyEvaluation) -> Figure:
    """Ten images, their reconstructions, and those with each level from another image; use of the codes.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:10]
    >>> model = vqnp.HierarchicalVQVAE.conv(channels=4)
    >>> figure = hierarchy_figure(model, images, vqnp.evaluate(model, images))
    >>> [axes.get_title() for axes in figure.axes][4:]  # below the images
    ['level 1, 7 × 7: use', 'level 2, 14 × 14: use']
    """
    rows = level_images(model, images)
    H, W = rows[0][1].shape[1:3]
    row = min(1.2, max(0.25, 7.9 * H / (W * min(SHOWN, len(images)))))  # inches
    top, gap, bars, bottom = 0.4, 0.55, 1.7, 0.5
    height = top + row * len(rows) + gap + bars + bottom
    figure = new_figure(9.6, height)
    edges = {"left": 0.16, "right": 0.985, "top": 1 - top / height, "hspace": 0.04}
    grid = GridSpec(len(rows), 1, figure, bottom=1 - (top + row * len(rows)) / height, **edges)
    for i, (label, pictures) in enumerate(rows):
        _draw_row(figure.add_subplot(grid[i]), pictures, label)
    figure.suptitle("What each level carries", fontsize=11, y=1 - 0.08 / height)
    place = {"left": 0.075, "right": 0.985, "bottom": bottom / height, "top": (bottom + bars) / height}
    below = GridSpec(1, len(result.levels), figure, wspace=0.25, **place)
    for l, level in enumerate(result.levels, 1):
        axes, shares = figure.add_subplot(below[l - 1]), 100 * level.counts / max(level.counts.sum(), 1)
        draw_sorted(axes, shares, f"{_name(l, level)}: use", "code, most used first", "share (%)")
        axes.axhline(100 / level.num_embeddings, color=GREY, linewidth=1, linestyle="--")
    return figure


def level_images(model: HierarchicalVQVAE, images: Array) -> list[tuple[str, Array]]:
    """(label, pictures) of the first ten: themselves, x̂, x̂ with one level from another image, x̂_l if any.

    The other image is the next one, the first for the last.
    """
    signals, some = are_signals(model), images[:SHOWN]
    k = model.encode(some)
    rows = [("original", to_float(some)), ("reconstruction", model.decode(k))]
    for l in range(len(k)):
        other = np.roll(k[l], -1, axis=0)
        rows.append((f"level {l + 1}", model.decode((*k[:l], other, *k[l + 1 :]))))
    for l, level in enumerate(model.levels, 1):
        if level.decoder is not None:
            rows.append((f"down to level {l}", model.decode_level(k, l)))
    return [(label, shown_images(x, signals)) for label, x in rows]


def _draw_errors(axes: Axes, result: HierarchyEvaluation) -> None:
    """A bar for the MSE and one for each level's with another image's codes; a line for the mean image's."""
    names = ["as encoded", *(f"level {l}\nswapped" for l in range(1, len(result.levels) + 1))]
    values = [result.mse, *(level.swapped_mse for level in result.levels)]
    colours = [GREY, *(COLOURS[l % len(COLOURS)] for l in range(len(result.levels)))]
    axes.bar(range(len(names)), np.nan_to_num(values), color=colours, width=0.6)
    axes.axhline(result.data_variance, color=GREY, linewidth=1, linestyle="--")
    place: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate("mean image", (0, result.data_variance), (4, 3), fontsize=8, color=GREY, **place)
    dress(axes, "Error if a level is another image's", "", "mean squared error", integer_x=False)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.15 * max(result.data_variance, *np.nan_to_num(values)))


def _draw_row(axes: Axes, pictures: Array, label: str) -> None:
    axes.imshow(tiles(pictures, len(pictures)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_ylabel(label, fontsize=7, rotation=0, ha="right", va="center")
    no_ticks(axes)


def _name(l: int, level: Any) -> str:
    return f"level {l}, {' × '.join(map(str, level.shape))}"
