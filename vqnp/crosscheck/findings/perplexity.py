"""exp(−Σ p log p), the same with log(p + 1e-10), or −Σ p log p: which number a layer calls perplexity.

counts: (K,) of one batch -> a number
"""

from __future__ import annotations

import numpy as np

from vqnp.crosscheck.findings.distance import codes_of
from vqnp.crosscheck.findings.finding import Finding
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import perplexities


def find_perplexity(record: Record) -> Finding:
    """The figure that agrees, to the precision of what came."""
    value = record.output("base", "perplexity")
    if value is None:
        return Finding("perplexity", None, "needs a fourth output of forward")
    k = codes_of(record, "base")
    if k is None:
        return Finding("perplexity", None, "needs the codes that it is the perplexity of")
    precision = np.result_type(value.dtype, np.float32) if value.dtype.itemsize < 8 else record.precision
    tol = 32 * float(np.finfo(precision).eps)
    known = perplexities(np.bincount(k, minlength=record.K))
    fits = tuple(name for name, v in known.items() if abs(float(value) - v) <= tol * max(v, 1.0))
    evidence = f"{float(value):.10g} where the exact perplexity of the batch is {known['exact']:.10g}"
    if not fits:
        return Finding("perplexity", "other", evidence)
    return Finding("perplexity", fits[0] if len(fits) == 1 else None, evidence, fits)
