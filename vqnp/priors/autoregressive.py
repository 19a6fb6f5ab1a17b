"""p(k) = Π_m p(k_m | k_1, …, k_{m−1}, c): what all autoregressive priors over codes have in common.

k: (n, *latent_shape) codes, in raster order k_1, …, k_M, each in [0, K); c: a class, or no class, and, if the
prior is that of a level of a hierarchy, the codes of the levels above
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import (
    Array, check_codes, check_dtype, check_float, check_int, check_lengths, check_rng, fail,
)
from vqnp.evaluation.error import aligned
from vqnp.kernels import memory
from vqnp.nn import Module
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses, Trainable
from vqnp.ops.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from vqnp.priors.above import checked_above
from vqnp.priors.sampling import MOST_GUIDANCE, Choice, draw, guide, probabilities, streams

CHUNK_GRIDS = 128
"""Grids in each pass of nll and logits, and samples drawn at a time, so that little memory is needed. No
result depends on this number, as a grid's bits do not depend on other grids (see vqnp.kernels.product)."""

Codes = tuple[Array, ...]
"""Codes of several levels."""

MOST_LAYERS = 1000  # of a prior; many more are a slip, and take for ever


@dataclass(frozen=True)
class PriorEvaluation:
    """The report on a prior over a data set; nats: (n, *latent_shape), −log p(k_m | …) of each code.

    Examples
    --------
    >>> from vqnp.priors import PixelCNN
    >>> codes = np.random.default_rng(0).integers(0, 8, (5, 4, 4))
    >>> report = PixelCNN(8, (4, 4), channels=4, layers=1).evaluate(codes)
    >>> report.nats.shape, report.uniform_bits, list(report.row())  # 16 · 3 bits
    ((5, 4, 4), 48.0, ['test_loss', 'test_bits_per_image'])
    """

    nats: Array
    num_embeddings: int

    @property
    def grids(self) -> int:
        """n."""
        return len(self.nats)

    @property
    def nats_per_code(self) -> float:
        """⟨−log p(k_m | …)⟩ over all codes. Only priors over the same codebook can be compared by it."""
        return float(self.nats.mean())

    @property
    def bits_per_image(self) -> float:
        """⟨−log₂ p(k)⟩: the bits that an ideal coder needs for the codes of an image."""
        return self.nats_per_code * self.nats[0].size / math.log(2)

    @property
    def uniform_bits(self) -> float:
        """M log₂ K: the bits per image if all codes were equally likely."""
        return self.nats[0].size * math.log2(self.num_embeddings)

    def row(self) -> dict[str, float]:
        """The columns of the training history for test data."""
        return {"test_loss": self.nats_per_code, "test_bits_per_image": self.bits_per_image}

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON."""
        return {
            "grids": self.grids, "num_embeddings": self.num_embeddings, "nats_per_code": self.nats_per_code,
            "bits_per_image": self.bits_per_image, "uniform_bits": self.uniform_bits,
            "nats_by_position": self.nats.mean(axis=0).tolist(),
        }  # fmt: skip

    def __str__(self) -> str:
        return aligned([
            ("grids of codes", f"{self.grids} of {self.nats[0].size}"),
            ("nats per code", f"{self.nats_per_code:.4f}"),
            ("bits per image", f"{self.bits_per_image:.2f} (uniform: {self.uniform_bits:.0f})"),
        ])  # fmt: skip


class AutoregressivePrior(Trainable, Module):
    """logits a_m of p(k_m | k_1, …, k_{m−1}, c); a subclass computes them and their gradient.

    A subclass provides logits_forward and logits_backward, begin and extend, and config.

    Parameters
    ----------
    num_embeddings : int
        K.
    latent_shape : tuple of int
        The shape of a grid of codes, without the batch; M positions in all.
    num_classes : int
        The number of classes; 0 for none. A class c is an integer in [0, num_classes), and num_classes itself
        stands for no class.
    condition_dropout : float
        The fraction of the training examples whose class is replaced by no class, so that the prior also
        learns the unconditional distribution, which guidance needs.
    dtype : float32 or float64
    above : sequence of (num_embeddings, latent_shape)
        The levels above, the top first, of a prior that is conditioned on their codes; () for none.
    """

    def __init__(
        self, num_embeddings: int, latent_shape: tuple[int, ...], num_classes: int, condition_dropout: float,
        dtype: Any, above: Any = (),
    ) -> None:  # fmt: skip
        where = type(self).__name__
        self.num_embeddings = check_int(where, "num_embeddings", num_embeddings)
        self.latent_shape = check_lengths(where, "latent_shape", latent_shape)
        if not self.latent_shape:
            fail(where, "latent_shape", "must have at least one axis", latent_shape)
        self.num_latents = math.prod(self.latent_shape)
        self.num_classes = check_int(where, "num_classes", num_classes, 0)
        self.condition_dropout = check_float(where, "condition_dropout", condition_dropout, "[0, 1]")
        self.dtype = check_dtype(where, dtype)
        self.above = checked_above(where, above)

    condition_name = "labels"
    """What a data set has besides codes, if the prior has a condition."""

    @property
    def has_condition(self) -> bool:
        """Whether the prior learns p(k | c)."""
        return self.num_classes > 0

    # What a subclass provides.

    @abstractmethod
    def logits_forward(
        self, codes: Array, labels: Array, rng: np.random.Generator | None = None, above: Codes = ()
    ) -> tuple[Array, Cache]:
        """a, cache; codes: (B, M), labels: (B,) in [0, num_classes] -> a: (B, M, K); rng: for dropout.

        above: the codes of each level above, (B, *shape)
        """

    @abstractmethod
    def logits_backward(self, da: Array, cache: Cache) -> None:
        """Add to the grad of every Param; da: (B, M, K)."""

    @abstractmethod
    def begin(self, labels: Array, above: Codes = ()) -> tuple[Any, Array]:
        """The state of grids of which no code is known yet, and the logits of their first code, (B, K)."""

    @abstractmethod
    def extend(self, state: Any, codes: Array) -> Array:
        """Add the next codes to the state; logits of the codes after each: (B, t) -> (B, t, K)."""

    # Training.

    def prepare(self, data: Any) -> Batch:
        """codes (n, M) int64 and, for a prior with classes, labels (n,); data: codes, or (codes, labels).

        The prior of a level below others is trained as a part of a HierarchicalPrior.
        """
        if self.above:
            needed = "must be a HierarchicalPrior, which has the codes of the levels above"
            fail("fit", "model", needed, f"{type(self).__name__} with levels above")
        codes, labels = self._codes_and_labels("fit", data)
        if self.has_condition and labels is None:
            needed = f"must be (codes, {self.condition_name}) for a prior with a condition"
            fail("fit", "data", needed, "codes alone")
        return (codes,) if labels is None else (codes, labels)

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L = ⟨−log p(k_m | …)⟩, in nats per code, for a batch (codes,) or (codes, labels).

        rng: the generator for dropout and for the classes that are replaced; without it there is neither.
        """
        L, cache = self.cross_entropy(batch[0], batch[1] if len(batch) > 1 else None, (), rng)
        bits = np.asarray(L * (self.num_latents / math.log(2)), L.dtype)
        return {"loss": L, "bits_per_image": bits}, cache

    def cross_entropy(
        self, codes: Array, labels: Array | None, above: Codes, rng: Any
    ) -> tuple[Array, Cache]:
        """⟨−log p(k_m | …)⟩, cache; codes: (B, M), labels: (B,) or None, above: (B, *shape) of each level."""
        labels = self.null(len(codes)) if labels is None else labels
        if rng is not None and self.num_classes:
            labels = self.dropped(labels, rng)
        a, cache = self.logits_forward(codes, labels, rng, above)
        L, loss_cache = softmax_cross_entropy_forward(a, codes)
        return L, (cache, loss_cache)

    def null(self, n: int) -> Array:
        """No class, for n grids: (n,)."""
        return np.full(n, self.num_classes)

    def dropped(self, labels: Array, rng: np.random.Generator) -> Array:
        """A copy of the conditions in which some, drawn by rng, are replaced by none."""
        gone = rng.random(len(labels)) < self.condition_dropout
        return np.where(gone.reshape(-1, *[1] * (labels.ndim - 1)), self.null(len(labels)), labels)

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> None:
        """Add dL · ∂L/∂θ to every grad. Codes have no gradient, so there is no dx."""
        logits_cache, loss_cache = cache
        self.logits_backward(softmax_cross_entropy_backward(dL, loss_cache), logits_cache)

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> PriorEvaluation:
        """The report on codes, or on (codes, labels), given these classes."""
        codes, labels = self._codes_and_labels("evaluate", data)
        above = self._above("evaluate", len(codes), ())
        nats = self._nll(codes, self._labels("evaluate", len(codes), labels), above, progress)
        return PriorEvaluation(nats, self.num_embeddings)

    # Likelihood.

    def nll(self, codes: Any, condition: Any = None, above: Any = ()) -> Array:
        """−log p(k_m | k_1, …, k_{m−1}, c) in nats: (n, *latent_shape) codes -> (n, *latent_shape) float64.

        condition: a class for each grid, (n,), or one for all; None: the distribution without a class.
        above: the codes of the levels above, an array (n, *shape) for each, if the prior has such levels.
        """
        where = f"{type(self).__name__}.nll"
        k = self._codes(where, codes)
        return self._nll(k, self._labels(where, len(k), condition), self._above(where, len(k), above))

    def logits(self, codes: Any, condition: Any = None, above: Any = ()) -> Array:
        """a, whose softmax is p(k_m | k_1, …, k_{m−1}, c): (n, *latent_shape) -> (n, *latent_shape, K)."""
        where = f"{type(self).__name__}.logits"
        k = self._codes(where, codes, 2 * self.num_latents * self.num_embeddings * self.dtype.itemsize)
        labels, up = self._labels(where, len(k), condition), self._above(where, len(k), above)
        a = _in_chunks(lambda i: self.logits_forward(k[i], labels[i], None, _rows(up, i))[0], len(k))
        return a.reshape(len(k), *self.latent_shape, self.num_embeddings)

    def _nll(self, k: Array, labels: Array, above: Codes = (), progress: bool = False) -> Array:
        """(n, M), (n,) -> (n, *latent_shape)."""

        def nats(rows: slice) -> Array:
            a = self.logits_forward(k[rows], labels[rows], None, _rows(above, rows))[0].astype(np.float64)
            a -= a.max(axis=-1, keepdims=True)
            picked = np.take_along_axis(a, k[rows][..., None], axis=-1)[..., 0]
            return np.log(np.exp(a).sum(axis=-1)) - picked

        return _in_chunks(nats, len(k), progress).reshape(len(k), *self.latent_shape)

    # Sampling.

    def sample(
        self, n: int, rng: np.random.Generator | int, condition: Any = None, temperature: float = 1.0,
        top_k: int | None = None, top_p: float | None = None, guidance: float = 1.0, progress: bool = False,
        above: Any = (),
    ) -> Array:  # fmt: skip
        """k ~ p(k | c), code by code -> (n, *latent_shape) int64.

        Parameters
        ----------
        n : int
            The number of samples. Sample i is the same whatever n is: each has a random stream of its own.
        rng : numpy.random.Generator or int
            The source of the streams (SeedSequence.spawn). A generator gives other samples in the next call.
        condition : int or array_like of integers, shape (n,), optional
            The class of all samples, or of each. None: without a class.
        temperature, top_k, top_p
            See vqnp.priors.sampling.probabilities. With values other than 1 and None the samples do not come
            from the distribution that nll measures.
        guidance : float, default 1
            s in logits null + s (cond − null), at most 1e6: 1 for no guidance; more strengthens the effect of
            the class.
        progress : bool
            Whether to show a progress bar on standard error.
        above : tuple of ndarray
            The codes of the levels above, (n, *shape) of each, if the prior has such levels.
        """
        where = f"{type(self).__name__}.sample"
        n, rng = check_int(where, "n", n, 0), check_rng(where, rng)
        memory.check_memory(where, "n", n, 2 * 8 * self.num_latents + 8)  # codes, in chunks and whole; labels
        labels, up = self._labels(where, n, condition), self._above(where, n, above)
        choice = Choice(temperature, top_k, top_p).checked(where)
        guidance = check_float(where, "guidance", guidance, f"[0, {MOST_GUIDANCE:g}]")
        if guidance != 1 and condition is None:
            fail(where, "guidance", "must be 1 without a condition", guidance)
        with tqdm(total=n * self.num_latents, unit="code", unit_scale=True, disable=not progress) as bar:

            def samples(rows: slice) -> Array:
                chosen = labels[rows]
                u = streams(rng, len(chosen), self.num_latents)
                return self._sample(u, chosen, choice, guidance, bar, _rows(up, rows))

            k = _in_chunks(samples, n)
        return k.reshape(n, *self.latent_shape)

    def _sample(
        self, u: Array, labels: Array, choice: Choice, guidance: float, bar: Any, above: Codes
    ) -> Array:
        """(n, M) numbers in [0, 1), (n,) -> (n, M) codes; with guidance, both distributions in one batch."""
        n, copies = len(u), 1 if guidance == 1 else 2
        null = self.null(n)
        twice = tuple(np.concatenate([k] * copies) for k in above)
        state, a = self.begin(np.concatenate([labels, null][:copies]), twice)
        k = np.empty((n, self.num_latents), np.int64)
        for m in range(self.num_latents):
            if m:
                a = self.extend(state, np.tile(k[:, m - 1 : m], (copies, 1)))[:, 0]
            if copies == 2:
                a = guide(a[:n], a[n:], guidance)
            k[:, m] = draw(probabilities(a, choice), u[:, m])
            bar.update(n)
        return k

    # Arguments.

    def _codes_and_labels(self, where: str, data: Any) -> tuple[Array, Array | None]:
        """(n, M) codes and (n,) labels or None, n at least 1."""
        codes, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
        k = self._codes(where, codes)
        if len(k) == 0:
            fail(where, "codes", "must hold at least one grid", f"shape {np.shape(codes)}")
        return k, None if labels is None else self._given_labels(where, len(k), labels)

    def _given_labels(self, where: str, n: int, labels: Any) -> Array:
        """(n,) int64 in [0, num_classes): the condition of each grid of a data set."""
        if not self.num_classes:
            fail(where, "data", "must be codes alone: the prior has no classes", "(codes, labels)")
        return check_codes(where, labels, self.num_classes, "labels", (n,)).astype(np.int64)

    def _codes(self, where: str, codes: Any, each: int = 0) -> Array:
        """(n, *latent_shape) -> (n, M) int64; each: bytes that are needed for each grid besides its codes."""
        n = len(codes) if np.ndim(codes) else 0
        memory.check_memory(where, "codes", n, each + 8 * self.num_latents, "must hold at most {}")
        k = check_codes(where, codes, self.num_embeddings, "codes", (n, *self.latent_shape))
        return k.reshape(n, self.num_latents).astype(np.int64)

    def _above(self, where: str, n: int, above: Any) -> Codes:
        """The codes of the levels above, (n, *shape) int64 of each."""
        if not isinstance(above, (list, tuple)) or len(above) != len(self.above):
            got = len(above) if isinstance(above, (list, tuple)) else type(above).__name__
            fail(where, "above", f"must be the codes of {len(self.above)} levels, an array for each", got)
        return tuple(
            check_codes(where, k, K, f"above[{i}]", (n, *shape)).astype(np.int64)
            for i, (k, (K, shape)) in enumerate(zip(above, self.above, strict=True))
        )

    def _labels(self, where: str, n: int, condition: Any) -> Array:
        """(n,) int64 in [0, num_classes] of a condition."""
        if condition is None:
            return self.null(n)
        if not self.num_classes:
            fail(where, "condition", "must be None: the prior has no classes", condition)
        labels = check_codes(where, condition, self.num_classes, "condition")
        if labels.ndim and labels.shape != (n,):
            fail(where, "condition", f"must be one class or have shape ({n},)", f"shape {labels.shape}")
        return np.broadcast_to(labels, (n,)).astype(np.int64)


def _in_chunks(f: Callable[[slice], Array], n: int, progress: bool = False) -> Array:
    """f of CHUNK_GRIDS rows at a time."""
    starts = range(0, max(n, 1), CHUNK_GRIDS)
    bar = tqdm(starts, unit="chunk", disable=not progress, leave=False)
    return np.concatenate([f(slice(start, min(start + CHUNK_GRIDS, n))) for start in bar])


def _rows(above: Codes, rows: slice) -> Codes:
    """Some grids of each level."""
    return tuple(k[rows] for k in above)
