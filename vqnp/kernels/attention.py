"""o = P v,  P = softmax(q kᵀ / √d + mask), and its gradients, head by head.

q: (B, T, H, d), k, v: (B, S, H, d), P: (B, H, T, S) -> o: (B, T, H, d)

Each head's T × S numbers stay in the processor's cache between the two products. For each block of queries,
the scores of the keys after its last query are not computed.
"""

import math

import numpy as np

from vqnp._check import Array
from vqnp.kernels.exp import exp
from vqnp.kernels.jit import jit
from vqnp.kernels.llvm import vector_bytes
from vqnp.kernels.product import compiled
from vqnp.kernels.product.loops import gradient_block, product_block
from vqnp.kernels.product.tile import ROWS_PER_TILE
from vqnp.kernels.threads import in_blocks
from vqnp.kernels.transpose import transpose

ROWS = 24
"""Queries in a block: scores of the keys after the last of them are not computed."""

LANES = {np.dtype(t): vector_bytes() // np.dtype(t).itemsize for t in (np.float32, np.float64)}
PARTS = 16
"""Maxima and sums over a row are computed in this many parts, which a processor computes in parallel."""

WIDEST = max(ROWS_PER_TILE)

Shape = tuple[int, int, int, int]
Steps = tuple[int, int, int]


def attention_plain(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """o, P; P: (B, H, T, S), 0 where key j comes after query i + S − T."""
    T, S, d = q.shape[1], k.shape[1], q.shape[3]
    scores = np.einsum("bihc,bjhc->bhij", q, k) / math.sqrt(d)
    scores = np.where(later(T, S), -np.inf, scores)
    P = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    P /= P.sum(axis=-1, keepdims=True)
    return np.einsum("bhij,bjhc->bihc", P, v).astype(q.dtype), P.astype(q.dtype)


def attention_gradient_plain(
    do: Array, q: Array, k: Array, v: Array, P: Array, o: Array
) -> tuple[Array, Array, Array]:
    """dq, dk, dv: dv = Pᵀ do,  dS = P ⊙ (do vᵀ − rowsum(do ⊙ o)),  dq = dS k / √d,  dk = dSᵀ q / √d."""
    dv = np.einsum("bhij,bihc->bjhc", P, do)
    dP = np.einsum("bihc,bjhc->bhij", do, v)
    dS = P * (dP - (do * o).sum(axis=-1).transpose(0, 2, 1)[..., None]) / math.sqrt(q.shape[3])
    dq, dk = np.einsum("bhij,bjhc->bihc", dS, k), np.einsum("bhij,bihc->bjhc", dS, q)
    return dq.astype(q.dtype), dk.astype(q.dtype), dv.astype(q.dtype)


def later(T: int, S: int) -> Array:
    """Whether key j comes after query i, the queries being the last T of S positions: (T, S) bool."""
    return np.arange(S) > np.arange(S - T, S)[:, None]


def attention(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """attention_plain, compiled."""
    if not compiled(q.dtype):
        return attention_plain(q, k, v)
    (B, T, H, d), S = q.shape, k.shape[1]
    o, P = np.empty(q.shape, q.dtype), np.empty((B, H, T, S), q.dtype)
    arrays = *_rows(q), *_rows(k), *_rows(v), o.reshape(-1), P.reshape(-1)
    in_blocks(lambda i, j: _attention(i, j, q.shape, S, *arrays, LANES[q.dtype]), B * H, 2 * T * S * d)
    return o, P


def attention_gradient(
    do: Array, q: Array, k: Array, v: Array, P: Array, o: Array, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """attention_gradient_plain, compiled; out: (3, B, T, H, d) for dq, dk, dv, if T = S."""
    (B, T, H, d), S = q.shape, k.shape[1]
    if out is None:
        dq, dk, dv = np.empty(q.shape, q.dtype), np.empty(k.shape, q.dtype), np.empty(k.shape, q.dtype)
    else:
        dq, dk, dv = out
    if not T:  # no query: a sum of nothing
        dk[...], dv[...] = 0, 0
    elif not compiled(q.dtype):
        dq[...], dk[...], dv[...] = attention_gradient_plain(do, q, k, v, P, o)
    else:
        arrays = [a for x in (do, q, k, v, o, dq, dk, dv) for a in _rows(x)]
        weights, lanes = P.reshape(-1), LANES[q.dtype]
        in_blocks(
            lambda i, j: _attention_gradient(i, j, q.shape, S, *arrays, weights, lanes), B * H, 5 * T * S * d
        )
    return dq, dk, dv


def _rows(x: Array) -> tuple[Array, tuple[int, int, int]]:
    """The memory of x as a flat array, and the distances between its examples, positions and heads.

    x: (B, T, H, d). It is copied if its last axis is not contiguous or it is read-only, so an output must be
    neither.
    """
    whole = all(s >= 0 and s % x.itemsize == 0 for s in x.strides)
    if not (whole and x.strides[-1] == x.itemsize and x.flags.writeable):
        x = x.copy()  # also if it is read-only: for numba that is another type, and it would compile again
    last = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True)) // x.itemsize
    size = 1 + last if x.size else 0
    flat = np.lib.stride_tricks.as_strided(x, (size,), (x.itemsize,))
    B, T, H = (s // x.itemsize for s in x.strides[:3])
    return flat, (B, T, H)


@jit(nogil=True, error_model="numpy")  # a division that may raise keeps a loop scalar
def _softmax(row: Array, scale: float, part: Array) -> None:
    """softmax(scale · row) in place; row.size: a multiple of PARTS, part: (PARTS,) for partial results."""
    part[:] = row[:PARTS]
    for j in range(PARTS, row.size, PARTS):
        for l in range(PARTS):
            part[l] = max(part[l], row[j + l])
    width = PARTS // 2
    while width:
        for l in range(width):
            part[l] = max(part[l], part[l + width])
        width //= 2
    top = part[0]
    for j in range(row.size):
        row[j] = exp((row[j] - top) * scale)  # type: ignore[no-untyped-call]
    part[:] = row[:PARTS]
    for j in range(PARTS, row.size, PARTS):
        for l in range(PARTS):
            part[l] += row[j + l]
    width = PARTS // 2
    while width:
        for l in range(width):
            part[l] += part[l + width]
        width //= 2
    factor = row.dtype.type(1) / part[0]
    for j in range(row.size):
        row[j] *= factor


@jit(nogil=True)
def _attention(
    start: int, stop: int, shape: Shape, S: int, q: Array, q_steps: Steps, k: Array, k_steps: Steps, v: Array,
    v_steps: Steps, o: Array, P: Array, lanes: int,
) -> None:  # fmt: skip
    """Heads start to stop − 1 of all B · H."""
    _, T, H, d = shape
    N = (S + PARTS - 1) // PARTS * PARTS  # columns of scores
    strip = WIDEST * lanes
    kT, values, scores = np.zeros(d * N, q.dtype), np.empty(S * d, q.dtype), np.empty(T * N, q.dtype)
    part, nothing = np.empty(PARTS, q.dtype), np.zeros(max(N, d), q.dtype)
    wide = np.arange(T) * N
    scale = q.dtype.type(1 / math.sqrt(d))
    for head in range(start, stop):
        b, h = head // H, head % H
        q_rows = b * q_steps[0] + h * q_steps[2] + np.arange(T) * q_steps[1]
        o_rows = (b * T + np.arange(T)) * (H * d) + h * d
        transpose(k, b * k_steps[0] + h * k_steps[2], k_steps[1], S, d, kT, 0, N, lanes)
        _copy(v, b * v_steps[0] + h * v_steps[2], v_steps[1], values, 0, d, S, d)
        for m in range(0, T, ROWS):
            end = min(m + ROWS, T)
            n = S - T + end  # the keys that one of these queries sees
            columns = min(N, (n + strip - 1) // strip * strip)
            product_block(q, q_rows, 1, d, kT, N, nothing, scores, wide, False, m, end, 0, columns)
            for i in range(m, end):
                row = scores[i * N : (i + 1) * N]
                row[S - T + i + 1 :] = -np.inf
                _softmax(row, scale, part)
            product_block(scores, wide, 1, n, values, d, nothing, o, o_rows, False, m, end, 0, d)
        _copy(scores, 0, N, P, head * T * S, S, T, S)


@jit(nogil=True)
def _copy(x: Array, x0: int, x_step: int, y: Array, y0: int, y_step: int, rows: int, columns: int) -> None:
    """Copy rows of x, which start at x0 and are x_step apart, to y."""
    for r in range(rows):
        source = x[x0 + r * x_step :][:columns]
        target = y[y0 + r * y_step :][:columns]
        for c in range(columns):
            target[c] = source[c]


@jit(nogil=True)
def _attention_gradient(
    start: int, stop: int, shape: Shape, S: int, do: Array, do_steps: Steps, q: Array, q_steps: Steps,
    k: Array, k_steps: Steps, v: Array, v_steps: Steps, o: Array, o_steps: Steps, dq: Array, dq_steps: Steps,
    dk: Array, dk_steps: Steps, dv: Array, dv_steps: Steps, P: Array, lanes: int,
) -> None:  # fmt: skip
    """Heads start to stop − 1 of all B · H."""
    _, T, H, d = shape
    vT, keys, drows = np.empty(d * S, q.dtype), np.empty(S * d, q.dtype), np.empty(S * d, q.dtype)
    queries, douts, dS = np.empty(T * d, q.dtype), np.empty(T * d, q.dtype), np.empty(T * S, q.dtype)
    nothing = np.zeros(max(S, d), q.dtype)
    narrow, wide = np.arange(T) * d, np.arange(T) * S
    scale = q.dtype.type(1 / math.sqrt(d))
    for head in range(start, stop):
        b, h = head // H, head % H
        weights = P[head * T * S : (head + 1) * T * S]
        transpose(v, b * v_steps[0] + h * v_steps[2], v_steps[1], S, d, vT, 0, S, lanes)
        _copy(k, b * k_steps[0] + h * k_steps[2], k_steps[1], keys, 0, d, S, d)
        _copy(q, b * q_steps[0] + h * q_steps[2], q_steps[1], queries, 0, d, T, d)
        _copy(do, b * do_steps[0] + h * do_steps[2], do_steps[1], douts, 0, d, T, d)
        product_block(douts, narrow, 1, d, vT, S, nothing, dS, wide, False, 0, T, 0, S)  # dP
        for i in range(T):
            outs = o[b * o_steps[0] + i * o_steps[1] + h * o_steps[2] :][:d]
            rowsum = q.dtype.type(0)
            for c in range(d):
                rowsum += douts[i * d + c] * outs[c]
            row, p = dS[i * S : (i + 1) * S], weights[i * S : (i + 1) * S]
            for j in range(S):
                row[j] = p[j] * (row[j] - rowsum) * scale
        dq_rows = b * dq_steps[0] + h * dq_steps[2] + np.arange(T) * dq_steps[1]
        product_block(dS, wide, 1, S, keys, d, nothing, dq, dq_rows, False, 0, T, 0, d)
        gradient_block(dS, wide, 1, queries, d, drows, T, 0, S, 0, 1, S)
        _copy(drows, 0, d, dk, b * dk_steps[0] + h * dk_steps[2], dk_steps[1], S, d)
        gradient_block(weights, wide, 1, douts, d, drows, T, 0, S, 0, 1, S)
        _copy(drows, 0, d, dv, b * dv_steps[0] + h * dv_steps[2], dv_steps[1], S, d)
