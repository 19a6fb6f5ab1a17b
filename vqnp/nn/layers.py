"""Layers own Params and nothing else; their mathematics is in vqnp.ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_int, check_rng, fail
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module, Param, TorchName, check_room
from vqnp.ops import activation
from vqnp.ops.linear import linear_backward_rows, linear_forward


class WithReLU(Module):
    """A layer whose forward can apply ReLU to its output before that reaches memory."""

    def forward(self, x: Array, relu: bool = False) -> Any:
        """y, cache, or max(y, 0), cache."""
        raise NotImplementedError


@register
class Linear(WithReLU):
    """y = x W + b;  initially W ~ U(−√(3/I), √(3/I)), so that Var W = 1/I, and b = 0.

    x: (..., I), W: (I, O), b: (O,) -> y: (..., O)

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    rng : numpy.random.Generator or int
        The source of W's initial values.
    dtype : float32 or float64

    References
    ----------
    LeCun et al. 1998, "Efficient BackProp", section 4.6: σ_W = 1/√I. PyTorch's
    default range is √3 times narrower.
    """

    def __init__(
        self, in_features: int, out_features: int, rng: np.random.Generator | int = 0, dtype: Any = np.float32
    ) -> None:
        I = check_int("Linear", "in_features", in_features)
        O = check_int("Linear", "out_features", out_features)
        check_room("Linear", I, O)
        bound = np.sqrt(3 / I)
        self.W = Param(check_rng("Linear", rng).uniform(-bound, bound, (I, O)).astype(dtype))
        self.b = Param(np.zeros(O, dtype))

    def config(self) -> dict[str, Any]:
        I, O = self.W.value.shape
        return {"in_features": I, "out_features": O, "dtype": self.W.value.dtype.name}

    def torch_names(self) -> dict[str, TorchName]:
        """PyTorch's Linear stores Wᵀ."""
        return {"W": TorchName("weight", axes=(1, 0)), "b": TorchName("bias")}

    def forward(self, x: Array, relu: bool = False) -> tuple[Array, Cache]:
        """y = x W + b, or max(x W + b, 0)."""
        return linear_forward(x, self.W.value, self.b.value, relu)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx = dy Wᵀ;  dW += Σ xᵀ dy;  db += Σ dy."""
        dx, rows, drows, db = linear_backward_rows(dy, cache, need_dx)
        self.W.add_product(rows, drows)
        self.b.add_grad(db)
        return dx


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (activation.relu_forward, activation.relu_backward),
    "gelu": (activation.gelu_forward, activation.gelu_backward),
    "tanh": (activation.tanh_forward, activation.tanh_backward),
    "sigmoid": (activation.sigmoid_forward, activation.sigmoid_backward),
    "silu": (activation.silu_forward, activation.silu_backward),
    "leaky_relu": (activation.leaky_relu_forward, activation.leaky_relu_backward),
}


@register
class Activation(Module):
    """y = f(x), element by element; f is named in ACTIVATIONS. x: any shape -> y: the same."""

    def __init__(self, name: str) -> None:
        self.name = check_choice("Activation", "name", name, tuple(ACTIVATIONS))
        self._forward, self._backward = ACTIVATIONS[name]

    def config(self) -> dict[str, Any]:
        return {"name": self.name}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = f(x)."""
        y, cache = self._forward(x)
        return y, cache

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx = dy · f'(x)."""
        return self._backward(dy, cache) if need_dx else None


@register
class Flatten(Module):
    """y = x, each example as one row: (B, ...) -> (B, P), where P is the product of the other axes."""

    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y_n = x_n, flattened in row-major order."""
        _check_batch("Flatten.forward", x)
        return x.reshape(len(x), int(np.prod(x.shape[1:]))), x.shape

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx = dy in x's shape."""
        check_array("Flatten.backward", "dy", dy, shape=(cache[0], int(np.prod(cache[1:]))))
        return dy.reshape(cache) if need_dx else None


@register
class Reshape(Module):
    """y = x, each example in another shape: (B, ...) -> (B, *shape)."""

    def __init__(self, *shape: int) -> None:
        self.shape = tuple(check_int("Reshape", f"shape[{i}]", n) for i, n in enumerate(shape))

    def config(self) -> dict[str, Any]:
        return {"shape": self.shape}

    @classmethod
    def from_config(cls, **config: Any) -> Reshape:
        return cls(*config.pop("shape"), **config)

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y_n = x_n in the layer's shape."""
        _check_batch("Reshape.forward", x)
        if np.prod(x.shape[1:]) != np.prod(self.shape):
            needed = f"must have {int(np.prod(self.shape))} numbers per example"
            fail("Reshape.forward", "x", needed, f"shape {x.shape}")
        return x.reshape(len(x), *self.shape), x.shape

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx = dy in x's shape."""
        check_array("Reshape.backward", "dy", dy, shape=(cache[0], *self.shape))
        return dy.reshape(cache) if need_dx else None


def _check_batch(where: str, x: Any) -> None:
    if check_array(where, "x", x).ndim == 0:
        fail(where, "x", "must have an axis of examples", f"shape {x.shape}")


@register
class Sequential(Module):
    """y = f_n(… f_2(f_1(x))): layers in sequence; the cache is the list of their caches."""

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                fail("Sequential", f"layers[{i}]", "must be a vqnp.nn.Module", type(layer).__name__)
        self.layers = layers

    def config(self) -> dict[str, Any]:
        return {"layers": self.layers}

    @classmethod
    def from_config(cls, **config: Any) -> Sequential:
        return cls(*config.pop("layers"), **config)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """("0", the first layer), ("1", the second), …"""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y, caches: each layer takes the output of the previous one."""
        caches: list[Cache] = []
        for i, layer in enumerate(self.layers):
            if len(caches) > i:
                continue  # it was computed with the layer before
            following = self.layers[i + 1] if i + 1 < len(self.layers) else None
            if isinstance(layer, WithReLU) and isinstance(following, Activation) and following.name == "relu":
                x, cache = layer.forward(x, relu=True)
                caches += [cache, (x,)]  # what relu_forward would keep
            else:
                x, cache = layer.forward(x)
                caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx: the chain rule, last layer first; without need_dx it stops at the first layer with Params."""
        if len(cache) != len(self.layers):
            fail("Sequential.backward", "cache", f"must be of {len(self.layers)} layers", len(cache))
        first = 0 if need_dx else self._first_with_parameters()
        for i in reversed(range(first, len(self.layers))):
            dy = self.layers[i].backward(dy, cache[i], need_dx or i > first)
        return dy if need_dx else None

    def _first_with_parameters(self) -> int:
        """The place of the first layer that has Params; if none has, the number of layers."""
        places = (i for i, layer in enumerate(self.layers) for _ in layer.parameters())
        return next(places, len(self.layers))


def mlp(
    sizes: tuple[int, ...], activation: str, rng: np.random.Generator | int = 0, dtype: Any = np.float32
) -> Sequential:
    """Linear, f, Linear, f, …, Linear: a multilayer perceptron; f comes between layers, not after the last.

    x: (..., sizes[0]) -> y: (..., sizes[-1])
    """
    rng = check_rng("mlp", rng)
    layers: list[Module] = []
    for i, (I, O) in enumerate(zip(sizes, sizes[1:], strict=False)):
        if i:
            layers.append(Activation(activation))
        layers.append(Linear(I, O, rng, dtype))
    return Sequential(*layers)
