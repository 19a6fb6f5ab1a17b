"""Causal self-attention, and the transformer block that contains it.

x: (B, T, C) -> y: (B, T, C);  position t of y depends on positions 0 to t of x
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float, check_int, check_rng, fail
from vqnp.kernels.decoding import KeysAndValues, Weights, attend, block_step
from vqnp.nn.description import register
from vqnp.nn.layers import Activation, Linear, Sequential
from vqnp.nn.module import Cache, Module
from vqnp.nn.norm import LayerNorm
from vqnp.ops.attention import self_attention_backward, self_attention_forward
from vqnp.ops.dropout import dropout_backward, dropout_forward

WIDER = 4
"""How many times as wide as the block the MLP's hidden layer is: Vaswani et al. 2017, section 3.3."""


@register
class CausalSelfAttention(Module):
    """y = attention(q, k, v) W_o + b_o,  (q, k, v) = x W + b, split into heads.

    x: (B, T, C), W: (C, 3 C), W_o: (C, C) -> y: (B, T, C)

    Parameters
    ----------
    channels : int
        C.
    heads : int
        H, which divides C: each head has C/H channels.
    rng : numpy.random.Generator or int
        The source of the initial weights, as in Linear.
    dtype : float32 or float64

    References
    ----------
    Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2.

    Examples
    --------
    >>> layer = CausalSelfAttention(8, heads=2, rng=0)
    >>> x = np.random.default_rng(0).standard_normal((1, 5, 8)).astype(np.float32)
    >>> y, cache = layer.forward(x)
    >>> x[:, 3:] += 1  # changes no output before it
    >>> (layer.forward(x)[0] != y).any(axis=2).tolist()
    [[False, False, False, True, True]]
    """

    def __init__(
        self, channels: int, heads: int, rng: np.random.Generator | int = 0, dtype: Any = np.float32
    ) -> None:
        where = type(self).__name__
        C = check_int(where, "channels", channels)
        self.heads = check_int(where, "heads", heads, 1, C)
        if C % heads:
            fail(where, "heads", f"must divide the number of channels, {C}", heads)
        rng = check_rng(where, rng)
        self.qkv, self.out = Linear(C, 3 * C, rng, dtype), Linear(C, C, rng, dtype)

    def config(self) -> dict[str, Any]:
        W = self.out.W.value
        return {"channels": len(W), "heads": self.heads, "dtype": W.dtype.name}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = attention(q, k, v) W_o + b_o."""
        qkv, qkv_cache = self._qkv("forward", x)
        o, cache = self_attention_forward(qkv)
        y, out_cache = self.out.forward(o.reshape(x.shape))
        return y, (qkv_cache, cache, out_cache)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx, by the chain rule through both linear layers and the attention between them."""
        qkv_cache, attention_cache, out_cache = cache
        do = self.out.backward(dy, out_cache)
        dqkv = self_attention_backward(do.reshape(self._in_heads(do)), attention_cache)
        return self.qkv.backward(dqkv.reshape(*dy.shape[:2], 3 * dy.shape[2]), qkv_cache, need_dx)

    def room(self, batch: int, length: int) -> KeysAndValues:
        """Arrays in which `extend` keeps keys and values, for `batch` examples and `length` positions."""
        W = self.out.W.value
        return KeysAndValues.room(batch, self.heads, length, len(W) // self.heads, W.dtype)

    def extend(self, x: Array, past: KeysAndValues, start: int) -> Array:
        """The rows of y for the positions from start on; their keys and values are stored in past.

        x: (B, t, C) -> y: (B, t, C)
        """
        qkv, _ = self._qkv("extend", x)
        o = attend(qkv, past, start)
        return self.out.forward(o.reshape(x.shape))[0]

    def _qkv(self, method: str, x: Array) -> tuple[Array, Cache]:
        """q, k and v in one array, (B, T, 3, H, d), and the cache of the linear layer."""
        check_array(f"CausalSelfAttention.{method}", "x", x, ndim=3)
        y, cache = self.qkv.forward(x)
        B, T, H, d = self._in_heads(x)
        return y.reshape(B, T, 3, H, d), cache

    def _in_heads(self, x: Array) -> tuple[int, int, int, int]:
        B, T, C = x.shape
        return B, T, self.heads, C // self.heads


@register
class TransformerBlock(Module):
    """h = x + drop(attention(norm(x)));  y = h + drop(mlp(norm(h))).

    x: (B, T, C) -> y: (B, T, C)

    Each branch has its own LayerNorm; mlp has one hidden layer of 4 C channels with GELU.

    Parameters
    ----------
    channels, heads, rng, dtype
        As in CausalSelfAttention.
    dropout : float, default 0
        The fraction of each branch's output that is set to 0 if forward receives a generator.

    References
    ----------
    Radford et al. 2019 (GPT-2), section 2.3; the place of the norms: Xiong et al. 2020, arXiv 2002.04745.

    Examples
    --------
    >>> block = TransformerBlock(8, heads=2, rng=0)
    >>> y, cache = block.forward(np.zeros((3, 5, 8), np.float32))
    >>> y.shape, block.num_parameters() == 12 * 8**2 + 13 * 8
    ((3, 5, 8), True)
    """

    def __init__(
        self, channels: int, heads: int, dropout: float = 0.0,
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        rng = check_rng("TransformerBlock", rng)
        self.dropout = check_float("TransformerBlock", "dropout", dropout, "[0, 1)")
        self.attention_norm = LayerNorm(channels, dtype=dtype)
        self.attention = CausalSelfAttention(channels, heads, rng, dtype)
        self.mlp_norm = LayerNorm(channels, dtype=dtype)
        wide, narrow = (
            Linear(channels, WIDER * channels, rng, dtype),
            Linear(WIDER * channels, channels, rng, dtype),
        )
        self.mlp = Sequential(wide, Activation("gelu"), narrow)

    def config(self) -> dict[str, Any]:
        return self.attention.config() | {"dropout": self.dropout}

    @property
    def residual_projections(self) -> tuple[Linear, Linear]:
        """The last layer of each branch, whose output is added to x."""
        return self.attention.out, self.mlp.layers[-1]  # type: ignore[return-value]

    def forward(self, x: Array, rng: np.random.Generator | int | None = None) -> tuple[Array, Cache]:
        """h = x + drop(attention(norm(x)));  y = h + drop(mlp(norm(h))); without rng there is no dropout."""
        caches, rng = [], None if rng is None else check_rng("TransformerBlock.forward", rng)
        for norm, branch in self._branches():
            n, norm_cache = norm.forward(x)
            f, branch_cache = branch.forward(n)
            f, drop_cache = dropout_forward(f, self.dropout, rng)
            x = x + f
            caches.append((norm_cache, branch_cache, drop_cache))
        return x, caches

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx; for each branch, last one first: dx = dy + the gradient through the branch."""
        for (norm, branch), caches in zip(reversed(self._branches()), reversed(cache), strict=True):
            norm_cache, branch_cache, drop_cache = caches
            dn = branch.backward(dropout_backward(dy, drop_cache), branch_cache)
            dy = dy + norm.backward(dn, norm_cache)
        return dy if need_dx else None

    def extend(self, x: Array, past: KeysAndValues, start: int) -> Array:
        """The rows of y for the positions from start on, as in CausalSelfAttention.extend; no dropout."""
        y = block_step(x, self._weights(), past, start)
        return self.extend_plain(x, past, start) if y is None else y

    def extend_plain(self, x: Array, past: KeysAndValues, start: int) -> Array:
        """The same, layer by layer."""
        x = x + self.attention.extend(self.attention_norm.forward(x)[0], past, start)
        return x + self.mlp.forward(self.mlp_norm.forward(x)[0])[0]

    def _weights(self) -> Weights:
        n1, n2, qkv, out = self.attention_norm, self.mlp_norm, self.attention.qkv, self.attention.out
        wide, _, narrow = self.mlp.layers
        assert isinstance(wide, Linear) and isinstance(narrow, Linear)
        return Weights(
            n1.gamma.value, n1.beta.value, n1.epsilon, qkv.W.value, qkv.b.value, out.W.value, out.b.value,
            n2.gamma.value, n2.beta.value, n2.epsilon, wide.W.value, wide.b.value,
            narrow.W.value, narrow.b.value,
        )  # fmt: skip

    def _branches(self) -> tuple[tuple[Module, Module], tuple[Module, Module]]:
        return (self.attention_norm, self.attention), (self.mlp_norm, self.mlp)
