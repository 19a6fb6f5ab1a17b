"""y = E[k]: a row of a table for each integer, and its gradient, a sum for each row.

E: (K, D), k: (...) integers in [0, K) -> y: (..., D)
"""

from typing import Any

from vqnp._check import Array, check_array, check_codes
from vqnp._shapes import checked, unchecked
from vqnp.kernels.statistics import code_statistics

Cache = tuple[Any, ...]


@checked(E="(K, D)")
def embedding_forward(E: Array, k: Any) -> tuple[Array, Cache]:
    """y = E[k]; E: (K, D), k: (...) integers in [0, K) -> y: (..., D).

    Raises
    ------
    InputError
        E is no table of float32 or float64, or k is not integers in [0, K).
    """
    k = check_codes("embedding_forward", k, len(E), "k")
    return E[k], (k, E.shape, E.dtype)


def embedding_backward(dy: Array, cache: Cache) -> Array:
    """dE_j = Σ_{n: k_n = j} dy_n, added in float64 in the order of n; a row that is not used gets 0.

    dy: (..., D) -> dE: (K, D)
    """
    k, (K, D), dtype = cache
    check_array("embedding_backward", "dy", dy, shape=(*k.shape, D), dtype=dtype)
    return unchecked(code_statistics)(dy, k, K).sums.astype(dtype, copy=False)
