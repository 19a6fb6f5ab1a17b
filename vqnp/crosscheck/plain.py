"""k_n = argmin_j ‖z_n − e_j‖²;  n_j = #{n : k_n = j},  s_j = Σ_{k_n = j} z_n: in the plainest NumPy.

The checker uses none of vqnp's kernels and ops: a mistake in those would hide itself, and the checker is
run on them too (tests/bugs). And nothing has to be compiled.
"""

from __future__ import annotations

import numpy as np

from vqnp._check import Array

ROWS = 128
"""Vectors at a time: (128, K, D) differences stay near the processor."""


def distances(z: Array, E: Array) -> Array:
    """‖z_n − e_j‖² in float64; z: (N, D), E: (K, D) -> (N, K). A code that is not finite is far off."""
    z, E = z.astype(np.float64), E.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        rows = [((z[i : i + ROWS, None] - E) ** 2).sum(-1) for i in range(0, len(z), ROWS)]
    d: Array = np.concatenate(rows) if rows else np.zeros((0, len(E)))
    return np.where(np.isfinite(d), d, np.inf)


def nearest(z: Array, E: Array) -> Array:
    """k: (N,), ties to the lowest index."""
    k: Array = distances(z, E).argmin(axis=1)
    return k


def nearest_highest(z: Array, E: Array) -> Array:
    """k: (N,), ties to the highest index."""
    return len(E) - 1 - nearest(z, E[::-1])


def counts_of(k: Array, K: int) -> Array:
    """n: (K,) in float64."""
    return np.bincount(k, minlength=K).astype(np.float64)


def sums_of(z: Array, k: Array, K: int) -> Array:
    """s: (K, D) in float64."""
    s = np.zeros((K, z.shape[1]))
    np.add.at(s, k, z.astype(np.float64))
    return s
