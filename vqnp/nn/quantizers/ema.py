"""The quantizer whose codebook is updated by exponential moving averages: the paper's appendix A."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_finite, check_float, check_rng
from vqnp.kernels.statistics import CodeStatistics
from vqnp.nn.description import register
from vqnp.nn.module import TorchName
from vqnp.nn.quantizers.vector import VectorQuantizer
from vqnp.ops.ema import (
    SMOOTHINGS, EMAState, ema_initialize, ema_restart, ema_step, ema_update, random_rows, rarely_used,
    restarted_at,
)


@register
class EMAVectorQuantizer(VectorQuantizer):
    """z_q = e_k,  L = β⟨(z − sg e_k)²⟩;  N ← γN + (1−γ)n,  m ← γm + (1−γ)s,  E = m/Ñ.

    z: (..., D), E: (K, D) -> z_q: (..., D), codebook: 0, commitment: (), k: (...,)

    Parameters
    ----------
    num_embeddings, embedding_dim, commitment_cost, reduction, codebook_init, restart_dead_codes, \
estimator, rng, dtype
        As in VectorQuantizer. There is no codebook loss.
    decay : float in [0, 1)
        γ, the weight of the old average.
    epsilon : float, at least 0
        ε, the constant of the smoothing.
    smoothing : {"laplace", "additive", "none"}
        How Ñ is computed; see ops.ema.ema_update.
    zero_debias : bool
        Start from N = m = 0 and divide by 1 − γᵗ, as Sonnet does; the default starts from N = 1, m = e.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, appendix A.
    """

    has_codebook_loss = False  # so that no gradient reaches the codebook

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25,
        decay: float = 0.99, epsilon: float = 1e-5, *, smoothing: str = "laplace", zero_debias: bool = False,
        reduction: str = "mean", codebook_init: str = "uniform", restart_dead_codes: float = 0.0,
        estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = type(self).__name__
        self.epsilon = check_float(where, "epsilon", epsilon, "[0, inf)")
        self.smoothing = check_choice(where, "smoothing", smoothing, SMOOTHINGS)
        self.zero_debias = bool(zero_debias)
        super().__init__(
            num_embeddings, embedding_dim, commitment_cost, reduction=reduction, codebook_init=codebook_init,
            decay=decay, restart_dead_codes=restart_dead_codes, estimator=estimator, rng=rng, dtype=dtype,
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        own = {"epsilon": self.epsilon, "smoothing": self.smoothing, "zero_debias": self.zero_debias}
        return super().config() | own

    @property
    def embeddings(self) -> Array:
        """The codebook E: (K, D)."""
        return self.ema.E

    def next_state(self, z: Array, k: Array) -> EMAState:
        """E, N, m after this batch: z: (..., D), k: (...,) -> EMAState; changes nothing."""
        return ema_update(
            self.ema, z, k, self.decay, self.epsilon, smoothing=self.smoothing, zero_debias=self.zero_debias
        )

    def update(self, z: Array, k: Array, rng: np.random.Generator | int) -> Array:
        """Move to next_state; then restart e, N and m of every code with N_j < restart_dead_codes · N̄.

        z: (..., D), k: (...,) their codes -> indices of the restarted codes: (any,)
        """
        rng = check_rng("EMAVectorQuantizer.update", rng)
        self.ema, j = ema_restart(self.next_state(z, k), z, self.restart_dead_codes, rng)
        return j

    def update_by(
        self, statistics: CodeStatistics, vectors: Callable[[], Array], rng: np.random.Generator
    ) -> Array:
        """`update`, given the statistics of z; vectors() is z, which is needed only if a code restarts."""
        n, s = (a.astype(self.dtype) for a in statistics)
        check_finite(f"{type(self).__name__}.update", "the sum of the vectors of a code", s)
        state = ema_step(self.ema, n, s, self.decay, self.epsilon, self.smoothing, self.zero_debias)
        j = rarely_used(state.N, self.restart_dead_codes) if n.any() else np.empty(0, np.int64)
        self.ema = restarted_at(state, j, random_rows(vectors(), j.size, rng)) if j.size else state
        return j

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        self.ema = ema_initialize(E, zero=self.zero_debias)
        if n is not None:
            n = np.maximum(n, 1).astype(E.dtype)  # a centre without vectors: N = 1, m = e
            self.ema = EMAState(E, n, n[:, None] * E)

    def torch_names(self) -> dict[str, TorchName]:
        """In addition to the codebook and the cluster sizes: m and t."""
        return super().torch_names() | {
            "m": TorchName("embedding_sum", statistic=True),
            "t": TorchName("num_updates", statistic=True),
        }

    def first_buffers(self, E: Array) -> dict[str, Array]:
        """The buffers with which training starts from a codebook E: (K, D)."""
        return _as_buffers(ema_initialize(E, zero=self.zero_debias))

    def buffers(self) -> Mapping[str, Array]:
        return _as_buffers(self.ema)

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        self.ema = EMAState(arrays["E"], arrays["N"], arrays["m"], int(arrays["t"]))
        self.initialized = True


def _as_buffers(state: EMAState) -> dict[str, Array]:
    E, N, m, t = state
    return {"E": E, "N": N, "m": m, "t": np.asarray(t, np.int64)}
