"""Images side by side, in a file and in a figure."""

import math
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import imsave

from vqnp._check import Array
from vqnp._images import to_float
from vqnp.models import Model
from vqnp.nn import Conv
from vqnp.plots.style import AMBER, GREEN, PURPLE, SKY, new_figure, no_ticks

ON_BLACK = (SKY, AMBER, PURPLE, GREEN)  # a signal's channels
MOST_BANDS = 4


def tiles(images: Array, columns: int, gap: int = 1, background: float = 1.0) -> Array:
    """Images in rows in one array: (n, H, W, ...) -> (rows·(H + gap) + gap, columns·(W + gap) + gap, ...)."""
    n, H, W = images.shape[:3]
    rows = -(-n // columns)
    size = rows * (H + gap) + gap, columns * (W + gap) + gap
    sheet = np.full((*size, *images.shape[3:]), background)
    for i, image in enumerate(images):
        r, c = gap + i // columns * (H + gap), gap + i % columns * (W + gap)
        sheet[r : r + H, c : c + W] = image
    return sheet


def flat_images(images: Array) -> Array:
    """(n, H, W) grey images of (n, H, W), of (n, H, W, C), by the mean, or of (n, P), square if P is."""
    if images.ndim == 3:
        return images
    if images.ndim == 4:
        return images.mean(axis=-1)
    P = int(np.prod(images.shape[1:]))
    side = int(np.sqrt(P))
    H = side if side * side == P else 1
    return images.reshape(len(images), H, P // H)


def best_columns(n: int, height: int, width: int, box: float) -> int:
    """How many of n equal images stand side by side, so that they are largest in a box.

    height, width: of an image, in pixels; box: the box's width divided by its height
    """

    def scale(columns: int) -> float:  # of the box's height
        return min(box / (columns * width), 1 / (-(-n // columns) * height))

    return max(range(n, 0, -1), key=scale)  # of equal ones, the most columns


def shown_images(images: Array, signals: bool = False) -> Array:
    """(n, H, W, 3) as it is, for three channels are a colour; signals as curves; otherwise flat_images."""
    if signals:
        return curves(images)
    return images if images.ndim == 4 and images.shape[-1] == 3 else flat_images(images)


def convolved_axes(model: Model) -> int:
    """The number of axes along which the model convolves; 0 if it does not."""
    parts = (module for _, module in model.encoder.named_modules())
    return max((part.W.value.ndim - 2 for part in parts if isinstance(part, Conv)), default=0)


def are_signals(model: Model) -> bool:
    """Whether the examples are signals: the model convolves along one axis, or they are rows, not squares.

    Examples
    --------
    >>> from vqnp import VQVAE
    >>> [are_signals(VQVAE.mlp(shape)) for shape in ((28, 28), (784,), (96,))]  # 784 = 28 · 28
    [False, False, True]
    >>> are_signals(VQVAE.conv((64, 2), ndim=1))
    True
    """
    shape = model.data.shape
    return convolved_axes(model) == 1 or (len(shape) == 1 and math.isqrt(shape[0]) ** 2 != shape[0])


def curves(signals: Array) -> Array:
    """A black image of each signal with its curve in white, or with a curve of its own colour per channel.

    (n, T) or (n, T, 1) in [0, 1] -> (n, H, W);  (n, T, C) -> (n, H, W, 3)

    Long signals are shown at W = 96 points of time, equally spaced; a curve is lit over the whole step from
    one point to the next. Where curves cross, the later channel is seen.
    """
    height, x = 48, signals.reshape(*signals.shape[:2], -1)
    at = np.linspace(0, x.shape[1] - 1, min(x.shape[1], 96)).round().astype(int)
    rows = ((1 - np.clip(x[:, at], 0, 1)) * (height - 1)).round().astype(int)  # (n, W, C)
    after = np.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)
    low, high = np.minimum(rows, after)[:, None], np.maximum(rows, after)[:, None]
    level = np.arange(height)[:, None, None]
    lit = (level >= low) & (level <= high)  # (n, H, W, C)
    if lit.shape[-1] == 1:
        return lit[..., 0].astype(np.float32)
    shown = np.zeros((*lit.shape[:-1], 3), np.float32)
    for channel in range(lit.shape[-1]):
        shown[lit[..., channel]] = to_rgb(ON_BLACK[channel % len(ON_BLACK)])
    return shown


def bands(signals: Array) -> Array:
    """Each channel of each signal as the colour of a band, the first on top: (n, T, ...) -> (n, H, T).

    Of more than four channels the mean, in one band.
    """
    x = signals.reshape(*signals.shape[:2], -1)
    x = np.moveaxis(x, 2, 1) if x.shape[2] <= MOST_BANDS else x.mean(axis=2)[:, None]  # (n, bands, T)
    return x.repeat(max(1, x.shape[2] // (2 * x.shape[1])), axis=1)


def save_sheet(file: BinaryIO, images: Array, columns: int = 10, signals: bool = False) -> None:
    """Write images side by side as a PNG, each pixel as 2 × 2: (n, H, W) or (n, H, W, 3) in [0, 1]."""
    sheet = tiles(shown_images(images, signals), columns).repeat(2, axis=0).repeat(2, axis=1)
    imsave(file, sheet, cmap="gray", vmin=0, vmax=1, format="png")


def draw_sheet(axes: Axes, images: Array, columns: int, title: str) -> None:
    """Draw images in rows below a title: (n, H, W) or (n, H, W, 3) in [0, 1]."""
    axes.imshow(tiles(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    no_ticks(axes)


def draw_best(axes: Axes, images: Array, title: str) -> None:
    """draw_sheet with as many columns as fill the axes best."""
    n, H, W = images.shape[:3]
    box = axes.get_position().transformed(axes.figure.transSubfigure)
    draw_sheet(axes, images, best_columns(n, H, W, box.width / box.height), title)


def draw_pairs(axes: Axes, model: Model, originals: Array) -> None:
    """Draw the first ten originals, each above the model's reconstruction of it: (n, ...)."""
    signals, ten = are_signals(model), originals[:10]
    first, second = (shown_images(x, signals) for x in (to_float(ten), model.reconstruct(ten)))
    pairs = np.concatenate([first, np.ones_like(first[:, :1]), second], axis=1)
    draw_best(axes, pairs, f"Test {'signals' if signals else 'images'}, each above its reconstruction")


INCHES = {
    "top": 0.3, "curves": 2.05, "labels": 0.8, "images": 1.75, "title": 0.5, "details": 2.05, "bottom": 0.5,
}  # fmt: skip
"""The heights of training_grid, from the top."""


def training_grid() -> tuple[Figure, GridSpec]:
    """A figure of curves, images and details: rows 0, 2 and 4 of a grid of two columns."""
    height = sum(INCHES.values())
    figure = new_figure(9.6, height)
    edges = {"left": 0.075, "right": 0.985}
    edges |= {"bottom": INCHES["bottom"] / height, "top": 1 - INCHES["top"] / height}
    heights = [INCHES[name] for name in ("curves", "labels", "images", "title", "details")]
    return figure, GridSpec(5, 2, figure, height_ratios=heights, hspace=0, wspace=0.2, **edges)
