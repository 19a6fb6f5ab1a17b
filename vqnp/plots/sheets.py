"""Images side by side, in a file and in a figure."""

from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import imsave

from vqnp._check import Array
from vqnp._images import to_float
from vqnp.models import Model
from vqnp.nn import Conv
from vqnp.plots.style import new_figure, no_ticks


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
    """Whether the examples are signals: the model convolves along one axis."""
    return convolved_axes(model) == 1


def curves(signals: Array) -> Array:
    """A black image of each signal with its curves in white: (n, T) or (n, T, C) in [0, 1] -> (n, H, W).

    Long signals are shown at W = 96 points of time, equally spaced; a curve is lit over the whole step from
    one point to the next.
    """
    height, x = 48, signals.reshape(*signals.shape[:2], -1)
    at = np.linspace(0, x.shape[1] - 1, min(x.shape[1], 96)).round().astype(int)
    rows = ((1 - np.clip(x[:, at], 0, 1)) * (height - 1)).round().astype(int)  # (n, W, C)
    after = np.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)
    low, high = np.minimum(rows, after)[:, None], np.maximum(rows, after)[:, None]
    level = np.arange(height)[:, None, None]
    lit: Array = ((level >= low) & (level <= high)).any(axis=-1).astype(np.float32)
    return lit


def bands(signals: Array) -> Array:
    """The mean over the channels of each signal as the colour of a band: (n, T, ...) -> (n, H, T)."""
    x = signals.reshape(*signals.shape[:2], -1).mean(axis=-1)
    return x[:, None].repeat(max(1, x.shape[1] // 2), axis=1)


def save_sheet(file: BinaryIO, images: Array, columns: int = 10, signals: bool = False) -> None:
    """Write images side by side as a PNG, each pixel as 2 × 2: (n, H, W) or (n, H, W, 3) in [0, 1]."""
    sheet = tiles(shown_images(images, signals), columns).repeat(2, axis=0).repeat(2, axis=1)
    imsave(file, sheet, cmap="gray", vmin=0, vmax=1, format="png")


def draw_sheet(axes: Axes, images: Array, columns: int, title: str) -> None:
    """Draw images in rows below a title: (n, H, W) or (n, H, W, 3) in [0, 1]."""
    axes.imshow(tiles(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    no_ticks(axes)


def draw_pairs(axes: Axes, model: Model, originals: Array) -> None:
    """Draw the first ten originals above the model's reconstructions of them: (n, ...)."""
    signals, ten = are_signals(model), originals[:10]
    pairs = shown_images(np.concatenate([to_float(ten), model.reconstruct(ten)]), signals)
    title = f"Test {'signals' if signals else 'images'} (above) and their reconstructions (below)"
    draw_sheet(axes, pairs, min(10, len(originals)), title)


def training_grid() -> tuple[Figure, GridSpec]:
    """A figure of three rows and two columns: curves, images, details."""
    figure = new_figure(9.6, 8.4)
    edges = {"left": 0.075, "right": 0.985, "bottom": 0.06, "top": 0.96}
    return figure, GridSpec(3, 2, figure, height_ratios=[1.1, 1, 1.1], hspace=0.42, wspace=0.2, **edges)
