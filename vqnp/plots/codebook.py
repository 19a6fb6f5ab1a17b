"""The figures of a VQ-VAE: how its training went, and what each code contributes to the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec

from vqnp._check import Array
from vqnp.evaluation import Evaluation
from vqnp.inspection.anatomy import CodeAnatomy, code_anatomy
from vqnp.models import VQVAE
from vqnp.plots.curves import History, draw_curves
from vqnp.plots.sheets import draw_pairs, flat_images, training_grid
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, dress, new_figure, no_ticks


def codebook_training_figure(
    model: VQVAE, history: History, images: Array, result: Evaluation
) -> Figure:
    """Loss and perplexity by epoch, originals above reconstructions, usage, the most used codes.

    images: (n, *data.shape), the test set's, of which the first ten are shown; result: the model's on them
    """
    figure, grid = training_grid()
    curves = {
        "reconstruction_loss": (BLUE, "reconstruction, training"),
        "test_mse": (ORANGE, "reconstruction, test (clipped to [0, 1])"),
        "codebook_loss": (PURPLE, "codebook loss, training"),
        "commitment_loss": (GREEN, "commitment loss, training"),
    }
    draw_curves(figure.add_subplot(grid[0, 0]), history, "Loss", "mean squared error", curves, log=True)
    _perplexity(figure.add_subplot(grid[0, 1]), history, len(result.counts))
    draw_pairs(figure.add_subplot(grid[1, :]), images, model.reconstruct(images[:10]))
    _usage(figure.add_subplot(grid[2, 0]), result.counts)
    _most_used(figure, grid[2, 1], code_anatomy(model, images))
    return figure


def codebook_figure(anatomy: CodeAnatomy) -> Figure:
    """Every code in context, most used first: what the decoder draws because of it.

    anatomy: of K codes; each tile is effect_j, red for ink that the code adds, blue for ink it removes
    """
    order = np.argsort(-anatomy.counts, kind="stable")
    K = len(order)
    columns = min(K, 16)
    rows = -(-K // columns)
    height = 1.3 + 0.72 * rows  # inches: a heading, the rows, a colour bar
    figure = new_figure(9.6, height)
    grid = GridSpec(
        rows, columns, figure, left=0.02, right=0.98, bottom=0.75 / height, top=1 - 0.55 / height, hspace=0.45
    )
    effect = flat_images(anatomy.effect)
    span = float(np.quantile(np.abs(effect), 0.999)) or 1.0
    shown: Any = None
    for i, j in enumerate(order):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        shown = axes.imshow(effect[j], cmap="RdBu_r", vmin=-span, vmax=span, interpolation="nearest")
        share = anatomy.counts[j] / anatomy.counts.sum()
        axes.set_title(f"{j}: {100 * share:.1f} %" if share else f"{j}: dead", fontsize=6.5, pad=2)
        no_ticks(axes)
    figure.suptitle(
        f"All {K} codes, most used first: number, share of use, and effect on the image",
        fontsize=11,
        y=1 - 0.08 / height,
    )
    bar = figure.colorbar(
        shown, cax=figure.add_axes((0.3, 0.5 / height, 0.4, 0.09 / height)), orientation="horizontal"
    )
    bar.set_label("change of pixel value by the code, compared with the mean at its position", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _perplexity(axes: Axes, history: History, K: int) -> None:
    curves = {"perplexity": (BLUE, "training"), "test_perplexity": (ORANGE, "test")}
    draw_curves(axes, history, "Codebook perplexity", "effective number of codes", curves, "lower right")
    _level(axes, K, f"all {K} codes equally")
    axes.set_ylim(0, 1.12 * K)


def _level(axes: Axes, y: float, label: str) -> None:
    """A dashed line at a height, labelled at its right end."""
    axes.axhline(y, color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        label,
        (1, y),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=GREY,
    )


def _usage(axes: Axes, counts: Array) -> None:
    shares = 100 * np.sort(counts)[::-1] / counts.sum()
    axes.bar(np.arange(1, len(shares) + 1), shares, width=1.0, color=BLUE)
    _level(axes, 100 / len(shares), "uniform")
    axes.set_xlim(0.5, len(shares) + 0.5)
    dress(axes, "Codebook usage on the test set", "code, most used first", "share of all codes (%)")


def _most_used(figure: Figure, place: SubplotSpec, anatomy: CodeAnatomy) -> None:
    """Twelve codes, each as the mean image that uses it, with what it adds in red and removes in blue."""
    order = np.argsort(-anatomy.counts, kind="stable")[:12]
    context, effect = flat_images(anatomy.context), flat_images(anatomy.effect)
    span = float(np.abs(effect[order]).max()) or 1.0
    inner = place.subgridspec(2, 6, wspace=0.08, hspace=0.3)
    for i, j in enumerate(order):
        axes = figure.add_subplot(inner[i // 6, i % 6])
        axes.imshow(_overlay(context[j], effect[j] / span), interpolation="nearest")
        axes.set_title(f"code {j}", fontsize=7, pad=2)
        no_ticks(axes)
        if i == 0:
            axes.annotate(
                "Most used codes in context: ink added red, removed blue",
                (0, 1.3),
                xycoords="axes fraction",
                fontsize=9.5,
            )


def _overlay(context: Array, effect: Array) -> Array:
    """Grey image with the effect in colour over it: (H, W) in [0, 1], (H, W) in [−1, 1] -> (H, W, 3)."""
    grey = np.repeat(1 - 0.55 * np.clip(context, 0, 1)[..., None], 3, axis=2)
    weight = np.clip(np.abs(effect) * 1.5, 0, 1)[..., None]
    red, blue = np.array([0.70, 0.09, 0.17]), np.array([0.13, 0.40, 0.67])  # the ends of RdBu
    mixed = grey * (1 - weight) + np.where(effect[..., None] > 0, red, blue) * weight
    return np.clip(mixed, 0, 1)
