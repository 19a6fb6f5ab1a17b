"""k_n = argmin_j ‖z_n − e_j‖²,  s_j = Σ_{k_n = j} z_n, in plain NumPy and float64.

z: (N, D), E: (K, D) -> k: (N,), s: (K, D)

A layer's codes and batch statistics are computed here and not by vqnp's kernels: the cross-check is run on
vqnp's own layers too (tests/bugs), and a mistake in a kernel must not hide itself.
"""

import numpy as np

from vqnp._check import Array

ROWS = 128  # vectors at a time, so that (128, K, D) differences stay in the processor's cache


def distances(z: Array, E: Array) -> Array:
    """‖z_n − e_j‖², infinite where e_j is not finite; z: (N, D), E: (K, D) -> (N, K)."""
    z, E = z.astype(np.float64), E.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        parts = [((z[i : i + ROWS, None] - E) ** 2).sum(-1) for i in range(0, len(z), ROWS)]
    d: Array = np.concatenate(parts) if parts else np.zeros((0, len(E)))
    return np.where(np.isfinite(d), d, np.inf)


def nearest(z: Array, E: Array) -> Array:
    """k: (N,), ties to the lowest index."""
    return distances(z, E).argmin(axis=1)


def sums_of(z: Array, k: Array, K: int) -> Array:
    """s: (K, D)."""
    s = np.zeros((K, z.shape[1]))
    np.add.at(s, k, z.astype(np.float64))
    return s
