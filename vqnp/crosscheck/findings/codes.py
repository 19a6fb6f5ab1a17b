"""d(z, e) = Σ(z − e)² or ‖z‖² − 2z·e + ‖e‖²? In float32 or float64? Ties? And what is called perplexity?

z: (N, D), E: (K, D) -> k: (N,). plan.distance_cases says which vectors are asked about, and why.
"""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding, among
from vqnp.crosscheck.questions.plain import nearest
from vqnp.crosscheck.questions.plan import FAR_OFFSETS, OFFSETS
from vqnp.crosscheck.questions.precision import FLOAT32
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import perplexities


def codes_of(record: Record, name: str) -> Array | None:
    """The layer's codes in a case; or, where it gives none, the rows of E that z_q consists of."""
    k, z_q = record.output(name, "k"), record.output(name, "z_q")
    if k is not None or z_q is None or not np.isfinite(z_q).all():
        return k
    E = record.cases[name].arguments["E"]
    k = nearest(z_q, E)
    size = np.abs(E).max() + np.abs(z_q).max()
    eps = max(record.precision.eps, float(np.finfo(z_q.dtype).eps))
    return k if np.abs(E[k] - z_q).max(initial=0) <= 64 * eps * size else None


def find_distance(record: Record) -> Finding:
    """Which form of the distance, and how precise."""
    if record.K == 1 and not record.free:
        return Finding("distance", None, "one code is always the nearest")
    if record.precision.half:
        return _coarse_distance(record)
    places = {f"offset {o}": f"at offset {o}" for o in OFFSETS} | {"bisectors": "on bisectors"}
    places |= {f"far {o}": f"at offset {o}" for o in FAR_OFFSETS}
    k, wrong, told = codes_of(record, "offset 0"), {}, {}
    for name, place in places.items():
        codes = codes_of(record, name) if name in record.cases else None
        if codes is not None:
            wrong[name] = int((codes != nearest(*record.cases[name].arguments.values())).sum())
            if wrong[name]:
                told[name] = f"{wrong[name]} of {codes.size} codes differ from the exact answer {place}"
    if k is None:
        return Finding("distance", None, "needs codes, or a z_q that consists of rows of E")
    near = ", ".join(text for name, text in told.items() if not name.startswith("far"))
    if wrong["offset 0"] > 0.02 * k.size:  # no rounding does that
        z, E = record.cases["offset 0"].arguments.values()
        u, q = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (z, E))
        by_angle = (k == (u @ q.T).argmax(axis=1)).mean() > 0.99
        return Finding("distance", "cosine" if by_angle else "other", near)
    if any(name.startswith("offset") for name in told):
        return Finding("distance", "expanded_float32", near)
    if "bisectors" in told:
        return Finding("distance", "direct_float32", near)
    if told:
        return Finding("distance", "expanded_float64", ", ".join(told.values()))
    return Finding("distance", "exact", "on bisectors, and whatever the offset")


def _coarse_distance(record: Record) -> Finding:
    """In half precision near-ties are decided by rounding, whatever the form: only clear vectors tell."""
    k, (z, E) = codes_of(record, "base"), record.cases["base"].arguments.values()
    if k is None:
        return Finding("distance", None, "needs codes, or a z_q that consists of rows of E")
    wrong, name = int((k != nearest(z, E)).sum()), record.precision.name
    if wrong > 0.1 * k.size:
        return Finding("distance", "other", f"{wrong} of {k.size} codes of clear vectors are not the nearest")
    return Finding("distance", "half", f"in {name}; {wrong} of {k.size} codes of clear vectors differ")


def find_ties(record: Record, distance: str | None) -> Finding:
    """Where an exact tie goes; every code is there twice."""
    if record.K == 1:
        return Finding("ties", None, "one code has no rival")
    k = record.output("ties", "k")
    if k is None or distance in (None, "cosine", "other"):
        return Finding("ties", None, "needs codes that are the nearest")
    z, E = record.cases["ties"].arguments.values()
    lowest, highest = nearest(z, E), len(E) - 1 - nearest(z, E[::-1])
    if (k == lowest).all() or (k == highest).all():
        return Finding("ties", "lowest" if (k == lowest).all() else "highest", f"in all {k.size} ties")
    return Finding("ties", "other", f"{int((k == lowest).sum())} of {k.size} ties go to the lowest index")


def find_perplexity(record: Record) -> Finding:
    """The figure that agrees, to the precision of what came."""
    value = record.output("base", "perplexity")
    if value is None:
        return Finding("perplexity", None, "needs a fourth output of forward")
    k = codes_of(record, "base")
    if k is None:
        return Finding("perplexity", None, "needs the codes that it is the perplexity of")
    own = 0.0 if value.dtype == np.float64 else FLOAT32.eps
    tol = (8 if record.precision.half else 32) * max(own, record.precision.eps)
    known = perplexities(np.bincount(k, minlength=record.K))
    fits = tuple(name for name, v in known.items() if abs(float(value) - v) <= tol * max(v, 1.0))
    evidence = f"{float(value):.10g} where the exact perplexity of the batch is {known['exact']:.10g}"
    return among("perplexity", fits, evidence) if fits else Finding("perplexity", "other", evidence)
