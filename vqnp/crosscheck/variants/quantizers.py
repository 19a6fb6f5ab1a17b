"""PLANTS[dimension, variant]: layers with the variants and bugs of the table, which nobody should choose.

z: (..., D) -> z_q: (..., D), codebook and commitment loss: (), k: (...,), as VectorQuantizer

A class is one variant or bug and nothing else: it stands before VectorQuantizer or EMAVectorQuantizer in the
order of inheritance, and everything around it is vqnp's. `planted` puts together as many as one wants.
"""

# mypy: disable-error-code="override"

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_rng
from vqnp.crosscheck.variants.formulas import PLACES, STARTS, rotated
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.nn import EMAVectorQuantizer, VectorQuantizer
from vqnp.ops import EMAState, ema_restart, laplace_smoothing, quantize_forward

# z_q, codebook loss, commitment loss, k, cache = (z − e, k, K, c, β, whether there is a codebook loss).
Forward = tuple[Array, Array, Array, Array, tuple[Any, ...]]

# In the order of inheritance: a loss is scaled, then taken late, then passed on.
PLANTS: dict[tuple[str, str], type[VectorQuantizer]] = {}


class Planted(VectorQuantizer):
    """What all have in common: class Name(Planted, dimension=..., variant=...) is listed in PLANTS."""

    training = True

    def __init_subclass__(cls, dimension: str = "", variant: str = "") -> None:
        if dimension:
            PLANTS[dimension, variant] = cls


# The loss and its gradients.


class Scaled(Planted):
    """factor · L."""

    factor = 1.0

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return z_q, self.factor * codebook, self.factor * commitment, k, cache

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        return super().backward(dz_q, cache, self.factor * dL, need_dx)


class Weighted(Scaled):
    """L = q⟨(sg z − e)²⟩ + p⟨(z − sg e)²⟩, which is q times the usual loss with p/q for β; see PLACES."""

    place = "commitment"

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        p, q = (constant + times * self.commitment_cost for constant, times in PLACES[self.place])
        self.has_codebook_loss = q > 0
        self.factor *= q or 1.0
        self.commitment_cost = max(p, 0.0) / (q or 1.0)

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return z_q, codebook * (self.place != "undetached"), commitment, k, cache


for _place in PLACES:
    type(f"Weighted_{_place}", (Weighted,), {"place": _place}, dimension="beta_on", variant=_place)


class SumOfMeans(Scaled, dimension="reduction", variant="sum_of_means"):
    """c = 1/D: the mean over D of each vector, summed over vectors."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options | {"reduction": "sum"})
        self.factor /= self.embedding_dim


class LateLoss(Planted, dimension="loss_from", variant="straight_through"):
    """L of z + sg(e − z) in e's place: the codebook term's gradient goes where z_q's goes, and not to E."""

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        r, k, K, c, beta, codebook_loss, *more = cache
        late = dz_q - codebook_loss * dL * 2 * c * r
        return super().backward(late, (r, k, K, c, beta, False, *more), dL, need_dx)


class Leak(Planted, dimension="leak", variant="yes"):
    """z_q depends on E outside the loss, too: dE_j += Σ_{k_n = j} dz_q."""

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        _, k, K, *_ = cache
        self.E.add_grad(code_statistics(dz_q, k, K).sums.astype(dz_q.dtype))
        return super().backward(dz_q, cache, dL, need_dx)


class NoGradient(Planted, dimension="straight_through", variant="none"):
    """dz = ∂L/∂z alone: the decoder's gradient stops at z_q."""

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        return super().backward(np.zeros_like(dz_q), cache, dL, need_dx)


class Rotation(Planted, dimension="straight_through", variant="rotation"):
    """dz = Jᵀ dz_q + ∂L/∂z, J z = e: the rotation trick."""

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> Forward:
        z_q, codebook, commitment, k, cache = super().forward(z)
        return z_q, codebook, commitment, k, (*cache, z_q)

    def backward(self, dz_q: Array, cache: Any, dL: Any = 1.0, need_dx: bool = True) -> Array:
        *usual, e = cache
        return super().backward(rotated(dz_q, e + usual[0], e), tuple(usual), dL, need_dx)


# Which code, and which vector.


class LookUp(Planted):
    """z_q = E'[k], k from `nearest`, E' from `book`."""

    def nearest(self, z: Array, E: Array) -> Array:
        return nearest_code(z, E)

    def book(self, z: Array, k: Array) -> Array:
        return self.embeddings

    def encode(self, z: Array) -> Array:
        return self.nearest(z, self.embeddings)

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> Forward:
        k = self.encode(z)
        return quantize_forward(
            z, self.book(z, k), k, beta=self.commitment_cost, codebook_loss=self.has_codebook_loss,
            reduction=self.reduction,
        )  # fmt: skip


class Highest(LookUp, dimension="ties", variant="highest"):
    """Ties go to the highest index."""

    def nearest(self, z: Array, E: Array) -> Array:
        return len(E) - 1 - super().nearest(z, np.ascontiguousarray(E[::-1]))


class Expanded(LookUp, dimension="distance", variant="expanded_float32"):
    """argmin ‖z‖² − 2z·e + ‖e‖² in float32."""

    def nearest(self, z: Array, E: Array) -> Array:
        x, y = (a.reshape(-1, a.shape[-1]).astype(np.float32) for a in (z, E))
        products = np.einsum("nd,kd->nk", 2 * x, y)  # a BLAS rounds otherwise with another number of threads
        d = (x * x).sum(axis=1, keepdims=True) - products + (y * y).sum(axis=1)
        return d.argmin(axis=1).reshape(z.shape[:-1])


class LookAhead(LookUp, EMAVectorQuantizer, dimension="codes", variant="after"):
    """z_q and L from the codebook after the update with this batch, in training."""

    def book(self, z: Array, k: Array) -> Array:
        return self.next_state(z, k).E if self.training else self.embeddings


class Mixed(Planted, EMAVectorQuantizer, dimension="codes", variant="mixed"):
    """z_q from the codebook after the update, L from the one before it."""

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> Forward:
        z_q, *losses, k, cache = super().forward(z)
        return self.next_state(z, k).E[k] if self.training else z_q, *losses, k, cache


# Moving averages.


class Start(Planted, EMAVectorQuantizer):
    """N₀ and m₀ as STARTS says, whether or not the averages are debiased."""

    start = "consistent"

    def __init__(self, *sizes: Any, rng: np.random.Generator | int = 0, **options: Any) -> None:
        self.rng = check_rng("rng", rng)
        super().__init__(*sizes, rng=self.rng, **options)

    def initialize(self, z: Array, rng: np.random.Generator | int) -> None:
        self.rng = check_rng("rng", rng)
        super().initialize(z, self.rng)

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        super()._set_codebook(E, n)
        if n is None:
            count, sums = STARTS[self.start]
            m = self.rng.standard_normal(E.shape) if sums == "noise" else E * (sums == "e")
            self.ema = EMAState(E.copy(), np.full(len(E), count, E.dtype), np.asarray(m, E.dtype))


for _start in STARTS:
    type(f"Start_{_start}", (Start,), {"start": _start}, dimension="start", variant=_start)


class Debiased(Start, dimension="zero_debias", variant="yes"):
    """N / (1 − γᵗ) and m / (1 − γᵗ) of averages that did not start at zero."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options | {"zero_debias": True})


class WriteBack(Planted, EMAVectorQuantizer, dimension="write_back", variant="yes"):
    """N ← Ñ, so that smoothing compounds."""

    def next_state(self, z: Array, k: Array) -> EMAState:
        state = super().next_state(z, k)
        N = state.N / (1 - self.decay**state.t) if self.zero_debias else state.N
        smoothed = {"laplace": laplace_smoothing(N, self.epsilon), "additive": N + self.epsilon, "none": N}
        return state._replace(N=smoothed[self.smoothing])


class MeansForSums(Planted, EMAVectorQuantizer, dimension="kmeans_start", variant="collapses"):
    """After k-means N = n, and m = μ where it should be n·μ."""

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        super()._set_codebook(E, n)
        if n is not None:
            self.ema = self.ema._replace(m=self.ema.E)


class Undone(Planted, EMAVectorQuantizer, dimension="dead_codes", variant="undone"):
    """A restart sets e, not N and m: the next update is e = m/N as if nothing had been."""

    def update(self, z: Array, k: Array, rng: np.random.Generator | int) -> Array:
        state = self.next_state(z, k)
        restarted, j = ema_restart(state, z, self.restart_dead_codes, check_rng("rng", rng))
        self.ema = state._replace(E=restarted.E)
        return j


def planted(
    kind: type[VectorQuantizer], variants: Mapping[str, str], plants: Mapping[Any, type] = PLANTS,
    *, scale: float = 1.0,
) -> tuple[type[VectorQuantizer], dict[str, str]]:  # fmt: skip
    """A class with the variants' methods before the kind's, and the variants that are options of the kind.

    scale: of the whole loss.
    """
    bugs = [bug for pair, bug in plants.items() if pair in variants.items()]
    if scale != 1 and not any(issubclass(bug, Scaled) for bug in bugs):
        bugs.insert(0, Scaled)
    choices = variants.items() - plants.keys()
    options = {d: v for d, v in choices if d in ("reduction", "smoothing", "codebook_init")}
    options |= {"codebook_init": "kmeans"} if "kmeans_start" in variants else {}
    name = "".join(bug.__name__ for bug in bugs) + kind.__name__
    return type(name, (*bugs, kind), {"factor": scale}), options
