"""x ≈ unpack(pack(x)): a few images as text, so that the JSON of a study contains its images.

x: (n, H, W) in [0, 1] -> text -> (n, H, W) in [0, 1], rounded to 1/255
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from vqnp.plots.style import no_ticks


def pack(images: np.ndarray) -> str:
    """The images as bytes, deflated, in base 64."""
    pixels = np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)
    return base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode()


def unpack(text: str, side: int = 28) -> np.ndarray:
    """The images that were packed: (n, side, side)."""
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return pixels.reshape(-1, side, side) / 255


def strip(axes: Axes, rows: Sequence[np.ndarray], labels: Sequence[str], gap: int = 2) -> None:
    """Rows of images, (n, H, W) each, white on black, with a label to the left of each row."""
    height = rows[0].shape[1] + gap
    sheet = np.ones((len(rows) * height - gap, rows[0].shape[0] * height - gap))
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * height, j * height
            sheet[top : top + height - gap, left : left + height - gap] = image
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    no_ticks(axes)
    axes.set_yticks([(i + 0.5) * height - gap for i in range(len(rows))], labels, fontsize=8)
    axes.tick_params(length=0)
