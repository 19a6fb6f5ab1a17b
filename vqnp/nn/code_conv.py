"""A convolution of codes by rows of its weights; the mathematics is in vqnp/ops/code_conv.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.kernels.product import linear, linear_dW, linear_dx
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module, Param, TorchName, check_room
from vqnp.ops.code_conv import Offset, check_offsets, code_conv_backward, code_conv_forward, code_conv_part


@register
class CodeConv(Module):
    """y_i = b + Σ_t W_t[k_{i + o_t}],  W_t = E U_t;  initially E ~ N(0, 1), Var U = 1/(T D), b = 0.

    k: (B, *S) codes in [0, K), E: (K, D), U: (T, D, O), b: (O,) -> y: (B, *S, O)

    This is a convolution of the embedded codes E[k], but each row is multiplied once, not once per pixel: the
    tables W_t are K T products, then rows of them are gathered. The taps share E, so a code that is rare
    at one tap is learned from all.

    Parameters
    ----------
    num_embeddings, embedding_dim, out_channels : int
        K, D and O.
    offsets : sequence of T tuples, one int per axis of S
        Where each tap lies from the pixel.
    rng : numpy.random.Generator or int
        The source of the initial values; those of U are uniform on ±√(3/(T D)).
    dtype : float32 or float64
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, out_channels: int, offsets: Sequence[Offset],
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "CodeConv"
        K, D = (check_int(where, "num_embeddings", num_embeddings),
                check_int(where, "embedding_dim", embedding_dim))  # fmt: skip
        O = check_int(where, "out_channels", out_channels)
        if not isinstance(offsets, (list, tuple)) or not offsets or not isinstance(offsets[0], (list, tuple)):
            fail(where, "offsets", "must be one tuple of integers or more", offsets)
        self.offsets = check_offsets(where, offsets, len(offsets[0]))
        T = len(self.offsets)
        check_room(where, K, D)
        check_room(where, T, D, O)
        rng, bound = check_rng(where, rng), math.sqrt(3 / (T * D))
        self.E = Param(rng.standard_normal((K, D)).astype(dtype))
        self.U = Param(rng.uniform(-bound, bound, (T, D, O)).astype(dtype))
        self.b = Param(np.zeros(O, dtype))

    def config(self) -> dict[str, Any]:
        K, D = self.E.value.shape
        return {
            "num_embeddings": K, "embedding_dim": D, "out_channels": len(self.b.value),
            "offsets": self.offsets, "dtype": self.E.value.dtype.name,
        }  # fmt: skip

    def torch_names(self) -> dict[str, TorchName]:
        """PyTorch has no such layer: its embedding, and the taps in our order, as (T, D, O)."""
        return {"E": TorchName("embedding"), "U": TorchName("taps"), "b": TorchName("bias")}

    def tables(self) -> Array:
        """W_t = E U_t: (T, K, O)."""
        return np.stack([linear(self.E.value, U) for U in self.U.value])

    def forward(self, k: Array) -> tuple[Array, Cache]:
        """y_i = b + Σ_t W_t[k_{i + o_t}]."""
        return code_conv_forward(k, self.tables(), self.b.value, self.offsets)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = False) -> None:
        """dE += Σ_t dW_t U_tᵀ;  dU_t += Eᵀ dW_t;  db += Σ dy. Codes have no gradient, so there is no dx."""
        dW, db = code_conv_backward(dy, cache)
        E, U = self.E.value, self.U.value
        self.E.add_grad(sum(linear_dx(d, u) for d, u in zip(dW, U, strict=True)))  # type: ignore[arg-type]
        self.U.add_grad(np.stack([linear_dW(E, d) for d in dW]))
        self.b.add_grad(db)

    def part(self, k: Array, tables: Array, start: Offset, stop: Offset) -> Array:
        """The pixels start ≤ i < stop of y, without the others; tables: what tables() has returned."""
        return code_conv_part(k, tables, self.b.value, self.offsets, start, stop)
