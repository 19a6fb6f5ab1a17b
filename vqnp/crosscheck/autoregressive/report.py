"""The report on an autoregressive model: a verdict, a variant for each dimension, and what is seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from vqnp._check import check_int
from vqnp.crosscheck.autoregressive.influence import Influence
from vqnp.crosscheck.autoregressive.table import NEEDED, TITLES, VARIANTS
from vqnp.crosscheck.report.by_dimension import ReportByDimension


@dataclass(kw_only=True)
class AutoregressiveReport(ReportByDimension):
    """The result of `check_autoregressive`: print it, test `.ok`, or use its parts.

    shape: of the grid of codes; influence: what each position sees, or None; the rest is of
    ReportByDimension.

    Examples
    --------
    >>> from vqnp.crosscheck import check_autoregressive
    >>> one_hot = np.eye(5)  # the logits of a code are the code itself: a leak
    >>> report = check_autoregressive(lambda codes: one_hot[codes], shape=(6,), num_embeddings=5)
    >>> report.ok, report.failing, report.map(2)  # code 2 sees itself, and neither of the two before it
    (False, ['order'], '..!   ')
    """

    num_embeddings: int
    influence: Influence | None = None

    titles = TITLES
    variants = VARIANTS
    width: ClassVar[int] = 18
    untold: ClassVar[str] = "cannot tell"

    @property
    def needed(self) -> Sequence[str]:
        return NEEDED

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

    def _head(self) -> str:
        size = " x ".join(map(str, self.shape))
        what = f"{size} codes, K = {self.num_embeddings}, {self.dtype}"
        return f"{what}\n{self.calls} calls, each with codes of our own"

    def _seen(self) -> Iterator[str]:
        if self.influence is not None and (self.influence.leaks.any() or self.influence.unseen.any()):
            where = self.influence.place(self._worst())
            yield f"\nwhat code {where} sees (# seen, . blind, ! leak, o itself)"
            yield from (f"  {line}" for line in self.map().splitlines())

    def as_dict(self) -> dict[str, Any]:
        """Everything but the measured influences, as plain values for JSON."""
        counts = {}
        if self.influence is not None:
            counts = {
                "leaks": int(self.influence.leaks.sum()), "unseen": int(self.influence.unseen.sum()),
                "pairs": int(self.influence.before.sum()),
                "unseen_by_position": self.influence.unseen.sum(axis=1).reshape(self.shape).tolist(),
            }  # fmt: skip
        return {**super().as_dict(), "num_embeddings": self.num_embeddings, "influence": counts}
