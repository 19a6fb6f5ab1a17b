"""A vector for each integer; the mathematics is in vqnp/ops/embedding.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_float, check_int, check_rng
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module, Param, TorchName, check_room
from vqnp.ops.embedding import embedding_backward, embedding_forward


@register
class Embedding(Module):
    """y = E[k];  initially E ~ N(0, σ²).

    k: (...) integers in [0, K), E: (K, D) -> y: (..., D)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        K and D.
    std : float, default 0.02
        σ, as in GPT-2.
    rng : numpy.random.Generator or int
        The source of E's initial values.
    dtype : float32 or float64
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, std: float = 0.02,
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        K = check_int("Embedding", "num_embeddings", num_embeddings)
        D = check_int("Embedding", "embedding_dim", embedding_dim)
        self.std = check_float("Embedding", "std", std, "[0, inf)")
        check_room("Embedding", K, D)
        self.E = Param((self.std * check_rng("Embedding", rng).standard_normal((K, D))).astype(dtype))

    def config(self) -> dict[str, Any]:
        K, D = self.E.value.shape
        dtype = self.E.value.dtype.name
        return {"num_embeddings": K, "embedding_dim": D, "std": self.std, "dtype": dtype}

    def torch_names(self) -> dict[str, TorchName]:
        """PyTorch calls E the weight."""
        return {"E": TorchName("weight")}

    def forward(self, k: Array) -> tuple[Array, Cache]:
        """y = E[k]."""
        return embedding_forward(self.E.value, k)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = False) -> None:
        """dE_j += Σ dy_n over k_n = j. Integers have no gradient, so there is no dx."""
        self.E.add_grad(embedding_backward(dy, cache))
