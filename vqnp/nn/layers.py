"""Layers own Params and nothing else; their mathematics is in vqnp.ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_int, check_rng
from vqnp.nn.module import Cache, Module, Param, Sequential
from vqnp.ops import activation
from vqnp.ops.linear import linear_backward, linear_backward_params, linear_forward


class Linear(Module):
    """y = x W + b;  at the start W ~ U(−√(3/I), √(3/I)), so that Var W = 1/I, and b = 0.

    x: (..., I), W: (I, O), b: (O,) -> y: (..., O)

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    rng : numpy.random.Generator or int
        What W is drawn from.
    dtype : float32 or float64

    References
    ----------
    LeCun et al. 1998, "Efficient BackProp", section 4.6: σ_W = 1/√I. PyTorch's
    default is √3 times narrower.
    """

    def __init__(
        self, in_features: int, out_features: int, rng: np.random.Generator | int, dtype: Any = np.float32
    ) -> None:
        I = check_int("Linear", "in_features", in_features)
        O = check_int("Linear", "out_features", out_features)
        rng = check_rng("Linear", rng)
        bound = np.sqrt(3 / I)
        self.W = Param(rng.uniform(-bound, bound, (I, O)).astype(dtype))
        self.b = Param(np.zeros(O, dtype))

    def params(self) -> Mapping[str, Param]:
        return {"W": self.W, "b": self.b}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = x W + b."""
        W = self.W.value
        check_array("Linear.forward", "x", x, last=W.shape[0], dtype=W.dtype)
        return linear_forward(x, W, self.b.value)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dx = dy Wᵀ;  dW += Σ xᵀ dy;  db += Σ dy."""
        dx, dW, db = linear_backward(dy, cache)
        self.W.add_grad(dW)
        self.b.add_grad(db)
        return dx

    def backward_params(self, dy: Array, cache: Cache) -> None:
        """dW += Σ xᵀ dy;  db += Σ dy."""
        dW, db = linear_backward_params(dy, cache)
        self.W.add_grad(dW)
        self.b.add_grad(db)


class Activation(Module):
    """y = f(x), element by element; f is one of ACTIVATIONS by name."""

    def __init__(self, name: str) -> None:
        self.name = check_choice("Activation", "name", name, tuple(ACTIVATIONS))
        self._forward, self._backward = ACTIVATIONS[name]

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = f(x)."""
        y, cache = self._forward(x)
        return y, cache

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dx = dy · f'(x)."""
        dx: Array = self._backward(dy, cache)
        return dx


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (activation.relu_forward, activation.relu_backward),
    "gelu": (activation.gelu_forward, activation.gelu_backward),
    "tanh": (activation.tanh_forward, activation.tanh_backward),
    "sigmoid": (activation.sigmoid_forward, activation.sigmoid_backward),
}


def mlp(
    sizes: tuple[int, ...], activation: str, rng: np.random.Generator | int, dtype: Any = np.float32
) -> Sequential:
    """Linear, f, Linear, f, …, Linear: a multilayer perceptron; f stands between layers, not after the last.

    x: (..., sizes[0]) -> y: (..., sizes[-1])
    """
    rng = check_rng("mlp", rng)
    layers: list[Module] = []
    for i, (I, O) in enumerate(zip(sizes, sizes[1:], strict=False)):
        if i:
            layers.append(Activation(activation))
        layers.append(Linear(I, O, rng, dtype))
    return Sequential(*layers)
