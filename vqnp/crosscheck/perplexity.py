"""exp(−Σ p log p), the same with log(p + 1e-10), or −Σ p log p: which number a layer calls perplexity."""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.distance import codes_of
from vqnp.crosscheck.finding import Finding


def candidates(counts: Array) -> dict[str, float]:
    """Every figure met under that name, from the counts of one batch."""
    p = counts / counts.sum()
    q = p[p > 0]
    entropy = float(-(q * np.log(q)).sum())
    return {
        "exact": float(np.exp(entropy)),
        "log_offset": float(np.exp(-(p * np.log(p + 1e-10)).sum())),
        "entropy": entropy,
        "entropy_bits": float(entropy / np.log(2)),
        "utilization": float(np.exp(entropy)) / len(counts),
        "used": float(len(q)),
    }


def find_perplexity(record: Any) -> Finding:
    """The candidate that agrees, to the precision of what came."""
    value = record.output("base", "perplexity")
    if value is None:
        return Finding("perplexity", None, "needs a fourth output of forward")
    E = record.cases["base"].arguments["E"]
    k = codes_of(record.get("base"), E)
    if k is None:
        return Finding("perplexity", None, "needs the codes that it is the perplexity of")
    precision = np.result_type(value.dtype, np.float32) if value.dtype.itemsize < 8 else record.precision
    tol = 32 * float(np.finfo(precision).eps)
    known = candidates(np.bincount(k, minlength=len(E)))
    fits = tuple(name for name, v in known.items() if abs(float(value) - v) <= tol * max(v, 1.0))
    said = f"{float(value):.10g} where the exact perplexity of the batch is {known['exact']:.10g}"
    if not fits:
        return Finding("perplexity", "other", said)
    if "exact" in fits and set(fits) <= {"exact", "log_offset"}:
        fits = fits if len(fits) == 1 else ("exact", "log_offset")
    return Finding("perplexity", fits[0] if len(fits) == 1 else None, said, fits)
