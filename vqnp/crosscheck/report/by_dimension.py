"""A report that is a variant for each dimension: a verdict, what was found, faults, notes and advice."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.report.report import VERDICTS

CONFORMS, FAILS, OPEN = VERDICTS


@dataclass(kw_only=True)
class ReportByDimension:
    """Print it, test `.ok`, or use its parts.

    findings: for each dimension the variant found; calls: how often a function was called; faults: what was
    wrong with the answers, in sentences; notes: further remarks; hindrances: the faults that kept the object
    from being asked, which do not count against it; allowed: dimension -> variants that are intended.

    A subclass sets titles and variants, the dimensions and what there is in each; width, of the column of
    titles; and untold, the words for a dimension that could not be determined.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    calls: int
    findings: list[Finding]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hindrances: list[str] = field(default_factory=list)
    allowed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    titles: ClassVar[Mapping[str, str]]
    variants: ClassVar[Mapping[str, Mapping[str, Any]]]
    width: ClassVar[int]
    untold: ClassVar[str]

    @property
    def needed(self) -> Sequence[str]:
        """The dimensions that must be determined before it conforms."""
        raise NotImplementedError(f"{type(self).__name__} has no needed")

    @property
    def fingerprint(self) -> dict[str, str | None]:
        """The variant of each dimension; None where it cannot be determined."""
        return {f.dimension: f.variant for f in self.findings}

    @property
    def failing(self) -> list[str]:
        """The dimensions with a known bug that is not allowed."""
        return [
            d for d, v in self.fingerprint.items()
            if v is not None and self.variants[d][v].advice and v not in self.allowed.get(d, ())
        ]  # fmt: skip

    @property
    def verdict(self) -> str:
        """"conforms", "does not conform", or "not enough was asked"."""
        if self.failing or len(self.faults) > len(self.hindrances):
            return FAILS
        untold = any(self.fingerprint.get(d) is None for d in self.needed)
        return OPEN if self.hindrances or untold else CONFORMS

    @property
    def ok(self) -> bool:
        """Whether the verdict is "conforms"."""
        return self.verdict == CONFORMS

    def advice(self) -> list[str]:
        """A sentence with a reference for each known bug."""
        known = [(self.titles[d], self.variants[d][v]) for d, v in self.fingerprint.items() if v is not None]
        return [f"{title}: {v.label}. {v.advice} See {v.reference}." for title, v in known if v.advice]

    def describe(self, f: Finding) -> str:
        """A finding in words: the variant and the evidence for it."""
        label = self.untold if f.variant is None else self.variants[f.dimension][f.variant].label
        return f"{label} ({f.evidence})"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _head(self) -> str:
        """What was checked, after its name."""
        raise NotImplementedError(f"{type(self).__name__} has no head")

    def _seen(self) -> Iterator[str]:
        """Lines between the findings and the faults."""
        return iter(())

    def _lines(self) -> Iterator[str]:
        yield f"vqnp crosscheck: {self.name}, {self._head()}\n"
        for f in self.findings:
            result = "-" if f.variant is None else "fail" if f.dimension in self.failing else "pass"
            yield f"  {self.titles[f.dimension] + ':':<{self.width}}{result:<6}{self.describe(f)}"
        yield from self._seen()
        for title, lines in (("faults", self.faults), ("notes", self.notes), ("advice", self.advice())):
            if lines:
                yield from (f"\n{title}", *(f"  - {line}" for line in lines))
        yield f"\n{VERDICTS[self.verdict].word}: {self.verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        titles, told = self.titles, list[dict[str, Any]]()
        for f in self.findings:
            told.append({**f._asdict(), "title": titles[f.dimension], "text": self.describe(f)})
        return {
            "name": self.name, "shape": list(self.shape), "dtype": self.dtype, "calls": self.calls,
            "verdict": self.verdict, "ok": self.ok, "fingerprint": told, "faults": self.faults,
            "notes": self.notes, "advice": self.advice(),
        }  # fmt: skip

    def to_json(self) -> str:
        """as_dict as one JSON object."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2)
