"""A transformer block at the next positions of sequences whose earlier keys and values are kept.

qkv: (B, T, 3, H, d), start: the positions that are known -> o: (B, T, H, d)

With one new position, each example has one query, and a product with its keys alone would leave most of the
processor idle. So 16 examples lie side by side in memory: keys, values: (⌈B/16⌉, H, room, d, 16). Every sum
is then a chain of vector operations over 16 examples, in the order in which kernels/attention.py adds, and
the bits are the same.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from vqnp._check import Array
from vqnp.kernels.attention import PARTS, attention_plain
from vqnp.kernels.exp import exp
from vqnp.kernels.gelu import MULTIPLY_ADDS, gelu_values
from vqnp.kernels.jit import jit
from vqnp.kernels.layer_norm import layer_norm_block
from vqnp.kernels.llvm import VectorBuilder, compiles, vector_bytes
from vqnp.kernels.product import ROWS_PER_BLOCK, compiled
from vqnp.kernels.product.loops import product_block
from vqnp.kernels.threads import in_blocks
from vqnp.kernels.transpose import transpose

LANES = 16
"""Examples side by side: a vector of float32 with AVX-512, two or four with narrower ones."""

Sizes = tuple[int, int, int, int]


class KeysAndValues(NamedTuple):
    """Room for the keys and values of B sequences that are computed in chunks.

    keys, values: (⌈B/16⌉, H, room, d, 16); example b is lane b mod 16 of group b // 16
    """

    keys: Array
    values: Array

    @classmethod
    def room(cls, batch: int, heads: int, length: int, d: int, dtype: Any) -> "KeysAndValues":
        """Zeros for `length` positions: lanes beyond the batch are computed too, and stay finite."""
        shape = (-(-batch // LANES), heads, length, d, LANES)
        return cls(np.zeros(shape, dtype), np.zeros(shape, dtype))


class Weights(NamedTuple):
    """The parameters of a block: its two norms with their ε, and its four linear layers."""

    gamma1: Array
    beta1: Array
    epsilon1: float
    qkv: Array
    qkv_bias: Array
    out: Array
    out_bias: Array
    gamma2: Array
    beta2: Array
    epsilon2: float
    wide: Array
    wide_bias: Array
    narrow: Array
    narrow_bias: Array


def attend_plain(qkv: Array, past: KeysAndValues, start: int) -> Array:
    """The new keys and values are stored behind the `start` known ones; then o of attention_plain."""
    B, stop = len(qkv), start + qkv.shape[1]
    known = []
    for kept, new in zip(past, (qkv[:, :, 1], qkv[:, :, 2]), strict=True):
        b = np.arange(B)
        kept[b // LANES, :, start:stop, :, b % LANES] = new.transpose(0, 2, 1, 3)
        rows = kept[:, :, :stop].transpose(0, 4, 2, 1, 3)
        known.append(rows.reshape(-1, *rows.shape[2:])[:B])
    return attention_plain(qkv[:, :, 0], *known)[0]


def attend(qkv: Array, past: KeysAndValues, start: int) -> Array:
    """attend_plain, compiled: the same bits as from `attention` with all positions at once."""
    if not _compiled(qkv.dtype):
        return attend_plain(qkv, past, start)
    B, T, _, H, d = qkv.shape
    room, flat = past.keys.shape[2], np.ascontiguousarray(qkv).reshape(-1)
    o = np.empty((B, T, H, d), qkv.dtype)
    sizes, lanes = (B, T, H, d), vector_bytes() // qkv.itemsize
    arrays = *(a.reshape(-1) for a in past), o.reshape(-1)
    cost = 2 * LANES * T * H * (start + T) * d
    in_blocks(lambda i, j: _attend(i, j, sizes, room, start, flat, *arrays, lanes), len(past.keys), cost)
    return o


def block_step(x: Array, weights: Weights, past: KeysAndValues, start: int) -> Array | None:
    """y of nn.TransformerBlock at the positions from `start` on, in one pass; None if it does not compile.

    x: (B, T, C) -> y: (B, T, C)

    Each thread takes some of the examples through the whole block. The layers one after the other, as in
    TransformerBlock.extend, are the plain form, and give the same bits.
    """
    if not _compiled(x.dtype):
        return None
    B, T, C = x.shape
    groups, H, room, _, _ = past.keys.shape
    x = np.ascontiguousarray(x)
    y, lanes = np.empty_like(x), vector_bytes() // x.itemsize
    values: list[Any] = [w.reshape(-1) if isinstance(w, np.ndarray) else w for w in weights]
    flat = Weights(*values)
    sizes, kept = (B, T, H, C // H), [a.reshape(-1) for a in past]
    hidden = flat.wide_bias.size
    cost = LANES * T * (4 * C * C + 2 * C * hidden + hidden * MULTIPLY_ADDS[x.dtype])
    share = -(-groups // int(config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    in_blocks(
        lambda i, j: _block_step(i, j, sizes, room, start, x, flat, *kept, y, lanes), groups, cost,
        multiple=min(share, max(1, ROWS_PER_BLOCK // (LANES * T))),
    )  # fmt: skip
    return y


def _compiled(dtype: Any) -> bool:
    def probe() -> None:
        a = np.zeros(LANES, dtype)
        _dot_lanes(a, 0, a, 0, 1, a.copy(), 0)

    return compiled(dtype) and compiles("vqnp's sampling", probe)


@jit(nogil=True)
def _dot_lanes(q: Array, q0: int, k: Array, k0: int, d: int, s: Array, s0: int) -> None:
    dot_lanes(q, q0, k, k0, d, s, s0)  # type: ignore[call-arg]


@intrinsic
def dot_lanes(typing: Any, q: Any, q0: Any, k: Any, k0: Any, d: Any, s: Any, s0: Any) -> Any:
    """s[s0 + l] = Σ_c q[q0 + 16 c + l] k[k0 + 16 c + l] for l < 16: a chain in the order of c for each l."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, b, signature, args)
        q, q0, k, k0, d, s, s0 = e.arguments
        parts = range(0, LANES, e.lanes)
        sums = [e.register(e.constant(e.scalar, 0.0)) for _ in parts]
        q, k, s = e.at(q.data, q0), e.at(k.data, k0), e.at(s.data, s0)
        with e.loop(d) as c:
            for l, total in zip(parts, sums, strict=True):
                x, y = (e.load(e.at(e.at(a, c, LANES), l)) for a in (q, k))
                b.store(e.multiply_add(x, y, b.load(total)), total)
        for l, total in zip(parts, sums, strict=True):
            e.store(b.load(total), e.at(s, l))
        return e.nothing()

    i = types.int64
    return types.void(q, i, k, i, i, s, i), emit


@intrinsic
def add_lanes(typing: Any, p: Any, p0: Any, v: Any, v0: Any, d: Any, o: Any, o0: Any) -> Any:
    """o[o0 + 16 c + l] += p[p0 + l] v[v0 + 16 c + l] for c < d, l < 16."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, b, signature, args)
        p, p0, v, v0, d, o, o0 = e.arguments
        p, v, o = e.at(p.data, p0), e.at(v.data, v0), e.at(o.data, o0)
        parts = range(0, LANES, e.lanes)
        weights = [e.load(e.at(p, l)) for l in parts]
        with e.loop(d) as c:
            for l, weight in zip(parts, weights, strict=True):
                x, to = e.load(e.at(e.at(v, c, LANES), l)), e.at(e.at(o, c, LANES), l)
                e.store(e.multiply_add(weight, x, e.load(to)), to)
        return e.nothing()

    i = types.int64
    return types.void(p, i, v, i, i, o, i), emit


@jit(nogil=True, error_model="numpy")  # a division that may raise keeps a loop scalar
def _softmax(s: Array, n: int, scale: float, part: Array) -> None:
    """softmax over j of scale · s[16 j + l], j < n, for each lane l, in place; part: (PARTS · 16,).

    The sums are those of attention.py's _softmax: part j mod PARTS, then halves.
    """
    top = s[:LANES].copy()
    for j in range(1, n):
        for l in range(LANES):
            top[l] = max(top[l], s[j * LANES + l])
    part[:] = 0
    for j in range(n):
        to = j % PARTS * LANES
        for l in range(LANES):
            e = exp((s[j * LANES + l] - top[l]) * scale)  # type: ignore[no-untyped-call]
            s[j * LANES + l] = e
            part[to + l] += e
    width = PARTS // 2
    while width:
        for l in range(width * LANES):
            part[l] += part[l + width * LANES]
        width //= 2
    for l in range(LANES):
        part[l] = s.dtype.type(1) / part[l]
    for j in range(n):
        for l in range(LANES):
            s[j * LANES + l] *= part[l]


@jit(nogil=True)
def _attend(
    first: int, last: int, sizes: Sizes, room: int, start: int, qkv: Array, keys: Array, values: Array,
    o: Array, lanes: int,
) -> None:  # fmt: skip
    """Groups first to last − 1 of 16 examples."""
    B, T, H, d = sizes
    wide, row = d * LANES, T * 3 * H * d
    q, out, part = np.empty(wide, o.dtype), np.empty(wide, o.dtype), np.empty(PARTS * LANES, o.dtype)
    s, scale = np.empty((start + T) * LANES, o.dtype), o.dtype.type(1 / math.sqrt(d))
    for g in range(first, last):
        b = g * LANES
        R = min(LANES, B - b)
        q[:] = 0
        for h in range(H):
            kept = (g * H + h) * room * wide
            for t in range(T):
                at, to = b * row + (3 * t * H + h) * d, kept + (start + t) * wide
                transpose(qkv, at + H * d, row, R, d, keys, to, LANES, lanes)
                transpose(qkv, at + 2 * H * d, row, R, d, values, to, LANES, lanes)
            for t in range(T):
                n = start + t + 1
                transpose(qkv, b * row + (3 * t * H + h) * d, row, R, d, q, 0, LANES, lanes)
                for j in range(n):
                    dot_lanes(q, 0, keys, kept + j * wide, d, s, j * LANES)  # type: ignore[call-arg]
                _softmax(s, n, scale, part)
                out[:] = 0
                for j in range(n):
                    add_lanes(s, j * LANES, values, kept + j * wide, d, out, 0)  # type: ignore[call-arg]
                transpose(out, 0, LANES, d, R, o, ((b * T + t) * H + h) * d, T * H * d, lanes)


@jit(nogil=True)
def _linear(x: Array, W: Array, b: Array, M: int) -> Array:
    """x W + b; x: (M · I,), W: (I · O,), b: (O,) -> (M · O,)."""
    O = b.size
    I = W.size // O
    y, at, to = np.empty(M * O, x.dtype), np.arange(M) * I, np.arange(M) * O
    for m in range(0, M, ROWS_PER_BLOCK):
        product_block(x, at, 1, I, W, O, b, y, to, False, m, min(m + ROWS_PER_BLOCK, M), 0, O)
    return y


@jit(nogil=True)
def _norm(x: Array, gamma: Array, beta: Array, epsilon: float) -> Array:
    """y of layer_norm; x: (M, C) -> (M · C,)."""
    y, x_hat, scale = np.empty_like(x), np.empty_like(x), np.empty((len(x), 1), x.dtype)
    layer_norm_block(0, len(x), x, epsilon, gamma, beta, y, x_hat, scale)
    return y.reshape(-1)


@jit(nogil=True)
def _block_step(
    first: int, last: int, sizes: Sizes, room: int, start: int, x: Array, w: Weights, keys: Array,
    values: Array, y: Array, lanes: int,
) -> None:  # fmt: skip
    """Groups first to last − 1 of 16 examples."""
    B, T, H, d = sizes
    C, b0, b1 = H * d, first * LANES, min(last * LANES, B)
    M, kept = (b1 - b0) * T, H * room * d * LANES
    rows = x[b0:b1].copy().reshape(M, C)
    qkv = _linear(_norm(rows, w.gamma1, w.beta1, w.epsilon1), w.qkv, w.qkv_bias, M)
    o, mine = np.empty(M * C, x.dtype), (b1 - b0, T, H, d)
    k, v = keys[first * kept : last * kept], values[first * kept : last * kept]
    _attend(0, last - first, mine, room, start, qkv, k, v, o, lanes)
    rows += _linear(o, w.out, w.out_bias, M).reshape(M, C)
    h = _linear(_norm(rows, w.gamma2, w.beta2, w.epsilon2), w.wide, w.wide_bias, M)
    rows += _linear(gelu_values(h), w.narrow, w.narrow_bias, M).reshape(M, C)
    y[b0:b1] = rows.reshape(b1 - b0, T, C)
