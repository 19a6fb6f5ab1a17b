"""The quantizer that rounds each coordinate: no codebook, no loss of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_dtype
from vqnp.nn.description import register
from vqnp.nn.module import Cache
from vqnp.nn.quantizers.base import Quantizer
from vqnp.ops.finite_scalar import (
    check_levels, finite_scalar_backward, finite_scalar_decode, finite_scalar_forward,
)


@register
class FiniteScalarQuantizer(Quantizer):
    """z_q = round(h tanh(z + s) − o) / ⌊L/2⌋: D coordinates of L_1, …, L_D values, K = L_1 ⋯ L_D codes.

    z: (..., D) -> z_q: (..., D), k: (...,)

    Parameters
    ----------
    levels : sequence of int in [2, 1000], default (8, 6, 5)
        L_d, the number of values of each coordinate. The paper uses (8, 6, 5) for about 2⁸ codes,
        (8, 5, 5, 5) for 2¹⁰, and advises at least 5 in each coordinate.
    dtype : float32 or float64

    References
    ----------
    Mentzer et al. 2023, arXiv 2309.15505.

    Examples
    --------
    >>> quantizer = FiniteScalarQuantizer((3, 2))
    >>> quantizer.num_embeddings, quantizer.embedding_dim
    (6, 2)
    >>> quantizer.decode(np.arange(6)).tolist()
    [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """

    fixed_codes = True

    def __init__(self, levels: Sequence[int] = (8, 6, 5), dtype: Any = np.float32) -> None:
        L = check_levels("FiniteScalarQuantizer", levels)
        self.levels = tuple(map(int, L))
        self.num_embeddings, self.embedding_dim = int(np.prod(L)), len(L)
        self._dtype = check_dtype("FiniteScalarQuantizer", dtype)

    def config(self) -> dict[str, Any]:
        return {"levels": self.levels, "dtype": self.dtype.name}

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of decode's result; forward's result has the dtype of its argument."""
        return self._dtype

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> tuple[Array, Array, Cache]:
        """z_q, k, cache; draws nothing."""
        return finite_scalar_forward(z, self.levels)

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz, straight through the rounding; there is no loss, and dL is not used."""
        return finite_scalar_backward(dz_q, cache) if need_dx else None

    def decode(self, k: Array) -> Array:
        """z_q of the codes; k: (...,) -> z_q: (..., D)."""
        return finite_scalar_decode(self._checked_codes(k), self.levels, self.dtype)
