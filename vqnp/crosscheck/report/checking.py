"""check(adapter) -> Report: ask, find the variants, compare with the reference; and the same as tests."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vqnp._check import check_choice, check_float
from vqnp.crosscheck.findings.averages import find_averages
from vqnp.crosscheck.findings.behaviour import find_beginnings, find_dead_codes, find_evaluation
from vqnp.crosscheck.findings.codes import find_distance, find_perplexity, find_ties
from vqnp.crosscheck.findings.gradients import find_gradients
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.report.quantities import QUANTITIES, quantities
from vqnp.crosscheck.report.report import Report
from vqnp.crosscheck.variants.reference import SETTINGS, Reference
from vqnp.crosscheck.variants.table import VARIANTS

Allow = Mapping[str, str | Iterable[str]] | Iterable[str]

# What is assumed where nothing is found, and what may be given.
CONSTANTS = {"beta": (0.25, "[0, inf)"), "decay": (0.99, "[0, 1)"), "epsilon": (1e-5, "[0, inf)")}


def check(
    adapter: Any, *, beta: float | None = None, decay: float | None = None, epsilon: float | None = None,
    allow: Allow = (), seed: int = 0, num_embeddings: int | None = None, embedding_dim: int | None = None,
) -> Report:  # fmt: skip
    """Compare a layer with vqnp, quantity by quantity, and name the variant that it is in each dimension.

    Parameters
    ----------
    adapter : object
        See Adapter. What it lacks is not checked.
    beta, decay, epsilon : float, optional
        What the layer is meant to have. Default: what is found; where nothing is, 0.25, 0.99, 1e-5.
    allow : mapping of dimension to variant or variants, or the names of dimensions
        Deviations that are intended: where one is found, the reference takes it on, so that everything
        else is still compared. Dimensions and variants are the keys of VARIANTS. A start whose m is drawn
        at random cannot be repeated: allowed or not, its E and m differ.
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
    constants = {"beta": beta, "decay": decay, "epsilon": epsilon}
    return examine(Record(adapter, seed, num_embeddings, embedding_dim), allowances(allow), **constants)


def allowances(allow: Allow) -> dict[str, tuple[str, ...]]:
    """Dimension -> variants that may be found in it, from either form."""
    if isinstance(allow, str):
        allow = (allow,)
    pairs = allow.items() if isinstance(allow, Mapping) else ((d, VARIANTS.get(d, ())) for d in allow)
    found: dict[str, tuple[str, ...]] = {}
    for dimension, variants in pairs:
        check_choice("check", "allow's dimension", dimension, tuple(VARIANTS))
        found[dimension] = (variants,) if isinstance(variants, str) else tuple(variants)
        for variant in found[dimension]:
            check_choice("check", f"allow[{dimension!r}]", variant, tuple(VARIANTS[dimension]))
    return found


@np.errstate(all="ignore")  # 0/0 and squares of 1e300 are findings about a layer, not warnings of ours
def examine(record: Record, allowed: Mapping[str, tuple[str, ...]], **given: float | None) -> Report:
    """The report on a record of answers, from a live layer or from files; given: beta, decay, epsilon."""
    for name, value in given.items():
        if value is not None:
            check_float("check", name, value, CONSTANTS[name][1])
    for name in ("base", "gradient", "evaluation"):
        record.get(name)  # first, so that their faults come first and the precision is known
    gradients, beta, likely_beta = find_gradients(record, given.get("beta"))
    averages, constants = find_averages(record)
    distance = find_distance(record)
    findings = [distance, find_ties(record, distance.variant), *gradients, find_evaluation(record), *averages]
    findings += [find_perplexity(record), find_dead_codes(record), *find_beginnings(record)]
    note_chance(record)
    found = {"beta": beta, **constants}
    use = {}
    for name, (default, _) in CONSTANTS.items():
        known = (given.get(name), found[name], likely_beta if name == "beta" else None, default)
        use[name] = max(0.0, float(next(value for value in known if value is not None)))
    use["decay"] = min(use["decay"], 1 - 1e-9)
    fingerprint = {f.dimension: f.variant for f in findings}
    # The codebook moves without a gradient: it has steps, or no codebook term and no gradient.
    alone = fingerprint["beta_on"] == "none" and record.output("gradient", "dE") is None
    ema = record.can("step") or alone
    variants = {
        d: v for d, v in fingerprint.items() if v in allowed.get(d, ()) and v in SETTINGS.get(d, ())[1:]
    }
    reference = Reference(ema=ema, dtype=record.dtype, **use, **variants)  # type: ignore[arg-type]
    ours = Record(reference, 0, record.K, record.D)
    ours.cases = record.cases
    rows, setting = quantities(record, ours, findings, allowed), {"ema": ema, **use, "variants": variants}
    shape, dtype = (record.K, record.D), str(record.dtype)
    return Report(record.name, shape, dtype, rows, findings, found, setting, record.faults)


def note_chance(record: Record) -> None:
    """Ask three questions again: a layer that answers otherwise is not deterministic, its report is luck."""
    for name in ("base", "gradient", "evaluation"):
        first, function = record.get(name), record.cases[name].function
        for output, value in record.ask(name).items() if first and record.repeatable else ():
            before = first.get(output)
            if value is not None and before is not None and not np.array_equal(value, before):
                off = np.abs(value.astype(float) - before).max()
                same = f"must give the same {output} for the same arguments"
                record.note(f"{function}: {same}; got two answers that differ by {off:.2g}")


def assert_conforms(adapter: Any, allow: Allow = (), **options: Any) -> Report:
    """The report of `check`; AssertionError with it unless the layer is ours, up to what is allowed."""
    report = check(adapter, allow=allow, **options)
    if not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def conformance_tests(adapter: Any, allow: Allow = (), **options: Any) -> Callable[[str], None]:
    """A pytest function with one test for each quantity, and one for how the layer answers.

    Assign it to a name that pytest collects: `test_quantizer = conformance_tests(adapter)`. The layer is
    asked once, by the first test. What the adapter does not give is skipped, with that as the reason.
    """
    import pytest

    asked = functools.cache(lambda: check(adapter, allow=allow, **options))

    @pytest.mark.parametrize("quantity", [*QUANTITIES, "answers"])
    def test_quantity(quantity: str) -> None:
        report = asked()
        result = {row.quantity: row.result for row in report.rows}.get(quantity, "pass")
        if result == "not checked":
            pytest.skip(f"not checked: the adapter does not give {quantity}")
        assert result == "pass", f"\n{report}"
        assert quantity != "answers" or not report.faults, "\n".join(report.faults)

    return test_quantity
