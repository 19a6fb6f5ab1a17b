"""The figures of a VQ-VAE: its training, and the contribution of each code to the image."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.patches import Rectangle

from vqnp._check import Array
from vqnp.evaluation import Evaluation
from vqnp.inspection.anatomy import CodeAnatomy, code_anatomy
from vqnp.models import VQVAE
from vqnp.plots.curves import History, add_legend, draw_curves, draw_sorted
from vqnp.plots.sheets import are_signals, bands, convolved_axes, draw_pairs, flat_images, training_grid
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, new_figure, no_ticks

LEAST_CHANGE = 1e-3  # in pixel values, a quarter of a grey level: less is not scaled to full colour


def codebook_training_figure(model: VQVAE, history: History, images: Array, result: Evaluation) -> Figure:
    """Loss and perplexity by epoch, originals above reconstructions, usage, the most used codes.

    images: (n, *data.shape) of the test set, of which the first ten are shown; result: the report on them
    """
    figure, grid = training_grid()
    curves = {
        "reconstruction_loss": (BLUE, "reconstruction, training"),
        "test_mse": (ORANGE, "reconstruction, test (clipped to [0, 1])"),
        "codebook_loss": (PURPLE, "codebook loss, training"),
        "commitment_loss": (GREEN, "commitment loss, training"),
    }
    axes = figure.add_subplot(grid[0, 0])
    draw_curves(axes, history, "Loss", "mean squared error", curves, log=True)
    add_legend(axes)
    axes, K = figure.add_subplot(grid[0, 1]), len(result.counts)
    curves = {"perplexity": (BLUE, "training"), "test_perplexity": (ORANGE, "test")}
    draw_curves(axes, history, "Codebook perplexity", "effective number of codes", curves)
    _level(axes, K, f"all {K} codes equally")
    axes.set_ylim(0, 1.12 * K)
    add_legend(axes)
    draw_pairs(figure.add_subplot(grid[1, :]), model, images)
    axes, shares = figure.add_subplot(grid[2, 0]), 100 * result.counts / result.counts.sum()
    title = "Codebook usage on the test set"
    draw_sorted(axes, shares, title, "code, most used first", "share of all codes (%)")
    _level(axes, 100 / K, "uniform")
    _most_used(figure, grid[2, 1], code_anatomy(model, images), are_signals(model))
    return figure


def codebook_figure(anatomy: CodeAnatomy, model: VQVAE | None = None) -> Figure:
    """effect_j of every code j, most used first: red for ink that it adds, blue for ink that it removes.

    With the model, signals are drawn as bands, and of a convolutional model a frame marks m_j, the position
    at which the effect is measured.
    """
    order = np.argsort(-anatomy.counts, kind="stable")
    K, columns = len(order), min(len(order), 16)
    rows = -(-K // columns)
    height = 1.3 + 0.72 * rows  # inches: the title, the rows, a colour bar
    figure = new_figure(9.6, height)
    edges = {"left": 0.02, "right": 0.98, "bottom": 0.75 / height, "top": 1 - 0.55 / height}
    grid = GridSpec(rows, columns, figure, hspace=0.45, **edges)
    signals = model is not None and are_signals(model)
    effect = bands(anatomy.effect) if signals else flat_images(anatomy.effect)
    span = max(float(np.quantile(np.abs(effect), 0.999)), LEAST_CHANGE)
    shown: Any = None
    for i, j in enumerate(order):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        shown = axes.imshow(effect[j], cmap="RdBu_r", vmin=-span, vmax=span, interpolation="nearest")
        share = anatomy.counts[j] / anatomy.counts.sum()
        axes.set_title(f"{j}: {100 * share:.1f} %" if share else f"{j}: dead", fontsize=6.5, pad=2)
        no_ticks(axes)
        if model is not None and convolved_axes(model) and share:
            _frame(axes, int(anatomy.latent[j]), model.latent_shape, effect.shape[1:])
    title = f"All {K} codes, most used first: number, share of use, and effect on the "
    title += "signal" if signals else "image"
    if model is not None and convolved_axes(model):
        title += " (frame: position)"
    figure.suptitle(title, fontsize=11, y=1 - 0.08 / height)
    place = figure.add_axes((0.3, 0.5 / height, 0.4, 0.09 / height))
    bar = figure.colorbar(shown, cax=place, orientation="horizontal")
    what = "the signal" if signals else "pixel value"
    bar.set_label(f"change of {what} by the code, compared with the mean at its position", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _level(axes: Axes, y: float, label: str) -> None:
    """A dashed line at y, labelled at its right end."""
    axes.axhline(y, color=GREY, linewidth=1, linestyle="--")
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    axes.annotate(label, (1, y), (-4, 3), fontsize=8, color=GREY, **place)  # type: ignore[arg-type]


def _frame(axes: Axes, latent: int, latent_shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    """A frame around the part of an image, of this size, that is the position's share of the plane."""
    rows, columns = latent_shape if len(latent_shape) == 2 else (1, *latent_shape)
    height, width = size[0] / rows, size[1] / columns
    corner = latent % columns * width - 0.5, latent // columns * height - 0.5
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=GREY, linewidth=0.7))


def _most_used(figure: Figure, place: SubplotSpec, anatomy: CodeAnatomy, signals: bool) -> None:
    """Twelve codes: the mean image of each, with the ink that it adds in red and removes in blue."""
    order = np.argsort(-anatomy.counts, kind="stable")[:12]
    order = order[anatomy.counts[order] > 0]
    context, effect = map(bands if signals else flat_images, (anatomy.context, anatomy.effect))
    span = max(float(np.abs(effect[order]).max()), LEAST_CHANGE)
    inner = place.subgridspec(2, 6, wspace=0.08, hspace=0.3)
    for i, j in enumerate(order):
        axes = figure.add_subplot(inner[i // 6, i % 6])
        axes.imshow(_overlay(context[j], effect[j] / span), interpolation="nearest")
        axes.set_title(f"code {j}", fontsize=7, pad=2)
        no_ticks(axes)
    what = "values raised red, lowered blue" if signals else "ink added red, removed blue"
    title, box = f"Most used codes in context: {what}", place.get_position(figure)
    where = {"xycoords": "figure fraction", "textcoords": "offset points"}
    offset = (0, 12)  # points: the titles of the codes are 9 high
    axes.annotate(title, (box.x0, box.y1), offset, fontsize=9.5, **where)  # type: ignore[arg-type]


def _overlay(context: Array, effect: Array) -> Array:
    """A grey image with the effect in colour: (H, W) in [0, 1], (H, W) in [−1, 1] -> (H, W, 3)."""
    grey = np.repeat(1 - 0.55 * np.clip(context, 0, 1)[..., None], 3, axis=2)
    weight = np.clip(np.abs(effect) * 1.5, 0, 1)[..., None]
    red, blue = np.array([0.70, 0.09, 0.17]), np.array([0.13, 0.40, 0.67])  # the ends of RdBu
    mixed = grey * (1 - weight) + np.where(effect[..., None] > 0, red, blue) * weight
    return np.clip(mixed, 0, 1)
