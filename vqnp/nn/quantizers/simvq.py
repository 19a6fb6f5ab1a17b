"""SimVQ: a codebook C W of which W alone is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_dtype, check_float, check_int, check_rng
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Param, TorchName, check_room
from vqnp.nn.quantizers.vector import NearestCode
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.rotation import ESTIMATORS
from vqnp.ops.simvq import simvq_backward, simvq_codes, simvq_forward


@register
class SimVQ(NearestCode):
    """z_q = e_k,  E = C W,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩; C is fixed and W is trained by gradient.

    z: (..., D), C: (K, D), W: (D, D) -> z_q: (..., D), codebook: (), commitment: (), k: (...,)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        K and D.
    commitment_cost : float, at least 0
        β.
    reduction : {"mean", "mean_of_sums", "sum"}
        What ⟨·⟩ means; see ops.loss.reduction_scale.
    estimator : {"straight_through", "rotation"}
        How the decoder's gradient reaches z.
    rng : numpy.random.Generator or int
        The source of C, which is drawn from N(0, I/D), so that the mean of ‖c‖² is 1. W starts as the
        identity.
    dtype : float32 or float64

    References
    ----------
    Zhu et al. 2024, arXiv 2411.02038.

    Examples
    --------
    >>> quantizer = SimVQ(1000, 8)
    >>> quantizer.embeddings.shape, quantizer.num_parameters()
    ((1000, 8), 64)
    """

    loss_names = ("codebook_loss", "commitment_loss")
    fixed_codes = True  # none restarts

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25, *,
        reduction: str = "mean", estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        self.num_embeddings = check_int("SimVQ", "num_embeddings", num_embeddings)
        self.embedding_dim = check_int("SimVQ", "embedding_dim", embedding_dim)
        self.commitment_cost = check_float("SimVQ", "commitment_cost", commitment_cost, "[0, inf)")
        self.reduction = check_choice("SimVQ", "reduction", reduction, REDUCTIONS)
        self.estimator = check_choice("SimVQ", "estimator", estimator, ESTIMATORS)
        dtype = check_dtype("SimVQ", dtype)
        K, D = self.num_embeddings, self.embedding_dim
        check_room("SimVQ", K, D)
        self.C = (check_rng("SimVQ", rng).standard_normal((K, D)) / np.sqrt(D)).astype(dtype)
        self.W = Param(np.eye(D, dtype=dtype))

    def config(self) -> dict[str, Any]:
        own = ("num_embeddings", "embedding_dim", "commitment_cost", "reduction", "estimator")
        return {name: getattr(self, name) for name in own} | {"dtype": self.dtype.name}

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the codebook."""
        return self.C.dtype

    @property
    def embeddings(self) -> Array:
        """The codebook E = C W: (K, D)."""
        return simvq_codes(self.C, self.W.value)

    def forward(
        self, z: Array, rng: Any = None, step: int = 0
    ) -> tuple[Array, Array, Array, Array, Cache]:
        """z_q, codebook loss, commitment loss, k, cache for z; changes nothing and draws nothing."""
        return simvq_forward(
            z, self.C, self.W.value, beta=self.commitment_cost, reduction=self.reduction,
            estimator=self.estimator,
        )  # fmt: skip

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz through the estimator;  dW += dL · Cᵀ ∂L/∂E."""
        dz, dW = simvq_backward(dz_q, dL, cache)
        self.W.add_grad(dW)
        return dz if need_dx else None

    def torch_names(self) -> dict[str, TorchName]:
        """W is the weight of an nn.Linear without bias, whose input C is."""
        return {"C": TorchName("frozen_codebook"), "W": TorchName("code_transform.weight", (1, 0))}

    def buffers(self) -> Mapping[str, Array]:
        return {"C": self.C}

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        self.C = arrays["C"]
