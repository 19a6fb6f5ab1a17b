"""Lloyd's k-means alternates k_n = argmin_j ‖z_n − μ_j‖² and μ_j = s_j / n_j."""

import numpy as np

from vqnp._check import Array, check_array, check_int, check_rng, fail
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.ops.ema import random_rows


def kmeans(
    z: Array, num_embeddings: int, rng: np.random.Generator | int, iterations: int = 10
) -> tuple[Array, Array]:
    """μ_j = s_j / n_j over the vectors nearest to μ_j, starting from K vectors drawn at random.

    z: (..., D) -> mu: (K, D), n: (K,) int64

    A centre to which no vector is nearest moves to a random vector, and has n_j = 0 until the next
    pass. n matches mu: it counts the vectors of which each centre is the mean.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D), at least one vector
    num_embeddings : int
        K.
    rng : numpy.random.Generator or int
    iterations : int
        The number of passes, at least 1.

    References
    ----------
    Lloyd 1982, IEEE Trans. Inf. Theory 28(2), method I.
    """
    K = check_int("kmeans", "num_embeddings", num_embeddings)
    check_int("kmeans", "iterations", iterations)
    z = check_array("kmeans", "z", z, finite=True)
    if z.ndim == 0 or z.size == 0:
        fail("kmeans", "z", "must hold at least one vector", f"shape {z.shape}")
    rng = check_rng("kmeans", rng)
    mu = random_rows(z, K, rng)
    for _ in range(iterations):
        n, s = code_statistics(z, nearest_code(z, mu), K)
        mu = (s / np.maximum(n, 1)[:, None]).astype(z.dtype)
        empty = np.flatnonzero(n == 0)
        mu[empty] = random_rows(z, empty.size, rng)
    return mu, n
