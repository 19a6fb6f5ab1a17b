"""The contenders of nearest.py: functions that find the nearest codes, called as users call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from harness import OURS

import vqnp

Array = np.ndarray[Any, Any]

# (N, D), (K, D) -> (N,). A process imports only what its contender needs.


def by_vqnp(z: Array, E: Array) -> Array:
    return vqnp.nearest_code(z, E)


def by_faiss(z: Array, E: Array) -> Array:
    import faiss

    index = faiss.IndexFlatL2(E.shape[1])
    index.add(E)
    return index.search(z, 1)[1][:, 0]


def by_numpy(z: Array, E: Array, part: int = 4096) -> Array:
    """argmax z·e − ½‖e‖², in parts that stay in the cache."""
    half, k = 0.5 * (E * E).sum(1), np.empty(len(z), np.int64)
    for i in range(0, len(z), part):
        k[i : i + part] = (z[i : i + part] @ E.T - half).argmax(1)
    return k


def by_cdist(z: Array, E: Array) -> Array:
    import torch

    return torch.cdist(torch.from_numpy(z), torch.from_numpy(E)).argmin(1).numpy()


def by_expanded(z: Array, E: Array) -> Array:
    """‖z‖² − 2z·e + ‖e‖², as in most VQ layers."""
    import torch

    a, b = torch.from_numpy(z), torch.from_numpy(E)
    return ((a * a).sum(1, keepdim=True) - 2 * a @ b.T + (b * b).sum(1)).argmin(1).numpy()


def by_addmm(z: Array, E: Array) -> Array:
    """‖e‖² − 2z·e in one call."""
    import torch

    a, b = torch.from_numpy(z), torch.from_numpy(E)
    return torch.addmm((b * b).sum(1), a, b.T, alpha=-2).argmin(1).numpy()


def by_scipy(z: Array, E: Array) -> Array:
    from scipy.cluster.vq import vq

    return vq(z, E, check_finite=False)[0]


def by_sklearn(z: Array, E: Array) -> Array:
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(z, E)


ANSWERS: dict[str, Callable[[Array, Array], Array]] = {
    OURS: by_vqnp,
    "faiss": by_faiss,
    "NumPy, expanded": by_numpy,
    "PyTorch addmm": by_addmm,
    "PyTorch, expanded": by_expanded,
    "PyTorch cdist": by_cdist,
    "SciPy vq": by_scipy,
    "scikit-learn": by_sklearn,
}
