"""x = p / 255: images as floating-point numbers in [0, 1]."""

from typing import Any

import numpy as np

from vqnp._check import FLOATS, Array, NonFiniteError, at_index, fail, kind_of, plain_array


def to_float(
    images: Array, dtype: Any = np.float32, *, first: int = 0, where: str = "to_float", name: str = "images",
    low: float = 0.0, high: float = 1.0,
) -> Array:  # fmt: skip
    """x = p / 255 for uint8 images p; floating-point images in [0, 1] are returned unchanged.

    images: (n, ...) of uint8, float32 or float64 -> x: (n, ...) of dtype, float32 or float64

    p / 255 is rounded once, to dtype. low, high: the range of x, if it is not [0, 1]. For errors: where and
    name are the caller and its argument, and first is the index of images[0] in the whole data set.
    """
    dtype = np.dtype(dtype)
    if dtype not in FLOATS:
        fail(where, "dtype", "must be float32 or float64", dtype)
    if not isinstance(images, np.ndarray):
        fail(where, name, "must be a NumPy array", kind_of(images))
    if type(images) is not np.ndarray:
        images = plain_array(where, name, images)
    if images.dtype == np.uint8:
        x: Array = np.divide(images, dtype.type(255), dtype=dtype)
        if (low, high) != (0, 1):
            x = np.clip(low + (high - low) * x, low, high).astype(dtype)  # rounding may pass an end
        return x
    check_pixels(where, images, first=first, name=name, low=low, high=high)
    x = images.astype(dtype, copy=False)
    if dtype == np.float64 and _rounded(low, high) != (low, high):
        x = np.clip(x, low, high)
    return x


def _rounded(low: float, high: float) -> tuple[float, float]:
    """The range with its ends as float32 has them, where these are further out: -0.3 is -0.30000001 there."""
    return min(low, float(np.float32(low))), max(high, float(np.float32(high)))


def check_pixels(
    where: str, images: Array, *, first: int = 0, name: str = "images", low: float = 0.0, high: float = 1.0
) -> None:
    """Raise unless images are uint8, or float32 or float64 in [low, high], its ends perhaps rounded."""
    if images.dtype == np.uint8:
        return
    if images.dtype.newbyteorder("=") not in FLOATS:
        fail(where, name, f"must be uint8, or float32 or float64 in [{low:g}, {high:g}]", images.dtype)
    least, most = _rounded(low, high)
    if images.size and images.min() >= least and images.max() <= most:  # both False for a NaN
        return
    for bad in np.argwhere(~((images >= least) & (images <= most))):
        value = images[tuple(bad)]
        at = tuple(int(i) + first * (axis == 0) for axis, i in enumerate(bad))
        here = f"{value!s}{at_index(at)}"
        if not np.isfinite(value):
            raise NonFiniteError(where, name, "must be finite", here)
        fail(where, name, f"must be in [{low:g}, {high:g}] if they are not uint8", here)
