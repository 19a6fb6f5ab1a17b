"""Evaluation, dead codes, and how a codebook begins: what is told by comparing two answers of one layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.calls import call
from vqnp.crosscheck.finding import Finding
from vqnp.crosscheck.plan import LONG
from vqnp.crosscheck.trajectory import observe
from vqnp.crosscheck.weights import tolerance


def find_evaluation(record: Any) -> Finding:
    """The loss in evaluation mode beside the one in training."""
    training, evaluation = record.output("base", "L"), record.output("evaluation", "L")
    if training is None or evaluation is None:
        return Finding("evaluation_loss", None, "needs the loss of both forward and evaluate")
    said = f"{float(evaluation):.6g}, in training {float(training):.6g}"
    tol = tolerance(record.precision)
    if np.isclose(float(evaluation), float(training), rtol=tol, atol=0):
        return Finding("evaluation_loss", "same", said)
    a, b = _per_square(record, "evaluation"), _per_square(record, "base")
    if a is not None and b is not None and np.isclose(a, b, rtol=tol, atol=0):
        return Finding("evaluation_loss", "same", f"{said}, of codes that had moved")
    return Finding("evaluation_loss", "zero" if float(evaluation) == 0 else "other", said)


def _per_square(record: Any, name: str) -> float | None:
    """The loss per unit of Σ(z − z_q)²: a training loss of codes after the update is of another z_q."""
    L, z_q = record.output(name, "L"), record.output(name, "z_q")
    if L is None or z_q is None:
        return None
    return float(L) / max(float(((record.cases[name].arguments["z"].astype(float) - z_q) ** 2).sum()), 1e-300)


def find_dead_codes(record: Any) -> Finding:
    """Whether an unused code ever takes a vector of the batch, and whether it stays there."""
    steps = [observe(record.cases[name], record.get(name), record.precision) for name in ("steps", "long")]
    for name, seen in zip(("steps", "long"), steps, strict=True):
        if seen is not None and seen.restarts:
            E = record.get(name)["E"]
            return _restarted(E, seen.restarts[0][0], [j for _, j in seen.restarts])
    seen = steps[1]
    if seen is None:
        return Finding("dead_codes", None, "needs reset and step")
    if len(seen.n) < LONG:
        return Finding("dead_codes", None, f"the long trajectory ends at step {len(seen.n) + 1}: {seen.why}")
    if (seen.n.sum(axis=0) > 0).all():
        alone = seen.n.shape[1] < 2
        why = "needs two codes at least" if alone else "every code is used in the long trajectory"
        return Finding("dead_codes", None, why)
    return Finding("dead_codes", "never", f"codes stay unused for {LONG} steps and no one restarts them")


def _restarted(E: Array, t: int, codes: list[int]) -> Finding:
    said = f"at step {t + 1}, {len(codes)} unused codes take vectors of the batch"
    if t + 1 >= len(E) or not np.isfinite(E[t + 1]).all():
        return Finding("dead_codes", None, said)
    jump = np.linalg.norm(E[t, codes] - (E[t - 1, codes] if t else 0 * E[t, codes]), axis=1)
    after = np.linalg.norm(E[t + 1, codes] - E[t, codes], axis=1)
    undone = float((after > 0.5 * np.minimum(jump, np.linalg.norm(E[t, codes], axis=1))).mean())
    if undone > 0.5:
        return Finding("dead_codes", "undone", f"{said}; the next step takes {undone:.0%} of them away again")
    return Finding("dead_codes", "restart", f"{said}, and stay near them")


def _fresh(record: Any, K: int, D: int, batches: list[Array]) -> list[Array | None]:
    """The codebook that a layer gives itself, and those after its first steps."""
    dtype, shapes = record.dtype, {"E": (K, D), "N": (K,), "m": (K, D)}
    outputs, faults = call(
        "fresh", lambda _: record.adapter.fresh(K, D), {"E": np.zeros(0)}, ("E",), shapes, dtype
    )
    found: list[Array | None] = [outputs.get("E")]
    record.note(faults)
    for z in batches if record.can("step") and not faults else []:
        outputs, faults = call("step", record.adapter.step, {"z": z}, ("E", "N", "m"), shapes, dtype)
        record.note(faults)
        found.append(outputs.get("E"))
    return found


def find_beginnings(record: Any) -> list[Finding]:
    """The codebook's first values; and whether a k-means start survives the second step."""
    if not record.can("fresh"):
        return [Finding(d, None, "needs fresh") for d in ("codebook_init", "kmeans_start")]
    K, D = (64, 16) if record.free else (record.K, record.D)
    r = np.random.default_rng(7)
    centres = (6 * r.standard_normal((K, D))).astype(record.dtype)
    rows = centres[np.arange(8 * K) % K]
    batches = [(rows + 0.03 * r.standard_normal(rows.shape)).astype(record.dtype) for _ in range(3)]
    E, *steps = _fresh(record, K, D, batches)
    waits = E is None or not E.any()
    init = Finding("codebook_init", "waits", "no codebook before the first batch") if waits else _init(E)
    if len(steps) < 2 or steps[0] is None or steps[1] is None:
        return [init, Finding("kmeans_start", None, "needs step too")]
    if not waits:
        return [init, Finding("kmeans_start", "unused", "the codebook does not wait for data")]
    rows = np.concatenate(batches)
    size = [float(np.linalg.norm(step, axis=1).mean()) for step in steps[:2] if step is not None]
    typical = float(np.linalg.norm(rows, axis=1).mean())
    said = f"mean length of the vectors {typical:.3g}, of the codes {size[0]:.3g}, a step later {size[1]:.3g}"
    collapses = min(size) < 0.7 * typical
    return [init, Finding("kmeans_start", "collapses" if collapses else "stays", said)]


def _init(E: Array | None) -> Finding:
    """Which law the entries of E are drawn from: by their largest and their standard deviation."""
    assert E is not None
    K, D = E.shape
    top, std = float(np.abs(E).max()), float(E.std())
    said = f"largest entry {top:.4g}, standard deviation {std:.4g} over {E.size} entries"
    if E.size < 100:
        return Finding("codebook_init", None, f"{said}: too few to tell")
    far = 6 / np.sqrt(E.size)  # far outside what chance does
    for name, bound in (("uniform", 1 / K), ("scaled_uniform", np.sqrt(3 / D))):
        if top <= bound * (1 + 1e-6) and np.isclose(std, bound / np.sqrt(3), rtol=far):
            return Finding("codebook_init", name, said)
    if np.isclose(std, 1.0, rtol=far) and top > 2.5:
        return Finding("codebook_init", "normal", said)
    if top < 1.9 * std:  # uniform: its largest entry is √3 standard deviations
        return Finding("codebook_init", "other", f"{said}: uniform in ±{top:.3g}")
    return Finding("codebook_init", "other", said)
