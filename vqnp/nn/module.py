"""y, cache = layer.forward(x);  dx = layer.backward(dy, cache), with param.grad += dL/dparam.

The cache is returned, never stored: a layer can be used twice before its backward. It may hold the
arrays themselves (x, y, W), not copies: change none of them before backward has been called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, fail

Cache = Any


class Param:
    """A parameter: its value, and the gradient that backward passes add to.

    value, grad: of one shape and dtype
    """

    def __init__(self, value: Array) -> None:
        self.value = np.array(check_array("Param", "value", value), order="C")  # a copy of its own
        self._grad: Array | None = None

    @property
    def grad(self) -> Array:
        """dL/dvalue, as far as backward passes have added to it; zeros at first and after zero_grad."""
        if self._grad is None:
            self._grad = np.zeros_like(self.value)
        return self._grad

    def add_grad(self, d: Array) -> None:
        """grad += d: the chain rule at a fork.

        d: a new array of value's shape and dtype; the first after zero_grad becomes grad itself, which
        saves writing zeros and adding to them.
        """
        if self._grad is None:
            self._grad = d
        else:
            self._grad += d

    def zero_grad(self) -> None:
        """grad = 0."""
        self._grad = None

    def __repr__(self) -> str:
        return f"Param(shape {self.value.shape}, {self.value.dtype})"


class Module:
    """Something with Params, buffers (arrays that are no parameters) and parts that have some too."""

    def params(self) -> Mapping[str, Param]:
        """This module's own Params by name."""
        return {}

    def buffers(self) -> Mapping[str, Array]:
        """This module's own arrays that no gradient reaches but a checkpoint must hold, by name."""
        return {}

    def check_buffers(self, where: str, arrays: Mapping[str, Array]) -> None:
        """Raise InputError if the module's own buffers cannot have these values."""

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        """Take new values for the module's own buffers."""

    def parts(self) -> Mapping[str, Module]:
        """The modules this one is made of, by name."""
        return {}

    def forward(self, x: Array) -> Any:
        """y, cache for x; never changes the module."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dx for dy; adds to the grad of every Param."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def backward_params(self, dy: Array, cache: Cache) -> None:
        """Only what backward adds to the grads: for a first layer, whose x is data that nothing moves."""
        self.backward(dy, cache)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted prefix, module) of this module and all its parts, depth first."""
        yield prefix, self
        for name, part in self.parts().items():
            yield from part.named_modules(f"{prefix}{name}.")

    def named_params(self) -> Iterator[tuple[str, Param]]:
        """(dotted name, Param) of this module and all its parts."""
        for prefix, module in self.named_modules():
            for name, param in module.params().items():
                yield prefix + name, param

    def zero_grad(self) -> None:
        """Set every gradient to 0."""
        for _, param in self.named_params():
            param.zero_grad()

    def state(self) -> dict[str, Array]:
        """A copy of every parameter and buffer by its dotted name: all that a checkpoint needs."""
        arrays = {name: param.value.copy() for name, param in self.named_params()}
        for prefix, module in self.named_modules():
            arrays.update({prefix + name: buffer.copy() for name, buffer in module.buffers().items()})
        return arrays

    def load_state(self, arrays: Mapping[str, Array]) -> None:
        """Take every parameter and buffer from arrays named as state() names them.

        Raises
        ------
        InputError
            A name missing or unknown, a wrong shape or dtype, NaN or infinity; nothing is then changed.
        """
        where = f"{type(self).__name__}.load_state"
        mine = self.state()
        for what, names in (
            ("missing", mine.keys() - arrays.keys()),
            ("unknown", arrays.keys() - mine.keys()),
        ):
            if names:
                fail(
                    where,
                    "arrays", f"must be named {', '.join(sorted(mine))}",
                    f"{what} {', '.join(sorted(names))}",
                )
        for name, old in mine.items():
            if old.dtype.kind == "f":
                check_array(where, name, arrays[name], shape=old.shape, dtype=old.dtype, finite=True)
            elif arrays[name].shape != old.shape or arrays[name].dtype != old.dtype:
                fail(where, name, f"must be {old.dtype} of shape {old.shape}", _form(arrays[name]))
        buffers = [
            (module, {name: arrays[prefix + name].copy() for name in module.buffers()})
            for prefix, module in self.named_modules()
        ]
        for module, own in buffers:
            module.check_buffers(where, own)
        for name, param in self.named_params():
            param.value[...] = arrays[name]
        for module, own in buffers:
            module.set_buffers(own)

    def num_parameters(self) -> int:
        """How many numbers the gradient trains."""
        return sum(param.value.size for _, param in self.named_params())


class Sequential(Module):
    """y = f_n(… f_2(f_1(x))): layers in a row; the cache is the list of theirs."""

    def __init__(self, *layers: Module) -> None:
        self.layers = layers

    def parts(self) -> Mapping[str, Module]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y, caches: each layer takes the one before's output."""
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dx: the chain rule, the last layer first."""
        for layer, layer_cache in zip(reversed(self.layers), reversed(cache), strict=True):
            dy = layer.backward(dy, layer_cache)
        return dy

    def backward_params(self, dy: Array, cache: Cache) -> None:
        """The chain rule down to the first layer's parameters, and not to x."""
        for layer, layer_cache in zip(self.layers[:0:-1], cache[:0:-1], strict=True):
            dy = layer.backward(dy, layer_cache)
        if self.layers:
            self.layers[0].backward_params(dy, cache[0])


def _form(x: Array) -> str:
    return f"{x.dtype} of shape {x.shape}"
