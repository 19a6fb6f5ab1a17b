"""o_i = Σ_{j ≤ i} p_ij v_j,  p_i = softmax_j(q_i · k_j / √d): causal attention, separately for each head.

q, k, v: (B, T, H, d) -> o: (B, T, H, d)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, fail
from vqnp._shapes import checked
from vqnp.kernels.attention import attention, attention_gradient

Cache = tuple[Any, ...]


@checked(q="(B, T, H, d)", k="(B, S, H, d)", v="(B, S, H, d)")
def attention_forward(q: Array, k: Array, v: Array) -> tuple[Array, Cache]:
    """o = P v,  P = softmax(q kᵀ / √d + mask), with a mask of −∞ where the key comes after the query.

    q: (B, T, H, d), k, v: (B, S, H, d) -> o: (B, T, H, d);  T ≤ S

    The queries are the last T of the S positions: query i sees the keys j ≤ i + S − T. With T = S this is
    self-attention over a sequence; with T < S the first S − T keys and values belong to a prefix that has
    been computed before.

    Raises
    ------
    InputError
        Wrong shape or dtype, d = 0, or more queries than keys.

    References
    ----------
    Vaswani et al. 2017, arXiv 1706.03762, equation 1.
    """
    T, S, d = q.shape[1], k.shape[1], q.shape[3]
    if d == 0 or T > S:
        needed = f"must have at most {S} positions, as the keys, and heads that are not empty"
        fail("attention_forward", "q", needed, f"shape {q.shape}")
    o, P = attention(q, k, v)
    return o, (q, k, v, P, o)


def attention_backward(do: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """dv = Pᵀ do,  dS = P ⊙ (do vᵀ − rowsum(do ⊙ o)),  dq = dS k / √d,  dk = dSᵀ q / √d.

    do: (B, T, H, d) -> dq: (B, T, H, d), dk, dv: (B, S, H, d)
    """
    q, k, v, P, o = cache
    check_array("attention_backward", "do", do, shape=o.shape, dtype=o.dtype)
    return attention_gradient(do, q, k, v, P, o)


@checked(qkv="(B, T, 3, H, d)")
def self_attention_forward(qkv: Array) -> tuple[Array, Cache]:
    """attention_forward for q, k and v in one array, as a single linear layer computes them.

    qkv: (B, T, 3, H, d) -> o: (B, T, H, d)

    Examples
    --------
    >>> qkv = np.random.default_rng(0).standard_normal((2, 5, 3, 4, 8))
    >>> o, cache = self_attention_forward(qkv)
    >>> o.shape, np.allclose(o[:, 0], qkv[:, 0, 2])  # the first position sees only itself: its own v
    ((2, 5, 4, 8), True)
    """
    return attention_forward(*qkv.transpose(2, 0, 1, 3, 4))


def self_attention_backward(do: Array, cache: Cache) -> Array:
    """dqkv: dq, dk and dv of attention_backward in one array; do: (B, T, H, d) -> (B, T, 3, H, d).

    Examples
    --------
    >>> qkv = np.random.default_rng(0).standard_normal((2, 5, 3, 4, 8))
    >>> o, cache = self_attention_forward(qkv)
    >>> dqkv = self_attention_backward(np.ones_like(o), cache)
    >>> dqkv.shape, np.allclose(dqkv[:, :, 2].sum(axis=1), 5)  # the rows of P sum to 1
    ((2, 5, 3, 4, 8), True)
    """
    q, k, v, P, o = cache
    check_array("self_attention_backward", "do", do, shape=o.shape, dtype=o.dtype)
    B, T, H, d = o.shape
    dqkv = np.empty((B, T, 3, H, d), o.dtype)
    attention_gradient(do, q, k, v, P, o, dqkv.transpose(2, 0, 1, 3, 4))
    return dqkv
