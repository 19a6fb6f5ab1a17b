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

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.gradcheck.differences import GradcheckError, GradcheckReport, Row, check, same

__all__ = ["GradcheckError", "GradcheckReport", "Row", "gradcheck", "gradcheck_module", "surrogate_check"]


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
    return check(forward, backward, None, args, rng, argnums, cotangents, h, draws, rtol)


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
    return check(forward, backward, freeze, args, rng, argnums, cotangents, h, draws, rtol)


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
    module.named_parameters() -> (name, param) with arrays param.value and param.grad

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
    for name, param in module.named_parameters():
        once_each.setdefault(id(param), (name, param))  # tied parameters are one
    named = list(once_each.values())
    values = [param.value.copy() for _, param in named]
    grads = [param.grad.copy() for _, param in named]

    def module_forward(x: Array, *at: Array) -> Any:
        for (_, param), value in zip(named, at, strict=True):
            param.value[...] = value
        out = (forward or module.forward)(x)
        for (name, param), value in zip(named, at, strict=True):
            if not same(param.value, value):
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
        return check(
            module_forward, module_backward, freeze, args, rng, nums, cotangents, h, draws, rtol, names
        )
    finally:
        for (_, param), value, grad in zip(named, values, grads, strict=True):
            param.value[...], param.grad[...] = value, grad
