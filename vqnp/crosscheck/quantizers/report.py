"""The report on a quantizer: a verdict, a variant for each dimension, faults, notes and advice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.table import NEEDED, TITLES, VARIANTS
from vqnp.crosscheck.report.report import VERDICTS

CONFORMS, FAILS, OPEN = "conforms", "does not conform", "not enough was asked"


@dataclass
class QuantizerReport:
    """The result of `check_quantizer`: print it, test `.ok`, or use its parts.

    kind: the family; shape: (n, K, D), (K, D) for one code, or (D,) without a codebook; calls: how often a
    function was called; findings: for each dimension the variant found; faults: what was wrong with the
    answers, in sentences; notes: further remarks; hindrances: the faults that kept the layer from being
    asked, which do not count against it; allowed: dimension -> variants that are intended.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    calls: int
    findings: list[Finding]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hindrances: list[str] = field(default_factory=list)
    allowed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> dict[str, str | None]:
        """The variant of each dimension; None where it cannot be determined."""
        return {f.dimension: f.variant for f in self.findings}

    @property
    def failing(self) -> list[str]:
        """The dimensions with a known bug that is not allowed."""
        return [
            d for d, v in self.fingerprint.items()
            if v is not None and VARIANTS[d][v].advice and v not in self.allowed.get(d, ())
        ]  # fmt: skip

    @property
    def verdict(self) -> str:
        """"conforms", "does not conform", or "not enough was asked"."""
        if self.failing or len(self.faults) > len(self.hindrances):
            return FAILS
        untold = any(self.fingerprint.get(d) is None for d in NEEDED[self.kind])
        return OPEN if self.hindrances or untold else CONFORMS

    @property
    def ok(self) -> bool:
        """Whether the verdict is "conforms"."""
        return self.verdict == CONFORMS

    def advice(self) -> list[str]:
        """A sentence with a reference for each known bug."""
        known = [(TITLES[d], VARIANTS[d][v]) for d, v in self.fingerprint.items() if v is not None]
        return [f"{title}: {v.label}. {v.advice} See {v.reference}." for title, v in known if v.advice]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        sizes = {1: "D", 2: "K, D", 3: "n, K, D"}[len(self.shape)]
        given = f"{sizes} = {', '.join(map(str, self.shape))}"
        yield f"vqnp crosscheck: {self.name}, {self.kind.replace('_', ' ')}, {given}, {self.dtype}"
        yield f"{self.calls} calls\n"
        for f in self.findings:
            result = "-" if f.variant is None else "fail" if f.dimension in self.failing else "pass"
            yield f"  {TITLES[f.dimension] + ':':<20}{result:<6}{describe(f)}"
        for title, lines in (("faults", self.faults), ("notes", self.notes), ("advice", self.advice())):
            if lines:
                yield from (f"\n{title}", *(f"  - {line}" for line in lines))
        yield f"\n{VERDICTS[self.verdict].word}: {self.verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        told = [{**f._asdict(), "title": TITLES[f.dimension], "text": describe(f)} for f in self.findings]
        return {
            "name": self.name, "kind": self.kind, "shape": list(self.shape), "dtype": self.dtype,
            "calls": self.calls, "verdict": self.verdict, "ok": self.ok, "fingerprint": told,
            "faults": self.faults, "notes": self.notes, "advice": self.advice(),
        }  # fmt: skip

    def to_json(self) -> str:
        """as_dict as one JSON object."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2)


def describe(f: Finding) -> str:
    """A finding in words: the variant and the evidence for it."""
    if f.variant is None:
        return f"not checked ({f.evidence})"
    return f"{VARIANTS[f.dimension][f.variant].label} ({f.evidence})"
