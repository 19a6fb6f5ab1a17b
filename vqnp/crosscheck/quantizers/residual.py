"""k_i = argmin ‖r_{i−1} − e‖²,  r_i = r_{i−1} − e_{k_i},  z_q = Σ_i e_{k_i}: codes and output of n depths.

E: (C, K, D), C = 1 or n; z: (N, D) -> Findings; a quantizer of one code is n = 1
"""

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.asking import Answer, Question, relative
from vqnp.ops.sphere import normalize_forward

MOST_COLUMNS = 2048
"""Unknown codes of which a table is fitted, to see whether z_q is a sum of one vector for each code."""


class Depths(NamedTuple):
    """What was asked, and the residuals and codes that follow: r_0 … r_n and e_1 … e_n, (N, D) each."""

    z: Array
    answer: Answer
    E: Array
    residuals: list[Array]
    codes: list[Array]


def depths(z: Array, answer: Answer, E: Array) -> Depths:
    """The residuals if the codes k are those of E; a code of −1 is the vector 0."""
    assert answer.k is not None
    r, residuals, codes = z, [z], []
    for i in range(answer.k.shape[1]):
        k = answer.k[:, i]
        e = E[i % len(E)][np.clip(k, 0, E.shape[1] - 1)] * (k >= 0)[:, None]
        r = r - e
        residuals.append(r)
        codes.append(e)
    return Depths(z, answer, E, residuals, codes)


def vectors(E: Array, n: int, N: int, rng: np.random.Generator) -> Array:
    """z: (N, D) near sums of n codes, so that many codes of each depth are used."""
    z = sum(E[i % len(E)][rng.integers(0, E.shape[1], N)] for i in range(n))
    spread = float(np.sqrt(np.square(E).mean())) or 1.0
    return np.asarray(z + 0.7 * spread * rng.standard_normal((N, E.shape[2])))


def in_order(ask: Question, z: Array, answer: Answer, E: Array) -> tuple[Depths, bool]:
    """The depths, and whether the indices are in reverse: the finest first."""
    d = depths(z, answer, E)
    assert answer.k is not None
    if answer.k.shape[1] == 1 or not any(_wrong(ask, d)):
        return d, False
    back = depths(z, answer._replace(k=answer.k[:, ::-1]), E)
    return (d, False) if any(_wrong(ask, back)) else (back, True)


def find_choice(ask: Question, d: Depths, reverse: bool) -> Finding:
    """Is each code the nearest one to what the codes before it leave?"""
    k, n = d.answer.k, len(d.codes)
    assert k is not None
    wrong = _wrong(ask, d)
    rows = f"{len(k)} vectors" + (f", {n} codes each" if n > 1 else "")
    if not any(wrong):
        return Finding("choice", "fine_first" if reverse else "nearest", rows)
    if n > 1 and not any(_far(d.z, d.E[i % len(d.E)], k[:, i], ask.tolerance) for i in range(n)):
        return Finding("choice", "no_residual", f"{rows}: each is nearest to z")
    if all(_aligned(r, d.E[i % len(d.E)], k[:, i], ask.tolerance) for i, r in enumerate(d.residuals[:-1])):
        return Finding("choice", "by_direction", rows)
    first = next(i for i, many in enumerate(wrong) if many)
    where = f" at depth {first + 1}" if n > 1 else ""
    return Finding("choice", None, f"{wrong[first]} of {len(k)} codes{where} are not the nearest of E")


def _wrong(ask: Question, d: Depths) -> list[int]:
    """How many codes of each depth are not the nearest."""
    k = d.answer.k
    assert k is not None
    return [_far(r, d.E[i % len(d.E)], k[:, i], ask.tolerance) for i, r in enumerate(d.residuals[:-1])]


def _far(r: Array, E: Array, k: Array, tolerance: float) -> int:
    """How many of the codes k are farther from r than the nearest one; a code of −1 is none."""
    has = k >= 0
    lengths = np.square(r[has]).sum(axis=1, keepdims=True), np.square(E).sum(axis=1)
    d = lengths[0] + lengths[1] - 2 * r[has] @ E.T
    size = lengths[0].max(initial=0) + lengths[1].max(initial=0)
    return int((d[np.arange(len(d)), k[has]] > d.min(axis=1, initial=np.inf) + 4 * tolerance * size).sum())


def _aligned(r: Array, E: Array, k: Array, tolerance: float) -> bool:
    """Whether the codes k have the largest cosines with r."""
    has = k >= 0
    a = normalize_forward(r[has])[0] @ normalize_forward(E)[0].T
    return bool((a[np.arange(len(a)), k[has]] >= a.max(axis=1, initial=-1) - 8 * tolerance).all())


def find_output(ask: Question, d: Depths, after: Array | None) -> Finding:
    """Of what codes is z_q the sum?"""
    n, z_q = len(d.codes), d.answer.z_q
    candidates = {"sum": np.asarray(sum(d.codes))}
    if after is not None and relative(after, d.E) > ask.tolerance:
        candidates["after"] = np.asarray(sum(depths(d.z, d.answer, after).codes))
    if n > 1:
        candidates |= {
            "without_last": np.asarray(sum(d.codes[:-1])), "last_only": d.codes[-1],
            "mean": np.asarray(sum(d.codes)) / n,
        }  # fmt: skip
    if n > 1 and d.answer.k is not None and (d.answer.k < 0).any():
        candidates["dropped_kept"] = _all_codes(d)
    found = ask.equal(z_q, candidates)
    if found:
        return Finding("output", found[0], f"relative difference {ask.difference:.1g}")
    if n > 1 and after is not None and "after" in candidates and _moves_between(ask, d):
        text = "the first code is that of E before, the others are other vectors, one for each code"
        return Finding("output", "between_depths", text)
    return Finding("output", None, f"no known sum of codes of E: relative difference {ask.difference:.1g}")


def _all_codes(d: Depths) -> Array:
    """Σ e of all depths, also of those whose code is −1: the nearest codes."""
    r, total = d.z, np.zeros_like(d.z)
    for i in range(len(d.codes)):
        E = d.E[i % len(d.E)]
        e = E[(np.square(E).sum(axis=1) - 2 * r @ E.T).argmin(axis=1)]
        r, total = r - e, total + e
    return total


def _moves_between(ask: Question, d: Depths) -> bool:
    """Whether z_q − e_{k_1} is a sum of one vector, not of E, for each code of the depths from the second."""
    k, K = d.answer.k, d.E.shape[1]
    assert k is not None
    n, N = k.shape[1], len(k)
    if (k < 0).any() or (n - 1) * K > min(MOST_COLUMNS, N // 2):
        return False
    A = np.zeros((N, (n - 1) * K))
    for i in range(1, n):
        A[np.arange(N), (i - 1) * K + k[:, i]] = 1
    rest = d.answer.z_q - d.codes[0]
    w = np.linalg.lstsq(A, rest, rcond=None)[0]
    size = float(np.abs(d.answer.z_q).max(initial=0))
    return float(np.abs(A @ w - rest).max()) <= ask.tolerance * size


def find_dropout(answers: list[Answer]) -> Finding:
    """Which depths are left out, in calls with several seeds."""
    ks = [a.k for a in answers if a.k is not None]
    if not any((k < 0).any() for k in ks):
        return Finding("dropout", "none", f"no code is −1 in {len(ks)} calls")
    has = np.concatenate([k >= 0 for k in ks])
    lengths = sorted({int(m) for m in has.sum(axis=1)})
    text = f"a vector has {', '.join(map(str, lengths))} codes of {has.shape[1]}"
    prefix = bool((has[:, 1:] <= has[:, :-1]).all())
    if min(lengths) == 0:
        return Finding("dropout", "nothing_left", text)
    return Finding("dropout", "prefix" if prefix else "gaps", text)


def find_sharing(E: Array, n: int) -> Finding:
    """One codebook for all depths, or one for each?"""
    if len(E) == 1 or bool((E == E[:1]).all()):
        return Finding("sharing", "shared", f"{n} depths")
    return Finding("sharing", "own", f"{len(E)} codebooks of {E.shape[1]} codes")


def find_decode(ask: Question, answer: Answer, raw: Any) -> Finding:
    """Is z_q what the layer itself makes of its codes?"""
    if not ask.has("decode") or raw is None:
        return Finding("decode", None, "no function that decodes was given")
    decoded = ask.array("decode", ask.run("decode", ask.layer.decode, raw))
    if decoded.size != answer.z_q.size:
        return Finding("decode", None, f"its result has shape {decoded.shape}")
    found = ask.equal(answer.z_q, {"agrees": decoded.reshape(answer.z_q.shape)})
    return Finding("decode", found[0] if found else "differs", f"relative difference {ask.difference:.1g}")
