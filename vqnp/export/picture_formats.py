"""Bits an image and MSE of PNG, and of WebP and JPEG at their lowest quality, to compare a codec with.

x: (n, H, W) or (n, H, W, C), C = 1 or 3, as 256 levels
"""

import io
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array

FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PNG", {"format": "PNG", "optimize": True}),
    ("WebP, quality 0", {"format": "WEBP", "quality": 0, "method": 6}),
    ("JPEG, quality 1", {"format": "JPEG", "quality": 1, "optimize": True}),
)
"""Name, and the settings of Pillow's save."""


class PictureSize(NamedTuple):
    """Bits per image and MSE (pixels in [0, 1]) of a format: each image a file, or all in one large sheet."""

    bits: float
    mse: float
    sheet_bits: float
    sheet_mse: float


def picture_sizes(images: Array) -> dict[str, PictureSize]:
    """Bits and MSE of each of FORMATS that Pillow can write here; images: uint8, or float in [0, 1].

    A file of a small image is mostly header. In a sheet, ⌈√n⌉ images in a row, one header serves all, and
    what is learned from one image serves the next: that is the fairer comparison.
    """
    from PIL import features  # comes with matplotlib

    levels = images if images.dtype == np.uint8 else np.rint(255 * images).astype(np.uint8)
    if levels.ndim == 4 and levels.shape[-1] == 1:
        levels = levels[..., 0]
    sheet = _sheet(levels)
    sizes = {}
    for name, settings in FORMATS:
        if settings["format"] == "WEBP" and not features.check("webp"):
            continue
        each = [_written(image, settings) for image in levels]
        whole, back = _written(sheet, settings)
        n = len(levels)
        sizes[name] = PictureSize(
            8 * sum(size for size, _ in each) / n, _mse(np.stack([b for _, b in each]), levels),
            8 * whole / n, _mse(_cut(back, levels.shape), levels),
        )  # fmt: skip
    return sizes


def _written(image: Array, settings: dict[str, Any]) -> tuple[int, Array]:
    """The bytes of the file, and the image that is read from it, in the same mode."""
    from PIL import Image

    picture, file = Image.fromarray(image), io.BytesIO()
    picture.save(file, **settings)
    size = file.tell()
    return size, np.asarray(Image.open(file).convert(picture.mode))


def _sheet(images: Array) -> Array:
    """(n, H, W, …) -> (rows H, columns W, …), black where there is no image."""
    n, H, W = images.shape[:3]
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    full = np.zeros((rows * columns, *images.shape[1:]), images.dtype)
    full[:n] = images
    lines = full.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    return lines.reshape(rows * H, columns * W, *images.shape[3:])


def _cut(sheet: Array, shape: tuple[int, ...]) -> Array:
    """The images of a sheet: (n, H, W, …)."""
    n, H, W = shape[:3]
    rows, columns = sheet.shape[0] // H, sheet.shape[1] // W
    lines = sheet.reshape(rows, H, columns, W, *shape[3:]).swapaxes(1, 2)
    return lines.reshape(rows * columns, *shape[1:])[:n]


def _mse(back: Array, images: Array) -> float:
    r = (back.astype(np.float64) - images) / 255
    return float((r * r).mean())
