"""The report on a quantizer: a verdict, a variant for each dimension, faults, notes and advice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vqnp.crosscheck.quantizers.table import NEEDED, TITLES, VARIANTS
from vqnp.crosscheck.report.by_dimension import ReportByDimension


@dataclass(kw_only=True)
class QuantizerReport(ReportByDimension):
    """The result of `check_quantizer`: print it, test `.ok`, or use its parts.

    kind: the family; shape: (n, K, D), (K, D) for one code, or (D,) without a codebook; the rest is of
    ReportByDimension.

    Examples
    --------
    >>> from vqnp.crosscheck import OwnQuantizer, check_quantizer
    >>> from vqnp.nn import FiniteScalarQuantizer
    >>> report = check_quantizer(OwnQuantizer(FiniteScalarQuantizer((3, 5))))
    >>> report.verdict, report.failing, report.fingerprint["values"], report.fingerprint["estimator"]
    ('conforms', [], 'published', 'through_bound')
    """

    kind: str

    titles = TITLES
    variants = VARIANTS
    width: ClassVar[int] = 20
    untold: ClassVar[str] = "not checked"

    @property
    def needed(self) -> Sequence[str]:
        return NEEDED[self.kind]

    def _head(self) -> str:
        sizes = {1: "D", 2: "K, D", 3: "n, K, D"}[len(self.shape)]
        given = f"{sizes} = {', '.join(map(str, self.shape))}"
        return f"{self.kind.replace('_', ' ')}, {given}, {self.dtype}\n{self.calls} calls"

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "kind": self.kind}
