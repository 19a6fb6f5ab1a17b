"""vqnp's quantizers in float64, with any variants of the table: what a layer's answers are compared with.

It is an adapter itself: asked with a variant, it answers as a layer with that variant would.
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice
from vqnp.crosscheck.adapters.own import QuantizerAdapter
from vqnp.crosscheck.variants.formulas import PLACES, SCALES, perplexities
from vqnp.crosscheck.variants.quantizers import planted
from vqnp.nn import EMAVectorQuantizer, VectorQuantizer

# What the reference can be, the default first.
SETTINGS: dict[str, tuple[str, ...]] = {
    "beta_on": tuple(PLACES),
    "reduction": tuple(SCALES),
    "loss_from": ("codes", "straight_through"),
    "straight_through": ("copy", "rotation", "none"), "leak": ("no", "yes"),
    "codes": ("before", "after"), "evaluation_loss": ("same", "zero"),
    "distance": ("exact", "expanded_float32"), "ties": ("lowest", "highest"),
    "perplexity": tuple(perplexities(np.ones(1))),
    "start": ("consistent", "zero_counts", "independent", "zero"),
    "zero_debias": ("no", "yes"), "write_back": ("no", "yes"),
    "smoothing": ("laplace", "additive", "none"),
}  # fmt: skip
# Dimensions of a codebook that follows by moving averages.
AVERAGES = ("codes", "start", "zero_debias", "write_back", "smoothing")


class Reference(QuantizerAdapter):
    """VectorQuantizer or EMAVectorQuantizer, each part with the variant that is asked for.

    Parameters
    ----------
    ema : bool
        Whether the codebook follows by moving averages: then there are `reset` and `step`, E has no
        gradient and the default of beta_on is "none".
    beta, decay, epsilon : float
    scale : float
        Of the whole loss.
    dtype : float32 or float64
        Of what it is given and gives back; inside it is float64.
    **variants
        A variant for each dimension of SETTINGS that is not to be the default.
    """

    fresh = None  # type: ignore[assignment]  # how a codebook begins is not compared

    def __init__(
        self, *, ema: bool = False, beta: float = 0.25, decay: float = 0.99, epsilon: float = 1e-5,
        scale: float = 1.0, dtype: Any = np.float64, **variants: str,
    ) -> None:  # fmt: skip
        default = {d: values[0] for d, values in SETTINGS.items()} | ({"beta_on": "none"} if ema else {})
        for dimension, variant in variants.items():
            check_choice("Reference", "the dimension", dimension, tuple(SETTINGS))
            check_choice("Reference", dimension, variant, SETTINGS[dimension])
        self.v = default | variants
        idle = ("leak",) if ema else AVERAGES
        plants = {d: v for d, v in variants.items() if v != default[d] and d not in idle}
        kind, options = planted(EMAVectorQuantizer if ema else VectorQuantizer, plants, scale=scale)
        constants = {"commitment_cost": beta} | ({"decay": decay, "epsilon": epsilon} if ema else {})
        super().__init__(kind, dtype=dtype, **constants, **options)
        self.name, self.inside = "vqnp's reference", np.dtype(np.float64)

    def figure(self, counts: Array) -> float:
        return perplexities(counts)[self.v["perplexity"]]

    def evaluate(self, z: Array, E: Array) -> tuple[Any, ...]:
        k, z_q, L, figure = super().evaluate(z, E)
        return k, z_q, L if self.v["evaluation_loss"] == "same" else 0 * L, figure
