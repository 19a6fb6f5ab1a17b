"""y_i = b + Σ_k x_{s i + d k − p} W_k, the convolution, and its adjoint, the transposed convolution.

x: (B, *S, C), W: (*k, C, O), b: (O,) -> y: (B, *S', O);  S has one axis or two, and x is 0 outside the image

s, d and p are stride, dilation and padding of each axis. The plain forms come first. The others compute the
same sums by a few large products (vqnp.kernels.product), whose tables are in _windows.py.
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, fail
from vqnp.kernels.frame import framed
from vqnp.kernels.memory import empty
from vqnp.kernels.product import gradient, product, transposed
from vqnp.ops._windows import Axes, Padding, Windows, adjoint_tables, gather_table, windows_of, windows_under

Cache = tuple[Any, ...]

FEW_CHANNELS = 8
"""With fewer channels in dx than a vector has lanes, a product per pixel of dx would leave lanes unused."""


def conv_plain(
    x: Array, W: Array, b: Array, stride: Axes = 1, padding: Padding = 0, dilation: Axes = 1
) -> Array:
    """y_i = b + Σ_k x_{s i + d k − p} W_k: for each tap k, one strided slice of the framed image."""
    g = windows_of("conv_plain", x, W.shape[:-2], stride, padding, dilation)
    frame = g.frame(x)
    y = np.tile(b, (len(x), *g.windows, 1))
    for k in np.ndindex(*g.kernel):
        y += frame[g.tap(k)] @ W[k]
    return y


def conv_plain_backward(
    dy: Array, x: Array, W: Array, stride: Axes = 1, padding: Padding = 0, dilation: Axes = 1
) -> tuple[Array, Array, Array]:
    """dx_j = Σ dy_i W_kᵀ over s i + d k − p = j,  dW_k = Σ_i x_{s i + d k − p}ᵀ dy_i,  db = Σ_i dy_i."""
    g = windows_of("conv_plain_backward", x, W.shape[:-2], stride, padding, dilation)
    frame = g.frame(x)
    dframe, dW = np.zeros_like(frame), np.zeros_like(W)
    for k in np.ndindex(*g.kernel):
        dframe[g.tap(k)] += dy @ W[k].T
        dW[k] = _rows(frame[g.tap(k)]).T @ _rows(dy)
    return dframe[g.inside()], dW, _rows(dy).sum(axis=0)


def conv_forward(
    x: Array, W: Array, b: Array, stride: Axes = 1, padding: Padding = 0, dilation: Axes = 1,
    *, relu: bool = False,
) -> tuple[Array, Cache]:  # fmt: skip
    """y_i = b + Σ_k x_{s i + d k − p} W_k, as conv_plain.

    x: (B, *S, C), W: (*k, C, O), b: (O,) -> y: (B, *S', O), S' = ⌊(S + p + p' − d (k − 1) − 1) / s⌋ + 1

    Parameters
    ----------
    stride, dilation : int or one int per axis
    padding : int, or one int or pair (before, after) per axis
        p and p', the zeros before and after the image.
    relu : bool
        Whether to return max(y, 0) instead, whose backward pass is then the caller's.

    Raises
    ------
    InputError
        Wrong shape or dtype, or an image that is smaller than the kernel.
    """
    _check_arrays("conv_forward", x, W, b, transposed=False)
    g = windows_of("conv_forward", x, W.shape[:-2], stride, padding, dilation)
    frame = g.frame(x)
    return _gather(frame, W, b, g, relu), (frame, W, g)


def conv_backward(dy: Array, cache: Cache, need_dx: bool = True) -> tuple[Array | None, Array, Array]:
    """dx_j = Σ dy_i W_kᵀ over s i + d k − p = j,  dW_k = Σ_i x_{s i + d k − p}ᵀ dy_i,  db = Σ_i dy_i.

    dy: (B, *S', O) -> dx: (B, *S, C), dW: (*k, C, O), db: (O,);  with need_dx=False, dx is None
    """
    frame, W, g = cache
    check_array("conv_backward", "dy", dy, shape=(len(frame), *g.windows, W.shape[-1]), dtype=W.dtype)
    dx = _spread(dy, W, None, g) if need_dx else None
    return dx, _weights(frame, dy, W, g), _rows(dy).sum(axis=0)


def conv_transpose_forward(
    x: Array, W: Array, b: Array, stride: Axes = 1, padding: Padding = 0, output_padding: Axes = 0,
    dilation: Axes = 1, *, relu: bool = False,
) -> tuple[Array, Cache]:  # fmt: skip
    """y_j = b + Σ x_i W_kᵀ over s i + d k − p = j: the adjoint of the convolution with the same W.

    x: (B, *S, C), W: (*k, O, C), b: (O,) -> y: (B, *S', O)
    S' = s (S − 1) + d (k − 1) + 1 − p − p' + output_padding

    Parameters
    ----------
    stride, padding, dilation
        Those of the convolution, which maps y's shape to x's.
    output_padding : int or one int per axis, less than the stride
        s lengths S' have the same S; this says how far S' is above the smallest. It adds no zeros.
    relu : bool
        Whether to return max(y, 0) instead, whose backward pass is then the caller's.

    Raises
    ------
    InputError
        Wrong shape or dtype, or padding that leaves nothing of y.
    """
    _check_arrays("conv_transpose_forward", x, W, b, transposed=True)
    kernel = W.shape[:-2]
    g = windows_under("conv_transpose_forward", x, kernel, stride, padding, output_padding, dilation)
    return _spread(x, W, b, g, relu), (x, W, g)


def conv_transpose_backward(
    dy: Array, cache: Cache, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dx_i = Σ_k dy_{s i + d k − p} W_k,  dW_k = Σ_i dy_{s i + d k − p}ᵀ x_i,  db = Σ_j dy_j.

    dy: (B, *S', O) -> dx: (B, *S, C), dW: (*k, O, C), db: (O,);  with need_dx=False, dx is None
    """
    x, W, g = cache
    shape = (len(x), *g.pixels, W.shape[-2])
    check_array("conv_transpose_backward", "dy", dy, shape=shape, dtype=W.dtype)
    frame = g.frame(dy)
    dx = _gather(frame, W, None, g) if need_dx else None
    return dx, _weights(frame, x, W, g), _rows(dy).sum(axis=0)


# The three sums, of which each of the four functions above is made. image: (B, *pixels, C), W: (*k, C, O),
# windows: (B, *windows, O).


def _gather(frame: Array, W: Array, b: Array | None, g: Windows, relu: bool = False) -> Array:
    """windows_m = b + Σ_k frame_{s m + d k} W_k."""
    C, O = W.shape[-2:]
    at = gather_table(g, C, len(frame))
    y = product(frame.reshape(-1), at, W.reshape(at.shape[1], -1, O), b, relu=relu)
    return y.reshape(len(frame), *g.windows, O)


def _weights(frame: Array, dy: Array, W: Array, g: Windows) -> Array:
    """dW_k = Σ_m frame_{s m + d k}ᵀ dy_m."""
    at = gather_table(g, W.shape[-2], len(frame))
    K = W[..., 0].size // at.shape[1]
    return gradient(frame.reshape(-1), at, K, _rows(dy)).reshape(W.shape)


def _spread(dy: Array, W: Array, b: Array | None, g: Windows, relu: bool = False) -> Array:
    """image_j = b + Σ dy_m W_kᵀ over s m + d k − p = j.

    The same taps reach all pixels that have the same (j + p) mod s, so these are one product.
    """
    C, O = W.shape[-2:]
    if C < FEW_CHANNELS:
        x = _spread_taps(dy, W, b, g)
        return np.maximum(x, 0) if relu else x
    tables = adjoint_tables(g, C, O, len(dy))
    frame = framed(dy.reshape(len(dy), *g.plane().windows, O), *tables.frame)
    planar = W.reshape(*g.plane().kernel, C, O)
    x = empty((len(dy), *g.pixels, C), dy.dtype)
    if not all(r.at.shape[1] for r in tables.residues):  # pixels that no tap reaches
        x[...] = 0 if b is None else np.maximum(b, 0) if relu else b
    for r in tables.residues:
        T = r.at.shape[1]
        if T:
            turned = np.stack([transposed(planar[i, j]) for i in r.taps[0] for j in r.taps[1]])
            turned = turned.reshape(T, -1, C)
            product(frame.reshape(-1), r.at, turned, b, x.reshape(-1), r.to, relu)
    return x


def _spread_taps(dy: Array, W: Array, b: Array | None, g: Windows) -> Array:
    """_spread, by all the taps of each window in one product, dy_m Wᵀ, which are then added up."""
    C, O = W.shape[-2:]
    at = np.arange(dy.size // O)[:, None] * O
    taps = product(dy.reshape(-1), at, transposed(W.reshape(-1, O))[None])
    x = scatter_taps(taps.reshape(len(dy), *g.windows, *g.kernel, C), g)
    return x if b is None else x + b


def scatter_taps(taps: Array, g: Windows) -> Array:
    """image_j = Σ taps[m, k] over s m + d k − p = j; taps: (B, *windows, *k, C) -> (B, *pixels, C)."""
    frame = np.zeros((len(taps), *g.framed(), taps.shape[-1]), taps.dtype)
    everywhere = (slice(None),) * (1 + len(g.kernel))
    for k in np.ndindex(*g.kernel):
        frame[g.tap(k)] += taps[(*everywhere, *k)]
    return frame[g.inside()]


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _check_arrays(where: str, x: Any, W: Any, b: Any, transposed: bool) -> None:
    """W decides the number of axes and of channels."""
    check_array(where, "x", x)
    letters = "O, C" if transposed else "C, O"
    W = check_array(where, "W", W)
    if W.ndim not in (3, 4) or not W.size:
        fail(where, "W", f"must have shape (k, {letters}) or (k_y, k_x, {letters})", f"shape {W.shape}")
    C, O = W.shape[:-3:-1] if transposed else W.shape[-2:]
    check_array(where, "x", x, ndim=W.ndim, last=C, dtype=W.dtype)
    check_array(where, "b", b, shape=(O,), dtype=W.dtype)
