"""⟨∂L/∂a, v⟩ = (L(a + hv) − L(a − hv)) / 2h + O(h²),  L = Σ_i ⟨c_i, out_i⟩: is a hand-written backward right?

a, v: any argument and a random direction of its shape; c_i: a random cotangent of output i's shape

The cotangents are random because ones hide bugs: softmax's gradient under a cotangent of ones is
zero, whatever its backward does. The direction is random because it sees every entry at once. The
central difference is off by h²·|L'''|/6 and by rounding, ε|L|/h; with h ≈ ε^⅓ ≈ 6e-6 both are about
1e-11, so a right gradient passes 1e-7 with room, and a wrong one does not. At a kink (ReLU at 0)
there is no derivative to compare with: keep arguments away from it by more than h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, fail

STEP = float(np.finfo(np.float64).eps ** (1 / 3))
"""h, relative to the size of the argument: where the two errors of a central difference meet."""


class GradcheckError(AssertionError):
    """A backward pass is not the derivative that it should be."""


@dataclass(frozen=True)
class Row:
    """One argument: ⟨gradient, v⟩ by backward and by differences, in the worst of the draws."""

    argument: str
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class GradcheckReport:
    """What a gradient check found: a row for each argument, and the tolerance."""

    rows: tuple[Row, ...]
    rtol: float

    @property
    def worst(self) -> float:
        """The largest relative error of all arguments."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every argument's error is within the tolerance; NaN never is."""
        return all(row.error <= self.rtol for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{'argument':<24}{'by backward':>16}{'by differences':>16}{'relative error':>16}"]
        for r in self.rows:
            mark = "" if r.error <= self.rtol else "  <- wrong"
            lines.append(f"{r.argument:<24}{r.analytic:>16.8g}{r.numeric:>16.8g}{r.error:>16.1e}{mark}")
        return "\n".join([*lines, f"{'ok' if self.ok else 'FAILED'} at {self.rtol:.0e}"])

    def raise_if_failed(self) -> GradcheckReport:
        """self, or GradcheckError with the table."""
        if not self.ok:
            raise GradcheckError(f"the gradient is not the derivative\n{self}")
        return self


def gradcheck(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *args: Any,
    rng: np.random.Generator | int,
    argnums: Sequence[int] | None = None,
    draws: int = 3,
    rtol: float = 1e-7,
) -> GradcheckReport:
    """⟨backward(c), v⟩ against (L(a + hv) − L(a − hv)) / 2h, for every float array argument a.

    forward(*args) -> (out_1, …, cache); backward(c_1, …, cache) -> a gradient for each argument

    Parameters
    ----------
    forward, backward : callable
        The pair. Outputs that are not float arrays (codes) take no cotangent.
    *args : ndarray of float64, and anything else
        Arguments that are float arrays are checked; the others are passed on.
    rng : numpy.random.Generator or int
        Of cotangents and directions.
    argnums : sequence of int, optional
        Which arguments backward has gradients for, in order; default: all float arrays.
    draws : int
        How many cotangents and directions; the worst counts.
    rtol : float
        The error, relative to the largest of both numbers and of ‖∂L/∂a‖·‖v‖/√size, the size such
        an inner product usually has, so that one that is small by chance does not count.

    Returns
    -------
    GradcheckReport
        Truth in `.ok`, a table in `str()`; `.raise_if_failed()` for tests.

    Raises
    ------
    GradcheckError
        The pair does not keep the protocol: forward changes its arguments or answers differently the
        second time; backward changes its cotangents, or returns too many or too few gradients, or
        ones of another shape or dtype.
    InputError
        Arguments that are not float64.
    """
    return _check(
        forward, backward, lambda *a: forward, args, np.random.default_rng(rng), argnums, draws, rtol
    )


def surrogate_check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    freeze: Callable[..., Callable[..., Any]],
    *args: Any,
    rng: np.random.Generator | int,
    argnums: Sequence[int] | None = None,
    draws: int = 3,
    rtol: float = 1e-7,
) -> GradcheckReport:
    """gradcheck of an estimator with stop-gradients, against its surrogate: every sg[·] frozen as a constant.

    freeze(*args) -> surrogate;  surrogate(*args) -> (out_1, …), forward's float outputs

    The straight-through estimator is not the derivative of its forward pass, whose derivative is 0
    almost everywhere; it is the derivative of z ↦ z + sg[z_q − z] with sg[·] held still. `freeze`
    computes each sg[·] at args and returns the function in which they are constants. Its values at
    args must be forward's; its derivative is then compared with backward. So a β on the wrong term,
    which no forward value shows, is seen here.

    Parameters, returns and raises are gradcheck's; also GradcheckError where the surrogate has other
    values than forward.
    """

    def frozen(*at: Any) -> Callable[..., Any]:
        surrogate = freeze(*at)
        for i, (ours, theirs) in enumerate(
            zip(_floats(forward(*at)[:-1]), _floats(surrogate(*at)), strict=True)
        ):
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-12, atol=1e-12):
                raise GradcheckError(f"the surrogate's output {i} is not the forward pass's")
        return lambda *a: (*surrogate(*a), None)

    return _check(forward, backward, frozen, args, np.random.default_rng(rng), argnums, draws, rtol)


def gradcheck_module(
    module: Any,
    x: Array,
    *,
    rng: np.random.Generator | int,
    freeze: Callable[..., Callable[..., Any]] | None = None,
    draws: int = 3,
    rtol: float = 1e-7,
) -> GradcheckReport:
    """gradcheck of a layer, with respect to x and to each of its parameters.

    module.forward(x) -> (y, …, cache); module.backward(dy, …, cache) -> dx, adding to param.grad;
    module.named_params() -> (name, param) with param.value and param.grad

    With `freeze`, surrogate_check: freeze(x, *parameters) -> surrogate(x, *parameters).
    """
    params = list(module.named_params())

    def forward(x: Array, *values: Array) -> Any:
        for (_, param), value in zip(params, values, strict=True):
            param.value[...] = value
        return module.forward(x)

    def backward(*cotangents_and_cache: Any) -> tuple[Array, ...]:
        before = [param.grad.copy() for _, param in params]
        for _, param in params:
            param.grad[...] = 0
        dx = module.backward(*cotangents_and_cache)
        gradients = [param.grad.copy() for _, param in params]
        for (_, param), old in zip(params, before, strict=True):
            param.grad[...] = old
        return (dx, *gradients)

    values = [param.value.copy() for _, param in params]
    check = gradcheck if freeze is None else _with(surrogate_check, freeze)
    try:
        report = check(forward, backward, x, *values, rng=rng, draws=draws, rtol=rtol)
    finally:
        for (_, param), value in zip(params, values, strict=True):
            param.value[...] = value
    names = ["x", *(name for name, _ in params)]
    rows = (Row(name, *(r.analytic, r.numeric, r.error)) for name, r in zip(names, report.rows, strict=True))
    return GradcheckReport(tuple(rows), rtol)


def _with(check: Callable[..., GradcheckReport], freeze: Any) -> Callable[..., GradcheckReport]:
    return lambda forward, backward, *args, **options: check(forward, backward, freeze, *args, **options)


def _check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    frozen: Callable[..., Callable[..., Any]],
    args: tuple[Any, ...],
    rng: np.random.Generator,
    argnums: Sequence[int] | None,
    draws: int,
    rtol: float,
) -> GradcheckReport:
    check_int("gradcheck", "draws", draws)
    nums = [i for i, a in enumerate(args) if _is_float(a)] if argnums is None else list(argnums)
    for i in nums:
        if not _is_float(args[i]) or args[i].dtype != np.float64:
            fail("gradcheck", f"argument {i} must be an array of float64", getattr(args[i], "dtype", args[i]))
    differentiated = frozen(*args)
    worst: dict[int, Row] = {}
    for _ in range(draws):
        cotangents, gradients = _backward(forward, backward, args, nums, rng)
        for i, gradient in zip(nums, gradients, strict=True):
            row = _row(differentiated, args, i, cotangents, gradient, rng)
            if i not in worst or not row.error <= worst[i].error:
                worst[i] = row
    return GradcheckReport(tuple(worst[i] for i in nums), rtol)


def _backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    args: tuple[Any, ...],
    nums: list[int],
    rng: Any,
) -> tuple[list[Array], tuple[Array, ...]]:
    """Random cotangents and their gradients, with the protocol checked on the way."""
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    *outputs, cache = forward(*args)
    again = forward(*args)[:-1]
    if not all(map(_same, before, args)):
        raise GradcheckError("forward changes its arguments")
    if not all(map(_same, outputs, again)):
        raise GradcheckError("forward answers differently the second time")
    cotangents = [rng.standard_normal(out.shape) for out in _floats(outputs)]
    given = [c.copy() for c in cotangents]
    gradients = backward(*given, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    if not all(map(_same, cotangents, given)):
        raise GradcheckError("backward changes its cotangents")
    if not all(map(_same, before, args)):
        raise GradcheckError("backward changes the arguments")
    if len(gradients) != len(nums):
        raise GradcheckError(f"backward must return {len(nums)} gradients; got {len(gradients)}")
    for i, gradient in zip(nums, gradients, strict=True):
        if np.shape(gradient) != args[i].shape or np.asarray(gradient).dtype != args[i].dtype:
            came = f"{np.asarray(gradient).dtype} of shape {np.shape(gradient)}"
            needed = f"{args[i].dtype} of shape {args[i].shape}"
            raise GradcheckError(f"the gradient of argument {i} must be {needed}; got {came}")
    return cotangents, gradients


def _row(
    f: Callable[..., Any], args: tuple[Any, ...], i: int, cotangents: list[Array], gradient: Array, rng: Any
) -> Row:
    a = args[i]
    if a.size == 0:
        return Row(f"{i}", 0.0, 0.0, 0.0)
    v = rng.standard_normal(a.shape)
    h = STEP * max(1.0, float(np.abs(a).max()))
    plus, minus = a + h * v, a - h * v
    values = [_floats(f(*args[:i], moved, *args[i + 1 :])[:-1]) for moved in (plus, minus)]
    # The difference of outputs first, then the sum: outputs that cancel do so before they are added.
    numeric = sum(float((c * ((p - m) / (2 * h))).sum()) for c, p, m in zip(cotangents, *values, strict=True))
    analytic = float((gradient * v).sum())
    usual = float(np.linalg.norm(gradient) * np.linalg.norm(v) / np.sqrt(a.size))
    scale = max(abs(numeric), abs(analytic), usual)
    return Row(f"{i}", analytic, numeric, abs(numeric - analytic) / scale if scale else 0.0)


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def _floats(outputs: Any) -> list[Array]:
    """The outputs that have a derivative, as arrays."""
    return [out for out in map(np.asarray, _arrays(outputs)) if out.dtype.kind == "f"]


def _arrays(outputs: Any) -> Iterator[Any]:
    yield from (out for out in outputs if out is not None)


def _same(a: Any, b: Any) -> bool:
    """Equal to the last bit; what is no number is not compared."""
    if not isinstance(a, (np.ndarray, np.generic, float)):
        return True
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))
