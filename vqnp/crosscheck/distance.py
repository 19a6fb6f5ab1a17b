"""d(z, e) = Σ(z − e)² or ‖z‖² − 2z·e + ‖e‖²? In float32 or float64? Where do ties go?

Equal in exact arithmetic, the two forms round differently. On a grid of multiples of 1/64 every
difference, square and sum of the direct form is exact in float32 (7 + 6 bits of a difference, squared and
added 64 times, are 24 + some), so a wrong code there means that something cancelled. On bisectors, where two
codes are equally far but for a few units in the last place, a code from rounded sums is a toss-up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.finding import Finding
from vqnp.crosscheck.plain import distances, nearest, nearest_highest
from vqnp.crosscheck.plan import Case, forward_case

OFFSETS = (0, 100, 1000)
"""Data off the origin, as an encoder without normalisation gives it."""
FAR = (2**20, 2**24)
"""The same for an expanded form in float64: 2^20 is where o²·ε_float64·D meets the grid's gaps."""
VECTORS = 256


def distance_cases(K: int, D: int, dtype: Any, seed: int, *, free: bool) -> dict[str, Case]:
    """Cases "offset o", "far o" (float64), "bisectors" and "ties"."""
    r, dtype = np.random.default_rng([seed, 1]), np.dtype(dtype)
    big_K, big_D = (128, 64) if free else (K, D)
    z, E = _grid(r, 2 * VECTORS, big_D), _grid(r, big_K, big_D)
    z = _without_ties(z, E)[:VECTORS]
    cases = {f"offset {o}": forward_case((z + o).astype(dtype), (E + o).astype(dtype)) for o in OFFSETS}
    if dtype == np.float64:
        cases |= {f"far {o}": forward_case(z + o, E + o) for o in FAR}
    cases["bisectors"] = forward_case(*_bisectors(r, K, D, dtype))
    E = r.integers(-2, 3, (K, D)).astype(dtype)
    E[(K + 1) // 2 :] = E[: K // 2]  # every code twice, small whole numbers: exact in any form
    cases["ties"] = forward_case(r.integers(-2, 3, (64, D)).astype(dtype), E)
    return cases


def _grid(r: np.random.Generator, *shape: int) -> Array:
    return np.clip(np.round(64 * r.standard_normal(shape)) / 64, -4, 4)


def _without_ties(z: Array, E: Array) -> Array:
    d = distances(z, E)
    return z[(d == d.min(axis=1, keepdims=True)).sum(axis=1) == 1]


def _bisectors(r: np.random.Generator, K: int, D: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """z within a few units in the last place (float64: 1e-12 to 1e-9) of midway between two codes."""
    E = r.standard_normal((K, D)).astype(dtype)
    if K == 1:
        return E.repeat(64, axis=0), E
    d = ((E[:, None].astype(np.float64) - E) ** 2).sum(-1)
    np.fill_diagonal(d, np.inf)
    i = r.integers(0, K, 256)
    j = d[i].argmin(axis=1)
    low, high = (1e-12, 1e-9) if dtype == np.float64 else (1e-8, 1e-6)
    t = np.exp(r.uniform(np.log(low), np.log(high), (256, 1))) * r.choice([-1, 1], (256, 1))
    z = ((E[i] + E[j].astype(np.float64)) / 2 + t * (E[j].astype(np.float64) - E[i])).astype(dtype)
    return _without_ties(z, E), E


def codes_of(outputs: Any, E: Array) -> Array | None:
    """The layer's codes; or, where it gives none, the rows of E that z_q consists of."""
    k: Array | None = outputs.get("k")
    if k is not None:
        return k if k.size == 0 or (k.min() >= 0 and k.max() < len(E)) else None
    z_q = outputs.get("z_q")
    if z_q is None or not np.isfinite(z_q).all():
        return None
    k = nearest(z_q, E)
    size = np.abs(E).max() + np.abs(z_q).max()
    return k if np.abs(E[k] - z_q).max(initial=0) <= 64 * np.finfo(z_q.dtype).eps * size else None


def wrong_codes(record: Any, name: str) -> tuple[int, int] | None:
    """(how many codes differ from the exact answer, of how many); None without codes."""
    if name not in record.cases:
        return None
    case = record.cases[name]
    k = codes_of(record.get(name), case.arguments["E"])
    if k is None:
        return None
    return int((k != nearest(case.arguments["z"], case.arguments["E"])).sum()), k.size


def find_distance(record: Any) -> Finding:
    """Which form of the distance, and how precise."""
    if record.K == 1 and not record.free:
        return Finding("distance", None, "one code is always the nearest")
    counts = {name: wrong_codes(record, name) for name in (*(f"offset {o}" for o in OFFSETS), "bisectors")}
    if counts["offset 0"] is None:
        return Finding("distance", None, "needs codes, or a z_q that consists of rows of E")
    some = {name: c for name, c in counts.items() if c is not None}
    said = ", ".join(_differ(count, _at(name)) for name, count in some.items() if count[0])
    wrong, of = some["offset 0"]
    if wrong > 0.02 * of:  # no rounding does that: another rule
        return Finding("distance", _other_rule(record), said)
    if any(some.get(f"offset {o}", (0, 0))[0] for o in OFFSETS):
        return Finding("distance", "expanded_float32", said)
    if some.get("bisectors", (0, 0))[0]:
        return Finding("distance", "direct_float32", said)
    far = {o: wrong_codes(record, f"far {o}") for o in FAR}
    lost = [_differ(c, f"at offset {o}") for o, c in far.items() if c is not None and c[0]]
    if lost:
        return Finding("distance", "expanded_float64", ", ".join(lost))
    return Finding("distance", "exact", "on bisectors, and whatever the offset")


def _differ(count: tuple[int, int], where: str) -> str:
    return f"{count[0]} of {count[1]} codes differ from the exact answer {where}"


def _at(name: str) -> str:
    return "on bisectors" if name == "bisectors" else f"at {name}"


def _other_rule(record: Any) -> str:
    z, E = record.cases["offset 0"].arguments.values()
    k = codes_of(record.get("offset 0"), E)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (z / np.linalg.norm(z, axis=1, keepdims=True)) @ (
            E / np.linalg.norm(E, axis=1, keepdims=True)
        ).T
    return "cosine" if k is not None and (k == cosine.argmax(axis=1)).mean() > 0.99 else "other"


def find_ties(record: Any, distance: str | None) -> Finding:
    """Where an exact tie goes; every code is there twice."""
    if record.K == 1:
        return Finding("ties", None, "one code has no rival")
    k = record.output("ties", "k")
    if k is None or distance in (None, "cosine", "other"):
        return Finding("ties", None, "needs codes that are the nearest")
    z, E = record.cases["ties"].arguments.values()
    lowest = nearest(z, E)
    for name, wanted in (("lowest", lowest), ("highest", nearest_highest(z, E))):
        if (k == wanted).all():
            return Finding("ties", name, f"in all {k.size} ties")
    return Finding("ties", "other", f"{int((k == lowest).sum())} of {k.size} ties go to the lowest index")
