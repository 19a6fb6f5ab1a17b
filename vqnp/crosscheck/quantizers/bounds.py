"""Where one level ends and the next begins, z = f⁻¹(j + ½), and f's slope: bounds of finite scalar layers.

L: the number of levels -> L − 1 borders, increasing; z, L -> f'(z) in units of z_q, per level
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vqnp._check import Array

EPSILON = 1e-3


class Bound(NamedTuple):
    """The borders between L levels, and ∂y/∂z of the y that is rounded, in steps of one level."""

    borders: Callable[[int], Array]
    slope: Callable[[Array, int], Array]


def _offset(L: int) -> float:
    return 0.0 if L % 2 else 0.5


def _tanh(epsilon: float, shift: str) -> Bound:
    """round(h tanh(z + s) − o): h = (L − 1)(1 + ε)/2; s = tan or artanh of o/h, or 0."""

    def parts(L: int) -> tuple[float, float, float]:
        h, o = (L - 1) * (1 + epsilon) / 2, _offset(L)
        with np.errstate(all="ignore"):
            s = {"tan": np.tan(o / h), "artanh": np.arctanh(o / h), "none": 0.0}[shift]
        return h, o, float(s)

    def borders(L: int) -> Array:
        h, o, s = parts(L)
        with np.errstate(all="ignore"):
            return np.asarray(np.arctanh((np.arange(L - 1) - L // 2 + 0.5 + o) / h) - s)

    def slope(z: Array, L: int) -> Array:
        h, _, s = parts(L)
        return np.asarray(h * (1 - np.tanh(z + s) ** 2))

    return Bound(borders, slope)


def _clip(epsilon: float) -> Bound:
    """round(h clip(z + s, −1, 1) − o), s = o/h."""

    def parts(L: int) -> tuple[float, float]:
        h = (L - 1) * (1 + epsilon) / 2
        return h, _offset(L) / h

    def borders(L: int) -> Array:
        h, s = parts(L)
        return np.asarray((np.arange(L - 1) - L // 2 + 0.5 + _offset(L)) / h - s)

    def slope(z: Array, L: int) -> Array:
        h, s = parts(L)
        return np.asarray(h * (np.abs(z + s) <= 1))

    return Bound(borders, slope)


def _edges(L: int) -> Array:
    """The borders of L levels that are evenly spread over [−1, 1] with levels at both ends."""
    return np.asarray((2 * np.arange(L - 1) + 1) / (L - 1) - 1)


def _logistic(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))


BOUNDS = {
    "published": _tanh(-EPSILON, "tan"),
    "wider": _tanh(EPSILON, "artanh"),
    "narrower_artanh": _tanh(-EPSILON, "artanh"),
    "wider_tan": _tanh(EPSILON, "tan"),
    "symmetric": Bound(
        lambda L: np.asarray(np.arctanh(_edges(L))),
        lambda z, L: np.asarray((L - 1) / 2 * (1 - np.tanh(z) ** 2)),
    ),
    "no_epsilon": _tanh(0.0, "artanh"),
    "no_shift": _tanh(-EPSILON, "none"),
    "no_shift_wider": _tanh(EPSILON, "none"),
    "clipped_shifted": _clip(EPSILON),
    "clipped": Bound(_edges, lambda z, L: (L - 1) / 2 * (np.abs(z) <= 1)),
    "logistic": Bound(
        lambda L: np.asarray(2 * np.arctanh(_edges(L))),
        lambda z, L: (L - 1) * _logistic(z) * (1 - _logistic(z)),
    ),
}  # fmt: skip
"""The first is that of the paper's appendix A.1; "wider" is vector-quantize-pytorch's."""

VALUES: dict[str, Callable[[int], Array]] = {
    "published": lambda L: (np.arange(L) - L // 2) / (L // 2),
    "symmetric": lambda L: 2 * np.arange(L) / (L - 1) - 1,
    "integers": lambda L: np.arange(L) - float(L // 2),
    "from_0": lambda L: np.arange(L) * 1.0,
    "centred": lambda L: np.arange(L) - (L - 1) / 2,
}
"""The values of a coordinate, smallest first; for odd L the first two are the same."""
