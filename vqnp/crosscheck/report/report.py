"""What the checker found: a table of quantities, the fingerprint, the constants, the faults, the advice."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.report.quantities import Row
from vqnp.crosscheck.report.unit import Weight, weight_found
from vqnp.crosscheck.variants.table import TITLES, VARIANTS

# Quantities that a layer's loss shows in; without any of them it was not asked enough to conform.
OF_THE_LOSS = ("loss", "loss, 4 × batch", "dz", "dE", "evaluation: loss")


UNIT = "as the weight of a mean over all entries, beside a mean squared error"


class Verdict(NamedTuple):
    """How it is printed, and the exit status of the command line (2: it could not be checked)."""

    word: str
    status: int


VERDICTS = {
    "conforms": Verdict("ok", 0),
    "does not conform": Verdict("NOT OK", 1),
    "not enough was asked": Verdict("NOT ENOUGH ASKED", 3),
}


@dataclass
class Report:
    """The answer of `check`: print it, ask it for its `.verdict`, or whether it is `.ok`, or take its parts.

    rows: each quantity beside the reference's; findings: for each dimension the variant found; constants: β,
    decay, ε, and the scale of the loss if it is not 1, as estimated from behaviour, None where that cannot be
    told; faults: sentences on what was wrong with how the layer answered, or kept it from being asked (these
    also are in hindrances); notes: what is worth knowing and does no harm.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    rows: list[Row]
    findings: list[Finding]
    constants: dict[str, float | None]
    reference: dict[str, Any]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hindrances: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """One of VERDICTS.

        It does not conform if a quantity fails, or anything was wrong with how it answered. Else it conforms
        if the loss or a gradient of it was compared; without, it was not asked enough.
        """
        if any(row.result == "fail" for row in self.rows) or len(self.faults) > len(self.hindrances):
            return "does not conform"
        judged = any(row.result == "pass" for row in self.rows if row.quantity in OF_THE_LOSS)
        return "conforms" if judged and not self.hindrances else "not enough was asked"

    @property
    def ok(self) -> bool:
        """Whether it conforms."""
        return self.verdict == "conforms"

    @property
    def fingerprint(self) -> dict[str, str | None]:
        """The variant of each dimension; None where it cannot be told."""
        return {f.dimension: f.variant for f in self.findings}

    @property
    def commitment(self) -> Weight | None:
        """β in the reference's unit, a mean over all entries; None where it cannot be told."""
        return weight_found(self.constants, self.fingerprint, self.shape[1])

    def advice(self) -> list[str]:
        """A sentence with a reference for each finding that is a known bug or hazard."""
        known = [(TITLES[d], VARIANTS[d][v]) for d, v in self.fingerprint.items() if v is not None]
        return [f"{title}: {v.label}. {v.advice} See {v.reference}." for title, v in known if v.advice]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        K, D = self.shape
        yield f"vqnp crosscheck: {self.name}, K = {K}, D = {D}, {self.dtype}"
        yield f"compared with {describe_reference(self.reference)}\n"
        yield f"{'quantity':<20}{'difference':>12}{'relative':>10}{'ULPs':>10}{'tolerance':>11}  result"
        for r in self.rows:
            numbers = f"{_e(r.absolute):>12}{_e(r.relative):>10}{_e(r.ulps):>10}{_e(r.tolerance):>11}"
            note = f" ({r.note})" if r.note and r.result != "not checked" else ""
            yield f"{r.quantity:<20}{numbers}  {r.result}{note}"
        yield "\nfingerprint"
        for f in self.findings:
            yield f"  {TITLES[f.dimension] + ':':<20}{describe(f)}"
        told = [f"{name} = {value:.6g}" for name, value in self.constants.items() if value is not None]
        untold = [name for name, value in self.constants.items() if value is None]
        cannot = f"; cannot tell {', '.join(untold)}" if untold else ""
        yield f"  {'constants:':<20}{', '.join(told) or 'none told'}{cannot}"
        if self.commitment is not None:
            yield f"  {'commitment weight:':<20}{self.commitment}, {UNIT}"
        parts = ("faults", self.faults), ("advice", self.advice()), ("notes", self.notes)
        for title, lines in parts:
            if lines:
                yield from (f"\n{title}", *(f"  - {line}" for line in lines))
        results = [row.result for row in self.rows]
        counts = ", ".join(f"{results.count(result)} {result}" for result in ("pass", "fail", "not checked"))
        faults = f", {len(self.faults)} fault{'s' * (len(self.faults) > 1)}" if self.faults else ""
        yield f"\n{VERDICTS[self.verdict].word}: {counts}{faults}"

    def to_json(self) -> str:
        """The whole report as one JSON object; a number that is not finite is null."""
        K, D = self.shape
        told = [{**f._asdict(), "title": TITLES[f.dimension], "text": describe(f)} for f in self.findings]
        report = {
            "name": self.name, "num_embeddings": K, "embedding_dim": D, "dtype": self.dtype,
            "ok": self.ok, "verdict": self.verdict, "reference": self.reference,
            "quantities": [{name: _finite(value) for name, value in r._asdict().items()} for r in self.rows],
            "fingerprint": told, "constants": self.constants, "faults": self.faults, "advice": self.advice(),
            "commitment_weight": self.commitment and self.commitment._asdict(),
            "notes": self.notes, "hindrances": self.hindrances,
        }  # fmt: skip
        return json.dumps(report, ensure_ascii=False, indent=2)


def describe(f: Finding) -> str:
    """A finding in words: the variant and what it was found from."""
    known = VARIANTS[f.dimension]
    if f.variant is not None:
        return f"{known[f.variant].label} ({f.evidence})"
    among = f": {' or '.join(known[v].label for v in f.also)}" if len(f.also) > 1 else ""
    return f"cannot tell from what the adapter gives{among} ({f.evidence})"


def describe_reference(reference: dict[str, Any]) -> str:
    """The settings of what the layer was compared with."""
    kind = "an EMA codebook" if reference["ema"] else "a codebook by gradient"
    numbers = ("beta", "decay", "epsilon") if reference["ema"] else ("beta",)
    numbers = (*numbers, "scale") if reference["scale"] != 1 else numbers
    told = ", ".join(f"{name} = {reference[name]:.6g}" for name in numbers)
    allowed = [f"{TITLES[d]} {VARIANTS[d][v].label}" for d, v in reference["variants"].items()]
    return f"vqnp: {kind}, {told}" + (f"; allowed: {'; '.join(allowed)}" if allowed else "")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _e(x: float | None) -> str:
    return "-" if x is None else "0" if x == 0 else f"{x:.1e}" if x < 1e5 or x >= 1e15 else f"{x:.0e}"
