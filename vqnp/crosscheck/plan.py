"""The questions: every array that a layer is asked about, drawn once from a seed.

Nothing here looks at answers, so that the same questions can be written to files for a program in
another language. Each case says why it is asked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.adapter import BACKWARD, FORWARD, STEP

SHORT, LONG = 8, 400
"""Steps of the two trajectories. Eight tell all starts apart in float64; after 400 at γ = 0.99 an unused
code has N = 0.018, where ε = 1e-5 shows in float32 and any threshold for dead codes has been met."""


class Case(NamedTuple):
    """One call: which function, of what, giving outputs of which shapes. For "step": a whole trajectory."""

    function: str
    arguments: dict[str, Array]
    shapes: dict[str, tuple[int, ...]]


def forward_case(z: Array, E: Array, function: str = "forward") -> Case:
    N = len(z)
    return Case(function, {"z": z, "E": E}, {"k": (N,), "z_q": z.shape, "L": (), "perplexity": ()})


def backward_case(z: Array, E: Array, G: Array) -> Case:
    return Case("backward", {"z": z, "E": E, "G": G}, {"dz": z.shape, "dE": E.shape})


def step_case(z: Array, E: Array) -> Case:
    """z: (T, N, D): reset(E), then step(z[0]), …, step(z[T−1]); outputs have T in front."""
    K, D = E.shape
    return Case("step", {"z": z, "E": E}, {"E": (len(z), K, D), "N": (len(z), K), "m": (len(z), K, D)})


OUTPUTS = {"forward": FORWARD, "evaluate": FORWARD, "backward": BACKWARD, "step": STEP}


def clear_vectors(r: np.random.Generator, E: Array, N: int, spread: float = 1.0) -> Array:
    """N vectors around the origin whose nearest code is clear: by 1e-3 of the squares that are subtracted.

    So a difference in codes is a different rule, not another rounding, not even of the expanded form.
    """
    D, dtype = E.shape[1], E.dtype
    scale = spread * max(float(np.abs(E).max()), 0.1)
    z = (scale * r.standard_normal((40 * N, D))).astype(dtype)
    if len(E) > 1:
        d = np.sort(((z[:, None].astype(np.float64) - E) ** 2).sum(-1), axis=1)
        squares = (z.astype(np.float64) ** 2).sum(-1) + float((E.astype(np.float64) ** 2).sum(-1).max())
        z = z[np.argsort(d[:, 1] - d[:, 0] < 1e-3 * squares, kind="stable")]
    return np.ascontiguousarray(z[:N])


def plan(K: int, D: int, dtype: Any, seed: int = 0, *, free: bool = True) -> dict[str, Case]:
    """Every case but the ones about distance, for a layer of K codes of D dimensions.

    free: whether the layer can have another D too; without it "wide" is not asked.
    """
    r, dtype = np.random.default_rng(seed), np.dtype(dtype)
    E = r.standard_normal((K, D)).astype(dtype)
    N = max(32, 2 * K)
    z, G = clear_vectors(r, E, N), r.standard_normal((N, D)).astype(dtype)
    zero = np.zeros_like
    cases = {
        # What the quantities are measured on.
        "base": forward_case(z, E),
        "gradient": backward_case(z, E, G),
        # The loss alone: dz and dE are multiples of z − e, whatever straight-through does.
        "loss gradient": backward_case(z, E, zero(z)),
        "evaluation": forward_case(z, E, "evaluate"),
        # The same codebook after one step on the same z: is this what forward used?
        "one step": step_case(z[None], E),
    }
    # Four times the batch: a mean stays, a sum does not.
    tiled = np.tile(z, (4, 1))
    cases["tiled"] = forward_case(tiled, E)
    cases["tiled loss gradient"] = backward_case(tiled, E, zero(tiled))
    cases["tiled one step"] = step_case(tiled[None], E)
    if free:  # twice the dimensions: a mean over D stays, a sum over D does not
        wide_E = r.standard_normal((K, 2 * D)).astype(dtype)
        wide = clear_vectors(r, wide_E, N)
        cases["wide"] = forward_case(wide, wide_E)
        cases["wide loss gradient"] = backward_case(wide, wide_E, zero(wide))
        cases["wide one step"] = step_case(wide[None], wide_E)
    cases |= trajectories(r, K, D, dtype)
    return cases


def trajectories(r: np.random.Generator, K: int, D: int, dtype: np.dtype[Any]) -> dict[str, Case]:
    """Batches for moving averages.

    "steps": the last half of the codes is unused in the first four steps, where the starts differ; later
    batches use all, unevenly, so that each code's N has a history of its own. (Codes that a start sends
    onto the origin tie with each other: the first four batches keep away from them.) "long": two codes are
    used, the others fade. Codes lie 2 to 3 from the origin: a code that falls onto it is noticed.
    """
    E = r.standard_normal((K, D))
    E *= (2 + r.random((K, 1))) / np.linalg.norm(E, axis=1, keepdims=True)
    if D == 1:  # on a line, a random dozen would crowd
        E = 2 + np.arange(K)[:, None] * (-1.0) ** np.arange(K)[:, None]
    E = np.ascontiguousarray(E.astype(dtype))

    def near(j: Array) -> Array:
        return (E[j] + 0.2 * r.standard_normal((len(j), D))).astype(dtype)

    def uneven(k: int) -> Array:
        often = r.choice(k, n - k, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
        return near(np.concatenate([np.arange(k), often]))

    used = max(1, (K + 1) // 2)
    n = 2 * K + 1
    batches = [uneven(used if t < SHORT // 2 else K) for t in range(SHORT)]
    long = np.stack([near(r.integers(0, min(2, max(1, K - 1)), 6)) for _ in range(LONG)])
    return {"steps": step_case(np.stack(batches), E), "long": step_case(long, E)}
