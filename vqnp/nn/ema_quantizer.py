"""The quantizer whose codebook follows by exponential moving average: the paper's appendix A.

z: (..., D) -> z_q: (..., D), L: (), k: (...,)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_float, check_rng
from vqnp.nn.module import Cache, Param
from vqnp.nn.quantizer import VectorQuantizer
from vqnp.ops.ema import SMOOTHINGS, STARTS, EMAState, ema_restart, ema_start, ema_update
from vqnp.ops.quantize import quantize_backward


class EMAVectorQuantizer(VectorQuantizer):
    """z_q = e_k,  L = β⟨(z − sg e_k)²⟩; N ← γN + (1−γ)n, m ← γm + (1−γ)s, E = m/Ñ.

    z: (..., D), E: (K, D) -> z_q: (..., D), L: (), k: (...,)

    Parameters
    ----------
    num_embeddings, embedding_dim, commitment_cost, beta_on, reduction, codebook_init, rng, dtype
        As in VectorQuantizer; there is no codebook loss.
    decay : float in [0, 1)
        γ.
    epsilon : float, at least 0
        ε of the smoothing.
    start : {"consistent", "zero_counts", "independent", "zero"}
        N₀ and m₀; see ops.ema.ema_start.
    smoothing, zero_debias, write_back
        See ops.ema.ema_update.
    codes : {"before", "after"}
        Whether forward, loss and straight-through use the codes from before the EMA update (as
        Sonnet does), or those from after it, which a trainer asks for with forward(lookahead=True).

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, appendix A.
    """

    codebook = "ema"
    has_codebook_loss = False

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        commitment_cost: float = 0.25,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        *,
        start: str = "consistent",
        smoothing: str = "laplace",
        zero_debias: bool = False,
        write_back: bool = False,
        codes: str = "before",
        beta_on: str = "commitment",
        reduction: str = "mean",
        codebook_init: str = "uniform",
        rng: np.random.Generator | int = 0,
        dtype: Any = np.float32,
    ) -> None:
        where = type(self).__name__
        self.epsilon = check_float(where, "epsilon", epsilon, "[0, inf)")
        self.start = check_choice(where, "start", start, STARTS)
        self.smoothing = check_choice(where, "smoothing", smoothing, SMOOTHINGS)
        self.zero_debias = bool(zero_debias)
        self.write_back = bool(write_back)
        self.codes = check_choice(where, "codes", codes, ("before", "after"))
        super().__init__(
            num_embeddings,
            embedding_dim,
            commitment_cost,
            beta_on=beta_on,
            reduction=reduction,
            codebook_init=codebook_init,
            decay=decay,
            rng=rng,
            dtype=dtype,
        )

    def _start(self, E: Array, n: Array | None, rng: np.random.Generator) -> None:
        self.ema = ema_start(E, self.start, rng)
        if n is not None:
            n = np.maximum(n, 1).astype(E.dtype)  # a centre of no vectors: N = 1, m = e
            self.ema = EMAState(E, n, n[:, None] * E)

    def params(self) -> Mapping[str, Param]:
        return {}

    def buffers(self) -> Mapping[str, Array]:
        E, N, m, t = self.ema
        return {"E": E, "N": N, "m": m, "t": np.asarray(t, np.int64)}

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        self.ema = EMAState(arrays["E"], arrays["N"], arrays["m"], int(arrays["t"]))

    @property
    def embeddings(self) -> Array:
        """The codebook E: (K, D)."""
        return self.ema.E

    def forward(self, z: Array, lookahead: bool = False) -> tuple[Array, Array, Array, Cache]:
        """z_q, L, k, cache for z; changes nothing.

        With lookahead=True, z_q and L come from the codebook after the EMA update, before any restart.
        """
        k = self.encode(z)
        return self._quantize(z, k, self.updated(z, k).E if lookahead else self.embeddings)

    def backward(self, dz_q: Array, cache: Cache, dL: Array | float = 1.0) -> Array:
        """dz = dz_q + dL · ∂L/∂z, straight through; no gradient reaches the codebook."""
        dz, _ = quantize_backward(dz_q, dL, cache)
        return dz

    def updated(self, z: Array, k: Array) -> EMAState:
        """The state after this batch: z: (..., D), k: (...,) -> EMAState; changes nothing."""
        return ema_update(
            self.ema,
            z,
            k,
            self.decay,
            self.epsilon,
            smoothing=self.smoothing,
            zero_debias=self.zero_debias,
            write_back=self.write_back,
        )

    def update(self, z: Array, k: Array, rng: np.random.Generator | int, restart: float = 0.0) -> Array:
        """Take `updated`; then every code with N_j < restart · N̄ starts again: e, N and m together.

        z: (..., D), k: (...,) their codes -> indices of the restarted codes: (any,)
        """
        self.ema, j = ema_restart(self.updated(z, k), z, restart, check_rng("EMAVectorQuantizer.update", rng))
        return j
