"""The report on an autoregressive model: a verdict, a variant for each dimension, and what is seen."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vqnp._check import check_int
from vqnp.crosscheck.autoregressive.influence import Influence
from vqnp.crosscheck.autoregressive.table import NEEDED, TITLES, VARIANTS
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.report.report import VERDICTS

CONFORMS, FAILS, OPEN = "conforms", "does not conform", "not enough was asked"


@dataclass
class AutoregressiveReport:
    """The result of `check_autoregressive`: print it, test `.ok`, or use its parts.

    findings: for each dimension the variant found; influence: what each position sees, or None; calls: how
    often a function was called; faults: what was wrong with the results, in sentences; notes: further
    remarks; allowed: dimension -> variants that are intended.
    """

    name: str
    shape: tuple[int, ...]
    num_embeddings: int
    dtype: str
    calls: int
    findings: list[Finding]
    influence: Influence | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
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
        if self.failing or self.faults:
            return FAILS
        return OPEN if any(self.fingerprint.get(d) is None for d in NEEDED) else CONFORMS

    @property
    def ok(self) -> bool:
        """Whether the verdict is "conforms"."""
        return self.verdict == CONFORMS

    def advice(self) -> list[str]:
        """A sentence with a reference for each known bug."""
        known = [(TITLES[d], VARIANTS[d][v]) for d, v in self.fingerprint.items() if v is not None]
        return [f"{title}: {v.label}. {v.advice} See {v.reference}." for title, v in known if v.advice]

    def map(self, position: int | tuple[int, ...] | None = None) -> str:
        """What the logits of the code at a position depend on, one character for each code.

        #: an earlier code that is seen; .: an earlier code that is not; !: the code itself or a later one, if
        it is seen; o: the code itself, not seen; blank: a later code, not seen. Default: the worst position.
        """
        if self.influence is None:
            return ""
        found = self.influence
        m = self._worst() if position is None else self._number(position)
        earlier = np.arange(found.M) < m
        marks = np.where(found.seen[m], np.where(earlier, "#", "!"), np.where(earlier, ".", " "))
        marks[~found.told[m]] = "?"
        if marks[m] == " ":
            marks[m] = "o"
        lines = marks.reshape(-1, found.shape[-1])
        return "\n".join("".join(line) for line in lines)

    def _worst(self) -> int:
        """The position with most leaks or, without any, most blind spots; among equals, one in the middle."""
        assert self.influence is not None
        bad = self.influence.leaks if self.influence.leaks.any() else self.influence.unseen
        if not bad.any():
            return self.influence.M - 1
        most = np.flatnonzero(bad.sum(axis=1) == bad.sum(axis=1).max())
        return int(most[len(most) // 2])

    def _number(self, position: int | tuple[int, ...]) -> int:
        at = (position,) if isinstance(position, int) else tuple(position)
        M = int(np.prod(self.shape))
        if len(at) == 1:
            return check_int("map", "position", at[0], 0, M - 1)
        return int(np.ravel_multi_index(at, self.shape))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        size = " x ".join(map(str, self.shape))
        yield f"vqnp crosscheck: {self.name}, {size} codes, K = {self.num_embeddings}, {self.dtype}"
        yield f"{self.calls} calls, each with codes of our own\n"
        for f in self.findings:
            result = "-" if f.variant is None else "fail" if f.dimension in self.failing else "pass"
            yield f"  {TITLES[f.dimension] + ':':<18}{result:<6}{describe(f)}"
        if self.influence is not None and (self.influence.leaks.any() or self.influence.unseen.any()):
            where = self.influence.place(self._worst())
            yield f"\nwhat code {where} sees (# seen, . blind, ! leak, o itself)"
            yield from (f"  {line}" for line in self.map().splitlines())
        for title, lines in (("faults", self.faults), ("notes", self.notes), ("advice", self.advice())):
            if lines:
                yield from (f"\n{title}", *(f"  - {line}" for line in lines))
        yield f"\n{VERDICTS[self.verdict].word}: {self.verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Everything but the measured influences, as plain values for JSON."""
        told = [{**f._asdict(), "title": TITLES[f.dimension], "text": describe(f)} for f in self.findings]
        counts = {}
        if self.influence is not None:
            counts = {
                "leaks": int(self.influence.leaks.sum()), "unseen": int(self.influence.unseen.sum()),
                "pairs": int(self.influence.before.sum()),
                "unseen_by_position": self.influence.unseen.sum(axis=1).reshape(self.shape).tolist(),
            }  # fmt: skip
        return {
            "name": self.name, "shape": list(self.shape), "num_embeddings": self.num_embeddings,
            "dtype": self.dtype, "calls": self.calls, "verdict": self.verdict, "ok": self.ok,
            "fingerprint": told, "influence": counts, "faults": self.faults, "notes": self.notes,
            "advice": self.advice(),
        }  # fmt: skip

    def to_json(self) -> str:
        """as_dict as one JSON object."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2)


def describe(f: Finding) -> str:
    """A finding in words: the variant and the evidence for it."""
    if f.variant is None:
        return f"cannot tell ({f.evidence})"
    return f"{VARIANTS[f.dimension][f.variant].label} ({f.evidence})"
