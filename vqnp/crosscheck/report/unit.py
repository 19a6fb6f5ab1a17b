"""β* = p · D^a · N^b: the weight of a layer's commitment loss as a mean over all entries, the reference's.

p is the weight of the commitment term as the layer has it: β where β is on that term, 1 where it is on the
codebook's. A loss that sums over D is D times its mean over all entries, one that sums over the vectors N
times.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from vqnp.crosscheck.variants.formulas import PLACES, SCALES


class Weight(NamedTuple):
    """β* of a batch of one vector, and whether it grows with the number of vectors."""

    value: float
    grows: bool

    def __str__(self) -> str:
        times = " times the number of vectors in a batch" if self.grows else ""
        return f"{self.value:.6g}{times}"


def commitment_weight(beta: float, place: str, reduction: str, D: int, scale: float = 1.0) -> Weight:
    """β* for a β on `place`, a loss that `reduction` averages, codes of D numbers; scale: of the whole loss.

    place, reduction: variants of beta_on and reduction -> Weight

    β* is beside a reconstruction loss that is a mean over all entries; beside one that is divided by the
    variance v of the data it acts as v β*.

    Examples
    --------
    >>> str(commitment_weight(0.25, "commitment", "mean_of_sums", D=64))
    '16'
    >>> str(commitment_weight(0.25, "codebook", "mean", D=64))
    '1'
    >>> str(commitment_weight(0.25, "commitment", "sum", D=64))
    '16 times the number of vectors in a batch'
    """
    constant, times = PLACES[place][0]
    c = {N: SCALES[reduction](N, D) * N * D for N in (1, 2)}  # in units of the mean's 1/(ND)
    return Weight((constant + times * beta) * scale * c[1], c[2] != c[1])


def weight_found(
    constants: Mapping[str, float | None], fingerprint: Mapping[str, str | None], D: int
) -> Weight | None:
    """β* of a layer from what was found of it; None if that does not suffice.

    A loss that is taken after straight-through has no weight of this kind: its gradient is a difference.
    """
    beta, place, reduction = constants.get("beta"), fingerprint.get("beta_on"), fingerprint.get("reduction")
    if beta is None or not math.isfinite(beta) or place not in PLACES or reduction not in SCALES:
        return None
    if fingerprint.get("loss_from") != "codes":
        return None
    scale = constants.get("scale")
    return commitment_weight(beta, place, reduction, D, 1.0 if scale is None else scale)
