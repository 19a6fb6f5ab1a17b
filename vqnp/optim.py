"""Adam (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1) and the cosine learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from vqnp._check import Array, check_array, check_float, fail
from vqnp.kernels.adam import adam_step
from vqnp.nn.module import Param


class Adam:
    """m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − α · m̂ / (√v̂ + ε),  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ).

    Parameters
    ----------
    named_parameters : iterable of (name, Param)
    lr : float
        α, the learning rate; step(lr) may give another for one step.
    beta1, beta2, epsilon : float
        The paper's defaults.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Param]],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = dict(named_parameters)
        self.lr = check_float("Adam", "lr", lr, "(0, inf)")
        self.beta1 = check_float("Adam", "beta1", beta1, "[0, 1)")
        self.beta2 = check_float("Adam", "beta2", beta2, "[0, 1)")
        self.epsilon = check_float("Adam", "epsilon", epsilon, "(0, inf)")
        for name, param in self.parameters.items():
            if param.value.dtype.type(epsilon) == 0:  # a gradient of 0 would be 0/0
                fail("Adam", "epsilon", f"must be above 0 in {name}'s dtype, {param.value.dtype}", epsilon)
        self.m = {name: np.zeros_like(param.value) for name, param in self.parameters.items()}
        self.v = {name: np.zeros_like(param.value) for name, param in self.parameters.items()}
        self.t = 0

    def step(self, lr: float | None = None) -> None:
        """Move every parameter by its gradient; gradients stay as they are."""
        self.t += 1
        rate = self.lr if lr is None else lr
        arrays = [(p.value, p.grad, self.m[name], self.v[name]) for name, p in self.parameters.items()]
        flat = [(a.reshape(-1), b.reshape(-1), c.reshape(-1), d.reshape(-1)) for a, b, c, d in arrays]
        adam_step(flat, self.t, rate, self.beta1, self.beta2, self.epsilon)

    def reset(self, name: str, rows: Array) -> None:
        """Set m and v of some rows of one parameter to 0: those of a code that starts again."""
        self.m[name][rows] = 0
        self.v[name][rows] = 0

    def state_dict(self) -> dict[str, Array]:
        """t, and m and v of every parameter, by name."""
        arrays = {f"m.{name}": m for name, m in self.m.items()} | {
            f"v.{name}": v for name, v in self.v.items()
        }
        return {"t": np.asarray(self.t, np.int64), **arrays}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take t, m and v from arrays named as in state_dict, or raise InputError and change nothing."""
        own = self.state_dict()
        if own.keys() != arrays.keys():
            fail(
                "Adam.load_state_dict",
                "arrays", "must have the names of state_dict()",
                ", ".join(sorted(arrays)) or "none",
            )
        for name, old in own.items():
            if name != "t":
                check_array(
                    "Adam.load_state_dict", name, arrays[name], shape=old.shape, dtype=old.dtype, finite=True
                )
        if arrays["t"].shape != () or arrays["t"].dtype.kind not in "iu" or arrays["t"] < 0:
            fail("Adam.load_state_dict", "t", "must be an integer of at least 0", arrays["t"])
        self.t = int(arrays["t"])
        for name in self.parameters:
            self.m[name][...] = arrays[f"m.{name}"]
            self.v[name][...] = arrays[f"v.{name}"]


def cosine(step: int, steps: int, lr: float) -> float:
    """α_s = α · ½ (1 + cos(π s / S)): from α at step 0 down to 0 at step S.

    Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
    """
    return lr * (1 + math.cos(math.pi * step / steps)) / 2
