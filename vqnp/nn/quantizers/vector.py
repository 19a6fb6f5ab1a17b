"""The quantizer as a layer whose codebook is trained by gradient: the paper's equation 3."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_dtype, check_float, check_int, check_rng, fail
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import CodeStatistics, code_statistics
from vqnp.kernels.subnormal import flush
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Param, TorchName, check_room
from vqnp.nn.quantizers.base import Quantizer
from vqnp.ops.ema import random_rows, rarely_used
from vqnp.ops.lloyd import kmeans
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.quantize import quantize_backward, quantize_forward
from vqnp.ops.rotation import ESTIMATORS

FROM_VECTORS = ("data", "kmeans")
CODEBOOK_INITS = ("uniform", "normal", "scaled_uniform", *FROM_VECTORS)


class NearestCode(Quantizer):
    """encode and decode of a quantizer with one codebook, `embeddings`: (K, D)."""

    @property
    def embeddings(self) -> Array:
        """The codebook E: (K, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no codebook")

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the codebook."""
        return self.embeddings.dtype

    def encode(self, z: Array) -> Array:
        """k = argmin_j ‖z − e_j‖²; z: (..., D) -> k: (...,) int64."""
        return nearest_code(z, self.embeddings)

    def decode(self, k: Array) -> Array:
        """z_q = e_k; k: (...,) -> z_q: (..., D)."""
        return self.embeddings[self._checked_codes(k)]

    def defining_arrays(self) -> list[Array]:
        """The codebook alone: what averages there are does not change what a code means."""
        return [self.embeddings]

    def defining_values(self) -> list[Any]:
        """None beside the codebook."""
        return []


@register
class VectorQuantizer(NearestCode):
    """z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩; the codebook E is trained by gradient.

    z: (..., D), E: (K, D) -> z_q: (..., D), codebook: (), commitment: (), k: (...,)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        K and D.
    commitment_cost : float, at least 0
        β.
    reduction : {"mean", "mean_of_sums", "sum"}
        What ⟨·⟩ means; see ops.loss.reduction_scale. The default is Sonnet's.
    codebook_init : {"uniform", "normal", "scaled_uniform", "data", "kmeans"}
        How E is initialized: U(−1/K, 1/K), N(0, 1), or U(±√(3/D)), so that the mean of ‖e‖² is 1; "data"
        (random vectors) and "kmeans" start like "uniform" and wait for `initialize`, which `fit` calls. This
        happens once: a codebook that was loaded or trained stays, unless `reinitialize` is called.
    decay : float in [0, 1)
        γ of the running cluster sizes N, whose only use here is to identify rarely used codes.
    restart_dead_codes : float in [0, 1)
        A code used less than this fraction of uniform use restarts at a vector of the batch; 0: never.
    estimator : {"straight_through", "rotation"}
        How the decoder's gradient reaches z: copied, or by the rotation trick of ops.rotation.
    rng : numpy.random.Generator or int
    dtype : float32 or float64

    Attributes
    ----------
    initialized : bool
        Whether the codebook has its first codes; False only while "data" or "kmeans" waits for vectors.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equation 3.
    """

    loss_names = ("codebook_loss", "commitment_loss")
    has_codebook_loss = True
    E: Param
    N: Array

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25, *,
        reduction: str = "mean", codebook_init: str = "uniform",
        decay: float = 0.99, restart_dead_codes: float = 0.0, estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = type(self).__name__
        self.num_embeddings = check_int(where, "num_embeddings", num_embeddings)
        self.embedding_dim = check_int(where, "embedding_dim", embedding_dim)
        self.commitment_cost = check_float(where, "commitment_cost", commitment_cost, "[0, inf)")
        self.reduction = check_choice(where, "reduction", reduction, REDUCTIONS)
        self.codebook_init = check_choice(where, "codebook_init", codebook_init, CODEBOOK_INITS)
        self.decay = check_float(where, "decay", decay, "[0, 1)")
        self.restart_dead_codes = check_float(where, "restart_dead_codes", restart_dead_codes, "[0, 1)")
        self.estimator = check_choice(where, "estimator", estimator, ESTIMATORS)
        dtype = check_dtype(where, dtype)
        self._set_codebook(self._draw(check_rng(where, rng)).astype(dtype))
        self.initialized = self.codebook_init not in FROM_VECTORS

    def config(self) -> dict[str, Any]:
        own = (
            "num_embeddings", "embedding_dim", "commitment_cost", "reduction", "codebook_init", "decay",
            "restart_dead_codes", "estimator",
        )  # fmt: skip
        return {name: getattr(self, name) for name in own} | {"dtype": self.dtype.name}

    # The quantizer and its gradient.

    @property
    def embeddings(self) -> Array:
        """The codebook E: (K, D)."""
        return self.E.value

    def forward(
        self, z: Array, rng: Any = None, step: int = 0
    ) -> tuple[Array, Array, Array, Array, Cache]:
        """z_q, codebook loss, commitment loss, k, cache for z; changes nothing and draws nothing."""
        return quantize_forward(
            z, self.embeddings, beta=self.commitment_cost, codebook_loss=self.has_codebook_loss,
            reduction=self.reduction, estimator=self.estimator,
        )  # fmt: skip

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz = dz_q + dL · ∂L/∂z, dz_q copied or rotated;  dE += dL · ∂L/∂E, unless E is an average."""
        dz, dE = quantize_backward(dz_q, dL, cache)
        if self.has_codebook_loss:
            self.E.add_grad(dE)
        return dz if need_dx else None

    # How the codebook is initialized, and what happens after a step.

    def initialize(self, z: Array, rng: np.random.Generator | int) -> None:
        """Initialize the codebook from vectors if it still waits for them; z: (..., D), at least one vector.

        "data": random vectors of z, N = 1. "kmeans": e = μ, N = n (and for EMA m = n·μ).
        """
        rng = self._check_vectors("initialize", z, rng)
        if not self.initialized:
            self._draw_from(z, rng)

    def reinitialize(self, z: Array, rng: np.random.Generator | int) -> None:
        """Discard the codes and draw new ones as codebook_init says; z: (..., D), at least one vector.

        The encoder stays as it is: model.quantizer.reinitialize(model.latents(images), 0).
        """
        self._draw_from(z, self._check_vectors("reinitialize", z, rng))

    def _check_vectors(self, method: str, z: Array, rng: np.random.Generator | int) -> np.random.Generator:
        where = f"{type(self).__name__}.{method}"
        rng = check_rng(where, rng)
        check_array(where, "z", z, last=self.embedding_dim, dtype=self.embeddings.dtype, finite=True)
        if self.codebook_init in FROM_VECTORS and z.size == 0:
            fail(where, "z", "must hold at least one vector", f"shape {z.shape}")
        return rng

    def _draw_from(self, z: Array, rng: np.random.Generator) -> None:
        if self.codebook_init == "data":
            self._set_codebook(random_rows(z, self.num_embeddings, rng))
        elif self.codebook_init == "kmeans":
            self._set_codebook(*kmeans(z, self.num_embeddings, rng))
        else:
            self._set_codebook(self._draw(rng).astype(z.dtype))
        self.initialized = True

    def update(self, z: Array, k: Array, rng: np.random.Generator | int) -> Array:
        """N ← γN + (1−γ)n; then every code with N_j < restart_dead_codes · N̄ restarts at a vector of z.

        z: (..., D), k: (...,) their codes -> indices of the restarted codes: (any,)

        The trainer calls this after each step of the optimizer. It changes the quantizer.
        """
        where = f"{type(self).__name__}.update"
        rng = check_rng(where, rng)
        check_array(where, "z", z, last=self.embedding_dim, dtype=self.embeddings.dtype, finite=True)
        return self.update_by(code_statistics(z, k, self.num_embeddings), lambda: z, rng)

    def update_by(
        self, statistics: CodeStatistics, vectors: Callable[[], Array], rng: np.random.Generator
    ) -> Array:
        """`update`, given the statistics of z; vectors() is z, which is needed only if a code restarts."""
        n = statistics.counts
        self.N = flush(self.decay * self.N + (1 - self.decay) * n.astype(self.N.dtype))
        j = rarely_used(self.N, self.restart_dead_codes) if n.any() else np.empty(0, np.int64)
        if j.size:
            self.E.value[j] = random_rows(vectors(), j.size, rng)
            self.N[j] = self.N.mean()
        return j

    def after_step(self, z: Array, k: Array, rng: np.random.Generator) -> Mapping[str, Array]:
        """`update`; the rows of E that it restarted."""
        return {"E": self.update(z, k, rng)}

    def _draw(self, rng: np.random.Generator) -> Array:
        K, D = self.num_embeddings, self.embedding_dim
        check_room(type(self).__name__, K, D)
        if self.codebook_init == "normal":
            return rng.standard_normal((K, D))
        bound = np.sqrt(3 / D) if self.codebook_init == "scaled_uniform" else 1 / K
        return rng.uniform(-bound, bound, (K, D))

    def _set_codebook(self, E: Array, n: Array | None = None) -> None:
        """Make E the codebook; if its codes are means, as in k-means, n counts the vectors of each."""
        if hasattr(self, "E"):
            self.E.value[...] = E  # in place: an optimizer may already hold this Param
        else:
            self.E = Param(E)
        self.N = np.ones(len(E), E.dtype) if n is None else n.astype(E.dtype)

    # What a checkpoint holds, and what PyTorch calls it.

    def torch_names(self) -> dict[str, TorchName]:
        """The codebook is an nn.Embedding's weight; the averages are buffers."""
        return {"E": TorchName("embedding.weight"), "N": TorchName("cluster_size", statistic=True)}

    def first_buffers(self, E: Array) -> dict[str, Array]:
        """The buffers with which training starts from a codebook E: (K, D)."""
        return {"N": np.ones(len(E), E.dtype)}

    def buffers(self) -> Mapping[str, Array]:
        return {"N": self.N}

    def check_buffers(self, where: str, arrays: Mapping[str, Array]) -> None:
        for name in arrays.keys() & {"N", "t"}:
            if (arrays[name] < 0).any():
                fail(where, name, "must not be negative", arrays[name].min())

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        self.N = arrays["N"]
        self.initialized = True  # a codebook that is loaded is one to keep
