"""The quantizer that takes signs: one bit for each coordinate, no codebook, and a loss of entropies."""

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_dtype, check_float, check_int, fail
from vqnp.nn.description import register
from vqnp.nn.module import Cache
from vqnp.nn.quantizers.base import Quantizer
from vqnp.ops.bit_entropy import BATCH_ENTROPIES, MOST_EXACT_BITS, bit_entropy_backward, bit_entropy_forward
from vqnp.ops.lookup_free import MOST_BITS, lookup_free_backward, lookup_free_decode, lookup_free_forward
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.sphere import normalize_backward, normalize_forward


@register
class LookupFreeQuantizer(Quantizer):
    """z_q = s·sign(z),  L = w (⟨H(p)⟩ − γ H(⟨p⟩)) + β⟨(z − sg z_q)²⟩,  p(k) ∝ exp(−‖z − e_k‖²/τ).

    z: (..., D) -> z_q: (..., D), entropy: (), commitment: (), k: (...,) in [0, 2^D)

    The entropy loss makes each vector's choice certain (the first term is small) and all choices together
    diverse (the second is large).

    Parameters
    ----------
    bits : int in [1, 24]
        D; there are K = 2^D codes.
    commitment_cost : float, at least 0, optional
        β. Default: 0.25, or 0 if spherical, since binary spherical quantization has no such term.
    entropy_weight, diversity_weight : float, at least 0
        w and γ.
    entropy_temperature : float, above 0
        τ, in units of a squared distance.
    batch_entropy : {"exact", "bound"}
        How H(⟨p⟩) is computed: over all codes, for at most 12 bits, or as the sum of the entropies of single
        bits, which is at least as large. See ops.bit_entropy_forward.
    spherical : bool
        Binary spherical quantization: z is replaced by z/‖z‖, and s is 1/√D in place of 1.
    reduction : {"mean", "mean_of_sums", "sum"}
        That of the commitment loss; see ops.loss.reduction_scale.
    dtype : float32 or float64

    References
    ----------
    Yu et al. 2023 (MAGVIT-v2), arXiv 2310.05737; Zhao, Xiong & Krähenbühl 2024, arXiv 2406.07548, for the
    sphere.

    Examples
    --------
    >>> quantizer = LookupFreeQuantizer(2)
    >>> quantizer.num_embeddings, quantizer.decode(np.arange(4)).tolist()
    (4, [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    """

    fixed_codes = True
    loss_names = ("entropy_loss", "commitment_loss")

    def __init__(
        self, bits: int = 7, commitment_cost: float | None = None, entropy_weight: float = 0.1,
        diversity_weight: float = 1.0, entropy_temperature: float = 0.1, batch_entropy: str = "exact",
        spherical: bool = False, reduction: str = "mean", dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "LookupFreeQuantizer"
        self.bits = self.embedding_dim = check_int(where, "bits", bits, 1, MOST_BITS)
        self.num_embeddings = 1 << self.bits
        beta = (0.0 if spherical else 0.25) if commitment_cost is None else commitment_cost
        self.commitment_cost = check_float(where, "commitment_cost", beta, "[0, inf)")
        self.entropy_weight = check_float(where, "entropy_weight", entropy_weight, "[0, inf)")
        self.diversity_weight = check_float(where, "diversity_weight", diversity_weight, "[0, inf)")
        self.entropy_temperature = check_float(where, "entropy_temperature", entropy_temperature, "(0, inf)")
        self.batch_entropy = check_choice(where, "batch_entropy", batch_entropy, BATCH_ENTROPIES)
        if batch_entropy == "exact" and self.bits > MOST_EXACT_BITS:
            needed = f"must be 'bound' for more than {MOST_EXACT_BITS} bits"
            fail(where, "batch_entropy", needed, f"'exact', for {self.bits}")
        self.spherical = bool(spherical)
        self.reduction = check_choice(where, "reduction", reduction, REDUCTIONS)
        self.scale = self.bits**-0.5 if self.spherical else 1.0
        self._dtype = check_dtype(where, dtype)

    def config(self) -> dict[str, Any]:
        own = (
            "bits", "commitment_cost", "entropy_weight", "diversity_weight", "entropy_temperature",
            "batch_entropy", "spherical", "reduction",
        )  # fmt: skip
        return {name: getattr(self, name) for name in own} | {"dtype": self.dtype.name}

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of decode's result; forward's result has the dtype of its argument."""
        return self._dtype

    def forward(
        self, z: Array, rng: Any = None, step: int = 0
    ) -> tuple[Array, Array, Array, Array, Cache]:
        """z_q, entropy loss, commitment loss, k, cache; draws nothing."""
        u, direction = normalize_forward(z) if self.spherical else (z, None)
        z_q, commitment, k, signs = lookup_free_forward(
            u, scale=self.scale, beta=self.commitment_cost, reduction=self.reduction
        )
        # −(‖u − e‖² − ‖u − e'‖²)/τ for codes that differ in bit d alone is 4 s u_d/τ
        slope = u.dtype.type(4 * self.scale / self.entropy_temperature)
        sample, whole, entropies = bit_entropy_forward(slope * u, self.batch_entropy)
        entropy = np.asarray(self.entropy_weight * (sample - self.diversity_weight * whole), z.dtype)
        return z_q, entropy, commitment, k, (direction, signs, entropies, slope)

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz, straight through the sign, and through both losses."""
        if not need_dx:
            return None
        direction, signs, entropies, slope = cache
        w = self.entropy_weight * np.asarray(dL)
        du = lookup_free_backward(dz_q, dL, signs)
        du = du + slope * bit_entropy_backward(w, -self.diversity_weight * w, entropies)
        return normalize_backward(du, direction) if self.spherical else du

    def encode(self, z: Array) -> Array:
        """k = Σ_d 2^(d−1) [z_d > 0]; z: (..., D) -> (...,)."""
        u = normalize_forward(z)[0] if self.spherical else z
        return lookup_free_forward(u, scale=self.scale, reduction=self.reduction)[2]

    def decode(self, k: Array) -> Array:
        """z_q of the codes; k: (...,) -> z_q: (..., D)."""
        return lookup_free_decode(self._checked_codes(k), self.bits, self.scale, self.dtype)

    def defining_values(self) -> list[Any]:
        """The class and what decode depends on."""
        return [type(self).__name__, self.bits, self.scale]
