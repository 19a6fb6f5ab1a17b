"""Checks of arguments. Every error is one sentence: where, which argument, what it must be, what it is.

Linear.forward: x must have last axis 4; got shape (3, 5)
"""

import functools
import inspect
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


LONGEST_PART = 500
"""Characters of a sentence's part: nobody reads a whole header, or a list of a thousand names."""


def _short(part: object) -> str:
    text = str(part)
    return text if len(text) <= LONGEST_PART else f"{text[: LONGEST_PART - 3]}..."


class InputError(ValueError):
    """An invalid argument: the sentence "where: argument needed; got got", and its four parts as attributes.

    where: the function, class or file, "" on the command line; argument: its name, "" if the error is about a
    whole file or call; needed: what it must be, beginning with "must"; got: what it is instead
    """

    def __init__(self, where: str, argument: str = "", needed: str = "", got: object = None) -> None:
        super().__init__(where, argument, needed, got)
        self.where, self.argument, self.needed, self.got = where, argument, needed, got

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        argument = f"{self.argument} " if self.argument else ""
        return f"{place}{_short(argument)}{_short(self.needed)}; got {_short(self.got)}"

    def within(self, place: object) -> Self:
        """A copy of the error with a larger place, such as a file, in front of `where`."""
        where = f"{place}: {self.where}" if self.where else str(place)
        return type(self)(where, self.argument, self.needed, self.got)


class NonFiniteError(InputError):
    """NaN or infinity where a finite number is needed."""


P = ParamSpec("P")
R = TypeVar("R")


def moved(where: str, required: str = "", **places: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: InputError for an argument that the function does not have, but another has.

    places: {its name: "must be given to ..."}, for names that people expect, or that an earlier version had;
    required: "must be given (...)", for arguments without a default that are missing
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        needed = [name for name, p in parameters.items() if p.default is p.empty]

        @functools.wraps(function)
        def with_hint(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in places:
                    fail(where, name, places[name], repr(kwargs[name]))
            missing = [name for name in needed[len(args) :] if name not in kwargs]
            if required and missing and kwargs.keys() <= parameters.keys():
                fail(where, missing[0], required, "nothing")
            return function(*args, **kwargs)

        return with_hint

    return decorate


def fail(where: str, argument: str, needed: str, got: object) -> NoReturn:
    """Raise InputError: "where: argument needed; got got"."""
    raise InputError(where, argument, needed, got)


def check_array(
    where: str, name: str, x: Any, *, ndim: int | None = None, last: int | None = None,
    shape: tuple[int, ...] | None = None, dtype: np.dtype[Any] | None = None, finite: bool = False,
) -> Array:  # fmt: skip
    """Return x if it is a float32 or float64 array of the required form, else raise InputError.

    ndim, last, shape: the required number of axes, length of the last axis, or shape; dtype: that of the
    other arguments; finite: refuse NaN and infinity, with NonFiniteError. Other types are not converted,
    which would hide the precision of the result.
    """
    if not isinstance(x, np.ndarray):
        fail(where, name, "must be a NumPy array of float32 or float64", type(x).__name__)
    if type(x) is not np.ndarray:
        plain_array(where, name, x)
        if isinstance(x, np.matrix):  # which has 2 axes whatever is done with it
            fail(where, name, "must be a plain array (np.asarray gives one)", type(x).__name__)
    if x.dtype not in FLOATS:
        fail(where, name, "must be float32 or float64", x.dtype)
    if dtype is not None and x.dtype != dtype:
        fail(where, name, f"must be {dtype}, like the other arrays", x.dtype)
    if shape is not None and x.shape != shape:
        fail(where, name, f"must have shape {shape}", f"shape {x.shape}")
    if ndim is not None and x.ndim != ndim:
        fail(where, name, f"must have {ndim} axes", f"shape {x.shape}")
    if last is not None and (x.ndim == 0 or x.shape[-1] != last):
        fail(where, name, f"must have last axis {last}", f"shape {x.shape}")
    if finite:
        check_finite(where, name, x)
    return x


def kind_of(value: Any) -> str:
    """The name of the type of what should be an array of images, and how to make one of it."""
    kind = type(value).__name__
    if hasattr(value, "__array_interface__"):  # a picture of Pillow's
        return f"{kind} (np.asarray(picture)[None] is an array of one)"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], np.ndarray):
        return f"{kind} of arrays (np.stack makes one of them)"
    return kind


def plain_array(where: str, name: str, x: Array) -> Array:
    """x as an array of no subclass; a masked one is refused, as its mask would count in some sums only."""
    if isinstance(x, np.ma.MaskedArray):
        fail(where, name, "must not be masked (its method filled gives a plain array)", type(x).__name__)
    return np.asarray(x)


def at_index(at: tuple[int, ...]) -> str:
    """An index in words: " at index 3" or " at index (0, 2)"; empty if the array has no axes."""
    return f" at index {at if len(at) > 1 else at[0]}" if at else ""


def _first(x: Array, bad: Array) -> str:
    """The first entry of x at which bad is true, and its index."""
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{x[at]}{at_index(at)}"


def many(shape: tuple[int, ...]) -> str:
    """The shape of n arrays of one shape, for an error: "(n, 28, 28)", or "(n,)" for numbers."""
    return f"({', '.join(map(str, ('n', *shape)))}{',' * (not shape)})"


def check_finite(where: str, name: str, x: Array) -> None:
    """Raise NonFiniteError with the index of the first NaN or infinity in x, if there is one."""
    finite = np.isfinite(x)
    if not finite.all():
        raise NonFiniteError(where, name, "must be finite", _first(x, ~finite))


def check_int(where: str, name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return value as an int within [low, high], else raise InputError."""
    span = f"an integer of at least {low}" if high is None else f"an integer in [{low}, {high}]"
    if isinstance(value, (bool, np.bool_)):
        fail(where, name, f"must be {span}", value)
    try:
        n = operator.index(value)
    except TypeError:
        fail(where, name, f"must be {span}", repr(value))
    if n < low or (high is not None and n > high):
        fail(where, name, f"must be {span}", n)
    return n


def check_float(where: str, name: str, value: Any, interval: str) -> float:
    """Return value as a float in the interval, such as "[0, 1)" or "(0, inf)", else raise InputError."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    if isinstance(value, (bool, np.bool_, str, bytes)):
        fail(where, name, f"must be a number in {interval}", repr(value))
    try:
        v = float(value)
    except (TypeError, ValueError):
        fail(where, name, f"must be a number in {interval}", repr(value))
    above = v >= low if interval[0] == "[" else v > low
    below = v <= high if interval[-1] == "]" else v < high
    if not (above and below):
        fail(where, name, f"must be in {interval}", v)
    return v


def check_choice(where: str, name: str, value: Any, choices: Sequence[str]) -> str:
    """Return value if it is one of the choices, else raise InputError that lists them."""
    if not isinstance(value, str) or value not in choices:
        fail(where, name, f"must be one of {', '.join(map(repr, choices))}", repr(value))
    return value


def check_lengths(where: str, name: str, value: Any) -> tuple[int, ...]:
    """Return value as a tuple of integers of at least 1, else raise InputError."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        fail(where, name, "must be a sequence of integers", repr(value))
    return tuple(check_int(where, f"{name}[{i}]", n) for i, n in enumerate(value))


def check_dtype(where: str, dtype: Any) -> np.dtype[Any]:
    """float32 or float64, from its name or type; otherwise raise."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in FLOATS:
        fail(where, "dtype", "must be 'float32' or 'float64'", repr(dtype))
    return found


def as_array(where: str, name: str, value: Any) -> Array:
    """Return value as an array, or raise InputError if it is masked or its parts differ in length."""
    if isinstance(value, np.ma.MaskedArray):
        plain_array(where, name, value)
    try:
        return np.asarray(value)
    except ValueError as error:
        ragged = "inhomogeneous" in str(error)
        fail(where, name, "must be an array", "parts of different lengths" if ragged else error)


def check_path(where: str, path: Any, needed: str = "must be a path", name: str = "path") -> Path:
    """Return path as a Path, else raise InputError."""
    if not isinstance(path, (str, os.PathLike)):
        fail(where, name, needed, type(path).__name__)
    return Path(path)


def check_rng(where: str, rng: np.random.Generator | int) -> np.random.Generator:
    """Return rng if it is a generator, or a new generator if it is a seed; else raise InputError."""
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(check_int(where, "rng", rng, 0))
    except InputError:
        fail(where, "rng", "must be a numpy.random.Generator or an integer of at least 0", repr(rng))


def check_codes(
    where: str, k: Any, num_embeddings: int, name: str = "codes", shape: tuple[int, ...] | None = None
) -> Array:
    """Return k as an array of integers in [0, K), else raise InputError with the index of the first other."""
    k = as_array(where, name, k)
    if k.dtype.kind not in "iu":
        fail(where, name, "must be integers", k.dtype)
    bad = (k < 0) | (k >= num_embeddings)
    if bad.any():
        fail(where, name, f"must be in [0, {num_embeddings})", _first(k, bad))
    if shape is not None and k.shape != shape:
        fail(where, name, f"must have shape {shape}", f"shape {k.shape}")
    return k


def check_code_rows(where: str, k: Any, num_embeddings: int, name: str = "codes") -> Array:
    """Return codes in [0, K), of shape (n, *latent_shape), as int64 rows (n, M), else raise InputError."""
    k = check_codes(where, k, check_int(where, "num_embeddings", num_embeddings), name)
    if k.ndim < 2 or k.size == 0:
        fail(where, name, "must have shape (n, *latent_shape), not empty", f"shape {k.shape}")
    return k.reshape(len(k), -1).astype(np.int64, copy=False)
