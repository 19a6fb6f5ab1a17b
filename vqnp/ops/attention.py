"""o_i = Σ_{j ≤ i} p_ij v_j,  p_i = softmax_j(q_i · k_j / √d): causal attention, in each head by itself.

q, k, v: (B, T, H, d) -> o: (B, T, H, d)
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, fail
from vqnp._shapes import checked

Cache = tuple[Any, ...]


@checked(q="(B, T, H, d)", k="(B, S, H, d)", v="(B, S, H, d)")
def attention_forward(q: Array, k: Array, v: Array) -> tuple[Array, Cache]:
    """o = P v,  P = softmax(q kᵀ / √d + mask), with a mask of −∞ where the key comes after the query.

    q: (B, T, H, d), k, v: (B, S, H, d) -> o: (B, T, H, d);  T ≤ S

    The queries are the last T of the S positions: query i sees the keys j ≤ i + S − T. So with T = S this is
    self-attention over a sequence, and with T < S the first S − T keys and values are those of a prefix that
    has been computed before.

    Raises
    ------
    InputError
        Wrong shape or dtype, no numbers in a head, or more queries than keys.

    References
    ----------
    Vaswani et al. 2017, arXiv 1706.03762, equation 1.
    """
    T, S, d = q.shape[1], k.shape[1], q.shape[3]
    if d == 0 or T > S:
        needed = f"must have at most {S} positions, as the keys, and heads that are not empty"
        fail("attention_forward", "q", needed, f"shape {q.shape}")
    scores = _heads(q) @ _heads(k).swapaxes(-1, -2) * q.dtype.type(1 / math.sqrt(d))
    scores[..., later(T, S)] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True, initial=-np.inf)  # exp does not overflow: the largest is 1
    P = np.exp(scores, out=scores)
    P /= P.sum(axis=-1, keepdims=True)
    o = _heads_last(P, _heads(v))
    return o, (q, k, v, P, o)


def attention_backward(do: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """dv = Pᵀ do,  dS = P ⊙ (do vᵀ − rowsum(do ⊙ o)),  dq = dS k / √d,  dk = dSᵀ q / √d.

    do: (B, T, H, d) -> dq: (B, T, H, d), dk, dv: (B, S, H, d)
    """
    q, k, v, P, o = cache
    check_array("attention_backward", "do", do, shape=o.shape, dtype=o.dtype)
    dv = _heads_last(P.swapaxes(-1, -2), _heads(do))
    dS = _heads(do) @ _heads(v).swapaxes(-1, -2)  # dP
    dS -= _heads((do * o).sum(axis=-1, keepdims=True))  # rowsum(dP ⊙ P), without another pass over S × T
    dS *= P  # 0 where the mask is, because P is
    dS *= q.dtype.type(1 / math.sqrt(q.shape[3]))
    dq = _heads_last(dS, _heads(k))
    dk = _heads_last(dS.swapaxes(-1, -2), _heads(q))
    return dq, dk, dv


def later(T: int, S: int) -> Array:
    """Whether key j comes after query i, the queries being the last T of S positions: (T, S) bool."""
    return np.arange(S) > np.arange(S - T, S)[:, None]


def _heads(x: Array) -> Array:
    """(B, T, H, d) -> (B, H, T, d): a view, whose matrices NumPy gives to BLAS without a copy."""
    return x.transpose(0, 2, 1, 3)


def _heads_last(a: Array, b: Array) -> Array:
    """a b as (B, T, H, d); a: (B, H, T, S), b: (B, H, S, d)."""
    B, H, T, _ = a.shape
    out = np.empty((B, T, H, b.shape[-1]), a.dtype)
    np.matmul(a, b, out=_heads(out))
    return out
