"""h' = h + drop(gate(H + c)) W_out: the blocks of a PixelCNN, with two stacks of convolutions or with one.

v, h: (B, H, W, C) features of each position, c: of the class, the same everywhere, and of what is known of
each position from the levels above, m: (B, H, W, C);  gate(a, b) = tanh(a) σ(b)

The first block reads codes, (B, H, W), instead of features, and adds its output to nothing. Each block
computes all positions at once or, in sampling, a row and then its positions from what it has kept (Room).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.nn import CausalConv, CodeConv, Conv, Embedding, Linear, Module
from vqnp.nn.module import Cache
from vqnp.ops.activation import gate_backward, gate_forward
from vqnp.ops.causal_conv import causal_taps
from vqnp.ops.conv import conv_forward
from vqnp.ops.dropout import dropout_backward, dropout_forward

Offsets = list[tuple[int, ...]]


def above(kernel: int, current: bool) -> Offsets:
    """The taps of the vertical stack: the rows above, in the kernel's width, and optionally this row."""
    r = kernel // 2
    return [(i, j) for i in range(-r, int(current)) for j in range(-r, r + 1)]


def left(kernel: int, centre: bool) -> Offsets:
    """The taps of the horizontal stack: the positions on the left, and optionally the position itself."""
    return [(0, j) for j in range(-(kernel // 2), int(centre))]


def before(kernel: int, centre: bool) -> Offsets:
    """The taps of a single stack: all earlier ones in raster order, and optionally the position itself."""
    r = kernel // 2
    return [(int(i) - r, int(j) - r) for i, j in np.argwhere(causal_taps((kernel, kernel), centre))]


@dataclass
class Frame:
    """The last rows of a map, with zeros on both sides: (B, rows, left + W + right, C)."""

    x: Array
    sides: int
    """left + right."""
    left: int

    @classmethod
    def of(cls, shape: tuple[int, int, int, int], left: int, right: int, dtype: Any) -> Frame:
        B, rows, W, C = shape
        return cls(np.zeros((B, rows, left + W + right, C), dtype), left + right, left)

    def next_row(self) -> None:
        """Drop the first row; the new last row is 0."""
        self.x[:, :-1] = self.x[:, 1:].copy()
        self.x[:, -1] = 0

    def put(self, j: int, part: Array) -> Array:
        """Set the last row from column j on to (B, 1, t, C), and return all that a kernel sees from there."""
        t = part.shape[2]
        self.x[:, -1, self.left + j : self.left + j + t] = part[:, 0]
        return np.ascontiguousarray(self.x[:, :, j : j + t + self.sides])


@dataclass
class Room:
    """What a block keeps of earlier positions; linked: the row that the vertical stack passes on."""

    c: Array | None
    frames: dict[str, Frame] = field(default_factory=dict)
    tables: dict[str, Array] = field(default_factory=dict)
    """The tables E U of the first block's convolutions."""
    linked: Array | None = None


class GatedBlock(Module):
    """What both kinds of blocks share: the condition, the gate, dropout, and the last product.

    Parameters
    ----------
    channels : int
        C.
    dropout : float
        The fraction of each gate's output that is set to 0 if forward receives a generator.
    num_classes : int
        If 0, there is no c. Otherwise c is a row of a table with num_classes + 1 rows.
    gates : int
        The number of maps of 2 C channels to which c is added.
    above : bool
        Whether there is an m, of which c has m W_m as a part.
    """

    def __init__(
        self, channels: int, dropout: float, num_classes: int, gates: int, first: bool,
        rng: np.random.Generator, dtype: Any, above: bool,
    ) -> None:  # fmt: skip
        self.first, self.dropout = first, dropout
        self.out = Linear(channels, channels, rng, dtype)
        if num_classes:
            self.classes = Embedding(num_classes + 1, 2 * gates * channels, 0.02, rng, dtype)
        if above:
            self.from_above = Linear(channels, 2 * gates * channels, rng, dtype)

    def condition(self, labels: Array, m: Array | None = None) -> tuple[Array | None, Cache]:
        """c: (B,) -> (B, 1, 1, 2 C gates), or (B, H, W, 2 C gates) with m: (B, H, W, C); None for neither."""
        c, class_cache = None, None
        if hasattr(self, "classes"):
            c, class_cache = self.classes.forward(labels[:, None, None])
        if m is None:
            return c, (class_cache, None)
        y, cache = self.from_above.forward(m)
        return y if c is None else y + c, (class_cache, cache)

    def finish(self, H: Array, c: Array | None, h: Array, rng: Any) -> tuple[Array, Cache]:
        """h' = h + drop(gate(H + c)) W_out, without h in the first block."""
        g, gate_cache = gated(H, c)
        g, drop_cache = dropout_forward(g, self.dropout, rng)
        y, out_cache = self.out.forward(g)
        return (y if self.first else h + y), (gate_cache, drop_cache, out_cache)

    def finish_backward(self, dh: Array, cache: Cache) -> Array:
        """dH; the caller adds the gradient of the residual path."""
        gate_cache, drop_cache, out_cache = cache
        dg = self.out.backward(dh, out_cache)
        return gated_backward(dropout_backward(dg, drop_cache), gate_cache)

    def condition_backward(self, maps: list[Array], cache: Cache) -> Array | None:
        """Add the gradients of c's parts: of the class the sum over all positions of each map; dm, if any."""
        class_cache, above_cache = cache
        if class_cache is not None:
            sums = [d.sum(axis=(1, 2), keepdims=True) for d in maps]
            self.classes.backward(np.concatenate(sums, axis=-1), class_cache)
        if above_cache is None:
            return None
        dm: Array = self.from_above.backward(np.concatenate(maps, axis=-1), above_cache)
        return dm

    def backward(self, dy: Any, cache: Cache, need_dx: bool = True) -> Any:
        """The gradient of x alone."""
        return self.backward_all(dy, cache)[0]

    def backward_all(self, dy: Any, cache: Cache) -> tuple[Any, Array | None]:
        """The gradients of x and of m."""
        raise NotImplementedError

    def at(self, c: Array | None, rows: slice, columns: slice = slice(None)) -> Array | None:
        """c at these positions: what is of the class alone is the same at all."""
        return c[:, rows, columns] if c is not None and hasattr(self, "from_above") else c


def gated(x: Array, c: Array | None) -> tuple[Array, Cache]:
    """tanh(a) σ(b), (a, b) = x + c; x: (B, H, W, 2 C) -> (B, H, W, C)."""
    x = x if c is None else x + c
    C = x.shape[-1] // 2
    return gate_forward(x[..., :C], x[..., C:])


def gated_backward(dy: Array, cache: Cache) -> Array:
    """dx, which is also the gradient of c at each position."""
    return np.concatenate(gate_backward(dy, cache), axis=-1)


class TwoStacks(GatedBlock):
    """V = above(v),  v' = v + gate(V + c);  H = left(h) + V W_link,  h' = h + drop(gate(H + c')) W_out.

    v sees only the rows above, since the first block's kernel ends above the current row. H may therefore use
    V at the same position, and with it also codes above and to the right, which a single stack does not see.
    The first block adds to nothing; the last one has no v'. In the paper v' = gate(V + c); v is added as in
    PixelCNN++ (Salimans et al. 2017, arXiv 1701.05517).

    References
    ----------
    van den Oord et al. 2016, arXiv 1606.05328, figure 2 and section 2.4.
    """

    def __init__(
        self, channels: int, kernel: int, codes: int, last: bool, dropout: float, num_classes: int,
        rng: np.random.Generator, dtype: Any, above_codes: bool = False,
    ) -> None:  # fmt: skip
        C, r = channels, kernel // 2
        super().__init__(C, dropout, num_classes, 1 if last else 2, codes > 0, rng, dtype, above_codes)
        self.kernel, self.last = kernel, last
        self.above: Module
        self.left: Module
        if codes:
            self.above = CodeConv(codes, C, 2 * C, above(kernel, False), rng, dtype)
            self.left = CodeConv(codes, C, 2 * C, left(kernel, False), rng, dtype)
        else:
            self.above = Conv(C, 2 * C, (r + 1, kernel), padding=((r, 0), (r, r)), rng=rng, dtype=dtype)
            self.left = Conv(C, 2 * C, (1, r + 1), padding=((0, 0), (r, 0)), rng=rng, dtype=dtype)
        self.link = Linear(2 * C, 2 * C, rng, dtype)

    def forward(self, x: Any, labels: Any = None, rng: Any = None, m: Array | None = None) -> Any:
        """(v', h'), cache; x: (v, h), or the codes in the first block."""
        v, h = (x, x) if self.first else x
        V, above_cache = self.above.forward(v)
        linked, link_cache = self.link.forward(V)
        H, left_cache = self.left.forward(h)
        c, condition_cache = self.condition(labels, m)
        cH, cV = self._split(c)
        h, finish_cache = self.finish(H + linked, cH, h, rng)
        g, gate_cache, drop_cache = None, None, None
        if not self.last:
            g, gate_cache = gated(V, cV)
            g, drop_cache = dropout_forward(g, self.dropout, rng)
        caches = above_cache, link_cache, left_cache, condition_cache, finish_cache, gate_cache, drop_cache
        return (self._next(v, g), h), caches

    def backward_all(self, dy: Any, cache: Cache) -> tuple[Any, Array | None]:
        """(dv, dh) for (dv', dh'), None in the first block; dm."""
        dv, dh = dy
        above_cache, link_cache, left_cache, condition_cache, finish_cache, gate_cache, drop_cache = cache
        dH = self.finish_backward(dh, finish_cache)
        dV = self.link.backward(dH, link_cache)
        maps = [dH]
        if not self.last:
            maps.append(gated_backward(dropout_backward(dv, drop_cache), gate_cache))
            dV = dV + maps[1]
        dm = self.condition_backward(maps, condition_cache)
        dv_in, dh_in = self.above.backward(dV, above_cache), self.left.backward(dH, left_cache)
        if self.first:
            return None, dm
        return ((dv_in if self.last else dv + dv_in), dh + dh_in), dm

    def room(self, labels: Array, width: int, dtype: Any, m: Array | None = None) -> Room:
        """The Room of grids of which no code is known yet."""
        B, C, r = len(labels), len(self.out.b.value), self.kernel // 2
        room = Room(self.condition(labels, m)[0])
        if self.first:
            room.tables = {"above": self.above.tables(), "left": self.left.tables()}  # type: ignore
        else:
            room.frames["above"] = Frame.of((B, r + 1, width, C), r, r, dtype)
            room.frames["left"] = Frame.of((B, 1, width, C), r, 0, dtype)
        return room

    def row(self, room: Room, v: Any, i: int) -> Array | None:
        """Begin row i: v' of the whole row, (B, 1, W, C), which depends on the rows above it alone."""
        if self.first:
            V = self.above.part(v, room.tables["above"], (i, 0), (i + 1, v.shape[2]))  # type: ignore
        else:
            for frame in room.frames.values():
                frame.next_row()
            V = _conv(room.frames["above"].put(0, v), self.above)
        room.linked = self.link.forward(V)[0]
        c = self.at(self._split(room.c)[1], slice(i, i + 1))
        return None if self.last else self._next(v, gated(V, c)[0])

    def extend(self, room: Room, h: Any, i: int, j: int, t: int) -> Array:
        """h' at the positions j to j + t − 1 of row i; h: theirs, (B, 1, t, C)."""
        if self.first:
            H = self.left.part(h, room.tables["left"], (i, j), (i + 1, j + t))  # type: ignore
        else:
            H = _conv(room.frames["left"].put(j, h), self.left)
        H = H + room.linked[:, :, j : j + t]  # type: ignore[index]
        c = self.at(self._split(room.c)[0], slice(i, i + 1), slice(j, j + t))
        return self.finish(H, c, h, None)[0]

    def _next(self, v: Any, g: Array | None) -> Array | None:
        """v' from v and the gate's output; None in the last block."""
        return g if self.first or g is None else v + g

    def _split(self, c: Array | None) -> tuple[Array | None, Array | None]:
        """The part of c for h and the part for v."""
        if c is None:
            return None, None
        C = 2 * len(self.out.b.value)
        return c[..., :C], c[..., C:]


class OneStack(GatedBlock):
    """H = before(h),  h' = h + drop(gate(H + c)) W_out: masked convolutions, which have a blind spot.

    before: mask A in the first block, mask B after it. v is None.

    References
    ----------
    van den Oord et al. 2016, arXiv 1601.06759, section 3.2; here with the gate of the two stacks, so that
    only the form of the kernels differs.
    """

    def __init__(
        self, channels: int, kernel: int, codes: int, last: bool, dropout: float, num_classes: int,
        rng: np.random.Generator, dtype: Any, above_codes: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(channels, dropout, num_classes, 1, codes > 0, rng, dtype, above_codes)
        self.kernel = kernel
        self.before: Module
        if codes:
            self.before = CodeConv(codes, channels, 2 * channels, before(kernel, False), rng, dtype)
        else:
            self.before = CausalConv(channels, 2 * channels, kernel, True, rng=rng, dtype=dtype)

    def forward(self, x: Any, labels: Any = None, rng: Any = None, m: Array | None = None) -> Any:
        """(None, h'), cache; x: (None, h), or the codes in the first block."""
        h = x if self.first else x[1]
        H, conv_cache = self.before.forward(h)
        c, condition_cache = self.condition(labels, m)
        h, finish_cache = self.finish(H, c, h, rng)
        return (None, h), (conv_cache, condition_cache, finish_cache)

    def backward_all(self, dy: Any, cache: Cache) -> tuple[Any, Array | None]:
        """(None, dh) for (None, dh'), None in the first block; dm."""
        conv_cache, condition_cache, finish_cache = cache
        dH = self.finish_backward(dy[1], finish_cache)
        dm = self.condition_backward([dH], condition_cache)
        dh = self.before.backward(dH, conv_cache)
        return (None if self.first else (None, dy[1] + dh)), dm

    def room(self, labels: Array, width: int, dtype: Any, m: Array | None = None) -> Room:
        """The Room of grids of which no code is known yet."""
        B, C, r = len(labels), len(self.out.b.value), self.kernel // 2
        room = Room(self.condition(labels, m)[0])
        if self.first:
            room.tables["before"] = self.before.tables()  # type: ignore
        else:
            room.frames["before"] = Frame.of((B, r + 1, width, C), r, r, dtype)
        return room

    def row(self, room: Room, v: Any, i: int) -> None:
        """Begin row i."""
        for frame in room.frames.values():
            frame.next_row()

    def extend(self, room: Room, h: Any, i: int, j: int, t: int) -> Array:
        """h' at the positions j to j + t − 1 of row i; h: theirs, (B, 1, t, C)."""
        if self.first:
            H = self.before.part(h, room.tables["before"], (i, j), (i + 1, j + t))  # type: ignore
        else:
            H = _conv(room.frames["before"].put(j, h), self.before)
        return self.finish(H, self.at(room.c, slice(i, i + 1), slice(j, j + t)), h, None)[0]


def _conv(x: Array, layer: Any) -> Array:
    """The row of a convolution's output for the rows that its kernel sees; x in its frame of zeros."""
    W = layer.W.value
    if isinstance(layer, CausalConv):
        r = layer.kernel[0] // 2
        whole = np.zeros((r + 1, *layer.kernel[1:], *W.shape[1:]), W.dtype)
        whole[causal_taps(layer.kernel, True)[: r + 1]] = W
        W = whole
    return conv_forward(x, W, layer.b.value)[0]
