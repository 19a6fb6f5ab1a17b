"""Product codes: a quantizer for each part of the vector."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_float, check_int, check_rng, fail
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module, TorchName
from vqnp.nn.quantizers.base import Quantizer
from vqnp.nn.quantizers.ema import EMAVectorQuantizer
from vqnp.nn.quantizers.vector import VectorQuantizer
from vqnp.ops.product_codes import part_of, part_weight


@register
class ProductVectorQuantizer(Quantizer):
    """z = (z_1, …, z_G),  z_q = (e¹_{k_1}, …, e^G_{k_G}),  k_g = argmin_j ‖z_g − e^g_j‖²: K^G codes.

    z: (..., D) -> z_q: (..., D), codebook: (), commitment: (), k: (..., G)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        K codes in each of the G codebooks, and D, the length of z.
    groups : int, at least 2
        G, which divides D.
    codebook : {"ema", "gradient"}
        How each codebook is trained: as in EMAVectorQuantizer or as in VectorQuantizer.
    commitment_cost, decay, epsilon, reduction, codebook_init, restart_dead_codes, estimator, rng, dtype
        As there; epsilon applies to EMA only.

    Attributes
    ----------
    parts : tuple of VectorQuantizer
        The quantizers of the G parts.

    References
    ----------
    Jégou, Douze & Schmid 2011, IEEE TPAMI 33, section 2.2.

    Examples
    --------
    >>> quantizer = ProductVectorQuantizer(16, 8, groups=2, codebook_init="normal")
    >>> quantizer.encode(np.zeros((5, 8), np.float32)).shape
    (5, 2)
    """

    loss_names = ("codebook_loss", "commitment_loss")

    def __init__(
        self, num_embeddings: int, embedding_dim: int, groups: int = 2, commitment_cost: float = 0.25, *,
        codebook: str = "ema", decay: float = 0.99, epsilon: float = 1e-5, reduction: str = "mean",
        codebook_init: str = "uniform", restart_dead_codes: float = 0.0, estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "ProductVectorQuantizer"
        self.embedding_dim = check_int(where, "embedding_dim", embedding_dim)
        self.num_codebooks = self.groups = check_int(where, "groups", groups, 2)
        if self.embedding_dim % self.groups:
            needed = f"must divide the number of dimensions, {self.embedding_dim}"
            fail(where, "groups", needed, self.groups)
        self.codebook = check_choice(where, "codebook", codebook, ("ema", "gradient"))
        self.epsilon = check_float(where, "epsilon", epsilon, "[0, inf)")
        rng, options = check_rng(where, rng), {"epsilon": epsilon} if codebook == "ema" else {}
        cls = EMAVectorQuantizer if codebook == "ema" else VectorQuantizer
        self.parts = tuple(
            cls(
                num_embeddings, self.embedding_dim // self.groups, commitment_cost, decay=decay,
                reduction=reduction, codebook_init=codebook_init, restart_dead_codes=restart_dead_codes,
                estimator=estimator, rng=rng, dtype=dtype, **options,
            )
            for _ in range(self.groups)
        )  # fmt: skip
        self.num_embeddings = self.parts[0].num_embeddings

    def config(self) -> dict[str, Any]:
        own = ("embedding_dim", "groups", "codebook", "epsilon")
        shared = ("num_embeddings", "commitment_cost", "decay", "reduction", "codebook_init",
                  "restart_dead_codes", "estimator")  # fmt: skip
        part = self.parts[0].config()
        return {n: getattr(self, n) for n in own} | {n: part[n] for n in shared} | {"dtype": self.dtype.name}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """("parts.0", the first part's quantizer), …"""
        return ((f"parts.{g}", part) for g, part in enumerate(self.parts))

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the codebooks."""
        return self.parts[0].dtype

    @property
    def embeddings(self) -> Array:
        """The codebooks E: (G, K, D/G), a copy."""
        return np.stack([part.embeddings for part in self.parts])

    @property
    def initialized(self) -> bool:  # type: ignore[override]
        """Whether every codebook has its first codes."""
        return all(part.initialized for part in self.parts)

    # The quantizer and its gradient: ops.product_codes, with the state of each part in its quantizer.

    def forward(
        self, z: Array, rng: Any = None, step: int = 0
    ) -> tuple[Array, Array, Array, Array, Cache]:
        """z_q, codebook loss, commitment loss, k, cache for z; changes nothing and draws nothing."""
        self._check(z, "forward")
        found = [part.forward(part_z) for part, part_z in self._split(z)]
        z_q, codebook, commitment, k, caches = zip(*found, strict=True)
        share = part_weight(self.parts[0].reduction, self.groups)
        losses = (np.asarray(share * sum(terms), z.dtype) for terms in (codebook, commitment))
        codes = np.stack(k, axis=-1)
        return np.concatenate(z_q, axis=-1), *losses, codes, caches  # type: ignore[return-value]

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz: each part's own; adds to the gradient of each codebook that is trained by gradient."""
        self._check(dz_q, "backward", "dz_q")
        dL = part_weight(self.parts[0].reduction, self.groups) * np.asarray(dL)
        dz = [
            part.backward(part_dz_q, part_cache, dL, need_dx)
            for (part, part_dz_q), part_cache in zip(self._split(dz_q), cache, strict=True)
        ]
        return np.concatenate(dz, axis=-1) if need_dx else None

    def encode(self, z: Array) -> Array:
        """k_g = argmin_j ‖z_g − e^g_j‖²; z: (..., D) -> k: (..., G) int64."""
        self._check(z, "encode")
        return np.stack([part.encode(part_z) for part, part_z in self._split(z)], axis=-1)

    def decode(self, k: Array) -> Array:
        """z_q = (e¹_{k_1}, …, e^G_{k_G}); k: (..., G) -> z_q: (..., D)."""
        k = self._checked_codes(k)
        return np.concatenate([part.decode(k[..., g]) for g, part in enumerate(self.parts)], axis=-1)

    def decode_parts(self, k: Array) -> Array:
        """(0, …, e^g_{k_g}, …, 0) of each g: k: (..., G) -> (..., G, D)."""
        z_q, d = self.decode(k), self.embedding_dim // self.groups
        own = np.kron(np.eye(self.groups, dtype=self.dtype), np.ones(d, self.dtype))
        return z_q[..., None, :] * own

    def _split(self, z: Array) -> Iterator[tuple[VectorQuantizer, Array]]:
        d = self.embedding_dim // self.groups
        return ((part, part_of(z, g, d)) for g, part in enumerate(self.parts))

    def _check(self, z: Any, method: str, name: str = "z") -> None:
        if np.ndim(z) == 0 or np.shape(z)[-1] != self.embedding_dim:
            where = f"ProductVectorQuantizer.{method}"
            fail(where, name, f"must have last axis {self.embedding_dim}", f"shape {np.shape(z)}")

    # How the codebooks are initialized, and what happens after a step.

    def initialize(self, z: Array, rng: np.random.Generator | int) -> None:
        """Initialize each codebook from its part of the vectors, if it waits for them; z: (..., D)."""
        rng = check_rng("ProductVectorQuantizer.initialize", rng)
        self._check(z, "initialize")
        for part, part_z in self._split(z):
            part.initialize(part_z, rng)

    def reinitialize(self, z: Array, rng: np.random.Generator | int) -> None:
        """Discard the codes and draw new ones as codebook_init says; z: (..., D)."""
        rng = check_rng("ProductVectorQuantizer.reinitialize", rng)
        self._check(z, "reinitialize")
        for part, part_z in self._split(z):
            part.reinitialize(part_z, rng)

    def after_step(self, z: Array, k: Array, rng: np.random.Generator) -> Mapping[str, Array]:
        """The update of each part; the rows of each E that it restarted."""
        self._check(z, "after_step")
        return {
            f"parts.{g}.E": part.update(part_z, k[..., g], rng)
            for g, (part, part_z) in enumerate(self._split(z))
        }

    # On what the meaning of a code depends.

    def defining_arrays(self) -> list[Array]:
        """The codebooks alone."""
        return [self.embeddings]

    def defining_values(self) -> list[Any]:
        """None beside the codebooks."""
        return []

    def torch_names(self) -> dict[str, TorchName]:
        """None of its own: those of the parts have their prefix."""
        return {}
