"""The shape and the range of one example: what a model takes, gives back and is drawn as."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_float, check_lengths, fail, many
from vqnp._images import to_float

TRANSPOSE = "np.moveaxis(images, 1, -1) puts the channels last"
FEW = 16
"""Up to so many rows, an image that has far more columns than rows may have its channels first."""


@dataclass(frozen=True)
class DataSpec:
    """x: (n, *shape) with values in [low, high]; grey images of 28 × 28 pixels in [0, 1] by default."""

    shape: tuple[int, ...] = (28, 28)
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape("DataSpec", "shape", self.shape))
        object.__setattr__(self, "low", check_float("DataSpec", "low", self.low, "(-inf, inf)"))
        object.__setattr__(self, "high", check_float("DataSpec", "high", self.high, f"({self.low}, inf)"))

    @classmethod
    def of(cls, value: Self | Mapping[str, Any]) -> Self:
        """value itself, or the DataSpec that as_dict() describes."""
        if isinstance(value, cls):
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

    def to_array(self, data: Any, dtype: Any, where: str, first: int = 0, name: str = "images") -> Array:
        """x as a model takes it: uint8 scaled to [low, high], floats checked.

        (n, *shape) or (n, P) -> (n, *shape)

        For errors: where and name are the caller and its argument, first is data[0]'s number in a larger set.
        """
        if isinstance(data, np.ndarray):  # before anything is converted, which may take much memory
            self.check_shape(data.shape, where, name)
        x = to_float(data, dtype, first=first, where=where, name=name, low=self.low, high=self.high)
        return x.reshape(len(x), *self.shape)

    def check_shape(self, shape: tuple[int, ...], where: str, name: str = "images") -> None:
        """Raise unless shape is (n, *self.shape) or (n, P)."""
        if shape and shape[1:] in (self.shape, (self.size,)):
            return
        shapes = dict.fromkeys((many(self.shape), many((self.size,))))  # a row has one shape, not two
        channels_first = self.shape and shape[1:] == (self.shape[-1], *self.shape[:-1])
        remedy = TRANSPOSE if len(self.shape) == 3 else "np.moveaxis(images, 1, -1) has this shape"
        hint = f"; {remedy}" if channels_first else ""
        if shape and shape == self.shape:
            hint = f"; {name}[None] is a batch of one"
        fail(where, name, f"must have shape {' or '.join(shapes)}{hint}", f"shape {shape}")

    def clip(self, x: Array) -> Array:
        """x brought into [low, high], a value outside to the nearer end."""
        return np.clip(x, self.low, self.high)


def check_shape(where: str, name: str, shape: Any) -> tuple[int, ...]:
    """Return the shape of an example as a tuple, else raise; colours are last, (H, W, 3), not (3, H, W).

    Refused is what can only be an image whose channels come first: 1, 3 or 4 of them, and a plane of more
    than 4 pixels along each axis.
    """
    shape = check_lengths(where, name, shape)
    if len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 4:
        wanted = (*shape[1:], shape[0])
        fail(where, name, f"must be {wanted}: {TRANSPOSE}", shape)
    return shape


def channels_first_hint(shape: tuple[int, ...]) -> str:
    """What to do if the channels of examples of this shape come first, as they seem to; otherwise "".

    (2, 64), (5, 28, 28): a first axis of at most 16 that all others exceed four times. Unlike what
    check_shape refuses, the array may be meant as it is.
    """
    if len(shape) not in (2, 3) or shape[0] > FEW or min(shape[1:]) < 4 * shape[0]:
        return ""
    return f"if these are {shape[0]} channels of {' × '.join(map(str, shape[1:]))}, {TRANSPOSE}"
