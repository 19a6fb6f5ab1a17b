"""⟨∂L/∂a, v⟩ = (L(a + hv) − L(a − hv)) / 2h + O(h²),  L = Σ_i ⟨c_i, out_i⟩: is a hand-written backward right?

a, v: any argument and a random direction of its shape; c_i: a random cotangent of output i's shape

The cotangents are random because ones hide bugs: softmax's gradient under a cotangent of ones is
zero, whatever the backward forgot. The direction is random because one inner product then sees every
entry at once; a difference for each entry would cost as many forward passes as there are entries.
The differences are central because a one-sided one is off by h·|L''|/2, a central one by h²·|L'''|/6
only. Rounding puts it off by about ε|L|/h besides; at h = ε^⅓ ≈ 6e-6 both are near 1e-11, so that a
right gradient passes 1e-7 with room and a wrong one does not. All of it needs float64: in float32 the
best a central difference can do is 1e-5. At a kink (ReLU at 0, a vector between two codes) there is
no derivative to compare with: draw arguments that keep away from it by more than a few h.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_finite, check_float, check_int, fail

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


def gradcheck(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *args: Any,
    rng: np.random.Generator | int,
    argnums: Sequence[int] | None = None,
    cotangents: Sequence[Any] | None = None,
    h: float | None = None,
    draws: int = 3,
    rtol: float = 1e-7,
) -> GradcheckReport:
    """⟨backward(c), v⟩ against (L(a + hv) − L(a − hv)) / 2h, for every float array argument a.

    forward(*args) -> (out_1, …, cache); backward(c_1, …, cache) -> a gradient for each argument

    Parameters
    ----------
    forward, backward : callable
        The pair. Outputs that are not float (codes) take no cotangent and are not passed to backward.
        Options are bound by the caller: functools.partial(forward, beta=0.5).
    *args : ndarray of float64, and anything else
        Arguments that are float arrays are checked; the others are passed on.
    rng : numpy.random.Generator or int
        Of cotangents and directions.
    argnums : sequence of int, optional
        Which arguments backward has gradients for, in order; default: all float arrays.
    cotangents : sequence of array_like, optional
        One for each float output, in place of standard normal ones.
    h : float, optional
        The step. Default: ε^⅓ · max(1, max|a|); where that disagrees, steps that suit arguments much
        smaller than 1, or outputs that mix all of a large argument, are tried too: a wrong gradient
        agrees with none of them.
    draws : int
        How many cotangents and directions (standard normal: every entry moves by about h); the worst counts.
    rtol : float
        The error allowed, relative to the largest of both numbers and of ‖∂L/∂a‖·‖v‖/√size, the size
        that such an inner product usually has, so that one that is small by chance does not count.
        Nor does a difference below the rounding of the outputs themselves, ε Σ|c·out| / h.

    Returns
    -------
    GradcheckReport
        True if ok; a table as text; `.raise_if_failed()` for tests.

    Raises
    ------
    GradcheckError
        The pair does not keep the protocol: forward changes its arguments or answers differently the
        second time; backward changes its cotangents, the arguments or its cache, or returns too many
        or too few gradients, or ones of another shape or dtype.
    InputError
        Arguments that are not float64, or not finite.
    """
    return _check(forward, backward, None, args, rng, argnums, cotangents, h, draws, rtol)


def surrogate_check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    freeze: Callable[..., Callable[..., Any]],
    *args: Any,
    rng: np.random.Generator | int,
    argnums: Sequence[int] | None = None,
    cotangents: Sequence[Any] | None = None,
    h: float | None = None,
    draws: int = 3,
    rtol: float = 1e-7,
) -> GradcheckReport:
    """gradcheck of an estimator with stop-gradients, against its surrogate: every sg[·] frozen as a constant.

    freeze(*args) -> surrogate;  surrogate(*args) -> (out_1, …), forward's float outputs

    The straight-through estimator is not the derivative of its forward pass, which is 0 almost
    everywhere; it is the derivative of z ↦ z + sg[z_q − z] with sg[·] held still. `freeze` computes
    each sg[·] at args and returns the function in which they are constants. Its values at args must
    be forward's, to rounding; its derivative is then compared with backward. So a β on the wrong
    term, which no forward value shows, is seen here.

    Parameters, returns and raises are gradcheck's; also GradcheckError where the surrogate has other
    values than forward.
    """
    return _check(forward, backward, freeze, args, rng, argnums, cotangents, h, draws, rtol)


def gradcheck_module(
    module: Any,
    x: Array,
    *,
    rng: np.random.Generator | int,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    freeze: Callable[..., Callable[..., Any]] | None = None,
    cotangents: Sequence[Any] | None = None,
    h: float | None = None,
    draws: int = 3,
    rtol: float = 1e-7,
) -> GradcheckReport:
    """gradcheck of a layer, with respect to x and to each of its parameters.

    module.forward(x) -> (y, …, cache); module.backward(dy, …, cache) -> dx, adding to param.grad;
    module.named_params() -> (name, param) with arrays param.value and param.grad

    Parameters
    ----------
    module : object
        Anything with these three methods; its values and gradients are as before when this returns.
    x : ndarray of float64
    forward, backward : callable, optional
        In place of the module's own, where those take or return something else.
    freeze : callable, optional
        Makes it surrogate_check: freeze(x, *parameters) -> surrogate(x, *parameters) -> (y, …).
    rng, cotangents, h, draws, rtol
        As in gradcheck. Returns and raises are gradcheck's; also GradcheckError where forward changes
        a parameter, or backward overwrites a gradient that it should add to.
    """
    once_each: dict[int, tuple[str, Any]] = {}
    for name, param in module.named_params():
        once_each.setdefault(id(param), (name, param))  # tied parameters are one
    named = list(once_each.values())
    values = [param.value.copy() for _, param in named]
    grads = [param.grad.copy() for _, param in named]

    def module_forward(x: Array, *at: Array) -> Any:
        for (_, param), value in zip(named, at, strict=True):
            param.value[...] = value
        out = (forward or module.forward)(x)
        for (name, param), value in zip(named, at, strict=True):
            if not _same(param.value, value):
                raise GradcheckError(f"forward changes {name}")
        return out

    def module_backward(*cotangents_and_cache: Any) -> tuple[Any, ...]:
        for _, param in named:
            param.grad[...] = 0
        dx = (backward or module.backward)(*cotangents_and_cache)
        once = [param.grad.copy() for _, param in named]
        (backward or module.backward)(*cotangents_and_cache)
        for (name, param), grad in zip(named, once, strict=True):
            # twice the same is exact; a gradient that is added up in parts may round in between
            if not np.allclose(param.grad, 2 * grad, rtol=1e-9, atol=1e-9 * np.abs(grad).max(initial=0)):
                raise GradcheckError(f"backward does not add to the gradient of {name}")
        return (dx, *once)

    args = (x, *values)
    names = ["x", *(name for name, _ in named)]
    nums = list(range(len(args)))
    try:
        return _check(
            module_forward, module_backward, freeze, args, rng, nums, cotangents, h, draws, rtol, names
        )
    finally:
        for (_, param), value, grad in zip(named, values, grads, strict=True):
            param.value[...], param.grad[...] = value, grad


def _check(
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
    rng = np.random.default_rng(rng)
    names = names or _names(forward, len(args))
    nums = [i for i, a in enumerate(args) if _is_float(a)] if argnums is None else list(argnums)
    for i in nums:
        i = check_int("gradcheck", "argnums", i, 0, len(args) - 1)
        if not _is_float(args[i]) or args[i].dtype != np.float64:
            came = args[i].dtype if isinstance(args[i], np.ndarray) else type(args[i]).__name__
            fail("gradcheck", f"{names[i]} must be an array of float64", came)
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
    if not all(map(_same, before, args)):
        raise GradcheckError("forward changes its arguments")
    if len(outputs) != len(again) or not all(map(_same, outputs, again)):
        raise GradcheckError("forward answers differently the second time")
    shapes = [out.shape for out in _floats(outputs)]
    if cotangents is None:
        drawn = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
    else:
        drawn = [np.array(c, np.float64) for c in cotangents]
        if [c.shape for c in drawn] != shapes:
            fail("gradcheck", f"cotangents must have shapes {shapes}", [c.shape for c in drawn])
    found = []
    for _ in range(2):  # the second time shows whether the cache was used up
        given = [c.copy() for c in drawn]
        gradients = backward(*given, cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        if not all(map(_same, drawn, given)):
            raise GradcheckError("backward changes its cotangents")
        if not all(map(_same, before, args)):
            raise GradcheckError("backward changes the arguments")
        if len(gradients) != len(nums):
            raise GradcheckError(f"backward must return {len(nums)} gradients; got {len(gradients)}")
        found.append([np.array(gradient) for gradient in gradients])
    for i, gradient, second in zip(nums, *found, strict=True):
        if gradient.shape != args[i].shape or gradient.dtype != args[i].dtype:
            needed = f"{args[i].dtype} of shape {args[i].shape}"
            came = f"{gradient.dtype} of shape {gradient.shape}"
            raise GradcheckError(f"the gradient of {names[i]} must be {needed}; got {came}")
        if not _same(gradient, second):
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


def _same(a: Any, b: Any) -> bool:
    """Equal in every entry, NaN included; what is no number is not compared."""
    if not isinstance(a, (np.ndarray, np.generic, float, int)) or np.asarray(a).dtype.kind not in "biuf":
        return True
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))
