"""PLANTS[dimension, variant] = (class, options): the variants of VARIANTS that nobody should choose, as layers.

A class is one variant or bug and nothing else: it stands before VectorQuantizer or EMAVectorQuantizer in the
order of inheritance, and everything around it is vqnp's. `planted` puts together as many as one wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_rng
from vqnp.crosscheck.variants.formulas import PLACES, rotated
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.nn import EMAVectorQuantizer, VectorQuantizer
from vqnp.ops import EMAState, ema_restart, laplace_smoothing, quantize_forward

Forward = tuple[Array, Array, Array, Array, tuple[Any, ...]]
"""z_q, codebook loss, commitment loss, k, cache."""


# The loss and its gradients. A cache of quantize_forward is (z − e, k, K, c, β, whether there is a codebook loss).


class Scaled(VectorQuantizer):
    """factor · L: what the variants of the loss have in common."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.factor = 1.0

    def forward(self, z: Array) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return z_q, self.factor * codebook, self.factor * commitment, k, cache

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        return super().backward(dz_q, cache, self.factor * dL, need_dx)


class Commitment(Scaled):
    """L = q⟨(sg z − e)²⟩ + p⟨(z − sg e)²⟩, which is q times the usual loss with p/q for β; here p = β, q = 1."""

    place = "commitment"

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        p, q = (constant + times * self.commitment_cost for constant, times in PLACES[self.place])
        self.has_codebook_loss = q > 0
        self.factor *= q or 1.0
        self.commitment_cost = max(p, 0.0) / (q or 1.0)


class Swapped(Commitment):
    """p = 1, q = β."""

    place = "codebook"


class Complement(Commitment):
    """p = 1 − β, q = β."""

    place = "complement"


class Both(Commitment):
    """p = q = β."""

    place = "both"


class CommitmentAlone(Commitment):
    """p = β, q = 0, beside a codebook that does not follow by averages either."""

    place = "none"


class Undetached(Both):
    """L = β⟨(z − e)²⟩, one term that pulls both: the gradients of Both, and half of its value."""

    def forward(self, z: Array) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return z_q, 0 * codebook, commitment, k, cache


class SumOfMeans(Scaled):
    """c = 1/D: the mean over D of each vector, summed over vectors."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options | {"reduction": "sum"})
        self.factor /= self.embedding_dim


class LateLoss(VectorQuantizer):
    """L of z + sg(e − z) in e's place: the codebook term's gradient goes wherever z_q's goes, and not to E."""

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        r, k, K, c, beta, codebook_loss, *more = cache
        dz_q = dz_q - codebook_loss * dL * 2 * c * r
        return super().backward(dz_q, (r, k, K, c, beta, False, *more), dL, need_dx)


class Leak(VectorQuantizer):
    """z_q depends on E outside the loss, too: dE_j += Σ_{k_n = j} dz_q."""

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        _, k, K, *_ = cache
        self.E.add_grad(code_statistics(dz_q, k, K).sums.astype(dz_q.dtype))
        return super().backward(dz_q, cache, dL, need_dx)


class NoGradient(VectorQuantizer):
    """dz = ∂L/∂z alone: the decoder's gradient stops at z_q."""

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        return super().backward(np.zeros_like(dz_q), cache, dL, need_dx)


class Rotation(VectorQuantizer):
    """dz = Jᵀ dz_q + ∂L/∂z, J z = e: the rotation trick."""

    def forward(self, z: Array) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return z_q, codebook, commitment, k, (*cache, z_q)

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        *usual, e = cache
        return super().backward(rotated(dz_q, e + usual[0], e), tuple(usual), dL, need_dx)


# Which code, and which vector.


class LookUp(VectorQuantizer):
    """z_q = E'[k], k from `nearest`, E' from `book`: what the variants of either have in common."""

    training = True

    def nearest(self, z: Array, E: Array) -> Array:
        """k: (...,)."""
        return nearest_code(z, E)

    def book(self, z: Array, k: Array) -> Array:
        """E': (K, D)."""
        return self.embeddings

    def encode(self, z: Array) -> Array:
        return self.nearest(z, self.embeddings)

    def forward(self, z: Array) -> Forward:
        k = self.encode(z)
        beta, codebook_loss = self.commitment_cost, self.has_codebook_loss
        E = self.book(z, k)
        return quantize_forward(
            z, E, k, beta=beta, codebook_loss=codebook_loss, reduction=self.reduction
        )


class Highest(LookUp):
    """Ties go to the highest index."""

    def nearest(self, z: Array, E: Array) -> Array:
        return len(E) - 1 - super().nearest(z, np.ascontiguousarray(E[::-1]))


class Offset(LookUp):
    """The nearest code as an encoder and a codebook that lie `offset` off the origin would have it."""

    def __init__(self, *sizes: Any, offset: float = 0.0, **options: Any) -> None:
        self.offset, self.seen, self.wrong = np.float32(offset), 0, 0
        super().__init__(*sizes, **options)

    def nearest(self, z: Array, E: Array) -> Array:
        return super().nearest(z + z.dtype.type(self.offset), E + z.dtype.type(self.offset))


class Expanded(Offset):
    """argmin ‖z‖² − 2z·e + ‖e‖² in float32; counts the codes that are not the nearest."""

    def nearest(self, z: Array, E: Array) -> Array:
        rows, book = z.reshape(-1, z.shape[-1]).astype(np.float32) + self.offset, E.astype(np.float32) + self.offset
        d = (rows * rows).sum(axis=1, keepdims=True) - self.products(2 * rows, book) + (book * book).sum(axis=1)
        k: Array = d.argmin(axis=1).reshape(z.shape[:-1])
        self.seen, self.wrong = self.seen + k.size, self.wrong + int((k != super().nearest(z, E)).sum())
        return k

    def products(self, a: Array, b: Array) -> Array:
        """a·b: (N, K), added over d in order: a BLAS rounds otherwise with another number of threads."""
        total: Array = np.zeros((len(a), len(b)), a.dtype)
        for x, y in zip(a.T, b.T, strict=True):
            total += x[:, None] * y
        return total


class LookAhead(LookUp, EMAVectorQuantizer):
    """z_q and L from the codebook after the update with this batch, in training."""

    def book(self, z: Array, k: Array) -> Array:
        return self.next_state(z, k).E if self.training else self.embeddings


class Mixed(EMAVectorQuantizer):
    """z_q from the codebook after the update, L from the one before it."""

    training = True

    def forward(self, z: Array) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return self.next_state(z, k).E[k] if self.training else z_q, codebook, commitment, k, cache


# Moving averages.


class Consistent(EMAVectorQuantizer):
    """N₀ = 1, m₀ = e, with zero_debias too."""

    count = 1.0

    def __init__(self, *sizes: Any, rng: np.random.Generator | int = 0, **options: Any) -> None:
        self.rng = check_rng("rng", rng)
        super().__init__(*sizes, rng=self.rng, **options)

    def initialize(self, z: Array, rng: np.random.Generator | int) -> None:
        self.rng = check_rng("rng", rng)
        super().initialize(z, self.rng)

    def first_sums(self, E: Array) -> Array:
        """m₀: (K, D)."""
        return E.copy()

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        super()._set_codebook(E, n)
        if n is None:
            self.ema = EMAState(E.copy(), np.full(len(E), self.count, E.dtype), self.first_sums(E))


class ZeroCounts(Consistent):
    """N₀ = 0, m₀ = e: a code that the first batch does not use becomes about γm/(εn/(n + Kε))."""

    count = 0.0


class Zero(ZeroCounts):
    """N₀ = m₀ = 0: unused codes become 0."""

    def first_sums(self, E: Array) -> Array:
        return np.zeros_like(E)


class Independent(ZeroCounts):
    """N₀ = 0, m₀ ~ N(0, 1)."""

    def first_sums(self, E: Array) -> Array:
        return self.rng.standard_normal(E.shape).astype(E.dtype)


class OneCountIndependent(Independent):
    """N₀ = 1, m₀ ~ N(0, 1)."""

    count = 1.0


class WriteBack(EMAVectorQuantizer):
    """N ← Ñ, so that smoothing compounds."""

    def next_state(self, z: Array, k: Array) -> EMAState:
        state = super().next_state(z, k)
        N = state.N / (1 - self.decay**state.t) if self.zero_debias else state.N
        smoothed = {"laplace": laplace_smoothing(N, self.epsilon), "additive": N + self.epsilon, "none": N}
        return state._replace(N=smoothed[self.smoothing])


class MeansForSums(EMAVectorQuantizer):
    """After k-means N = n, and m = μ where it should be n·μ."""

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        super()._set_codebook(E, n)
        if n is not None:
            self.ema = self.ema._replace(m=self.ema.E)


class Undone(EMAVectorQuantizer):
    """A restart sets e, not N and m: the next update is e = m/N as if nothing had been."""

    def update(self, z: Array, k: Array, rng: np.random.Generator | int) -> Array:
        state = self.next_state(z, k)
        restarted, j = ema_restart(state, z, self.restart_dead_codes, check_rng("rng", rng))
        self.ema = state._replace(E=restarted.E)
        return j


PLANTS: dict[tuple[str, str], tuple[type[VectorQuantizer] | None, dict[str, Any]]] = {
    ("beta_on", "commitment"): (Commitment, {}),
    ("beta_on", "codebook"): (Swapped, {}),
    ("beta_on", "complement"): (Complement, {}),
    ("beta_on", "both"): (Both, {}),
    ("beta_on", "undetached"): (Undetached, {}),
    ("beta_on", "none"): (CommitmentAlone, {}),
    ("reduction", "mean_of_sums"): (None, {"reduction": "mean_of_sums"}),
    ("reduction", "sum_of_means"): (SumOfMeans, {}),
    ("reduction", "sum"): (None, {"reduction": "sum"}),
    ("loss_from", "straight_through"): (LateLoss, {}),
    ("leak", "yes"): (Leak, {}),
    ("straight_through", "rotation"): (Rotation, {}),
    ("straight_through", "none"): (NoGradient, {}),
    ("ties", "highest"): (Highest, {}),
    ("distance", "expanded_float32"): (Expanded, {}),
    ("codes", "after"): (LookAhead, {}),
    ("codes", "mixed"): (Mixed, {}),
    ("start", "consistent"): (Consistent, {}),
    ("start", "zero_counts"): (ZeroCounts, {}),
    ("start", "zero"): (Zero, {}),
    ("start", "independent"): (Independent, {}),
    ("start", "one_count_independent"): (OneCountIndependent, {}),
    ("zero_debias", "yes"): (Consistent, {"zero_debias": True}),
    ("write_back", "yes"): (WriteBack, {}),
    ("smoothing", "additive"): (None, {"smoothing": "additive"}),
    ("smoothing", "none"): (None, {"smoothing": "none"}),
    ("dead_codes", "undone"): (Undone, {}),
    ("kmeans_start", "stays"): (None, {"codebook_init": "kmeans"}),
    ("kmeans_start", "collapses"): (MeansForSums, {"codebook_init": "kmeans"}),
    ("codebook_init", "uniform"): (None, {"codebook_init": "uniform"}),
    ("codebook_init", "normal"): (None, {"codebook_init": "normal"}),
    ("codebook_init", "scaled_uniform"): (None, {"codebook_init": "scaled_uniform"}),
}
"""In the order of inheritance: a loss is scaled, then passed on, then turned."""


def planted(
    kind: type[VectorQuantizer], variants: Mapping[str, str]
) -> tuple[type[VectorQuantizer], dict[str, Any]]:
    """A class that has the variants' methods before the kind's, and what to make it with."""
    bugs, options = [], {}
    for (dimension, variant), (bug, more) in PLANTS.items():
        if variants.get(dimension) == variant:
            bugs += [bug] if bug is not None else []
            options |= more
    # Consistent averages are where zero_debias starts by itself: another start comes before them.
    bugs = [bug for i, bug in enumerate(bugs) if not any(issubclass(b, bug) for b in bugs[:i])]
    return type("".join(bug.__name__ for bug in bugs) + kind.__name__, (*bugs, kind), {}), options
