"""One call of somebody's function: its outputs as arrays, and what was wrong with them, in sentences.

Nothing that the function does ends the check: it may raise, or return nonsense.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vqnp._check import Array

Outputs = dict[str, Array | None]


def call(
    where: str, function: Callable[..., Any], arguments: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any],
) -> tuple[Outputs, list[str]]:  # fmt: skip
    """Call function(*arguments); usable outputs by name, None for a None; and the faults.

    where: the function's name, for the sentences; shapes: of each output, in order; dtype: of float outputs.
    """
    copies = {name: np.array(a) for name, a in arguments.items()}  # into which the function may write
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = function(*copies.values())
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{name} {a.shape}" for name, a in arguments.items())
        return {}, [f"{where}: raised {describe_error(error)} (given {given})"]
    faults = [
        f"{where}: must leave its arguments alone; it changed {name}"
        for name, a in arguments.items()
        if copies[name].shape != a.shape or copies[name].tobytes() != a.tobytes()
    ]
    several = isinstance(result, (tuple, list))
    if isinstance(result, Mapping):
        named = [(name, result[name]) for name in shapes if name in result]
        if result and not named:
            came = ", ".join(map(str, result))
            faults.append(f"{where}: must name what it returns {', '.join(shapes)}; got {came}")
    else:
        named = list(zip(shapes, result if several else [result], strict=False))
    outputs: Outputs = {name: None for name, value in named if value is None}
    for name, value in named:
        array, wrong = (None, "") if value is None else _checked(name, value, shapes[name], dtype)
        faults += [f"{where}: {name} {wrong}"] if wrong else []
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            at = f" at index {bad}" if bad else ""
            faults.append(f"{where}: {name} must be finite; got {array[bad]}{at}")
            array = array if where == "step" else None  # how a codebook explodes is a finding
        if array is not None:
            outputs[name] = array
    if several and len(result) > len(shapes):
        faults.append(f"{where}: must return at most {len(shapes)} values; got {len(result)}")
    return outputs, faults


def _checked(name: str, value: Any, shape: Any, dtype: np.dtype[Any]) -> tuple[Array | None, str]:
    """An output as an array, None if it is of no use; and what is wrong with it."""
    array, wrong = to_array(value)
    if array is None:
        return None, wrong
    if shape == () and array.size == 1:
        array = array.reshape(())
    if array.shape != shape:
        return None, f"must have shape {shape}; got shape {array.shape}"
    kind = array.dtype.kind
    if name == "k":
        wrong = "" if kind in "iu" else f"must be integers; got {array.dtype}"
        whole = kind in "iu" or (kind == "f" and np.isfinite(array).all() and (array == array.round()).all())
        return (array.astype(np.int64) if whole else None), wrong
    if kind != "f":
        return array.astype(dtype), f"must be {dtype}; got {array.dtype}"
    other = array.dtype != dtype and name != "perplexity"  # a figure of merit may be a Python float
    return array, f"must be {dtype}, as what it was given; got {array.dtype}" if other else ""


def to_array(value: Any) -> tuple[Array | None, str]:
    """A copy of what was returned, for the layer may reuse the memory; or None and why not."""
    try:
        value = value.detach() if hasattr(value, "detach") else value
        if str(getattr(value, "dtype", "")) == "torch.bfloat16" and "cpu" in str(value.device):
            value = value.float()  # exact, and NumPy has no bfloat16
        array = np.array(np.asarray(value))
    except Exception as error:
        device = str(getattr(value, "device", "cpu"))
        on = f" on {device}" if "cpu" not in device.lower() else ""
        kind = f"{type(value).__name__} of {getattr(value, 'dtype', 'unknown dtype')}{on}"
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return None, f"must be a NumPy array; got {kind}, which NumPy cannot take ({first})"
    if array.dtype.kind in "fiub":
        return array, ""
    kind = str(array.dtype) if array.dtype.kind != "O" else type(value).__name__
    return None, f"must be an array of numbers; got {kind}"


def describe_error(error: BaseException) -> str:
    """Its type, and the first line of its message if it has one."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # its own __str__ raises
        lines = []
    return ": ".join([type(error).__name__, *lines[:1]])
