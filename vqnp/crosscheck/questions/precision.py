"""ε: how finely numbers were rounded, told from the numbers themselves, which may be kept in a wider dtype.

A number that came through p bits of significand has zeros after them, in whatever dtype it is handed over.
"""

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array


class Precision(NamedTuple):
    """A floating-point format; NumPy itself has no bfloat16."""

    eps: float
    name: str

    @property
    def half(self) -> bool:
        """Whether it is coarser than float32."""
        return self.eps > 1e-6

    @property
    def tolerance(self) -> float:
        """How far a measured coefficient may be off, relatively, and still count as equal.

        √ε (1.5e-8 or 3.5e-4) is far above rounding, and far below what variants differ by unless β is
        within √ε of 0, ½ or 1. In half precision that would be everything: there it is 4 ε (0.004 or 0.03).
        """
        return 4 * self.eps if self.half else float(np.sqrt(self.eps))


FLOAT64, FLOAT32 = Precision(2.0**-52, "float64"), Precision(2.0**-23, "float32")
FLOAT16, BFLOAT16 = Precision(2.0**-10, "float16"), Precision(2.0**-7, "bfloat16")
PRECISIONS = {p.name: p for p in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


def rounded(a: Array, to: Precision) -> Array:
    """a to the nearest number of the format (but for its range), in a's dtype."""
    if to.name in ("float32", "float64"):
        return a.astype(to.name).astype(a.dtype)
    mantissa, exponent = np.frexp(a.astype(np.float64))
    steps = 2.0 / to.eps
    return np.ldexp(np.round(mantissa * steps) / steps, exponent).astype(a.dtype)


def of_array(a: Array) -> Precision | None:
    """The coarsest format that has every entry; None of zeros, or of so few that it would be chance."""
    shown = a[np.isfinite(a) & (a != 0)]
    narrow = FLOAT64 if a.dtype == np.float64 else FLOAT32 if a.dtype == np.float32 else FLOAT16
    if not shown.size:
        return None
    # Each entry has this by chance with probability 2^(bits less): of a few, only float32 is no chance.
    for p in (BFLOAT16, FLOAT16, FLOAT32):
        if p.eps > narrow.eps and (narrow.eps / p.eps) ** shown.size < 1e-7:
            if (rounded(shown, p) == shown).all():
                return p
    return narrow


def as_precision(dtype: Any) -> Precision:
    """Of a NumPy dtype or a name."""
    return PRECISIONS[str(dtype)]
