"""@checked(W="(I, O)", x="(..., I)"): which arrays an op takes, declared above its equation.

A shape is a tuple of letters, each one length, in which "..." stands for any leading axes. The same letter
means the same length in all of an op's arrays, and "..." the same axes; the array that is declared first
decides what a letter is. All the arrays are float32, or all are float64.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from vqnp._check import Array, check_array, fail

P = ParamSpec("P")
R = TypeVar("R")


def checked(*, where: str | None = None, **shapes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: InputError unless the named arguments are arrays of these shapes and of one dtype.

    None is allowed where it is an argument's default. where: the name in the error, if not the function's.
    """

    def decorate(op: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(op).parameters
        names = list(parameters)
        declared = [
            (name, names.index(name), parameters[name].default is None, _letters(shape))
            for name, shape in shapes.items()
        ]

        @functools.wraps(op)
        def with_checks(*args: P.args, **kwargs: P.kwargs) -> R:
            lengths: dict[str, Any] = {}
            dtype = None
            for name, place, optional, letters in declared:
                if place >= len(args) and name not in kwargs:
                    continue  # its default, or Python's own error
                x = args[place] if place < len(args) else kwargs[name]
                if x is not None or not optional:
                    dtype = _check(where or op.__name__, name, x, letters, lengths, dtype)
            return op(*args, **kwargs)

        return with_checks

    return decorate


def unchecked(op: Callable[P, R]) -> Callable[P, R]:
    """A @checked function without its checks, to be called with arrays that the caller has checked."""
    without: Callable[P, R] = op.__wrapped__  # type: ignore[attr-defined]
    return without


def _letters(shape: str) -> tuple[str, ...]:
    """("...", "I") of "(..., I)"."""
    return tuple(letter.strip() for letter in shape.strip("()").split(",") if letter.strip())


def _check(
    where: str, name: str, x: Any, letters: tuple[str, ...], lengths: dict[str, Any], dtype: Any
) -> np.dtype[Any]:
    """Raise, or note in lengths what each new letter is; the dtype that the other arrays must have."""
    check_array(where, name, x, dtype=dtype)
    before = dict(lengths)
    if not _fits(x, letters, lengths):
        fail(where, name, f"must have shape {_resolved(letters, before)}", f"shape {x.shape}")
    return x.dtype


def _fits(x: Array, letters: tuple[str, ...], lengths: dict[str, Any]) -> bool:
    leading = letters[:1] == ("...",)
    last = letters[1:] if leading else letters
    axes = x.ndim - len(last)
    if axes < 0 or (axes and not leading):
        return False
    if leading and lengths.setdefault("...", x.shape[:axes]) != x.shape[:axes]:
        return False
    return all(lengths.setdefault(letter, n) == n for letter, n in zip(last, x.shape[axes:], strict=True))


def _resolved(letters: tuple[str, ...], lengths: dict[str, Any]) -> str:
    """The shape with numbers for the letters that are known: "(..., 4)"."""
    known: list[str] = []
    for letter in letters:
        value = lengths.get(letter, letter)
        known += map(str, value) if isinstance(value, tuple) else [str(value)]
    return f"({', '.join(known)}{',' * (len(known) == 1)})"
