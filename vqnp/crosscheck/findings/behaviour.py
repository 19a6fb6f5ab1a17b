"""Evaluation, dead codes, and how a codebook begins: what is told by comparing two answers of one layer."""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.findings.trajectory import observe
from vqnp.crosscheck.findings.weights import tolerance
from vqnp.crosscheck.questions.plan import LONG_STEPS
from vqnp.crosscheck.questions.record import Record


def find_evaluation(record: Record) -> Finding:
    """The loss in evaluation mode beside the one in training."""
    L = {name: record.output(name, "L") for name in ("base", "evaluation")}
    if L["base"] is None or L["evaluation"] is None:
        return Finding("evaluation_loss", None, "needs the loss of both forward and evaluate")
    training, evaluation = float(L["base"]), float(L["evaluation"])
    evidence, tol = f"{evaluation:.6g}, in training {training:.6g}", tolerance(record.precision)
    if np.isclose(evaluation, training, rtol=tol, atol=0):
        return Finding("evaluation_loss", "same", evidence)
    squares = {}
    for name in L:  # a training loss of codes after the update is of another z_q
        z, z_q = record.cases[name].arguments["z"], record.output(name, "z_q")
        squares[name] = np.nan if z_q is None else max(float(((z.astype(float) - z_q) ** 2).sum()), 1e-300)
    if np.isclose(evaluation / squares["evaluation"], training / squares["base"], rtol=tol, atol=0):
        return Finding("evaluation_loss", "same", f"{evidence}, of codes that had moved")
    return Finding("evaluation_loss", "zero" if evaluation == 0 else "other", evidence)


def find_dead_codes(record: Record) -> Finding:
    """Whether an unused code ever takes a vector of the batch, and whether it stays there."""
    for name in ("steps", "long"):
        seen, E = observe(record, name), record.output(name, "E")
        if seen is not None and E is not None and seen.restarts:
            return _restarted(E, seen.restarts[0][0], [j for _, j in seen.restarts])
    if seen is None:
        return Finding("dead_codes", None, "needs reset and step")
    if len(seen.n) < LONG_STEPS:
        return Finding("dead_codes", None, f"the long trajectory ends at step {len(seen.n) + 1}: {seen.why}")
    why = f"codes stay unused for {LONG_STEPS} steps and no one restarts them"
    if not seen.n.sum(axis=0).all():
        return Finding("dead_codes", "never", why)
    why = "every code is used in the long trajectory" if seen.n.shape[1] > 1 else "needs two codes at least"
    return Finding("dead_codes", None, why)


def _restarted(E: Array, t: int, codes: list[int]) -> Finding:
    evidence = f"at step {t + 1}, {len(codes)} unused codes take vectors of the batch"
    if t + 1 >= len(E) or not np.isfinite(E[t + 1]).all():
        return Finding("dead_codes", None, evidence)
    before, now, after = E[t - 1, codes] if t else 0 * E[t, codes], E[t, codes], E[t + 1, codes]
    jump, size, back = (np.linalg.norm(a, axis=1) for a in (now - before, now, after - now))
    undone = float((back > 0.5 * np.minimum(jump, size)).mean())
    if undone <= 0.5:
        return Finding("dead_codes", "restart", f"{evidence}, and stay near them")
    away = f"{evidence}; the next step takes {undone:.0%} of them away again"
    return Finding("dead_codes", "undone", away)


def find_beginnings(record: Record) -> list[Finding]:
    """The codebook's first values; and whether a k-means start survives the second step."""
    if not record.can("fresh"):
        return [Finding(d, None, "needs fresh") for d in ("codebook_init", "kmeans_start")]
    (K, D), r = (64, 16) if record.free else (record.K, record.D), np.random.default_rng(7)
    rows = (6 * r.standard_normal((K, D))).astype(record.dtype)[np.arange(8 * K) % K]
    batches = [(rows + 0.03 * r.standard_normal(rows.shape)).astype(record.dtype) for _ in range(3)]
    shapes, known = {"E": (K, D), "N": (K,), "m": (K, D)}, len(record.faults)
    fresh = record.call("fresh", lambda _: record.adapter.fresh(K, D), {"E": np.zeros(0)}, {"E": (K, D)})
    E, steps = fresh.get("E"), list[Array | None]()
    if record.can("step") and len(record.faults) == known:
        steps = [record.call("step", record.adapter.step, {"z": z}, shapes).get("E") for z in batches]
    init = _init(E)
    if len(steps) < 2 or steps[0] is None or steps[1] is None:
        return [init, Finding("kmeans_start", None, "needs step too")]
    if init.variant != "waits":
        return [init, Finding("kmeans_start", "unused", "the codebook does not wait for data")]
    typical, first, second = (
        float(np.linalg.norm(a, axis=1).mean()) for a in (np.concatenate(batches), steps[0], steps[1])
    )
    variant = "collapses" if min(first, second) < 0.7 * typical else "stays"
    lengths = f"of the vectors {typical:.3g}, of the codes {first:.3g}, a step later {second:.3g}"
    return [init, Finding("kmeans_start", variant, f"mean length {lengths}")]


def _init(E: Array | None) -> Finding:
    """Which law the entries of E are drawn from: by their largest and their standard deviation."""
    if E is None or not E.any():
        return Finding("codebook_init", "waits", "no codebook before the first batch")
    K, D = E.shape
    top, std = float(np.abs(E).max()), float(E.std())
    evidence = f"largest entry {top:.4g}, standard deviation {std:.4g} over {E.size} entries"
    if E.size < 100:
        return Finding("codebook_init", None, f"{evidence}: too few to tell")
    far = 6 / np.sqrt(E.size)  # far outside what chance does
    for name, bound in (("uniform", 1 / K), ("scaled_uniform", np.sqrt(3 / D))):
        if top <= bound * (1 + 1e-6) and np.isclose(std, bound / np.sqrt(3), rtol=far):
            return Finding("codebook_init", name, evidence)
    if np.isclose(std, 1.0, rtol=far) and top > 2.5:
        return Finding("codebook_init", "normal", evidence)
    if top < 1.9 * std:  # uniform: its largest entry is √3 standard deviations
        evidence += f": uniform in ±{top:.3g}"
    return Finding("codebook_init", "other", evidence)
