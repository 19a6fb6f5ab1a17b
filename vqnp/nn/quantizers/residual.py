"""The quantizer that quantizes what the codes before have left: n codes for each vector."""

import functools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_float, check_int, check_rng
from vqnp.kernels.residual import residual_before, residual_statistics
from vqnp.kernels.statistics import CodeStatistics
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module
from vqnp.nn.quantizers.base import Quantizer
from vqnp.nn.quantizers.ema import EMAVectorQuantizer
from vqnp.nn.quantizers.vector import FROM_VECTORS, VectorQuantizer
from vqnp.ops.ema import random_rows
from vqnp.ops.residual_quantize import residual_quantize_backward, residual_quantize_forward


@register
class ResidualVectorQuantizer(Quantizer):
    """k_i = argmin ‖r_{i−1} − e‖²,  r_i = r_{i−1} − e_{k_i},  r_0 = z,  z_q = Σ_i e_{k_i}.

    z: (..., D) -> z_q: (..., D), codebook: (), commitment: (), k: (..., n)

    Parameters
    ----------
    num_quantizers : int, at least 2
        n, the number of codes of a vector.
    num_embeddings, embedding_dim, commitment_cost, decay, epsilon, codebook_init, restart_dead_codes
        Of each codebook, as in EMAVectorQuantizer. "data" and "kmeans" initialize each codebook from the
        residuals that the codebooks before it leave.
    codebook : {"ema", "gradient"}
        How the codebooks are trained; there is a codebook loss with "gradient" only.
    shared_codebook : bool
        One codebook for all depths. It is updated once a step, with the residuals of all depths.
    quantizer_dropout : float in [0, 1]
        The probability with which an example has, in training, only its first codes, whose number is drawn
        from 1 to n.
    reduction, rng, dtype
        As in EMAVectorQuantizer.

    References
    ----------
    Lee et al. 2022 (RQ-VAE), arXiv 2203.01941; Zeghidour et al. 2021 (SoundStream), arXiv 2107.03312.

    Examples
    --------
    >>> quantizer = ResidualVectorQuantizer(3, 8, 2, codebook_init="normal")
    >>> k = quantizer.encode(np.zeros((5, 2), np.float32))
    >>> k.shape, quantizer.decode(k).shape
    ((5, 3), (5, 2))
    """

    loss_names = ("codebook_loss", "commitment_loss")

    def __init__(
        self, num_quantizers: int = 4, num_embeddings: int = 128, embedding_dim: int = 16,
        commitment_cost: float = 0.25, codebook: str = "ema", decay: float = 0.99, epsilon: float = 1e-5,
        codebook_init: str = "data", restart_dead_codes: float = 0.05, shared_codebook: bool = False,
        quantizer_dropout: float = 0.0, reduction: str = "mean",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "ResidualVectorQuantizer"
        self.num_codebooks = self.num_quantizers = check_int(where, "num_quantizers", num_quantizers, 2)
        self.codebook = check_choice(where, "codebook", codebook, ("ema", "gradient"))
        self.quantizer_dropout = check_float(where, "quantizer_dropout", quantizer_dropout, "[0, 1]")
        self.shared_codebook = bool(shared_codebook)
        self.epsilon = check_float(where, "epsilon", epsilon, "[0, inf)")
        options: dict[str, Any] = {
            "commitment_cost": commitment_cost, "decay": decay, "reduction": reduction,
            "codebook_init": codebook_init, "restart_dead_codes": restart_dead_codes,
            "rng": check_rng(where, rng), "dtype": dtype,
        }  # fmt: skip
        if codebook == "ema":
            options["epsilon"] = epsilon
        cls = EMAVectorQuantizer if codebook == "ema" else VectorQuantizer
        count = 1 if self.shared_codebook else self.num_quantizers
        self.books = tuple(cls(num_embeddings, embedding_dim, **options) for _ in range(count))
        book = self.books[0]
        self.num_embeddings, self.embedding_dim = book.num_embeddings, book.embedding_dim
        self.commitment_cost, self.reduction, self.decay = book.commitment_cost, book.reduction, book.decay
        self.restart_dead_codes = book.restart_dead_codes

    def config(self) -> dict[str, Any]:
        own = (
            "num_quantizers", "num_embeddings", "embedding_dim", "commitment_cost", "codebook", "decay",
            "epsilon", "shared_codebook", "quantizer_dropout", "reduction", "restart_dead_codes",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in own}
        return values | {"codebook_init": self.books[0].codebook_init, "dtype": self.dtype.name}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """("0", the first codebook), ("1", the second), …; one alone if it is shared."""
        return ((str(i), book) for i, book in enumerate(self.books))

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the codebooks."""
        return self.books[0].dtype

    @property
    def embeddings(self) -> Array:
        """The codebooks: (n, K, D), or (1, K, D) if all depths share one."""
        return np.stack([book.embeddings for book in self.books])

    def book(self, i: int) -> VectorQuantizer:
        """The codebook of depth i, from 0."""
        return self.books[i % len(self.books)]

    # The quantizer and its gradient.

    def forward(
        self, z: Array, rng: Any = None, step: int = 0
    ) -> tuple[Array, Array, Array, Array, Cache]:
        """z_q, codebook loss, commitment loss, k, cache; with rng, some examples have fewer codes."""
        used = None if rng is None else self._used(z, rng)
        return residual_quantize_forward(
            z, self.embeddings, self.num_quantizers, used, beta=self.commitment_cost,
            codebook_loss=self.codebook == "gradient", reduction=self.reduction,
        )  # fmt: skip

    def _used(self, z: Array, rng: np.random.Generator) -> Array | None:
        """The number of codes of each vector, the same for all of an example; None: all."""
        if not self.quantizer_dropout or z.ndim < 2:
            return None
        n, B = self.num_quantizers, len(z)
        used = np.where(rng.random(B) < self.quantizer_dropout, rng.integers(1, n + 1, B), n)
        return np.broadcast_to(used.reshape(B, *(1 for _ in z.shape[1:-1])), z.shape[:-1])

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz = dz_q + dL · ∂L/∂z, straight through once;  dE += dL · ∂L/∂E with gradient codebooks."""
        dz, dE = residual_quantize_backward(dz_q, dL, cache)
        if self.codebook == "gradient":
            for book, d in zip(self.books, dE, strict=True):
                book.E.add_grad(d.copy())
        return dz if need_dx else None

    def decode(self, k: Array) -> Array:
        """z_q = Σ_i e_{k_i}; k: (..., n) -> z_q: (..., D)."""
        parts = self.decode_parts(k)
        z_q = np.zeros_like(parts[..., 0, :])
        for i in range(self.num_quantizers):
            z_q = z_q + parts[..., i, :]
        return z_q

    def decode_parts(self, k: Array) -> Array:
        """e_{k_i} of each depth; k: (..., n) -> (..., n, D)."""
        k = self._checked_codes(k)
        return np.stack([self.book(i).embeddings[k[..., i]] for i in range(self.num_quantizers)], axis=-2)

    def counts(self, k: Array) -> Array:
        """How often each code occurs at each depth; k: (..., n), −1 for none -> (n, K)."""
        K = self.num_embeddings
        rows = k.reshape(-1, self.num_quantizers).T
        return np.stack([np.bincount(row[row >= 0], minlength=K) for row in rows])

    # How the codebooks are initialized, and what happens after a step.

    @property
    def initialized(self) -> bool:
        """Whether every codebook has its first codes."""
        return all(book.initialized for book in self.books)

    @initialized.setter
    def initialized(self, value: bool) -> None:
        for book in self.books:
            book.initialized = value

    def initialize(self, z: Array, rng: np.random.Generator | int) -> None:
        """Initialize the codebooks that wait for it, each from what those before it leave of z: (..., D).

        A shared codebook is initialized from what n codebooks of random vectors would leave.
        """
        rng = check_rng("ResidualVectorQuantizer.initialize", rng)
        r = z.reshape(-1, z.shape[-1])
        if not self.shared_codebook:
            for book in self.books:
                book.initialize(r, rng)
                r = r - book.embeddings[book.encode(r)]
        elif not self.initialized and self.books[0].codebook_init in FROM_VECTORS:
            pool = [r]
            guess = VectorQuantizer(self.num_embeddings, self.embedding_dim, dtype=self.dtype)
            for _ in range(self.num_quantizers - 1):
                guess.E.value[...] = random_rows(r, self.num_embeddings, rng)
                r = r - guess.embeddings[guess.encode(r)]
                pool.append(r)
            self.books[0].initialize(np.concatenate(pool), rng)

    def after_step(self, z: Array, k: Array, rng: np.random.Generator) -> Mapping[str, Array]:
        """Update each codebook with the residuals of its depth, as they were in the forward pass."""
        where, shape = "ResidualVectorQuantizer.after_step", (*k.shape[:-1], self.embedding_dim)
        check_array(where, "z", z, shape=shape, dtype=self.dtype)
        rows, codes, E = z.reshape(-1, z.shape[-1]), k.reshape(-1, self.num_quantizers), self.embeddings
        depths = residual_statistics(rows, E, codes, after=False)

        def vectors(i: int) -> Array:
            return residual_before(rows, E, codes, i)

        if not self.shared_codebook:
            return {
                f"{i}.E": book.update_by(depths[i], partial(vectors, i), rng)
                for i, book in enumerate(self.books)
            }
        total = functools.reduce(CodeStatistics.merge, depths)
        every = lambda: np.concatenate([vectors(i) for i in range(self.num_quantizers)])
        return {"0.E": self.books[0].update_by(total, every, rng)}

    # On what the meaning of a code depends.

    def defining_arrays(self) -> list[Array]:
        """The codebooks."""
        return [book.embeddings for book in self.books]

    def defining_values(self) -> list[Any]:
        """The class and the number of codes."""
        return [type(self).__name__, self.num_quantizers]
