"""The shape and the range of one example: what a model takes, gives back and is drawn as.

x: (n, *shape), low ≤ x ≤ high
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from vqnp._check import Array, check_float, check_lengths, fail, many
from vqnp._images import to_float


@dataclass(frozen=True)
class DataSpec:
    """x: (n, *shape) with values in [low, high]; grey images of 28 × 28 pixels in [0, 1] by default."""

    shape: tuple[int, ...] = (28, 28)
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_lengths("DataSpec", "shape", self.shape))
        object.__setattr__(self, "low", check_float("DataSpec", "low", self.low, "(-inf, inf)"))
        object.__setattr__(self, "high", check_float("DataSpec", "high", self.high, f"({self.low}, inf)"))

    @classmethod
    def of(cls, value: DataSpec | Mapping[str, Any]) -> DataSpec:
        """value itself, or the DataSpec that as_dict() describes."""
        if isinstance(value, DataSpec):
            return value
        names = tuple(field.name for field in fields(cls))
        if not isinstance(value, Mapping) or not value.keys() <= set(names):
            fail("DataSpec", "data", f"must be a DataSpec, or a mapping of {', '.join(names)}", repr(value))
        return cls(**value)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"shape": list(self.shape)}

    @property
    def size(self) -> int:
        """P, how many numbers an example has."""
        return int(np.prod(self.shape))

    def to_array(self, data: Any, dtype: Any, where: str, first: int = 0) -> Array:
        """x as a model takes it: uint8 scaled to [low, high], floats checked.

        (n, *shape) or (n, P) -> (n, *shape); first: data[0]'s number in a larger set, for errors
        """
        x = to_float(data, dtype, first=first, where=where, low=self.low, high=self.high)
        if x.ndim == 0 or x.shape[1:] not in (self.shape, (self.size,)):
            shapes = dict.fromkeys((many(self.shape), many((self.size,))))  # a row has one shape, not two
            fail(where, "images", f"must have shape {' or '.join(shapes)}", f"shape {x.shape}")
        return x.reshape(len(x), *self.shape)

    def clip(self, x: Array) -> Array:
        """x brought into [low, high], a value outside to the nearer end."""
        return np.clip(x, self.low, self.high)
