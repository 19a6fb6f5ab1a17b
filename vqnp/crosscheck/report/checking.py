"""check(adapter) -> Report: ask, find the variants, compare with the reference; and the same as tests."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vqnp._check import check_choice, check_float
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.findings.averages import find_averages
from vqnp.crosscheck.findings.behaviour import find_beginnings, find_evaluation
from vqnp.crosscheck.findings.codes import find_distance, find_perplexity, find_ties
from vqnp.crosscheck.findings.family import Family, find_family
from vqnp.crosscheck.findings.gradients import find_gradients
from vqnp.crosscheck.findings.restarts import find_dead_codes
from vqnp.crosscheck.findings.trajectory import EMAModel, observe
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.report.quantities import QUANTITIES, Row, quantities
from vqnp.crosscheck.report.report import Report
from vqnp.crosscheck.variants.reference import SETTINGS, Reference
from vqnp.crosscheck.variants.table import BENIGN, TITLES, VARIANTS

Allow = Mapping[str, str | Iterable[str]] | Iterable[str]

# What is assumed where nothing is found, and what may be given.
CONSTANTS = {"beta": (0.25, "[0, inf)"), "decay": (0.99, "[0, 1)"), "epsilon": (1e-5, "[0, inf)"),
             "scale": (1.0, "(0, inf)")}  # fmt: skip


def check(
    adapter: Any, *, beta: float | None = None, decay: float | None = None, epsilon: float | None = None,
    scale: float | None = None, allow: Allow = (), seed: int = 0, num_embeddings: int | None = None,
    embedding_dim: int | None = None,
) -> Report:  # fmt: skip
    """Compare a layer with vqnp, quantity by quantity, and name the variant that it is in each dimension.

    Parameters
    ----------
    adapter : object
        See Adapter. What it lacks is not checked.
    beta, decay, epsilon : float, optional
        What the layer is meant to have. Default: what is found; what depends on a constant that is neither
        given nor found is not checked.
    scale : float, optional
        A weight on the whole loss. Default: what is found, with a note if it is not 1.
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
    constants = {"beta": beta, "decay": decay, "epsilon": epsilon, "scale": scale}
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
    """The report on a record of answers, from a live layer or from files; given: beta, decay, …."""
    for name, value in given.items():
        if value is not None:
            check_float("check", name, value, CONSTANTS[name][1])
    for name in ("base", "gradient", "evaluation"):
        record.get(name)  # first, so that their faults come first and the precision is known
    note_unclear(record)
    family = find_family(record) if record.repeatable else None
    if family is not None:
        return outside(record, None if note_chance(record, same_seed=True) else family)
    loss = find_gradients(record, given.get("beta"))
    told = {f.dimension: f.variant for f in loss.findings}
    # A codebook with a gradient of its own does not follow by averages, though a step may restart codes.
    by_gradient = bool(np.any(record.output("gradient", "dE"))) and told["beta_on"] not in (None, "none")
    distance = find_distance(record)
    nearest = distance.variant not in ("cosine", "other")
    averages, constants = find_averages(record, by_gradient) if nearest else ([], {})
    findings = [distance, find_ties(record, distance.variant), *loss.findings, find_evaluation(record)]
    why = "an average is of the vectors that are nearest, which these codes are not"
    averages = averages or [Finding(d, None, why) for d in EMAModel._fields]
    dead_codes = find_dead_codes(record) if nearest else Finding("dead_codes", None, why)
    findings += [*averages, find_perplexity(record), dead_codes, *find_beginnings(record)]
    note_chance(record)
    found = {"beta": loss.beta, "decay": None, "epsilon": None, **constants}
    found |= {} if loss.scale in (None, 1.0) else {"scale": loss.scale}
    likely = dict(zip(("beta", "scale"), loss.likely, strict=True)) if loss.judged else {}
    known = {name: (given.get(name), found.get(name), likely.get(name)) for name in CONSTANTS}
    use = {n: next((v for v in values if v is not None), CONSTANTS[n][0]) for n, values in known.items()}
    use |= {"beta": max(0.0, use["beta"]), "decay": min(max(0.0, use["decay"]), 1 - 1e-9)}
    fingerprint = {f.dimension: f.variant for f in findings}
    # The codebook moves without a gradient: it has steps, or no codebook term and no gradient.
    alone = fingerprint["beta_on"] == "none" and record.output("gradient", "dE") is None
    ema = (record.can("step") and not by_gradient) or alone
    accepted = {d: (*allowed.get(d, ()), *BENIGN.get(d, ())) for d in VARIANTS}
    variants = {d: v for d, v in fingerprint.items() if v in accepted[d] and v in SETTINGS.get(d, ())[1:]}
    reference = Reference(ema=ema, dtype=record.dtype, **use, **variants)  # type: ignore[arg-type]
    ours = Record(reference, 0, record.K, record.D)
    ours.cases = record.cases
    unknown = unknown_quantities(record, known, loss.judged, fingerprint, ema)
    unknown |= set() if nearest else {"E", "N", "m"}
    rows = quantities(record, ours, findings, allowed, unknown)
    if record.precision.half:
        rows = [_by_fingerprint(row, fingerprint, accepted) for row in rows]
    notes = [*record.notes, *([loss.note] if loss.note else [])]
    for dimension, variant in variants.items():
        if variant not in allowed.get(dimension, ()):
            what = f"{TITLES[dimension]}: {VARIANTS[dimension][variant].label}"
            notes.append(f"{what}: usual, and does no harm")
    setting = {"ema": ema, **use, "variants": variants}
    return Report(
        record.name, (record.K, record.D), record.asked.name, rows, findings, found, setting, record.faults,
        notes, record.hindrances,
    )  # fmt: skip


def _by_fingerprint(
    row: Row, told: Mapping[str, str | None], accepted: Mapping[str, tuple[str, ...]]
) -> Row:
    """In half precision dz is mostly the decoder's gradient, rounded: what was found of the loss decides."""
    for d in ("beta_on", "reduction", "loss_from", "straight_through", "leak"):
        variant = told[d]
        if row.quantity == "dz" and row.result == "pass" and variant and variant not in accepted[d]:
            if VARIANTS[d][variant].advice:
                return row._replace(result="fail", note=f"{TITLES[d]}: {VARIANTS[d][variant].label}")
    return row


def unknown_quantities(
    record: Record, known: Mapping[str, tuple[Any, ...]], judged: bool, told: Mapping[str, str | None],
    ema: bool,
) -> set[str]:  # fmt: skip
    """The outputs that cannot be compared, for they hang on a constant that was neither given nor found."""
    nothing = {name for name, values in known.items() if all(v is None for v in values)}
    unknown = set()
    if "beta" in nothing and told["beta_on"] != "other":
        unknown |= {"L", "dz"}
        unknown |= set() if judged else {"dE"}
    if ema and "decay" in nothing and told["start"] is None and record.can("step"):
        seen = [observe(record, name) for name in ("steps", "full")]
        restart = all(s is not None and s.restarts for s in seen)
        if restart:
            record.note("step: codes restart however many vectors each has: no average shows", hinders=True)
        if restart or record.precision.half:
            unknown |= {"E", "N", "m"}
    return unknown


def note_unclear(record: Record) -> None:
    """Outputs that were not understood: a note, or, where the codes or the loss are missing, why they are."""
    unclear = list(getattr(record.adapter, "unclear", ()))
    missing = [name for name in ("k", "L") if record.get("base") and record.output("base", name) is None]
    if unclear:
        listed = ", ".join(unclear)
        if missing:
            lacks = f"what depends on {' and '.join(missing)} is not checked"
            record.note(f"forward: outputs were not understood: {listed}; {lacks}", hinders=True)
        else:
            record.notes.append(f"forward: outputs that were not needed, or not understood: {listed}")


def outside(record: Record, family: Family | None) -> Report:
    """The report on answers that do not come from E by the nearest-code rule: one sentence, no guesses.

    family: which rule, or None if the answers are random.
    """
    why = "the answers do not come from E by the nearest-code rule"
    if family is not None:
        record.note(f"forward: {family.sentence}", hinders=not family.mixed_up)
    findings = [Finding(d, None, why) for d in VARIANTS]
    rows = [Row(quantity) for quantity in QUANTITIES]
    if family is not None and family.mixed_up:
        findings[0] = Finding("distance", "other", family.sentence)
        rows[1] = Row("z_q", result="fail", note=family.sentence)
    reference = {"ema": False, **{name: default for name, (default, _) in CONSTANTS.items()}, "variants": {}}
    size, constants = (record.K, record.D), dict.fromkeys(("beta", "decay", "epsilon"))
    return Report(
        record.name, size, record.asked.name, rows, findings, constants, reference, record.faults,
        record.notes, record.hindrances,
    )  # fmt: skip


def note_chance(record: Record, same_seed: bool = False) -> bool:
    """Ask three questions again: a layer that answers otherwise is not deterministic, its report is luck."""
    found = False
    for name in ("base", "gradient", "evaluation"):
        first, function = record.get(name), record.cases[name].function
        if not first or not record.repeatable:
            continue
        again = record.ask(name) if same_seed else record.ask_again(name)
        for output, value in again.items():
            before = first.get(output)
            if value is not None and before is not None and not np.array_equal(value, before):
                off = np.abs(value.astype(float) - before).max()
                same = f"must give the same {output} for the same arguments"
                record.note(f"{function}: {same}; got two answers that differ by {off:.2g}")
                found = True
    return found


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
