"""Adam, θ ← θ − α · m̂ / (√v̂ + ε), and the cosine schedule of its learning rate α."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from vqnp._check import Array, check_array, check_float, fail
from vqnp.kernels import memory
from vqnp.kernels.adam import adam_factors, adam_step
from vqnp.kernels.product import adam_gradient
from vqnp.nn.module import Param


class Adam:
    """m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − α · m̂ / (√v̂ + ε),  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ).

    θ, g, m, v: of one shape, for each parameter; m and v are never subnormal (docs/math/subnormal.md)

    Parameters
    ----------
    named_parameters : iterable of (str, Param)
        As `Module.named_parameters` gives them; step changes their values in place.
    lr : float, default 1e-3
        α, the learning rate.
    beta1, beta2, epsilon : float, default 0.9, 0.999 and 1e-8
        β₁, β₂ and ε; the defaults are the paper's.
    weight_decay : float, default 0
        λ: before its step a parameter with at least two axes (a matrix, a kernel, a table, but no bias and no
        scale of a norm) becomes (1 − αλ) θ.
    clip : float, optional
        The largest norm of all gradients together: if ‖g‖ is larger, every gradient is multiplied by
        clip/‖g‖ for this step. Param.grad itself does not change.

    Raises
    ------
    InputError
        If a number is out of range, or epsilon is 0 in a parameter's dtype.

    References
    ----------
    Kingma & Ba 2015, arXiv 1412.6980, algorithm 1. The decay: Loshchilov & Hutter 2019, arXiv 1711.05101,
    algorithm 2 (AdamW). Clipping: Pascanu et al. 2013, arXiv 1211.5063, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from vqnp.nn import Param
    >>> theta = Param(np.array([1.0, 1.0]))
    >>> theta.grad[...] = [0.5, -2.0]
    >>> Adam([("theta", theta)], lr=0.1).step()
    >>> theta.value.round(6)
    array([0.9, 1.1])
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Param]],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip: float | None = None,
    ) -> None:
        try:
            self.parameters = dict(named_parameters)
        except (TypeError, ValueError):
            needed = "must be pairs of a name and a Param, as module.named_parameters() gives"
            fail("Adam", "named_parameters", needed, type(named_parameters).__name__)
        self.lr = check_float("Adam", "lr", lr, "(0, inf)")
        self.beta1 = check_float("Adam", "beta1", beta1, "[0, 1)")
        self.beta2 = check_float("Adam", "beta2", beta2, "[0, 1)")
        self.epsilon = check_float("Adam", "epsilon", epsilon, "(0, inf)")
        self.weight_decay = check_float("Adam", "weight_decay", weight_decay, "[0, inf)")
        self.clip = None if clip is None else check_float("Adam", "clip", clip, "(0, inf)")
        for name, param in self.parameters.items():
            if param.value.dtype.type(epsilon) == 0:  # a gradient of 0 would be 0/0
                fail("Adam", "epsilon", f"must be above 0 in {name}'s dtype, {param.value.dtype}", epsilon)
        self.m = {name: memory.zeros(p.value.shape, p.value.dtype) for name, p in self.parameters.items()}
        self.v = {name: memory.zeros(p.value.shape, p.value.dtype) for name, p in self.parameters.items()}
        self.t = 0

    def zero_grad(self, defer: bool = False) -> None:
        """Set every parameter's gradient to 0.

        defer: step may multiply out the gradients of linear layers itself, which is faster, so between
        backward and step no input and no gradient of a layer may change.
        """
        for param in self.parameters.values():
            param.zero_grad(defer)

    def step(self, lr: float | None = None) -> None:
        """Update every parameter by its gradient, with the learning rate lr (default: self.lr)."""
        self.t += 1
        rate = self.lr if lr is None else lr
        settings = (self.t, rate, self.beta1, self.beta2, self.epsilon)
        factor = self._clipping()  # which reads every gradient, so that none is a product any more
        separate = []
        for name, p in self.parameters.items():
            m, v = self.m[name], self.v[name]
            if not p.value.flags.carray:  # assigned by the caller: a step on its reshape would be lost
                p.value = memory.copy(p.value)
            if self.weight_decay and p.value.ndim >= 2:
                p.value *= p.value.dtype.type(1 - rate * self.weight_decay)
            if p.product:
                adam_gradient(*p.product, p.value, m, v, np.array(adam_factors(p.value.dtype, *settings)))
            else:
                grad = p.grad if factor is None else p.grad * p.value.dtype.type(factor)
                separate.append((p.value.reshape(-1), grad.reshape(-1), m.reshape(-1), v.reshape(-1)))
        adam_step(separate, *settings)

    def _clipping(self) -> float | None:
        """clip/‖g‖, ‖g‖² = Σ g² over all parameters, if that is less than 1; None if nothing is clipped."""
        if self.clip is None:
            return None
        squares = (np.square(p.grad, dtype=np.float64).sum() for p in self.parameters.values())
        norm = math.sqrt(sum(squares))
        return None if norm <= self.clip else self.clip / norm

    def reset(self, name: str, rows: Array) -> None:
        """Set m and v of some rows of a parameter to 0, as for restarted codes."""
        self.m[name][rows] = 0
        self.v[name][rows] = 0

    def state_dict(self) -> dict[str, Array]:
        """t, and m and v of every parameter, by name."""
        moments = {"m": self.m, "v": self.v}
        arrays = {f"{letter}.{name}": a for letter, named in moments.items() for name, a in named.items()}
        return {"t": np.asarray(self.t, np.int64), **arrays}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Copy t, m and v from arrays named as in state_dict, or raise InputError and change nothing."""
        where, own = "Adam.load_state_dict", self.state_dict()
        if own.keys() != arrays.keys():
            fail(where, "arrays", "must have the names of state_dict()", ", ".join(sorted(arrays)) or "none")
        t = arrays["t"]
        for name, old in own.items():
            if name != "t":
                check_array(where, name, arrays[name], shape=old.shape, dtype=old.dtype, finite=True)
        if t.shape != () or t.dtype.kind not in "iu" or t < 0:
            fail(where, "t", "must be an integer of at least 0", t)
        self.t = int(t)
        for name, old in own.items():
            if name != "t":
                old[...] = arrays[name]


def cosine(step: int, steps: int, lr: float) -> float:
    """α_s = α · ½ (1 + cos(π s / S)): from α at step 0 down to 0 at step S.

    s: step, from 0 to S; S: steps; α: lr -> a number

    Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
    """
    return lr * (1 + math.cos(math.pi * step / steps)) / 2
