"""Rows of small images: in JSON as a string, so that --redraw has them, and in a figure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from vqnp.style import no_ticks


def pack(images: np.ndarray) -> str:
    """Images in [0, 1], (n, 28, 28), as text: 256 greys, zlib, base 64."""
    grey = np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)
    return base64.b64encode(zlib.compress(grey.tobytes(), 9)).decode()


def unpack(text: str) -> np.ndarray:
    """What was packed: (n, 28, 28) uint8."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(-1, 28, 28)


def gallery(axes: Axes, rows: Sequence[np.ndarray], names: Sequence[str], gap: int = 3) -> None:
    """A row of images for each name, ink dark on white, `gap` pixels between rows."""
    strips = []
    for images in rows:
        strips += [np.concatenate(list(images), axis=1), np.zeros((gap, 28 * len(images)), np.uint8)]
    axes.imshow(np.concatenate(strips[:-1]), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    no_ticks(axes)
    axes.set_yticks([13.5 + i * (28 + gap) for i in range(len(rows))], names, fontsize=8)
    axes.tick_params(length=0)
