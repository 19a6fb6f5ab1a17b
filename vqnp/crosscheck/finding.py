"""One line of the fingerprint: a dimension, the variant found, and what it was found from."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A dimension of docs/crosscheck.md's table and what the layer does in it.

    variant is a key of variants.VARIANTS[dimension], or None: cannot tell from what the adapter gives.
    `also` are the variants between which the answers do not decide.
    """

    dimension: str
    variant: str | None
    evidence: str
    also: tuple[str, ...] = ()
