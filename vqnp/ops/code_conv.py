"""y_i = b + Σ_t W_t[k_{i + o_t}]: a convolution of one-hot codes, by rows of its weights instead of products.

k: (B, *S) codes in [0, K), W: (T, K, O), b: (O,) -> y: (B, *S, O);  outside the grid there is no code

Tap t has the offset o_t and a table of its own. A product with a one-hot vector picks a row, so the K − 1
products with 0 are left out: K times less work than a convolution of K channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_codes, check_int, fail
from vqnp._shapes import unchecked
from vqnp.kernels.statistics import code_statistics

Cache = tuple[Any, ...]
Offset = tuple[int, ...]
"""Where a tap lies from the pixel: one int per axis."""


def code_conv_forward(k: Any, W: Array, b: Array, offsets: Sequence[Offset]) -> tuple[Array, Cache]:
    """y_i = b + Σ_t W_t[k_{i + o_t}] over the taps whose i + o_t lies in the grid.

    k: (B, *S) integers in [0, K), W: (T, K, O), b: (O,), offsets: T of one int per axis -> y: (B, *S, O)

    Raises
    ------
    InputError
        W or b of another shape or dtype, offsets that are not one per table, or k not integers in [0, K).

    References
    ----------
    The first layer of a PixelCNN (van den Oord et al. 2016, arXiv 1601.06759) over codes.
    """
    where = "code_conv_forward"
    check_array(where, "W", W, ndim=3)
    check_array(where, "b", b, shape=W.shape[2:], dtype=W.dtype)
    k = check_codes(where, k, W.shape[1], "k")
    if k.ndim < 2:
        fail(where, "k", "must have shape (B, *S)", f"shape {k.shape}")
    offsets = check_offsets(where, offsets, k.ndim - 1)
    if len(offsets) != len(W):
        fail(where, "offsets", f"must be {len(W)}, one for each table of W", len(offsets))
    y = code_conv_part(k, W, b, offsets, (0,) * (k.ndim - 1), k.shape[1:])
    return y, (k, W.shape, W.dtype, offsets)


def code_conv_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """dW_t[j] = Σ dy_i over k_{i + o_t} = j, added in float64;  db = Σ_i dy_i.

    dy: (B, *S, O) -> dW: (T, K, O), db: (O,)
    """
    k, (T, K, O), dtype, offsets = cache
    check_array("code_conv_backward", "dy", dy, shape=(*k.shape, O), dtype=dtype)
    dW = np.zeros((T, K, O), dtype)
    for t, o in enumerate(offsets):
        to, seen = _under(o, (0,) * len(o), k.shape[1:], k.shape[1:])
        codes = np.ascontiguousarray(k[seen]).reshape(-1)
        if codes.size:
            rows = np.ascontiguousarray(dy[to]).reshape(-1, O)
            dW[t] = unchecked(code_statistics)(rows, codes, K).sums
    return dW, dy.reshape(-1, O).sum(axis=0)


def code_conv_part(
    k: Array, W: Array, b: Array, offsets: Sequence[Offset], start: Offset, stop: Offset
) -> Array:
    """The pixels start ≤ i < stop of y, the same bits as in all of y -> (B, *(stop − start), O)."""
    lengths = tuple(e - s for s, e in zip(start, stop, strict=True))
    y = np.empty((len(k), *lengths, len(b)), W.dtype)
    y[...] = b
    for table, o in zip(W, offsets, strict=True):
        to, seen = _under(o, start, stop, k.shape[1:])
        y[to] += table[k[seen]]
    return y


def check_offsets(where: str, offsets: Any, axes: int) -> tuple[Offset, ...]:
    """offsets as tuples of one int per axis; else InputError."""
    found = []
    for n, o in enumerate(offsets):
        if not isinstance(o, (tuple, list)) or len(o) != axes:
            fail(where, f"offsets[{n}]", f"must be {axes} integers, one per axis", o)
        found.append(tuple(check_int(where, f"offsets[{n}]", d, -(2**31)) for d in o))
    return tuple(found)


def _under(
    o: Offset, start: Offset, stop: Offset, S: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The pixels, counted from start, whose tap at o lies in the grid, and the codes under it."""
    to, seen = [slice(None)], [slice(None)]
    for d, first, end, n in zip(o, start, stop, S, strict=True):
        low = max(first, -d)
        high = max(low, min(end, n - d))
        to.append(slice(low - first, high - first))
        seen.append(slice(low + d, high + d))
    return tuple(to), tuple(seen)
