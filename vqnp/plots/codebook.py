"""The pictures of a run, in the style of vqnp.style: what it did, and what its codes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.image import imsave

from vqnp._check import Array
from vqnp._images import to_float
from vqnp.inspection.anatomy import CodeAnatomy
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, PlainNumbers, dress, new_figure, no_ticks


def tiles(images: Array, columns: int, gap: int = 1, background: float = 1.0) -> Array:
    """A sheet of images in rows: (n, H, W) -> (rows·(H + gap) + gap, columns·(W + gap) + gap)."""
    n, H, W = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (H + gap) + gap, columns * (W + gap) + gap), background)
    for i, image in enumerate(images):
        r, c = gap + i // columns * (H + gap), gap + i % columns * (W + gap)
        sheet[r : r + H, c : c + W] = image
    return sheet


def flat_images(images: Array) -> Array:
    """Images as grey pictures: (n, H, W) stays, (n, H, W, C) is averaged, (n, P) is a square if P is one."""
    if images.ndim == 3:
        return images
    if images.ndim == 4:
        return images.mean(axis=-1)
    P = int(np.prod(images.shape[1:]))
    side = int(np.sqrt(P))
    H = side if side * side == P else 1
    return images.reshape(len(images), H, P // H)


def save_sheet(file: BinaryIO, images: Array, columns: int = 10) -> None:
    """A PNG of images side by side at two screen pixels a pixel: (n, H, W) in [0, 1]."""
    sheet = tiles(flat_images(images), columns).repeat(2, axis=0).repeat(2, axis=1)
    imsave(file, sheet, cmap="gray", vmin=0, vmax=1, format="png")


def training_figure(
    history: Sequence[dict[str, float]],
    originals: Array,
    reconstructions: Array,
    counts: Array,
    anatomy: CodeAnatomy,
) -> Figure:
    """Loss and perplexity by epoch, originals above reconstructions, usage, the most used codes.

    originals, reconstructions: (n, H, W), the first ten are shown; counts: (K,) over the test set
    """
    figure = new_figure(9.6, 8.4)
    grid = GridSpec(
        3,
        2,
        figure,
        height_ratios=[1.1, 1, 1.1],
        hspace=0.42,
        wspace=0.2,
        left=0.075,
        right=0.985,
        bottom=0.06,
        top=0.96,
    )
    _loss(figure.add_subplot(grid[0, 0]), history)
    _perplexity(figure.add_subplot(grid[0, 1]), history, len(counts))
    pairs = flat_images(np.concatenate([to_float(originals[:10]), reconstructions[:10]]))
    columns = min(10, len(originals))
    _sheet(
        figure.add_subplot(grid[1, :]),
        pairs,
        columns,
        "Test images (above) and their reconstructions (below)",
    )
    _usage(figure.add_subplot(grid[2, 0]), counts)
    _most_used(figure, grid[2, 1], anatomy)
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
    bar.set_label("change of pixel value when the code is there, not its latent's mean", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _loss(axes: Axes, history: Sequence[dict[str, float]]) -> None:
    epochs = [row["epoch"] for row in history]
    axes.plot(
        epochs,
        [row["mse"] for row in history],
        color=BLUE,
        label="reconstruction, training",
        marker=_mark(history),
    )
    if history and "test_mse" in history[0]:
        test = [row["test_mse"] for row in history]
        axes.plot(
            epochs,
            test,
            color=ORANGE,
            label="reconstruction, test (clipped to [0, 1])",
            marker=_mark(history),
        )
    quantization = [row["quantization_loss"] for row in history]
    axes.plot(epochs, quantization, color=GREEN, label="quantization, training", marker=_mark(history))
    if any(
        (np.asarray(line.get_ydata()) > 0).any() for line in axes.lines
    ):  # all-black images: no error at all
        axes.set_yscale("log")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(PlainNumbers(minor_thresholds=(2, 0.4)))
    dress(axes, "Loss", "epoch", "mean squared error")
    axes.legend(fontsize=8, frameon=False)


def _perplexity(axes: Axes, history: Sequence[dict[str, float]], K: int) -> None:
    epochs = [row["epoch"] for row in history]
    axes.plot(
        epochs, [row["perplexity"] for row in history], color=BLUE, label="training", marker=_mark(history)
    )
    if history and "test_perplexity" in history[0]:
        test = [row["test_perplexity"] for row in history]
        axes.plot(epochs, test, color=ORANGE, label="test", marker=_mark(history))
    axes.axhline(K, color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        f"all {K} codes alike",
        (1, K),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=GREY,
    )
    axes.set_ylim(0, 1.12 * K)
    dress(axes, "Codebook perplexity", "epoch", "codes in effective use")
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _usage(axes: Axes, counts: Array) -> None:
    shares = 100 * np.sort(counts)[::-1] / counts.sum()
    axes.bar(np.arange(1, len(shares) + 1), shares, width=1.0, color=BLUE)
    axes.axhline(100 / len(shares), color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        "uniform",
        (1, 100 / len(shares)),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=GREY,
    )
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


def _sheet(axes: Axes, images: Array, columns: int, title: str) -> None:
    axes.imshow(tiles(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    no_ticks(axes)


def _mark(history: Sequence[dict[str, float]]) -> str:
    """A dot for each epoch where a line would have only one point."""
    return "o" if len(history) == 1 else ""
