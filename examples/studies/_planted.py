"""TRAINED[codebook][dimension]: the variants of vqnp.crosscheck.VARIANTS that are trained, and their layers.

The layers are those of vqnp.crosscheck.variants: a class is one variant or bug and nothing else.
"""

import vqnp
from vqnp.crosscheck.variants.quantizers import PLANTS, Expanded, LateLoss, LookUp, Planted
from vqnp.crosscheck.variants.quantizers import planted as layer_with

BOTH = {
    "reduction": ("mean_of_sums", "sum_of_means", "sum"),
    "straight_through": ("rotation", "none"),
    "codebook_init": ("uniform", "normal", "scaled_uniform"),
}
TRAINED = {
    "gradient": BOTH
    | {
        "beta_on": ("codebook", "complement", "both", "undetached", "none"),
        "loss_from": ("straight_through",),
        "leak": ("yes",),
    },
    "ema": BOTH
    | {
        "codes": ("after",),
        "start": ("zero_counts", "zero", "independent", "one_count_independent"),
        "zero_debias": ("yes",),
        "write_back": ("yes",),
        "smoothing": ("additive", "none"),
        "dead_codes": ("restart", "undone"),
        "kmeans_start": ("stays", "collapses"),
        "distance": ("expanded_float32",),
        "ties": ("highest",),
    },
    "ema-restarts": {"start": ("zero_counts", "independent"), "kmeans_start": ("collapses",)},
    "ema-zero": {"zero_debias": ("yes",)},
    "ema@100": {"distance": ("expanded_float32",)},
    "ema@1000": {"distance": ("expanded_float32",)},
}


class Offset(LookUp):
    """The nearest code as an encoder and a codebook that lie `offset` off the origin would have it."""

    def __init__(self, *sizes, offset=0.0, **options):
        self.offset = offset
        super().__init__(*sizes, **options)

    def nearest(self, z, E):
        offset = z.dtype.type(self.offset)
        return super().nearest(z + offset, E + offset)


class OffsetEMA(Offset, vqnp.EMAVectorQuantizer):
    """Moving averages, off the origin."""


class CountedExpanded(Offset, Expanded):
    """Expanded, with the products of a BLAS as in frameworks; counts the codes that are not the nearest."""

    seen, wrong = 0, 0

    def products(self, x, y):
        return x @ y.T

    def encode(self, z):
        k, offset = super().encode(z), z.dtype.type(self.offset)
        self.wrong += int((k != vqnp.nearest_code(z + offset, self.embeddings + offset)).sum())
        self.seen += k.size
        return k


BASES = {
    "gradient": (vqnp.VectorQuantizer, {}, {}),
    "ema": (vqnp.EMAVectorQuantizer, {}, {}),
    "ema-restarts": (vqnp.EMAVectorQuantizer, {}, {"restart_dead_codes": 0.05}),
    "ema-zero": (vqnp.EMAVectorQuantizer, {"start": "zero"}, {}),
    "ema@100": (OffsetEMA, {}, {"offset": 100.0}),
    "ema@1000": (OffsetEMA, {}, {"offset": 1000.0}),
}
"""What a variant is compared with: a layer, its variants, and other options than the defaults."""


class CopiedLateLoss(LateLoss):
    """LateLoss where z_q's gradient is copied: dz = dz_q + dL · 2c(β − 1)(z − e), in one product."""

    def backward(self, dz_q, cache, dL=1.0, need_dx=True):
        r, k, K, c, beta, _, *more = cache
        return Planted.backward(self, dz_q, (r, k, K, c, beta - 1, False, *more), dL, need_dx)


OWN = {
    ("loss_from", "straight_through"): CopiedLateLoss,
    ("distance", "expanded_float32"): CountedExpanded,
}
LAYERS = PLANTS | OWN


def settings(quick: bool) -> list[dict]:
    """Every default, and all that is compared with it; "batches": the default with other minibatches.

    Without "commitment": β = 0. Without "encoder": β = 0 and no gradient through the quantizer, so that the
    encoder receives none at all and stays as it was drawn. With ("straight_through", "none") and the default
    they are the four combinations of straight-through and commitment.
    """
    rows, order = [], list(vqnp.crosscheck.VARIANTS)
    for base in BASES if not quick else ("gradient", "ema"):
        dimensions = sorted(TRAINED[base], key=order.index)
        variants = [(dimension, variant) for dimension in dimensions for variant in TRAINED[base][dimension]]
        if base in ("gradient", "ema"):
            variants[:0] = [("chance", "batches"), ("without", "commitment"), ("without", "encoder")]
        variants.insert(0, ("none", "default"))
        if quick:  # a few, and the layers that are made here
            variants = variants[:4] + [each for each in variants[4:] if each in OWN]
        rows += [{"base": base, "dimension": d, "variant": v} for d, v in variants]
    return rows


def planted(base: str, dimension: str, variant: str) -> tuple[type, dict]:
    """The class of quantizer and its options."""
    kind, variants, more = BASES[base]
    if dimension == "without":
        more = more | {"commitment_cost": 0.0}
        dimension, variant = "straight_through", "none" if variant == "encoder" else "copy"
    bug, options = layer_with(kind, variants | {dimension: variant}, LAYERS)
    restart = {"restart_dead_codes": 0.05} if dimension == "dead_codes" else {}
    return bug, {"codebook_init": "data"} | more | restart | options
