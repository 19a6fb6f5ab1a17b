"""check(adapter) -> Report: ask, find the variants, compare with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vqnp._check import check_choice, check_float
from vqnp.crosscheck.averages import find_averages
from vqnp.crosscheck.distance import find_distance, find_ties
from vqnp.crosscheck.finding import Finding
from vqnp.crosscheck.loss_side import find_gradients
from vqnp.crosscheck.others import find_beginnings, find_dead_codes, find_evaluation
from vqnp.crosscheck.perplexity import find_perplexity
from vqnp.crosscheck.quantities import behaviours, quantities
from vqnp.crosscheck.record import Record
from vqnp.crosscheck.reference import SETTINGS, Reference
from vqnp.crosscheck.report import Report
from vqnp.crosscheck.variants import TITLES, VARIANTS

Allow = Mapping[str, str | Iterable[str]] | Iterable[str]


def check(
    adapter: Any,
    *,
    beta: float | None = None,
    decay: float | None = None,
    epsilon: float | None = None,
    allow: Allow = (),
    seed: int = 0,
    num_embeddings: int | None = None,
    embedding_dim: int | None = None,
) -> Report:
    """Compare a layer with vqnp, quantity by quantity, and name the variant that it is in each dimension.

    Parameters
    ----------
    adapter : object
        See adapter.Adapter. What it lacks is not checked.
    beta, decay, epsilon : float, optional
        What the layer is meant to have. Default: what is found; where nothing is, 0.25, 0.99, 1e-5.
    allow : mapping of dimension to variant or variants, or the names of dimensions
        Deviations that are intended: where one is found, the reference takes it on, so that everything
        else is still compared. Dimensions and variants are the keys of variants.VARIANTS. A start whose m
        is drawn at random cannot be repeated: allowed or not, its E and m differ.
    seed : int
        Of the arrays that the layer is asked about.
    num_embeddings, embedding_dim : int, optional
        K and D of most questions, for an adapter that takes any; default 11 and 6.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        For the arguments only: whatever the layer does goes into the report.
    """
    allowed = allowances(allow)
    record = Record(adapter, seed, num_embeddings, embedding_dim)
    return examine(record, beta=beta, decay=decay, epsilon=epsilon, allowed=allowed)


def allowances(allow: Allow) -> dict[str, tuple[str, ...]]:
    """Dimension -> variants that may be found in it, from either form."""
    where = "check"
    if isinstance(allow, str):
        allow = (allow,)
    pairs = allow.items() if isinstance(allow, Mapping) else ((d, tuple(VARIANTS.get(d, ()))) for d in allow)
    found: dict[str, tuple[str, ...]] = {}
    for dimension, variants in pairs:
        check_choice(where, "allow's dimension", dimension, tuple(TITLES))
        each = (variants,) if isinstance(variants, str) else tuple(variants)
        for variant in each:
            check_choice(where, f"allow[{dimension!r}]", variant, tuple(VARIANTS[dimension]))
        found[dimension] = each
    return found


@np.errstate(all="ignore")  # of a layer's 1e300 the squares are infinite: a finding, not a warning of ours
def examine(
    record: Any,
    *,
    beta: float | None,
    decay: float | None,
    epsilon: float | None,
    allowed: Mapping[str, tuple[str, ...]],
) -> Report:
    """The report on a record of answers, from a live layer or from files."""
    for name, value, interval in (
        ("beta", beta, "[0, inf)"),
        ("decay", decay, "[0, 1)"),
        ("epsilon", epsilon, "[0, inf)"),
    ):
        if value is not None:
            check_float("check", name, value, interval)
    for name in ("base", "gradient", "evaluation"):
        record.get(name)  # first, so that their faults come first and the precision is known
    gradients, found_beta, likely_beta = find_gradients(record, beta)
    averages, constants = find_averages(record)
    distance = find_distance(record)
    findings = [
        distance,
        find_ties(record, distance.variant),
        *gradients[1:],
        gradients[0],
        find_evaluation(record),
        *averages,
        find_perplexity(record),
        find_dead_codes(record),
        *find_beginnings(record),
    ]
    twice(record)
    given = {"beta": beta, "decay": decay, "epsilon": epsilon}
    found = {"beta": found_beta, **constants}
    default = {"beta": 0.25 if likely_beta is None else likely_beta, "decay": 0.99, "epsilon": 1e-5}
    use = {n: g if g is not None else default[n] if found[n] is None else found[n] for n, g in given.items()}
    ema = follows_by_average(record, findings)
    variants = {
        f.dimension: f.variant
        for f in findings
        if f.variant in allowed.get(f.dimension, ()) and f.variant in SETTINGS.get(f.dimension, ())[1:]
    }
    use["beta"] = max(0.0, float(use["beta"] or 0.0))
    use["decay"] = min(max(0.0, float(use["decay"] or 0.0)), 1 - 1e-9)
    reference = Reference(ema=ema, dtype=record.dtype, **use, **variants)  # type: ignore[arg-type]
    ours = Record(reference, 0, record.K, record.D)
    ours.cases = record.cases
    return Report(
        record.name,
        (record.K, record.D),
        str(record.dtype),
        quantities(record, ours) + behaviours(findings, allowed),
        findings,
        found,
        {"ema": ema, **use, "variants": variants},
        record.faults,
    )


def follows_by_average(record: Any, findings: list[Finding]) -> bool:
    """Whether the codebook moves without a gradient: it has steps, or no codebook term and no gradient."""
    if record.can("step"):
        return True
    place = next(f.variant for f in findings if f.dimension == "beta_on")
    return place == "none" and record.output("gradient", "dE") is None


def twice(record: Any) -> None:
    """Ask three questions again: a layer that answers otherwise is not deterministic; its report is luck."""
    for name in ("base", "gradient", "evaluation"):
        case, first = record.cases[name], record.get(name)
        if not first or not record.can(case.function) or not record.live:
            continue
        for output, value in record.ask(case).items():
            before = first.get(output)
            if value is None or before is None or value.shape != before.shape:
                continue
            if not np.array_equal(value, before):
                record.note(
                    [
                        f"{case.function}: must give the same {output} for the same arguments; "
                        f"got two answers that differ by {np.abs(value.astype(float) - before).max():.2g}"
                    ]
                )
