"""y_i = b + Σ_t x_{i + o_t} W_t over the taps t that come before pixel i in raster order, or are i itself.

x: (B, *S, C), W: (T, C, O), b: (O,) -> y: (B, *S, O);  S has one axis or two, and x is 0 outside the image

Only the taps that exist are stored. The usual form keeps a whole kernel and multiplies it by a mask in each
forward pass. Then the gradient must be masked too, and a weight that the mask hides is still drawn, counted,
decayed and moved by momentum. Here there is none. For the product, W becomes the upper half of a kernel, in
which at most half a row is 0: 3 of 28 taps of a 7 × 7 kernel with its centre, not 24 of 49.
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_int, fail
from vqnp.ops.conv import conv_backward, conv_forward

Cache = tuple[Any, ...]


def causal_taps(kernel: tuple[int, ...], centre: bool) -> Array:
    """Which taps of a kernel come before its centre in raster order, or are the centre: (*kernel) of bool.

    kernel: one odd length or two; centre=False is mask A of the papers, for a first layer, which must not see
    the pixel that it predicts; centre=True is mask B, for the layers after it.

    Raises
    ------
    InputError
        A length is even, or there are not one or two.

    References
    ----------
    van den Oord et al. 2016, arXiv 1601.06759, figure 2.
    """
    where = "causal_taps"
    kernel = tuple(check_int(where, f"kernel[{i}]", n) for i, n in enumerate(kernel))
    if len(kernel) not in (1, 2) or not all(n % 2 for n in kernel):
        fail(where, "kernel", "must be one odd length or two, so that there is a centre", kernel)
    number = np.arange(math.prod(kernel)).reshape(kernel)
    return number <= number.size // 2 if centre else number < number.size // 2


def causal_conv_forward(
    x: Array, W: Array, b: Array, kernel: tuple[int, ...], centre: bool
) -> tuple[Array, Cache]:
    """y_i = b + Σ_t x_{i + o_t} W_t, where o_t is the place of tap t of causal_taps(kernel, centre).

    x: (B, *S, C), W: (T, C, O), b: (O,) -> y: (B, *S, O);  T is the number of those taps

    Raises
    ------
    InputError
        Wrong shape or dtype, another number of taps, or a kernel without a centre.
    """
    where = "causal_conv_forward"
    check_array(where, "x", x)
    upper = _upper(kernel, centre)
    check_array(where, "x", x, ndim=upper.ndim + 2)
    check_array(where, "W", W, ndim=3)
    if len(W) != upper.sum():
        fail(where, "W", f"must have {upper.sum()} taps for this kernel", f"shape {W.shape}")
    whole = np.zeros((*upper.shape, *W.shape[1:]), W.dtype)
    whole[upper] = W
    padding = tuple((n // 2, n // 2) for n in kernel)
    y, cache = conv_forward(x, whole, b, padding=((padding[0][0], 0), *padding[1:]))
    return y, (upper, cache)


def causal_conv_backward(
    dy: Array, cache: Cache, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dx_j = Σ_t dy_{j − o_t} W_tᵀ,  dW_t = Σ_i x_{i + o_t}ᵀ dy_i,  db = Σ_i dy_i.

    dy: (B, *S, O) -> dx: (B, *S, C), dW: (T, C, O), db: (O,);  with need_dx=False, dx is None
    """
    upper, conv_cache = cache
    dx, dwhole, db = conv_backward(dy, conv_cache, need_dx)
    return dx, dwhole[upper], db


def _upper(kernel: tuple[int, ...], centre: bool) -> Array:
    """causal_taps without the rows (or, of a sequence, the taps) after the centre, of which none exists."""
    return causal_taps(kernel, centre)[: kernel[0] // 2 + 1]
