"""⟨∂L/∂a, v⟩ by backward and by central differences, side by side: the machinery of vqnp.gradcheck."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_finite, check_float, check_int, check_rng, fail

EPS = float(np.finfo(np.float64).eps)

STEP = EPS ** (1 / 3)
"""h for an argument of size 1: where the two errors of a central difference meet."""


class GradcheckError(AssertionError):
    """A backward pass is not the derivative that it should be, or does not keep the protocol."""


@dataclass(frozen=True)
class Row:
    """One argument: ⟨gradient, v⟩ by backward and by differences, in the worst of the draws."""

    argument: str
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class GradcheckReport:
    """What a gradient check found: a row for each argument, and the tolerance; true if it is ok."""

    rows: tuple[Row, ...]
    rtol: float

    @property
    def worst(self) -> float:
        """The largest relative error of all arguments; infinite where a derivative is not a number."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every argument's error is within the tolerance."""
        return self.worst <= self.rtol

    def __bool__(self) -> bool:
        return self.ok  # so that `assert gradcheck(...)` means what it seems to

    def __str__(self) -> str:
        width = max([8, *(len(row.argument) for row in self.rows)]) + 2
        lines = [f"{'argument':<{width}}{'by backward':>16}{'by differences':>16}{'relative error':>16}"]
        for r in self.rows:
            mark = "" if r.error <= self.rtol else "  <- wrong"
            lines.append(f"{r.argument:<{width}}{r.analytic:>16.8g}{r.numeric:>16.8g}{r.error:>16.1e}{mark}")
        return "\n".join([*lines, f"{'ok' if self.ok else 'FAILED'} at {self.rtol:.0e}"])

    def raise_if_failed(self) -> GradcheckReport:
        """self, or GradcheckError that names the arguments, with the table."""
        wrong = ", ".join(row.argument for row in self.rows if not row.error <= self.rtol)
        if wrong:
            raise GradcheckError(f"the gradient of {wrong} is not the derivative\n{self}")
        return self


def check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    freeze: Callable[..., Callable[..., Any]] | None,
    args: tuple[Any, ...],
    rng: np.random.Generator | int,
    argnums: Sequence[int] | None,
    cotangents: Sequence[Any] | None,
    h: float | None,
    draws: int,
    rtol: float,
    names: list[str] | None = None,
) -> GradcheckReport:
    check_int("gradcheck", "draws", draws)
    check_float("gradcheck", "rtol", rtol, "(0, inf)")
    if h is not None:
        check_float("gradcheck", "h", h, "(0, inf)")
    rng = check_rng("gradcheck", rng)
    names = names or _names(forward, len(args))
    nums = [i for i, a in enumerate(args) if _is_float(a)] if argnums is None else list(argnums)
    for i in nums:
        i = check_int("gradcheck", "argnums", i, 0, len(args) - 1)
        if not _is_float(args[i]) or args[i].dtype != np.float64:
            came = args[i].dtype if isinstance(args[i], np.ndarray) else type(args[i]).__name__
            fail("gradcheck", names[i], "must be an array of float64", came)
        check_finite("gradcheck", names[i], args[i])
    differentiated = _outputs(forward) if freeze is None else _surrogate(forward, freeze, args)
    worst: dict[int, Row] = {}
    for _ in range(draws):
        drawn, gradients = _backward(forward, backward, args, nums, names, cotangents, rng)
        for i, gradient in zip(nums, gradients, strict=True):
            row = _row(differentiated, args, i, names[i], drawn, gradient, rng, h, rtol)
            if i not in worst or row.error > worst[i].error:
                worst[i] = row
    return GradcheckReport(tuple(worst[i] for i in nums), rtol)


def _surrogate(
    forward: Callable[..., Any], freeze: Callable[..., Callable[..., Any]], args: tuple[Any, ...]
) -> Callable[..., list[Array]]:
    """The float outputs of freeze(*args) as a function, once its values are known to be forward's."""
    surrogate = freeze(*args)

    def values(*at: Any) -> list[Array]:
        out = surrogate(*at)
        return _floats(out if isinstance(out, tuple) else (out,))

    ours, theirs = _outputs(forward)(*args), values(*args)
    if len(ours) != len(theirs):
        raise GradcheckError(f"the surrogate must have {len(ours)} float outputs; got {len(theirs)}")
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        # z + (z_q − z) is z_q to rounding only: a few ulps of z
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-10, atol=1e-12):
            raise GradcheckError(f"the surrogate's output {i} is not the forward pass's")
    return values


def _backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    args: tuple[Any, ...],
    nums: list[int],
    names: list[str],
    cotangents: Sequence[Any] | None,
    rng: np.random.Generator,
) -> tuple[list[Array], tuple[Array, ...]]:
    """Cotangents and the gradients that backward makes of them, with the protocol checked on the way."""
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    result = forward(*args)
    if not isinstance(result, tuple) or not _floats(result[:-1]):
        raise GradcheckError("forward must return (output, …, cache) with a float output")
    *outputs, cache = result
    outputs = [np.array(out) for out in outputs]
    again = forward(*args)[:-1]
    if not all(map(same, before, args)):
        raise GradcheckError("forward changes its arguments")
    if len(outputs) != len(again) or not all(map(same, outputs, again)):
        raise GradcheckError("forward answers differently the second time")
    shapes = [out.shape for out in _floats(outputs)]
    if cotangents is None:
        drawn = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
    else:
        drawn = [np.array(c, np.float64) for c in cotangents]
        if [c.shape for c in drawn] != shapes:
            fail("gradcheck", "cotangents", f"must have shapes {shapes}", [c.shape for c in drawn])
    found = []
    for _ in range(2):  # the second time shows whether the cache was used up
        given = [c.copy() for c in drawn]
        gradients = backward(*given, cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        if not all(map(same, drawn, given)):
            raise GradcheckError("backward changes its cotangents")
        if not all(map(same, before, args)):
            raise GradcheckError("backward changes the arguments")
        if len(gradients) != len(nums):
            raise GradcheckError(f"backward must return {len(nums)} gradients; got {len(gradients)}")
        found.append([np.array(gradient) for gradient in gradients])
    for i, gradient, second in zip(nums, *found, strict=True):
        if gradient.shape != args[i].shape or gradient.dtype != args[i].dtype:
            needed = f"{args[i].dtype} of shape {args[i].shape}"
            came = f"{gradient.dtype} of shape {gradient.shape}"
            raise GradcheckError(f"the gradient of {names[i]} must be {needed}; got {came}")
        if not same(gradient, second):
            raise GradcheckError("backward answers differently the second time: it changes its cache")
    return drawn, tuple(found[0])


def _row(
    f: Callable[..., list[Array]],
    args: tuple[Any, ...],
    i: int,
    name: str,
    cotangents: list[Array],
    gradient: Array,
    rng: np.random.Generator,
    h: float | None,
    rtol: float,
) -> Row:
    """Argument i in one random direction, by the first step that agrees with backward, or else the best."""
    a = args[i]
    if a.size == 0:
        return Row(name, 0.0, 0.0, 0.0)
    v = np.asarray(rng.standard_normal(a.shape))
    with np.errstate(all="ignore"):
        analytic = float((gradient * v).sum())
        usual = float(np.linalg.norm(gradient) * np.linalg.norm(v) / math.sqrt(a.size))
    size = float(np.abs(a).max())
    first = STEP * max(1.0, size) if h is None else h
    others = {STEP * size, first / math.sqrt(a.size)} - {first, 0.0} if h is None else set()
    rows: list[Row] = []
    for step in (first, *sorted(others)):
        with np.errstate(all="ignore"):  # too long a step leaves log's domain: NaN, an error of inf
            moved = (np.asarray(a + step * v), np.asarray(a - step * v))
            plus, minus = (f(*args[:i], at, *args[i + 1 :]) for at in moved)
            triples = list(zip(cotangents, plus, minus, strict=True))
            # Subtract first, then sum: outputs that do not depend on a then cancel exactly.
            numeric = sum(float((c * ((p - m) / (2 * step))).sum()) for c, p, m in triples)
        scale = max(abs(numeric), abs(analytic), usual)
        if not rows:  # only the first step may plead rounding: the smaller ones would too easily
            rounding = EPS * sum(float(np.abs(c * p).sum()) for c, p, _ in triples) / step
            scale = max(scale, rounding / rtol)
        difference = abs(numeric - analytic)
        error = (difference / scale if scale else 0.0) if math.isfinite(difference) else math.inf
        rows.append(Row(name, analytic, numeric, error))
        if error <= rtol:
            break
    return min(rows, key=lambda row: row.error)


def _names(forward: Callable[..., Any], n: int) -> list[str]:
    """What forward calls its first n arguments; "argument i" where it does not say."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()  # a builtin may have no signature
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [named[i] if i < len(named) else f"argument {i}" for i in range(n)]


def _outputs(forward: Callable[..., Any]) -> Callable[..., list[Array]]:
    """The float outputs of forward, without the cache."""
    return lambda *args: _floats(forward(*args)[:-1])


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def _floats(outputs: Sequence[Any]) -> list[Array]:
    """The outputs that have a derivative, as arrays."""
    return [out for out in map(np.asarray, outputs) if out.dtype.kind == "f"]


def same(a: Any, b: Any) -> bool:
    """Equal in every entry, NaN included; what is no number is not compared."""
    if not isinstance(a, (np.ndarray, np.generic, float, int)) or np.asarray(a).dtype.kind not in "biuf":
        return True
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))
