"""What the answers show: a Finding for each dimension of the fingerprint."""

from collections.abc import Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """A dimension of docs/crosscheck-variants.md and what the layer does in it."""

    dimension: str
    variant: str | None  # a key of VARIANTS[dimension], or None: cannot tell from what the adapter gives
    evidence: str
    also: tuple[str, ...] = ()  # the variants between which the answers do not decide


def among(dimension: str, variants: Iterable[str], evidence: str) -> Finding:
    """The one variant that is left, or all that are."""
    different = tuple(dict.fromkeys(variants))
    return Finding(dimension, different[0] if len(different) == 1 else None, evidence, different)
