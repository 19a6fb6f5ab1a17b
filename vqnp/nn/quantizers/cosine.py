"""The vector quantizers on the unit sphere: codes are chosen by their cosine."""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array
from vqnp.nn.description import register
from vqnp.nn.module import Cache
from vqnp.nn.quantizers.ema import EMAVectorQuantizer
from vqnp.nn.quantizers.vector import VectorQuantizer
from vqnp.ops.ema import EMAState
from vqnp.ops.sphere import (
    cosine_quantize_backward, cosine_quantize_forward, largest_cosine, normalize_forward,
    spherical_ema_update,
)


class OnSphere(VectorQuantizer):
    """What is different on the sphere, however the codebook is trained: for the two classes below."""

    @property
    def embeddings(self) -> Array:
        """The codes ê_j that forward and decode give: (K, D), each of length 1."""
        return normalize_forward(super().embeddings)[0]

    def forward(
        self, z: Array, rng: Any = None, step: int = 0
    ) -> tuple[Array, Array, Array, Array, Cache]:
        """z_q, codebook loss, commitment loss, k, cache for z; changes nothing and draws nothing."""
        return cosine_quantize_forward(
            z, super().embeddings, beta=self.commitment_cost, codebook_loss=self.has_codebook_loss,
            reduction=self.reduction, estimator=self.estimator,
        )  # fmt: skip

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz through the estimator and the normalisation;  dE += dL · ∂L/∂E, unless E is an average."""
        dz, dE = cosine_quantize_backward(dz_q, dL, cache)
        if self.has_codebook_loss:
            self.E.add_grad(dE)
        return dz if need_dx else None

    def encode(self, z: Array) -> Array:
        """k = argmax_j ẑ·ê_j; z: (..., D) -> k: (...,) int64."""
        return largest_cosine(normalize_forward(z)[0], self.embeddings)

    def update(self, z: Array, k: Array, rng: np.random.Generator | int) -> Array:
        """As in the superclass, with ẑ in place of z: a code restarts at a unit vector."""
        where = f"{type(self).__name__}.update"
        check_array(where, "z", z, last=self.embedding_dim, dtype=self.dtype, finite=True)
        return super().update(normalize_forward(z)[0], k, rng)

    def _draw_from(self, z: Array, rng: np.random.Generator) -> None:
        super()._draw_from(normalize_forward(z)[0], rng)

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        super()._set_codebook(normalize_forward(E)[0], n)


@register
class CosineVectorQuantizer(OnSphere):
    """z_q = ê_k,  k = argmax_j ẑ·ê_j,  L = ⟨(sg ẑ − ê_k)²⟩ + β⟨(ẑ − sg ê_k)²⟩,  ẑ = z/‖z‖,  ê = e/‖e‖.

    z: (..., D), E: (K, D) -> z_q: (..., D) of length 1, codebook: (), commitment: (), k: (...,)

    The codebook E is trained by gradient, through its normalisation. The decoder sees only unit vectors.

    Parameters
    ----------
    num_embeddings, embedding_dim, commitment_cost, reduction, codebook_init, decay, restart_dead_codes, \
estimator, rng, dtype
        As in VectorQuantizer. Codes are normalised when they are initialized, whatever codebook_init is.

    References
    ----------
    Yu et al. 2022 (ViT-VQGAN), arXiv 2110.04627, section 3.2.

    Examples
    --------
    >>> quantizer = CosineVectorQuantizer(8, 2, codebook_init="normal")
    >>> z = np.array([[3.0, 4.0]], np.float32)
    >>> bool(quantizer.encode(z) == quantizer.encode(10 * z))
    True
    """


@register
class EMACosineVectorQuantizer(OnSphere, EMAVectorQuantizer):
    """z_q = ê_k,  L = β⟨(ẑ − sg ê_k)²⟩;  m ← γm + (1−γ)ŝ,  ê = m/‖m‖: averages of directions.

    z: (..., D), E: (K, D) -> z_q: (..., D) of length 1, codebook: 0, commitment: (), k: (...,)

    Parameters
    ----------
    num_embeddings, embedding_dim, commitment_cost, decay, reduction, codebook_init, restart_dead_codes, \
estimator, rng, dtype
        As in EMAVectorQuantizer. A direction needs no smoothing and no correction of its start.

    References
    ----------
    As of CosineVectorQuantizer and ops.sphere.spherical_ema_update.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25, decay: float = 0.99, *,
        reduction: str = "mean", codebook_init: str = "uniform", restart_dead_codes: float = 0.0,
        estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        super().__init__(
            num_embeddings, embedding_dim, commitment_cost, decay, reduction=reduction,
            codebook_init=codebook_init, restart_dead_codes=restart_dead_codes, estimator=estimator, rng=rng,
            dtype=dtype,
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        unused = ("epsilon", "smoothing", "zero_debias")
        return {name: value for name, value in super().config().items() if name not in unused}

    def next_state(self, z: Array, k: Array) -> EMAState:
        """E, N, m after this batch: z: (..., D), k: (...,) -> EMAState; changes nothing."""
        return spherical_ema_update(self.ema, z, k, self.decay)
