"""Where the windows of a convolution lie: window m along an axis covers pixels s m + d k − p, 0 ≤ k < kernel.

s: stride, d: dilation, p: zeros before the image. The numbers of pixels and of windows are related by

    windows = ⌊(pixels + p + p' − d (kernel − 1) − 1) / s⌋ + 1,   p': zeros after the image

The tables are int64 and read-only and depend only on the geometry and the number of channels. A table of B
examples begins with that of fewer, so it is built for a power of two and cut.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp.kernels.frame import framed

Lengths = tuple[int, ...]
Axes = int | Sequence[int]
"""One int for all axes, or one per axis."""
Padding = int | Sequence[int | Sequence[int]]
"""The zeros before and after the image: one int for all axes, or per axis an int or (before, after)."""

TABLES = 64  # kept: more than the geometries of a network, forward and backward
LARGEST_KEPT = 1 << 18  # windows or pixels, a few MB: larger tables are built at each call


class Windows(NamedTuple):
    """The geometry of a convolution, one entry per axis: its image, its windows, and what relates them."""

    kernel: Lengths
    stride: Lengths
    padding: tuple[tuple[int, int], ...]  # (before, after)
    dilation: Lengths
    pixels: Lengths  # of the image
    windows: Lengths

    def framed(self) -> Lengths:
        """The number of pixels along each axis of the image in its frame of zeros."""
        return tuple(n + sum(p) for n, p in zip(self.pixels, self.padding, strict=True))

    def inside(self) -> tuple[slice, ...]:
        """The image in its frame: frame[inside] is (B, *pixels, C)."""
        starts = zip(self.pixels, self.padding, strict=True)
        return (slice(None), *(slice(before, before + n) for n, (before, _) in starts))

    def frame(self, x: Array) -> Array:
        """x in a frame of zeros: (B, *pixels, C) -> (B, *framed, C); x itself if there is no padding."""
        if not any(map(sum, self.padding)):
            return x
        plane = self.plane()
        y = framed(x.reshape(len(x), *plane.pixels, x.shape[-1]), *plane.padding)
        return y.reshape(len(x), *self.framed(), x.shape[-1])

    def tap(self, k: Lengths) -> tuple[slice, ...]:
        """The pixels under tap k of every window: frame[tap(k)] is (B, *windows, C)."""
        each = zip(k, self.stride, self.dilation, self.windows, strict=True)
        return (slice(None), *(slice(d * i, d * i + s * (n - 1) + 1, s) for i, s, d, n in each))

    def plane(self) -> "Windows":
        """The same with two axes: a row of pixels is an image of height 1."""
        if len(self.kernel) == 2:
            return self
        first = Windows((1,), (1,), ((0, 0),), (1,), (1,), (1,))
        return Windows._make((*a, *b) for a, b in zip(first, self, strict=True))


def per_axis(where: str, name: str, value: Any, axes: int, low: int = 1) -> Lengths:
    """value as one int per axis, each at least low; else InputError."""
    if isinstance(value, (list, tuple)):
        if len(value) != axes:
            fail(where, name, f"must be an integer or {axes} of them, one per axis", value)
        return tuple(check_int(where, f"{name}[{i}]", v, low) for i, v in enumerate(value))
    return (check_int(where, name, value, low),) * axes


def pad_per_axis(where: str, value: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """value as one pair (before, after) per axis; else InputError."""
    each = isinstance(value, (list, tuple))
    if each and len(value) != axes:
        needed = f"must be an integer, or {axes} of them or of pairs (before, after), one per axis"
        fail(where, "padding", needed, value)
    pairs = []
    for i in range(axes):
        v, name = (value[i], f"padding[{i}]") if each else (value, "padding")
        before, after = v if isinstance(v, (list, tuple)) and len(v) == 2 else (v, v)
        pairs.append((check_int(where, name, before, 0), check_int(where, name, after, 0)))
    return tuple(pairs)


def output_padding_of(where: str, value: Any, stride: Lengths) -> Lengths:
    """value as one int per axis, each at least 0 and less than the stride; else InputError."""
    more = per_axis(where, "output_padding", value, len(stride), 0)
    for i, (n, s) in enumerate(zip(more, stride, strict=True)):
        if n >= s:
            fail(where, "output_padding", f"must be less than the stride, {s}, along axis {1 + i}", n)
    return more


def windows_of(
    where: str, x: Array, kernel: Lengths, stride: Axes, padding: Padding, dilation: Axes
) -> Windows:
    """The geometry of a convolution of the image x: (B, *pixels, C); InputError if there is no window."""
    axes = len(kernel)
    s, d = per_axis(where, "stride", stride, axes), per_axis(where, "dilation", dilation, axes)
    pad = pad_per_axis(where, padding, axes)
    windows = []
    for i in range(axes):
        reach = d[i] * (kernel[i] - 1) + 1
        least = max(reach - sum(pad[i]), 1)
        _check_length(where, x, i, least)
        windows.append((x.shape[1 + i] + sum(pad[i]) - reach) // s[i] + 1)
    return Windows(kernel, s, pad, d, x.shape[1:-1], tuple(windows))


def windows_under(
    where: str, x: Array, kernel: Lengths, stride: Axes, padding: Padding, output_padding: Axes,
    dilation: Axes,
) -> Windows:  # fmt: skip
    """The geometry of a transposed convolution: x: (B, *windows, C); InputError if there is no pixel.

    s numbers of pixels have the same number of windows; output_padding, 0 to s − 1, says which is meant.
    """
    axes = len(kernel)
    s, d = per_axis(where, "stride", stride, axes), per_axis(where, "dilation", dilation, axes)
    pad, more = pad_per_axis(where, padding, axes), output_padding_of(where, output_padding, s)
    pixels = []
    for i in range(axes):
        rest = d[i] * (kernel[i] - 1) + 1 + more[i] - sum(pad[i])
        _check_length(where, x, i, max(1, 1 - (rest - 1) // s[i]))
        pixels.append((x.shape[1 + i] - 1) * s[i] + rest)
    return Windows(kernel, s, pad, d, tuple(pixels), x.shape[1:-1])


def _check_length(where: str, x: Array, i: int, least: int) -> None:
    if x.shape[1 + i] < least:
        fail(where, "x", f"must have length {least} or more along axis {1 + i}", f"shape {x.shape}")


# The tables of vqnp.kernels.product.


def gather_table(g: Windows, channels: int, examples: int) -> Array:
    """at: (M, T), where row t of the kernel begins in the flat frame under window m = (example, row, column).

    A row of the kernel is k_x C adjacent numbers, and T = k_y; if it is dilated, each tap is C adjacent
    numbers, and T = k_y k_x.
    """
    rows = examples * math.prod(g.windows)
    if rows > LARGEST_KEPT:
        return _gather_table.__wrapped__(g.plane(), channels, examples)
    return _gather_table(g.plane(), channels, _power(examples))[:rows]


@functools.lru_cache(TABLES)
def _gather_table(g: Windows, channels: int, examples: int) -> Array:
    runs = 1 if g.dilation[1] == 1 else g.kernel[1]
    rows, columns = (
        s * np.arange(n)[:, None] + d * np.arange(t)
        for n, t, s, d in zip(g.windows, (g.kernel[0], runs), g.stride, g.dilation, strict=True)
    )
    return _table(examples, rows, columns, g.framed(), channels)


class Residue(NamedTuple):
    """The pixels i with the same (i + p) mod s along each axis: the same taps reach all of them.

    at: (M, T), where the windows of the taps begin in the framed dy; to: (M,), where the pixels of dx begin
    """

    at: Array
    to: Array
    taps: tuple[Lengths, Lengths]  # rows and columns of the kernel, in descending order


class Adjoint(NamedTuple):
    """dx = Σ dy Wᵀ as products: the zeros around dy, (before, after) per axis, and the residues."""

    frame: tuple[tuple[int, int], tuple[int, int]]
    residues: tuple[Residue, ...]


def adjoint_tables(g: Windows, channels: int, channels_dy: int, examples: int) -> Adjoint:
    """Pixel i is under tap k of window m where s m + d k = i + p: m ascends as k descends."""
    if examples * math.prod(g.pixels) > LARGEST_KEPT:
        return _adjoint_tables.__wrapped__(g.plane(), channels, channels_dy, examples)
    whole = _adjoint_tables(g.plane(), channels, channels_dy, power := _power(examples))
    residues = (
        Residue(r.at[: len(r.at) // power * examples], r.to[: len(r.to) // power * examples], r.taps)
        for r in whole.residues
    )
    return Adjoint(whole.frame, tuple(residues))


@functools.lru_cache(TABLES)
def _adjoint_tables(g: Windows, channels: int, channels_dy: int, examples: int) -> Adjoint:
    (rows, frame_y), (columns, frame_x) = (_axis(g, i) for i in range(2))
    framed = tuple(n + sum(f) for n, f in zip(g.windows, (frame_y, frame_x), strict=True))
    residues = []
    for pixels_y, taps_y, m_y in rows:
        for pixels_x, taps_x, m_x in columns:
            taps = len(taps_y) * len(taps_x)
            adjacent = taps and (len(taps_x) == 1 or m_x[0, 1] - m_x[0, 0] == 1)
            m_x_runs = m_x[:, :1] if adjacent else m_x
            at = _table(examples, m_y + frame_y[0], m_x_runs + frame_x[0], framed, channels_dy)
            to = _table(examples, pixels_y[:, None], pixels_x[:, None], g.pixels, channels)[:, 0]
            residues.append(Residue(at, to, (taps_y, taps_x)))
    return Adjoint((frame_y, frame_x), tuple(residues))


def _axis(g: Windows, i: int) -> tuple[list[tuple[Array, Lengths, Array]], tuple[int, int]]:
    """Along axis i, (pixels, taps, windows: (pixels, taps)) of every residue; how far windows lie outside."""
    s, d, p = g.stride[i], g.dilation[i], g.padding[i][0]
    residues, low, high = [], 0, g.windows[i] - 1
    for r in range(s):
        pixels = np.arange((r - p) % s, g.pixels[i], s)
        taps = tuple(k for k in reversed(range(g.kernel[i])) if d * k % s == r)
        m = (pixels[:, None] + p - d * np.array(taps, np.int64)) // s
        if pixels.size:
            low, high = int(m.min(initial=low)), int(m.max(initial=high))
            residues.append((pixels, taps, m))
    return residues, (-low, high - g.windows[i] + 1)


def _table(examples: int, rows: Array, columns: Array, size: Lengths, channels: int) -> Array:
    """((n H + rows[y, t]) W + columns[x, u]) C for all (n, y, x), as rows, and all (t, u), as columns."""
    n = np.arange(examples)[:, None, None, None, None]
    at = ((n * size[0] + rows[:, None, :, None]) * size[1] + columns[:, None, :]) * channels
    at = at.reshape(examples * len(rows) * len(columns), rows.shape[1] * columns.shape[1])
    at.flags.writeable = False
    return at


def _power(examples: int) -> int:
    """The next power of two."""
    return 1 << max(examples - 1, 0).bit_length()
