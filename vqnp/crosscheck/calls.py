"""One call of somebody's function: what came, as arrays; and what was wrong with it, in sentences.

Nothing that the function does ends the check: it may raise, or return nonsense.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vqnp._check import Array

Outputs = dict[str, Array | None]


def to_array(value: Any) -> Array:
    """A NumPy array of what a function returned; raises TypeError with a sentence where there is none."""
    device = str(getattr(value, "device", "cpu"))
    if hasattr(value, "detach"):
        value = value.detach()
    try:
        array = np.asarray(value)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        on = f" on {device}" if "cpu" not in device.lower() else ""
        kind = f"{type(value).__name__} of {getattr(value, 'dtype', 'unknown dtype')}{on}"
        raise TypeError(f"must be a NumPy array; got {kind}, which NumPy cannot take ({first})") from None
    if array.dtype.kind not in "fiub":
        kind = str(array.dtype) if array.dtype.kind != "O" else type(value).__name__
        raise TypeError(f"must be an array of numbers; got {kind}")
    return array


def call(
    where: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Array],
    names: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
) -> tuple[Outputs, list[str]]:
    """Call function(*arguments); outputs by name, without those of no use, None for a None; and the faults.

    Parameters
    ----------
    where : str
        The function's name, for the sentences.
    arguments : mapping of name to array
        Copied first, so that a function that writes into them spoils nothing but its own report.
    names, shapes
        The outputs in order, and the shape that each must have.
    dtype : numpy.dtype
        What the float outputs must have.
    """
    copies = {name: np.array(a) for name, a in arguments.items()}
    faults: list[str] = []
    given = ", ".join(f"{n} {a.shape}" for n, a in arguments.items())
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = function(*copies.values())
    except (Exception, SystemExit) as error:
        return {}, [f"{where}: raised {_described(error)} (given {given})"]
    for name, a in arguments.items():
        if copies[name].shape != a.shape or copies[name].tobytes() != a.tobytes():
            faults.append(f"{where}: must leave its arguments alone; it changed {name}")
    outputs: Outputs = {}
    for name, value in _by_name(result, names):
        array, wrong = _one(where, name, value, shapes[name], dtype)
        faults += wrong
        if array is not None or value is None:
            outputs[name] = array
    if isinstance(result, Mapping) and result and not set(names) & set(result):
        came = ", ".join(map(str, result))
        faults.append(f"{where}: must name what it returns {', '.join(names)}; got {came}")
    if isinstance(result, (tuple, list)) and len(result) > len(names):
        faults.append(f"{where}: must return at most {len(names)} values; got {len(result)}")
    return outputs, faults


def _described(error: BaseException) -> str:
    """Its type and the first line of what it says, where it says something."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # its own __str__ raises
        lines = []
    return ": ".join([type(error).__name__, *lines[:1]])


def _by_name(result: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
    """What was returned, by name: from a mapping, a tuple in order, or one value alone."""
    if isinstance(result, Mapping):
        return [(name, result[name]) for name in names if name in result]
    return list(zip(names, result if isinstance(result, (tuple, list)) else [result], strict=False))


def _one(
    where: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Array | None, list[str]]:
    if value is None:
        return None, []
    try:
        array = np.array(to_array(value))  # a copy: the layer may write its next answer into the same memory
    except TypeError as error:
        return None, [f"{where}: {name} {error}"]
    if shape == () and array.size == 1:
        array = array.reshape(())
    if array.shape != shape:
        return None, [f"{where}: {name} must have shape {shape}; got shape {array.shape}"]
    if name == "k":
        return _codes(where, array)
    if array.dtype.kind != "f":
        return array.astype(dtype), [f"{where}: {name} must be {dtype}; got {array.dtype}"]
    wrong = []
    if array.dtype != dtype and name != "perplexity":  # a figure of merit may be a Python float
        wrong = [f"{where}: {name} must be {dtype}, as what it was given; got {array.dtype}"]
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        at = f" at index {tuple(int(i) for i in bad[0])}" if array.ndim else ""
        wrong.append(f"{where}: {name} must be finite; got {array[tuple(bad[0])]}{at}")
        return (array if where == "step" else None), wrong  # a codebook that exploded has a tale to tell
    return array, wrong


def _codes(where: str, k: Array) -> tuple[Array | None, list[str]]:
    """Codes as integers; floats that are whole are taken, with a sentence."""
    if k.dtype.kind in "iu":
        return k.astype(np.int64), []
    fault = f"{where}: k must be integers; got {k.dtype}"
    if k.dtype.kind == "f" and np.isfinite(k).all() and (k == np.round(k)).all():
        return k.astype(np.int64), [fault]
    return None, [fault]
