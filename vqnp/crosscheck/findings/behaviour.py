"""Evaluation, and how a codebook begins: what is told by comparing two answers of one layer."""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.questions.plain import distances
from vqnp.crosscheck.questions.record import Record


def find_evaluation(record: Record) -> Finding:
    """The loss in evaluation mode beside the one in training."""
    L = {name: record.output(name, "L") for name in ("base", "evaluation")}
    if L["base"] is None or L["evaluation"] is None:
        return Finding("evaluation_loss", None, "needs the loss of both forward and evaluate")
    training, evaluation = float(L["base"]), float(L["evaluation"])
    evidence, tol = f"{evaluation:.6g}, in training {training:.6g}", record.precision.tolerance
    if np.isclose(evaluation, training, rtol=tol, atol=0):
        return Finding("evaluation_loss", "same", evidence)
    squares = {}
    for name in L:  # a training loss of codes after the update is of another z_q
        z, z_q = record.cases[name].arguments["z"], record.output(name, "z_q")
        squares[name] = np.nan if z_q is None else max(float(((z.astype(float) - z_q) ** 2).sum()), 1e-300)
    if np.isclose(evaluation / squares["evaluation"], training / squares["base"], rtol=tol, atol=0):
        return Finding("evaluation_loss", "same", f"{evidence}, of codes that had moved")
    return Finding("evaluation_loss", "zero" if evaluation == 0 else "other", evidence)


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
    if E is not None and steps and steps[0] is not None and _replaced(E, steps[0], batches[0]):
        init = Finding("codebook_init", "waits", "the first batch replaces every code by vectors of its own")
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


def _replaced(E: Array, first: Array, z: Array) -> bool:
    """Whether every code lies by a vector after the first batch, to which it was not near before."""

    def off(codes: Array) -> Array:
        result: Array = np.sqrt(distances(codes, z).min(axis=1)) / np.linalg.norm(z, axis=1).mean()
        return result

    return bool(np.isfinite(first).all() and (off(first) < 0.1).all() and (off(E) > 0.3).mean() > 0.9)


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
