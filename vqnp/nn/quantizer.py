"""The quantizer as a layer, its codebook following by gradient: the paper's equation 3.

z: (..., D) -> z_q: (..., D), L: (), k: (...,)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import (
    FLOATS,
    Array,
    check_array,
    check_choice,
    check_codes,
    check_float,
    check_int,
    check_rng,
    fail,
)
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.nn.module import Cache, Module, Param
from vqnp.ops.ema import dead, draw
from vqnp.ops.kmeans import kmeans
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.quantize import BETA_PLACEMENTS, quantize_backward, quantize_forward

CODEBOOK_INITS = ("uniform", "normal", "scaled_uniform", "data", "kmeans")


def draw_codebook(init: str, K: int, D: int, rng: np.random.Generator, dtype: Any) -> Array:
    """E ~ U(−1/K, 1/K) ("uniform"), N(0, 1) ("normal") or U(±√(3/D)) ("scaled_uniform", E‖e‖² = 1).

    -> E: (K, D)

    "data" and "kmeans" need vectors: they start as "uniform" and wait for `start_from`.
    """
    if init == "normal":
        return rng.standard_normal((K, D)).astype(dtype)
    bound = np.sqrt(3 / D) if init == "scaled_uniform" else 1 / K
    return rng.uniform(-bound, bound, (K, D)).astype(dtype)


class VectorQuantizer(Module):
    """z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩; the codebook E follows by gradient.

    z: (..., D), E: (K, D) -> z_q: (..., D), L: (), k: (...,)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        K and D.
    commitment_cost : float, at least 0
        β.
    beta_on : {"commitment", "codebook", "complement", "both"}
        Where β stands; see ops.quantize.loss_weights. The default is the paper's.
    reduction : {"mean", "mean_of_sums", "sum"}
        What ⟨·⟩ is; see ops.loss.reduction_scale. The default is Sonnet's.
    codebook_init : {"uniform", "normal", "scaled_uniform", "data", "kmeans"}
        How E starts; "data" (random vectors) and "kmeans" wait for `start_from`, which `fit` calls.
    decay : float in [0, 1)
        γ of the running cluster sizes N, which tell here only which codes are dead.
    rng : numpy.random.Generator or int
    dtype : float32 or float64

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equation 3.
    """

    codebook = "gradient"
    has_codebook_loss = True
    E: Param

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        commitment_cost: float = 0.25,
        *,
        beta_on: str = "commitment",
        reduction: str = "mean",
        codebook_init: str = "uniform",
        decay: float = 0.99,
        rng: np.random.Generator | int = 0,
        dtype: Any = np.float32,
    ) -> None:
        where = type(self).__name__
        self.num_embeddings = check_int(where, "num_embeddings", num_embeddings)
        self.embedding_dim = check_int(where, "embedding_dim", embedding_dim)
        self.commitment_cost = check_float(where, "commitment_cost", commitment_cost, "[0, inf)")
        self.beta_on = check_choice(where, "beta_on", beta_on, BETA_PLACEMENTS)
        self.reduction = check_choice(where, "reduction", reduction, REDUCTIONS)
        self.codebook_init = check_choice(where, "codebook_init", codebook_init, CODEBOOK_INITS)
        self.decay = check_float(where, "decay", decay, "[0, 1)")
        if np.dtype(dtype) not in FLOATS:
            fail(where, "dtype", "must be float32 or float64", np.dtype(dtype))
        rng = check_rng(where, rng)
        self._start(
            draw_codebook(codebook_init, self.num_embeddings, self.embedding_dim, rng, dtype), None, rng
        )

    def _start(self, E: Array, n: Array | None, rng: np.random.Generator) -> None:
        """Take E as the codebook; n counts the vectors behind each code if it is a mean, as k-means' are."""
        if hasattr(self, "E"):
            self.E.value[...] = E  # in place: an optimizer may hold this Param already
        else:
            self.E = Param(E)
        self.N = np.ones(len(E), E.dtype) if n is None else n.astype(E.dtype)

    def params(self) -> Mapping[str, Param]:
        return {"E": self.E}

    def buffers(self) -> Mapping[str, Array]:
        return {"N": self.N}

    def check_buffers(self, where: str, arrays: Mapping[str, Array]) -> None:
        for name in arrays.keys() & {"N", "t"}:
            if (arrays[name] < 0).any():
                fail(where, name, "must not be negative", arrays[name].min())

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        self.N = arrays["N"]

    @property
    def embeddings(self) -> Array:
        """The codebook E: (K, D)."""
        return self.E.value

    def encode(self, z: Array) -> Array:
        """k = argmin_j ‖z − e_j‖²; z: (..., D) -> k: (...,) int64."""
        where = f"{type(self).__name__}.encode"
        check_array(where, "z", z, last=self.embedding_dim, dtype=self.embeddings.dtype, finite=True)
        return nearest_code(z, self.embeddings)

    def decode(self, k: Array) -> Array:
        """z_q = e_k; k: (...,) -> z_q: (..., D)."""
        return self.embeddings[check_codes(f"{type(self).__name__}.decode", k, self.num_embeddings)]

    def forward(self, z: Array, lookahead: bool = False) -> tuple[Array, Array, Array, Cache]:
        """z_q, L, k, cache for z; changes nothing. `lookahead` means nothing here: see EMAVectorQuantizer."""
        return self._quantize(z, self.encode(z), self.embeddings)

    def _quantize(self, z: Array, k: Array, E: Array) -> tuple[Array, Array, Array, Cache]:
        return quantize_forward(
            z,
            E,
            k,
            beta=self.commitment_cost,
            codebook_loss=self.has_codebook_loss,
            beta_on=self.beta_on,
            reduction=self.reduction,
        )

    def backward(self, dz_q: Array, cache: Cache, dL: Array | float = 1.0) -> Array:
        """dz = dz_q + dL · ∂L/∂z, straight through;  dE += dL · ∂L/∂E."""
        dz, dE = quantize_backward(dz_q, dL, cache)
        self.E.add_grad(dE)
        return dz

    def start_from(self, z: Array, rng: np.random.Generator | int) -> None:
        """Start the codebook from vectors, if codebook_init says so: z: (..., D), at least one of them.

        "data": random vectors of z, N = 1. "kmeans": e = μ, N = n (and for EMA m = n·μ).
        """
        where = f"{type(self).__name__}.start_from"
        rng = check_rng(where, rng)
        check_array(where, "z", z, last=self.embedding_dim, dtype=self.embeddings.dtype, finite=True)
        if self.codebook_init in ("data", "kmeans") and z.size == 0:
            fail(where, "z", "must hold at least one vector", f"shape {z.shape}")
        if self.codebook_init == "data":
            self._start(draw(z, self.num_embeddings, rng), None, rng)
        elif self.codebook_init == "kmeans":
            self._start(*kmeans(z, self.num_embeddings, rng), rng)

    def update(self, z: Array, k: Array, rng: np.random.Generator | int, restart: float = 0.0) -> Array:
        """N ← γN + (1−γ)n; then every code with N_j < restart · N̄ starts again at a random vector of z.

        z: (..., D), k: (...,) their codes -> indices of the restarted codes: (any,)

        This is what a trainer calls after each step of the optimizer; it changes the quantizer.
        """
        where = f"{type(self).__name__}.update"
        check_array(where, "z", z, last=self.embedding_dim, dtype=self.embeddings.dtype, finite=True)
        check_float(where, "restart", restart, "[0, 1)")
        rng = check_rng(where, rng)
        n = code_statistics(z, k, self.num_embeddings).counts
        self.N = self.decay * self.N + (1 - self.decay) * n.astype(self.N.dtype)
        j = dead(self.N, restart) if z.size else np.empty(0, np.int64)
        self.embeddings[j] = draw(z, j.size, rng)
        self.N[j] = self.N.mean()
        return j
