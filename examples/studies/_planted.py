"""PLANTS[codebook][dimension, variant] = (class, options): variants of vqnp.crosscheck.VARIANTS that train.

Most are settings of vqnp's quantizers. Those that vqnp does not offer are written here: a class is one bug
and nothing else, and everything around it is vqnp's.
"""

from typing import Any

import numpy as np

import vqnp
from vqnp.ops import EMAState, ema_restart, ema_start

Gradient, EMA = vqnp.VectorQuantizer, vqnp.EMAVectorQuantizer


class Undetached(Gradient):
    """L = β⟨(z − e)²⟩, one term that pulls both: the gradients of beta_on="both", half of its value."""

    def _quantize(self, z, k, E):
        z_q, L, k, cache = super()._quantize(z, k, E)
        return z_q, L / 2, k, cache


class CommitmentAlone(Gradient):
    """L = β⟨(z − sg e)²⟩ beside a codebook that does not follow by averages either."""

    has_codebook_loss = False


class SumOfMeans:
    """With reduction="sum": c = 1/D, the mean over D of each vector, summed over vectors."""

    def _quantize(self, z, k, E):
        z_q, L, k, (r, k, K, commitment, codebook) = super()._quantize(z, k, E)
        D = self.embedding_dim
        return z_q, L / L.dtype.type(D), k, (r, k, K, commitment / D, codebook / D)


class LateLoss(Gradient):
    """L of z + sg(e − z) in e's place: z gets the difference of the two terms, E nothing."""

    def backward(self, dz_q, cache, dL=1.0):
        r, _, _, commitment, codebook = cache
        return dz_q - r.dtype.type(dL * (commitment - codebook)) * r


class Leak(Gradient):
    """z_q hangs on E outside the loss, too: dE_j += Σ_{k_n = j} dz_q."""

    def backward(self, dz_q, cache, dL=1.0):
        _, k, K, *_ = cache
        self.E.add_grad(vqnp.code_statistics(dz_q, k, K).sums.astype(dz_q.dtype))
        return super().backward(dz_q, cache, dL)


class NoGradient:
    """dz = ∂L/∂z alone: the decoder's gradient stops at z_q."""

    def backward(self, dz_q, cache, dL=1.0):
        return super().backward(np.zeros_like(dz_q), cache, dL)


class Rotation:
    """dz = ‖e‖/‖z‖ Rᵀ dz_q + ∂L/∂z, R = I − 2wwᵀ + 2êẑᵀ, w = (ẑ + ê)/‖ẑ + ê‖.

    Fifty et al. 2024, arXiv 2410.06424, section 4.2.
    """

    def backward(self, dz_q, cache, dL=1.0):
        r, k, *_ = cache
        e = self.embeddings[k]
        z = e - r
        (u, of_z), (q, of_e) = unit(z), unit(e)
        w, _ = unit(u + q)
        turned = dz_q - 2 * dot(dz_q, w) * w + 2 * dot(dz_q, q) * u
        return super().backward(of_e / of_z * turned, cache, dL)


def dot(a, b):
    """⟨a, b⟩ over the last axis, which stays."""
    return (a * b).sum(axis=-1, keepdims=True)


def unit(a):
    """a/‖a‖ and ‖a‖, of a zero vector zeros and a tiny number."""
    length = np.maximum(np.sqrt(dot(a, a)), np.finfo(a.dtype).tiny)
    return a / length, length


class NoiseBesideOnes(EMA):
    """N = 1 and m ~ N(0, 1): vqnp's start "independent" with counts of 1."""

    def _start(self, E, n, rng):
        super()._start(E, n, rng)
        self.ema = EMAState(E, np.ones_like(self.ema.N), ema_start(E, "independent", rng).m)


class MeansForSums(EMA):
    """After k-means N = n, and m = μ where it should be n·μ."""

    def _start(self, E, n, rng):
        super()._start(E, n, rng)
        if n is not None:
            self.ema = self.ema._replace(m=self.ema.E)


class Undone(EMA):
    """A restart sets e, not N and m: the next update is e = m/N as if nothing had been."""

    def update(self, z, k, rng, restart=0.0):
        state = self.updated(z, k)
        restarted, j = ema_restart(state, z, restart, np.random.default_rng(rng))
        self.ema = state._replace(E=restarted.E)
        return j


class Highest(EMA):
    """Ties go to the highest index."""

    def encode(self, z):
        return self.num_embeddings - 1 - vqnp.nearest_code(z, np.ascontiguousarray(self.embeddings[::-1]))


class Offset(EMA):
    """The nearest code as an encoder and a codebook that lie `offset` off the origin would have it."""

    def __init__(self, *sizes, offset=0.0, **options):
        self.offset, self.seen, self.wrong = np.float32(offset), 0, 0
        super().__init__(*sizes, **options)

    def encode(self, z):
        return vqnp.nearest_code(z + z.dtype.type(self.offset), self.embeddings + z.dtype.type(self.offset))


class Expanded(Offset):
    """argmin ‖z‖² − 2z·e + ‖e‖² in float32; counts the codes that are not the nearest."""

    def encode(self, z):
        rows = z.reshape(-1, z.shape[-1]).astype(np.float32) + self.offset
        E = self.embeddings.astype(np.float32) + self.offset
        d = (rows * rows).sum(axis=1, keepdims=True) - 2 * rows @ E.T + (E * E).sum(axis=1)
        k = d.argmin(axis=1).reshape(z.shape[:-1])
        self.seen, self.wrong = self.seen + k.size, self.wrong + int((k != super().encode(z)).sum())
        return k


def with_bug(bug: type, kind: type) -> type:
    """A class that has the bug's methods before the kind's."""
    return type(f"{bug.__name__}{kind.__name__}", (bug, kind), {})


PLANTS: dict[str, dict[tuple[str, str], tuple[type, dict[str, Any]]]] = {"gradient": {}, "ema": {}}
"""For each kind of codebook: (dimension, variant) -> class, options. "restart" is a trainer's."""

for name, kind in (("gradient", Gradient), ("ema", EMA)):
    PLANTS[name] = {
        ("reduction", "mean_of_sums"): (kind, {"reduction": "mean_of_sums"}),
        ("reduction", "sum_of_means"): (with_bug(SumOfMeans, kind), {"reduction": "sum"}),
        ("reduction", "sum"): (kind, {"reduction": "sum"}),
        ("straight_through", "rotation"): (with_bug(Rotation, kind), {}),
        ("straight_through", "none"): (with_bug(NoGradient, kind), {}),
        ("codebook_init", "uniform"): (kind, {"codebook_init": "uniform"}),
        ("codebook_init", "normal"): (kind, {"codebook_init": "normal"}),
        ("codebook_init", "scaled_uniform"): (kind, {"codebook_init": "scaled_uniform"}),
    }

PLANTS["gradient"] |= {
    ("beta_on", "codebook"): (Gradient, {"beta_on": "codebook"}),
    ("beta_on", "complement"): (Gradient, {"beta_on": "complement"}),
    ("beta_on", "both"): (Gradient, {"beta_on": "both"}),
    ("beta_on", "undetached"): (Undetached, {"beta_on": "both"}),
    ("beta_on", "none"): (CommitmentAlone, {}),
    ("loss_from", "straight_through"): (LateLoss, {}),
    ("leak", "yes"): (Leak, {}),
}
PLANTS["ema"] |= {
    ("codes", "after"): (EMA, {"codes": "after"}),
    ("start", "zero_counts"): (EMA, {"start": "zero_counts"}),
    ("start", "zero"): (EMA, {"start": "zero"}),
    ("start", "independent"): (EMA, {"start": "independent"}),
    ("start", "one_count_independent"): (NoiseBesideOnes, {}),
    ("zero_debias", "yes"): (EMA, {"zero_debias": True}),
    ("write_back", "yes"): (EMA, {"write_back": True}),
    ("smoothing", "additive"): (EMA, {"smoothing": "additive"}),
    ("smoothing", "none"): (EMA, {"smoothing": "none"}),
    ("dead_codes", "restart"): (EMA, {"restart": 0.05}),
    ("dead_codes", "undone"): (Undone, {"restart": 0.05}),
    ("kmeans_start", "stays"): (EMA, {"codebook_init": "kmeans"}),
    ("kmeans_start", "collapses"): (MeansForSums, {"codebook_init": "kmeans"}),
    ("distance", "expanded_float32"): (Expanded, {}),
    ("ties", "highest"): (Highest, {}),
}

BASES = {
    "gradient": (Gradient, {}),
    "ema": (EMA, {}),
    "ema-restarts": (EMA, {"restart": 0.05}),
    "ema-zero": (EMA, {"start": "zero"}),
    "ema@100": (Offset, {"offset": 100.0}),
    "ema@1000": (Offset, {"offset": 1000.0}),
}
"""What a variant is compared with: a layer, and what differs there from vqnp's defaults."""

MORE = {
    "ema-restarts": [("start", "zero_counts"), ("start", "independent"), ("kmeans_start", "collapses")],
    "ema-zero": [("zero_debias", "yes")],
    "ema@100": [("distance", "expanded_float32")],
    "ema@1000": [("distance", "expanded_float32")],
}
"""Variants that are tried on other bases than the two kinds of codebook, too."""


def settings(quick: bool) -> list[dict]:
    """Every default, and all that is compared with it; "batches": the default with other minibatches."""
    rows, order = [], list(vqnp.crosscheck.VARIANTS)
    for base in BASES if not quick else ("gradient", "ema"):
        variants = sorted([*PLANTS.get(base, ()), *MORE.get(base, ())], key=lambda v: order.index(v[0]))
        if base in PLANTS:
            variants.insert(0, ("chance", "batches"))
        variants.insert(0, ("none", "default"))
        rows += [{"base": base, "dimension": d, "variant": v} for d, v in variants[: 4 if quick else None]]
    return rows


def planted(base: str, dimension: str, variant: str) -> tuple[type, dict]:
    """The class of quantizer and its options."""
    kind, options = BASES[base]
    bug, more = PLANTS[base.partition("-")[0].partition("@")[0]].get((dimension, variant), (kind, {}))
    return bug, {"codebook_init": "data"} | options | more
