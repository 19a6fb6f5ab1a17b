"""The variants that are formulas: weights of the loss, starts, the rotation trick, so-called perplexities."""

from collections.abc import Callable

import numpy as np

from vqnp._check import Array

# Where β stands: the weights p of the commitment term and q of the codebook term as (constant, times β).
# "none" has no codebook term, as with a codebook that follows by EMA; "undetached" is one squared error whose
# gradient reaches both z and E, so that it counts once in the loss.
PLACES = {
    "commitment": ((0, 1), (1, 0)),
    "codebook": ((1, 0), (0, 1)),
    "complement": ((1, -1), (0, 1)),
    "both": ((0, 1), (0, 1)),
    "none": ((0, 1), (0, 0)),
    "undetached": ((0, 1), (0, 1)),
}
# The constant c of ⟨·⟩ = c Σ for N vectors of D dimensions.
SCALES: dict[str, Callable[[int, int], float]] = {
    "mean": lambda N, D: 1 / (N * D),
    "mean_of_sums": lambda N, D: 1 / N,
    "sum": lambda N, D: 1.0,
    "sum_of_means": lambda N, D: 1 / D,
}
# N₀ and m₀ of moving averages; noise is N(0, 1). With N₀ = 0 and m₀ = e, a code that the first batch does not
# use becomes about γm/(εn/(n + Kε)).
STARTS = {
    "consistent": (1.0, "e"),
    "zero_counts": (0.0, "e"),
    "zero": (0.0, "0"),
    "independent": (0.0, "noise"),
    "one_count_independent": (1.0, "noise"),
}


def rotated(G: Array, z: Array, e: Array) -> Array:
    """JᵀG for z_q = J z, J = ‖e‖/‖z‖ (I − 2wwᵀ + 2êẑᵀ), w = (ẑ + ê)/‖ẑ + ê‖: the rotation trick.

    G, z, e: (..., D) -> (..., D)

    References
    ----------
    Fifty et al. 2024, arXiv 2410.06424, section 4.2.
    """
    (u, of_z), (q, of_e) = _unit(z), _unit(e)
    w, _ = _unit(u + q)
    return of_e / of_z * (G - 2 * _dot(G, w) * w + 2 * _dot(G, q) * u)


def _dot(a: Array, b: Array) -> Array:
    """⟨a, b⟩ over the last axis, which stays."""
    return (a * b).sum(axis=-1, keepdims=True)


def _unit(a: Array) -> tuple[Array, Array]:
    """a/‖a‖ and ‖a‖; of a zero vector zeros and a tiny number."""
    length = np.maximum(np.sqrt(_dot(a, a)), np.finfo(a.dtype).tiny)
    return a / length, length


def perplexities(counts: Array) -> dict[str, float]:
    """Every figure that goes by that name, from the counts (K,) of one batch."""
    p = counts / counts.sum()
    q = p[p > 0]
    entropy = float(-(q * np.log(q)).sum())
    return {
        "exact": float(np.exp(entropy)), "log_offset": float(np.exp(-(p * np.log(p + 1e-10)).sum())),
        "entropy": entropy, "entropy_bits": float(entropy / np.log(2)),
        "utilization": float(np.exp(entropy)) / len(counts), "used": float(len(q)),
    }  # fmt: skip
