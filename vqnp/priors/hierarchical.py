"""p(k_1, …, k_L) = Π_l p(k_l | k_1, …, k_{l−1}, c): a prior for each level, given the codes of those above.

k_l: (n, *latent_shape[l − 1]), l = 1 being the top; c: a class, or no class
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_choice, check_codes, check_int, check_rng, fail
from vqnp.evaluation.error import aligned
from vqnp.nn import Module, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses, Trainable
from vqnp.priors.autoregressive import AutoregressivePrior, PriorEvaluation
from vqnp.priors.pixelcnn import PixelCNN
from vqnp.priors.transformer import Transformer
from vqnp.priors.upsampler import Upsampler

WHERE = "HierarchicalPrior"


@dataclass(frozen=True)
class HierarchicalPriorEvaluation:
    """The report on a hierarchical prior over a data set; levels: one report for each, the top first.

    Examples
    --------
    >>> prior = HierarchicalPrior.of("pixelcnn", (8, 4), ((2, 2), (4, 4)), channels=4, layers=1)
    >>> report = prior.evaluate(prior.sample(3, rng=0))
    >>> report.uniform_bits, [level.nats.shape for level in report.levels]  # 4 · 3 + 16 · 2 bits
    (44.0, [(3, 2, 2), (3, 4, 4)])
    """

    levels: tuple[PriorEvaluation, ...]

    @property
    def bits_per_image(self) -> float:
        """Σ_l ⟨−log₂ p(k_l | k_1, …, k_{l−1})⟩."""
        return sum(level.bits_per_image for level in self.levels)

    @property
    def nats_per_code(self) -> float:
        """The same in nats, divided by the number of codes of all levels."""
        return self.bits_per_image * math.log(2) / sum(level.nats[0].size for level in self.levels)

    @property
    def uniform_bits(self) -> float:
        """Σ_l M_l log₂ K_l."""
        return sum(level.uniform_bits for level in self.levels)

    def row(self) -> dict[str, float]:
        """The columns of the training history for test data."""
        bits = {f"test_bits_{l}": level.bits_per_image for l, level in enumerate(self.levels, 1)}
        return {"test_loss": self.nats_per_code, "test_bits_per_image": self.bits_per_image, **bits}

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON."""
        return {
            "nats_per_code": self.nats_per_code, "bits_per_image": self.bits_per_image,
            "uniform_bits": self.uniform_bits, "levels": [level.as_dict() for level in self.levels],
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [("bits per image", f"{self.bits_per_image:.2f} (uniform: {self.uniform_bits:.0f})")]
        for l, level in enumerate(self.levels, 1):
            bits = f"{level.bits_per_image:.2f} (uniform: {level.uniform_bits:.0f})"
            rows.append((f"bits of level {l}", bits))
        return aligned(rows)


@register
class HierarchicalPrior(Trainable, Module):
    """L = −⟨log p(k_1, …, k_L)⟩/M, the sum over levels in nats per code; the levels share no parameters.

    codes: (k_1, …, k_L), k_l: (n, *latent_shape[l − 1]), as HierarchicalVQVAE.encode returns them

    Parameters
    ----------
    levels : sequence of Transformer or PixelCNN
        The prior of each level, the top first; each has the levels before it as its `above`.

    Raises
    ------
    InputError
        There is no level, or a level's `above` are not the levels before it.

    References
    ----------
    Razavi et al. 2019, arXiv 1906.00446, section 3.2 and algorithm 2.

    Examples
    --------
    >>> prior = HierarchicalPrior.of("pixelcnn", (8, 4), ((2, 2), (4, 4)), channels=4, layers=1)
    >>> top, bottom = prior.sample(3, rng=0)
    >>> bottom.shape, [nats.shape for nats in prior.nll((top, bottom))]
    ((3, 4, 4), [(3, 2, 2), (3, 4, 4)])
    """

    def __init__(self, levels: Sequence[AutoregressivePrior]) -> None:
        if not isinstance(levels, (list, tuple)) or not levels:
            got = "none" if isinstance(levels, (list, tuple)) else type(levels).__name__
            fail(WHERE, "levels", "must be a sequence of at least one prior, the top first", got)
        known: list[tuple[int, tuple[int, ...]]] = []
        for l, level in enumerate(levels, 1):
            name = f"levels[{l - 1}]"
            if not isinstance(level, AutoregressivePrior):
                fail(WHERE, name, "must be a Transformer or a PixelCNN", type(level).__name__)
            if level.above != tuple(known):
                fail(WHERE, name, f"must have above={tuple(known)}, the levels before it", level.above)
            if level.num_classes != levels[0].num_classes:
                needed = f"must have {levels[0].num_classes} classes, as levels[0]"
                fail(WHERE, name, needed, level.num_classes)
            known.append((level.num_embeddings, level.latent_shape))
        self.levels = tuple(levels)
        self.num_classes = self.levels[0].num_classes
        self.num_embeddings = tuple(level.num_embeddings for level in self.levels)
        self.latent_shape = tuple(level.latent_shape for level in self.levels)
        self.num_latents = sum(level.num_latents for level in self.levels)
        self.dtype = self.levels[0].dtype

    @classmethod
    def of(
        cls, kind: str, num_embeddings: Sequence[int], latent_shape: Sequence[tuple[int, ...]],
        layers: int | None = None, rng: np.random.Generator | int = 0, **options: Any,
    ) -> Self:  # fmt: skip
        """A prior of one kind for each level.

        Parameters
        ----------
        kind : {"transformer", "pixelcnn", "upsampler"}
            upsampler: a Transformer at the top, and below it an Upsampler at each level.
        num_embeddings, latent_shape : sequences
            Of each level, the top first, as HierarchicalVQVAE has them.
        layers : int, optional
            Of each level; of a PixelCNN by default 5, or as many as see the whole grid.
        rng : numpy.random.Generator or int
        options
            Further arguments of Transformer or PixelCNN, the same at all levels.
        """
        check_choice(WHERE, "kind", kind, ("transformer", "pixelcnn", "upsampler"))
        rng, known, levels = check_rng(WHERE, rng), list[Any](), []
        for K, shape in zip(num_embeddings, latent_shape, strict=True):
            own = {} if layers is None else {"layers": layers}
            if layers is None and kind == "pixelcnn" and len(shape) == 2:
                kernel = options.get("kernel", 3)
                own["layers"] = max(5, PixelCNN.layers_for(shape, kernel) if kernel > 1 else 1)
            below: Any = Upsampler if kind == "upsampler" and known else Transformer
            make: Any = PixelCNN if kind == "pixelcnn" else below
            levels.append(make(K, shape, above=tuple(known), rng=rng, **own, **options))
            known.append((K, tuple(shape)))
        return cls(levels)

    def config(self) -> dict[str, Any]:
        return {"levels": self.levels}

    def named_children(self) -> Any:
        """("level_1", the top level's prior), …."""
        return ((f"level_{l}", level) for l, level in enumerate(self.levels, 1))

    # Training.

    def prepare(self, data: Any) -> Batch:
        """k_1, …, k_L int64 and, for a prior with classes, labels (n,); data: codes, or (codes, labels)."""
        codes, labels = self._codes_and_labels("fit", data)
        if self.num_classes and labels is None:
            fail("fit", "data", "must be (codes, labels) for a prior with classes", "codes alone")
        return codes if labels is None else (*codes, labels)

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L = Σ_l (M_l/M) ⟨−log p(k_m | …)⟩ over the codes of level l; rng: as of an AutoregressivePrior."""
        codes = batch[: len(self.levels)]
        labels = batch[len(codes)] if len(batch) > len(codes) else None
        total, bits, caches = np.zeros((), self.dtype), dict[str, Array](), []
        for l, (level, k) in enumerate(zip(self.levels, codes, strict=True)):
            flat = k.reshape(len(k), level.num_latents)
            L, cache = level.cross_entropy(flat, labels, codes[:l], rng)
            total = np.asarray(total + L * self._share(level), self.dtype)
            bits[f"bits_{l + 1}"] = np.asarray(L * (level.num_latents / math.log(2)), self.dtype)
            caches.append(cache)
        whole = np.asarray(total * (self.num_latents / math.log(2)), self.dtype)
        return {"loss": total, "bits_per_image": whole, **bits}, caches

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> None:
        """Add dL · ∂L/∂θ to every grad. Codes have no gradient, so no level's passes to another."""
        for level, own in zip(self.levels, cache, strict=True):
            level.backward(own, dL * self._share(level))

    def evaluate(
        self, data: Any, history: Any = None, progress: bool = False
    ) -> HierarchicalPriorEvaluation:
        """The report on codes, or on (codes, labels), given these classes."""
        codes, labels = self._codes_and_labels("evaluate", data)
        nats = self.nll(codes, labels)
        pairs = zip(nats, self.num_embeddings, strict=True)
        return HierarchicalPriorEvaluation(tuple(PriorEvaluation(each, K) for each, K in pairs))

    # Likelihood and sampling.

    def nll(self, codes: Any, condition: Any = None) -> tuple[Array, ...]:
        """−log p(k_m | …) in nats of each level's codes: a tuple of (n, *latent_shape[l − 1]) float64."""
        k = self.checked_codes(f"{WHERE}.nll", codes)
        return tuple(level.nll(k[l], condition, k[:l]) for l, level in enumerate(self.levels))

    def sample(
        self, n: int, rng: np.random.Generator | int, condition: Any = None, temperature: float = 1.0,
        top_k: int | None = None, top_p: float | None = None, guidance: float = 1.0, progress: bool = False,
    ) -> tuple[Array, ...]:  # fmt: skip
        """(k_1, …, k_L) ~ p(k | c), from the top down; arguments as of AutoregressivePrior.sample.

        Each level has a generator of its own, so sample i is the same whatever n is.
        """
        n, rng = check_int(f"{WHERE}.sample", "n", n, 0), check_rng(f"{WHERE}.sample", rng)
        codes: tuple[Array, ...] = ()
        for level, own in zip(self.levels, rng.spawn(len(self.levels)), strict=True):
            k = level.sample(n, own, condition, temperature, top_k, top_p, guidance, progress, codes)
            codes = (*codes, k)
        return codes

    # Arguments.

    def _share(self, level: AutoregressivePrior) -> float:
        return level.num_latents / self.num_latents

    def _codes_and_labels(self, where: str, data: Any) -> tuple[tuple[Array, ...], Array | None]:
        """The codes of each level, of at least one image, and (n,) labels or None."""
        pair = isinstance(data, (tuple, list)) and len(data) == 2 and isinstance(data[0], (tuple, list))
        codes, labels = data if pair else (data, None)
        k = self.checked_codes(where, codes)
        if len(k[0]) == 0:
            fail(where, "codes", "must hold at least one grid", f"shape {k[0].shape}")
        if labels is not None:
            if not self.num_classes:
                fail(where, "data", "must be codes alone: the prior has no classes", "(codes, labels)")
            labels = check_codes(where, labels, self.num_classes, "labels", (len(k[0]),)).astype(np.int64)
        return k, labels

    def checked_codes(self, where: str, codes: Any) -> tuple[Array, ...]:
        """(k_1, …, k_L) as int64, each of its level's shape and codebook."""
        L = len(self.levels)
        if not isinstance(codes, (tuple, list)) or len(codes) != L:
            got = len(codes) if isinstance(codes, (tuple, list)) else type(codes).__name__
            fail(where, "codes", f"must be a tuple of {L} arrays, one for each level, the top first", got)
        n = len(codes[0]) if np.ndim(codes[0]) else 0
        return tuple(
            check_codes(where, k, K, f"codes of level {l}", (n, *shape)).astype(np.int64)
            for l, (k, K, shape) in enumerate(
                zip(codes, self.num_embeddings, self.latent_shape, strict=True), 1
            )
        )
