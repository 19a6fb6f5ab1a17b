"""The questions: every array that a layer is asked about, drawn once from a seed.

Nothing here looks at answers, so that the same questions can be written to files for a program in another
language. Each case says why it is asked.
"""

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.questions.plain import distances
from vqnp.crosscheck.questions.precision import BFLOAT16, FLOAT16, rounded

# Eight steps separate all starts in float64; after 400 at γ = 0.99 an unused code has N = 0.018, where
# ε = 1e-5 shows in float32 and any threshold for dead codes has been met.
SHORT_STEPS, FULL_STEPS, LONG_STEPS = 8, 5, 400

# Data off the origin, as an encoder without normalisation gives it; and the same for an expanded form in
# float64: 2^20 is where o²·ε_float64·D meets the grid's gaps.
OFFSETS, FAR_OFFSETS = (0, 100, 1000), (2**20, 2**24)


class Case(NamedTuple):
    """One call: which function, of what, giving which outputs, in their order, of which shapes.

    For "step" it is a trajectory: reset(E), then step(z[0]), …, step(z[T−1]); outputs have T in front.
    """

    function: str
    arguments: dict[str, Array]
    shapes: dict[str, tuple[int, ...]]


def forward_case(z: Array, E: Array, function: str = "forward") -> Case:
    return Case(function, {"z": z, "E": E}, {"k": (len(z),), "z_q": z.shape, "L": (), "perplexity": ()})


def backward_case(z: Array, E: Array, G: Array) -> Case:
    return Case("backward", {"z": z, "E": E, "G": G}, {"dz": z.shape, "dE": E.shape})


def step_case(z: Array, E: Array) -> Case:
    T, (K, D) = len(z), E.shape
    return Case("step", {"z": z, "E": E}, {"E": (T, K, D), "N": (T, K), "m": (T, K, D)})


def plan(
    K: int, D: int, dtype: Any, seed: int = 0, *, free: bool = True, eps: float | None = None
) -> dict[str, Case]:
    """Every case for a layer of K codes of D dimensions; free: whether the layer can have another D too.

    eps: of the layer's numbers, where it is coarser than the dtype's: then every number is one of those.
    """
    r, dtype = np.random.default_rng(seed), np.dtype(dtype)
    coarse = next((p for p in (FLOAT16, BFLOAT16) if p.eps == eps), None)
    E = r.standard_normal((K, D)).astype(dtype)
    N = max(32, 2 * K)
    margin = max(1e-3, 8 * (eps or 0))
    z, G = clear_vectors(r, E, N, margin), r.standard_normal((N, D)).astype(dtype)
    # What the quantities are measured on.
    cases = {"base": forward_case(z, E), "gradient": backward_case(z, E, G)}
    cases["evaluation"] = forward_case(z, E, "evaluate")
    # Four times the batch: a mean stays, a sum does not. Twice the dimensions: the same for a sum over D.
    batches = {"": (z, E), "tiled ": (np.tile(z, (4, 1)), E)}
    if free:
        wide = r.standard_normal((K, 2 * D)).astype(dtype)
        batches["wide "] = clear_vectors(r, wide, N, margin), wide
    for prefix, (z, E) in batches.items():
        cases.setdefault(prefix.strip() or "base", forward_case(z, E))
        # The loss alone: dz and dE are multiples of z − e, whatever straight-through does.
        cases[f"{prefix}loss gradient"] = backward_case(z, E, np.zeros_like(z))
        # The codebook after one step on the same z: is this what forward used?
        cases[f"{prefix}one step"] = step_case(z[None], E)
    cases |= trajectories(r, K, D, dtype)
    if coarse is None:
        return cases | distance_cases(K, D, dtype, seed, free=free)
    cases["ties"] = ties_case(np.random.default_rng([seed, 1]), K, D, dtype)
    return {
        name: case._replace(arguments={n: rounded(a, coarse) for n, a in case.arguments.items()})
        for name, case in cases.items()
    }


def clear_vectors(r: np.random.Generator, E: Array, N: int, margin: float = 1e-3) -> Array:
    """N vectors around the origin whose nearest code is clear: by margin · squares, above any rounding."""
    D, dtype = E.shape[1], E.dtype
    z = (max(float(np.abs(E).max()), 0.1) * r.standard_normal((40 * N, D))).astype(dtype)
    if len(E) > 1:
        d = np.sort(((z[:, None].astype(np.float64) - E) ** 2).sum(-1), axis=1)
        squares = (z.astype(np.float64) ** 2).sum(-1) + float((E.astype(np.float64) ** 2).sum(-1).max())
        z = z[np.argsort(d[:, 1] - d[:, 0] < margin * squares, kind="stable")]
    return np.ascontiguousarray(z[:N])


def trajectories(r: np.random.Generator, K: int, D: int, dtype: np.dtype[Any]) -> dict[str, Case]:
    """Batches for moving averages.

    "steps": the last half of the codes is unused in the first four steps, where the starts differ; later
    batches use all, unevenly, so that each code's N has a history of its own. (Codes that a start sends
    onto the origin tie with each other: the first four batches keep away from them.) "long": two codes are
    used, the others fade. Codes lie 2 to 3 from the origin: a code that falls onto it is noticed. "full": all
    codes have many vectors from the first batch, so that none restarts, whatever N a layer begins with.
    """
    E = r.standard_normal((K, D))
    E *= (2 + r.random((K, 1))) / np.linalg.norm(E, axis=1, keepdims=True)
    if D == 1:  # on a line, a random dozen would crowd
        E = 2 + np.arange(K)[:, None] * (-1.0) ** np.arange(K)[:, None]
    E = np.ascontiguousarray(E.astype(dtype))

    def near(j: Array) -> Array:
        return (E[j] + 0.2 * r.standard_normal((len(j), D))).astype(dtype)

    short = []
    for t in range(SHORT_STEPS):
        used = (K + 1) // 2 if t < SHORT_STEPS // 2 else K  # each at least once
        often = r.choice(used, 2 * K + 1 - used, p=np.arange(1, used + 1) / (used * (used + 1) / 2))
        short.append(near(np.concatenate([np.arange(used), often])))
    long = [near(r.integers(0, min(2, max(1, K - 1)), 6)) for _ in range(LONG_STEPS)]
    counts = np.repeat(np.arange(K), r.integers(40, 81, K))
    full = [near(counts) for _ in range(FULL_STEPS)]
    cases = {"steps": np.stack(short), "long": np.stack(long), "full": np.stack(full)}
    return {name: step_case(batches, E) for name, batches in cases.items()}


def distance_cases(K: int, D: int, dtype: np.dtype[Any], seed: int, *, free: bool) -> dict[str, Case]:
    """Cases "offset o", "far o" (float64), "bisectors" and "ties".

    Equal in exact arithmetic, Σ(z − e)² and ‖z‖² − 2z·e + ‖e‖² round differently. On a grid of multiples of
    1/64 every difference, square and sum of the direct form is exact in float32 (7 + 6 bits of a difference,
    squared and added 64 times, are 24 + some), so a wrong code there means that something cancelled.
    """
    r = np.random.default_rng([seed, 1])
    big_K, big_D = (128, 64) if free else (K, D)
    z, E = (np.clip(np.round(64 * r.standard_normal((n, big_D))) / 64, -4, 4) for n in (512, big_K))
    z = without_ties(z, E)[:256]
    cases = {f"offset {o}": forward_case((z + o).astype(dtype), (E + o).astype(dtype)) for o in OFFSETS}
    if dtype == np.float64:
        cases |= {f"far {o}": forward_case(z + o, E + o) for o in FAR_OFFSETS}
    cases["bisectors"] = forward_case(*bisectors(r, K, D, dtype))
    return cases | {"ties": ties_case(r, K, D, dtype)}


def ties_case(r: np.random.Generator, K: int, D: int, dtype: np.dtype[Any]) -> Case:
    """Every code twice, small whole numbers: exact in any form."""
    E = r.integers(-2, 3, (K, D)).astype(dtype)
    E[(K + 1) // 2 :] = E[: K // 2]
    return forward_case(r.integers(-2, 3, (64, D)).astype(dtype), E)


def without_ties(z: Array, E: Array) -> Array:
    d = distances(z, E)
    return z[(d == d.min(axis=1, keepdims=True)).sum(axis=1) == 1]


def bisectors(r: np.random.Generator, K: int, D: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """z within a few units in the last place of midway between two codes, where rounding decides."""
    E = r.standard_normal((K, D)).astype(dtype)
    if K == 1:
        return E.repeat(64, axis=0), E
    d = ((E[:, None].astype(np.float64) - E) ** 2).sum(-1)
    np.fill_diagonal(d, np.inf)
    i = r.integers(0, K, 256)
    j = d[i].argmin(axis=1)
    low, high = (1e-12, 1e-9) if dtype == np.float64 else (1e-8, 1e-6)
    t = np.exp(r.uniform(np.log(low), np.log(high), (256, 1))) * r.choice([-1, 1], (256, 1))
    a, b = E[i].astype(np.float64), E[j].astype(np.float64)
    return without_ties(((a + b) / 2 + t * (b - a)).astype(dtype), E), E
