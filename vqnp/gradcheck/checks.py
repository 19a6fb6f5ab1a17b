"""⟨∂L/∂a, v⟩ = (L(a + hv) − L(a − hv)) / 2h + O(h²),  L = Σ_i ⟨c_i, out_i⟩: is a hand-written backward right?

a, v: any argument and a random direction of its shape; c_i: a random cotangent of output i's shape

The cotangents are random because a cotangent of ones hides bugs: softmax's gradient is zero under it,
whatever the backward pass computes. The direction is random because one inner product then depends on
every entry; a difference for each entry would need as many forward passes as there are entries. The
differences are central because the error of a one-sided difference is h·|L''|/2, that of a central one
only h²·|L'''|/6. Rounding adds about ε|L|/h; at h = ε^⅓ ≈ 6e-6 both errors are near 1e-11, so that a
right gradient passes 1e-7 easily and a wrong one does not. This needs float64: in float32 a central
difference is accurate to 1e-5 at best. At a kink (ReLU at 0, a vector between two codes) there is no
derivative to compare with: choose arguments that are more than a few h away from it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.gradcheck.differences import Check, same
from vqnp.gradcheck.report import GradcheckError, GradcheckReport


def gradcheck(
    forward: Callable[..., Any], backward: Callable[..., Any], *args: Any,
    rng: np.random.Generator | int, argnums: Sequence[int] | None = None,
    cotangents: Sequence[Any] | None = None, h: float | None = None, draws: int = 3, rtol: float = 1e-7,
) -> GradcheckReport:  # fmt: skip
    """⟨backward(c), v⟩ against (L(a + hv) − L(a − hv)) / 2h, for every float array argument a.

    forward(*args) -> (out_1, …, cache); backward(c_1, …, cache) -> a gradient for each argument

    Parameters
    ----------
    forward, backward : callable
        The pair. Outputs that are not float (codes) have no cotangent and are not passed to backward.
        Bind options with functools.partial(forward, beta=0.5).
    *args : ndarray of float64, and anything else
        Float arrays are checked; other arguments are only passed on.
    rng : numpy.random.Generator or int
        For cotangents and directions.
    argnums : sequence of int, optional
        The arguments that backward returns gradients for, in order; default: all float arrays.
    cotangents : sequence of array_like, optional
        One for each float output, instead of standard normal ones.
    h : float, optional
        The step; default: ε^⅓ · max(1, max|a|). If that disagrees, steps that suit arguments much
        smaller than 1, or outputs that mix all of a large argument, are tried too: a wrong gradient
        agrees with none of them.
    draws : int, default 3
        The number of cotangents and (standard normal) directions; the largest error counts.
    rtol : float, default 1e-7
        The allowed error, relative to the largest of both numbers and of ‖∂L/∂a‖·‖v‖/√size, the usual
        size of such an inner product, so that one that is small by chance does not count. Differences
        below the rounding of the outputs, ε Σ|c·out| / h, do not count either.

    Returns
    -------
    GradcheckReport
        True if all gradients are right; a table as text; `.raise_if_failed()` for tests.

    Raises
    ------
    GradcheckError
        If the pair does not follow the protocol: forward changes its arguments or is not deterministic;
        backward changes its cotangents, the arguments or its cache, or returns another number of
        gradients, or gradients of another shape or dtype.
    InputError
        If an argument is not float64 or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> def forward(x):
    ...     return np.sin(x), x
    >>> def backward(dy, x):
    ...     return dy * np.cos(x)
    >>> gradcheck(forward, backward, np.linspace(-1, 1, 5), rng=0).ok
    True
    """
    return Check(forward, backward, args, rng, None, None, argnums, cotangents, h, draws, rtol).report()


def surrogate_check(
    forward: Callable[..., Any], backward: Callable[..., Any], freeze: Callable[..., Callable[..., Any]],
    *args: Any, rng: np.random.Generator | int, **settings: Any,
) -> GradcheckReport:  # fmt: skip
    """gradcheck of an estimator with stop-gradients, by its surrogate: every sg[·] frozen as a constant.

    freeze(*args) -> surrogate;  surrogate(*args) -> (out_1, …), forward's float outputs

    The straight-through estimator is not the derivative of its forward pass, which is 0 almost
    everywhere; it is the derivative of z ↦ z + sg[z_q − z] with sg[·] held constant. `freeze` computes
    each sg[·] at args and returns the function in which they are constants. Its values at args must
    be forward's, to rounding; its derivative is then compared with backward. This finds a β on the
    wrong term, which changes no forward value.

    Parameters, returns and errors are those of gradcheck (argnums, cotangents, h, draws and rtol by name);
    it also raises GradcheckError if the surrogate's values differ from forward's.
    """
    return Check(forward, backward, args, rng, freeze, **settings).report()


def gradcheck_module(
    module: Any, x: Array, *, rng: np.random.Generator | int,
    forward: Callable[..., Any] | None = None, backward: Callable[..., Any] | None = None,
    freeze: Callable[..., Callable[..., Any]] | None = None, **settings: Any,
) -> GradcheckReport:  # fmt: skip
    """gradcheck of a layer, with respect to x and to each of its parameters.

    module.forward(x) -> (y, …, cache); module.backward(dy, …, cache) -> dx, adding to param.grad;
    module.named_parameters() -> (name, param) with arrays param.value and param.grad

    Parameters
    ----------
    module : object
        Any object with these three methods; its values and gradients are restored at the end.
    x : ndarray of float64
    rng : numpy.random.Generator or int
        For cotangents and directions.
    forward, backward : callable, optional
        Instead of the module's methods, if those take or return something else.
    freeze : callable, optional
        For surrogate_check: freeze(x, *parameters) -> surrogate(x, *parameters) -> (y, …).
    **settings
        cotangents, h, draws and rtol of gradcheck, whose returns and errors apply here too.

    Raises
    ------
    GradcheckError
        Also if forward changes a parameter, or backward overwrites a gradient that it should add to.
    """
    forward, backward = forward or module.forward, backward or module.backward
    once_each: dict[int, tuple[str, Any]] = {}
    for name, param in module.named_parameters():
        once_each.setdefault(id(param), (name, param))  # tied parameters once, by their first name
    named = list(once_each.values())
    values = [param.value.copy() for _, param in named]
    grads = [param.grad.copy() for _, param in named]

    def module_forward(x: Array, *at: Array) -> Any:
        for (_, param), value in zip(named, at, strict=True):
            param.value[...] = value
        out = forward(x)
        for (name, param), value in zip(named, at, strict=True):
            if not same(param.value, value):
                raise GradcheckError(f"forward changes {name}")
        return out

    def module_backward(*cotangents_and_cache: Any) -> tuple[Any, ...]:
        for _, param in named:
            param.grad[...] = 0
        dx = backward(*cotangents_and_cache)
        once = [param.grad.copy() for _, param in named]
        backward(*cotangents_and_cache)
        for (name, param), grad in zip(named, once, strict=True):
            # Twice the same is exact, unless the gradient is a sum of several parts, which may round.
            if not np.allclose(param.grad, 2 * grad, rtol=1e-9, atol=1e-9 * np.abs(grad).max(initial=0)):
                raise GradcheckError(f"backward does not add to the gradient of {name}")
        return (dx, *once)

    args, names = (x, *values), ["x", *(name for name, _ in named)]
    nums = range(len(args))
    try:
        return Check(module_forward, module_backward, args, rng, freeze, names, nums, **settings).report()
    finally:
        for (_, param), value, grad in zip(named, values, grads, strict=True):
            param.value[...], param.grad[...] = value, grad
