"""y, cache = layer.forward(x);  dx = layer.backward(dy, cache), with param.grad += dL/dparam.

The cache is returned, never stored, so a layer can be used twice before its backward pass. It may hold the
arrays themselves (x, y, W) and not copies, so do not change them before backward has been called.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_array, fail
from vqnp.kernels import memory
from vqnp.kernels.product import fusible, linear_dW

Cache = Any


DRAWN_BYTES = 8  # of an entry: parameters are drawn in float64
TRAINED_BYTES = 32  # of an entry in float32: it is drawn and copied; value, gradient and Adam's two moments
_ROOM: ContextVar[tuple[list[int], str] | None] = ContextVar("_ROOM", default=None)


@contextlib.contextmanager
def limited(entries: int, needed: str = "must be no larger than the arrays that are there") -> Iterator[None]:
    """Within the block, parameters of at most so many entries are drawn: as many as a file has for them."""
    token = _ROOM.set(([entries], needed))
    try:
        yield
    finally:
        _ROOM.reset(token)


@contextlib.contextmanager
def trainable() -> Iterator[None]:
    """Within the block, no more parameters are drawn than this machine could train."""
    total = memory.machine_bytes()
    needed = f"must fit into memory, {memory.gigabytes(total)}, with gradients and Adam's moments"
    with limited(total // TRAINED_BYTES, needed):
        yield


def check_room(where: str, *shape: int) -> None:
    """Raise if a parameter of this shape is more than `limited` allows; call it before it is drawn."""
    room, size = _ROOM.get(), math.prod(shape)
    if room is None:
        if size * DRAWN_BYTES > (total := memory.machine_bytes()):
            fail(where, "parameters", f"must fit into memory, {memory.gigabytes(total)}", _form_of(shape))
        return
    left, needed = room
    if size > left[0]:
        fail(where, "parameters", needed, _form_of(shape))
    left[0] -= size


def _form_of(shape: tuple[int, ...]) -> str:
    return f"an array of shape {shape}"


class Param:
    """A parameter: its value, and the gradient that backward passes add to.

    value, grad: of the same shape and dtype
    """

    def __init__(self, value: Array) -> None:
        self.value = memory.copy(check_array("Param", "value", value))
        self._grad: Array | None = None
        self._product: tuple[Array, Array] | None = None
        self._defer = False

    @property
    def grad(self) -> Array:
        """The sum of what backward passes have added since zero_grad; initially zeros."""
        self._multiply_out()
        if self._grad is None:
            self._grad = np.zeros_like(self.value)
        return self._grad

    def add_grad(self, d: Array) -> None:
        """grad += d: the gradients of a parameter that is used more than once add up.

        d: a new array of value's shape and dtype; the first one after zero_grad becomes grad itself,
        which saves one pass to write zeros and another to add to them.
        """
        self._multiply_out()
        if self._grad is None:
            self._grad = d
        else:
            self._grad += d

    def add_product(self, x: Array, dy: Array) -> None:
        """grad += xᵀ dy; x: (M, I), dy: (M, O).

        After zero_grad(defer=True) it is computed when grad is read. Adam's step does not read it: it
        multiplies and steps in one pass, so dW is not written to memory.
        """
        if self._defer and self._grad is None and self._product is None and fusible(x, dy):
            self._product = x, dy
        else:
            self.add_grad(linear_dW(x, dy).reshape(self.value.shape))

    @property
    def product(self) -> tuple[Array, Array] | None:
        """(x, dy) if grad is xᵀ dy and nothing else, and has not been read."""
        return self._product

    def zero_grad(self, defer: bool = False) -> None:
        """grad = 0. defer: add_product may wait, so that its x and dy must not change until grad is used."""
        self._grad = self._product = None
        self._defer = defer

    def _multiply_out(self) -> None:
        if self._product:
            self._grad = linear_dW(*self._product).reshape(self.value.shape)
            self._product = None

    def __repr__(self) -> str:
        return f"Param(shape {self.value.shape}, {self.value.dtype})"


class TorchName(NamedTuple):
    """PyTorch's name for an array; the order of our axes in PyTorch's array; whether it is a statistic.

    axes: PyTorch's array is ours.transpose(axes), as (1, 0) for a linear layer's Wᵀ; None: in our order.
    A statistic matters only for further training, so it may be missing from a file.
    """

    name: str
    axes: tuple[int, ...] | None = None
    statistic: bool = False

    def to_torch(self, ours: Array) -> Array:
        """PyTorch's array, of our axes: a view."""
        return ours if self.axes is None else ours.transpose(self.axes)

    def from_torch(self, theirs: Array) -> Array:
        """Our array, of PyTorch's axes: a view."""
        return theirs if self.axes is None else theirs.transpose(np.argsort(self.axes))


class Module:
    """Something that has Params, buffers (arrays that no gradient reaches) and child modules.

    A Param or a Module assigned to an attribute belongs to the module, under the attribute's name.
    """

    def forward(self, x: Array) -> Any:
        """y, cache for x; never changes the module."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx for dy; adds to the grad of every Param. dx is None if need_dx is False."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def config(self) -> dict[str, Any]:
        """The arguments that construct a module like this one: plain values and modules. See nn.describe."""
        raise NotImplementedError(f"{type(self).__name__} has no config, so it cannot be saved")

    @classmethod
    def from_config(cls, **config: Any) -> Module:
        """A module like the one whose config() this is, with newly drawn parameters."""
        return cls(**config)

    def torch_names(self) -> Mapping[str, TorchName]:
        """PyTorch's names for this module's own Params and buffers, by our names."""
        return {}

    def buffers(self) -> Mapping[str, Array]:
        """This module's own arrays that no gradient reaches, but that a checkpoint must contain, by name."""
        return {}

    def check_buffers(self, where: str, arrays: Mapping[str, Array]) -> None:
        """Raise InputError if the module's own buffers cannot have these values."""

    def set_buffers(self, arrays: Mapping[str, Array]) -> None:
        """Set the module's own buffers to new values."""

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of each direct child module."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The direct child modules."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted prefix, module) of this module and all modules below it, depth first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, Param]]:
        """(dotted name, Param) of this module and all below it; a shared Param once, by its first name."""
        seen: set[int] = set()
        for name, param in self._parameter_names():
            if id(param) not in seen:
                seen.add(id(param))
                yield name, param

    def _parameter_names(self) -> Iterator[tuple[str, Param]]:
        """(dotted name, Param) for every place in which a Param is used, so a shared one more than once."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Param):
                    yield prefix + name, value

    def parameters(self) -> Iterator[Param]:
        """Every Param of this module and all modules below it."""
        return (param for _, param in self.named_parameters())

    def num_parameters(self) -> int:
        """The number of entries in all Params."""
        return sum(param.value.size for param in self.parameters())

    def zero_grad(self) -> None:
        """Set every gradient to 0."""
        for param in self.parameters():
            param.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and buffer, by its dotted name: all that a checkpoint needs.

        A shared one has all its names, as in PyTorch.
        """
        arrays = {name: param.value.copy() for name, param in self._parameter_names()}
        for prefix, module in self.named_modules():
            arrays.update({prefix + name: buffer.copy() for name, buffer in module.buffers().items()})
        return arrays

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Set every parameter and buffer from arrays named as in state_dict.

        Raises
        ------
        InputError
            A missing or unknown name, a wrong shape or dtype, NaN or infinity, or two values for one shared
            parameter; then nothing is changed.
        """
        where = f"{type(self).__name__}.load_state_dict"
        own = self.state_dict()
        for problem, names in (
            ("missing", own.keys() - arrays.keys()),
            ("unknown", arrays.keys() - own.keys()),
        ):
            if names:
                needed = f"must be named {', '.join(sorted(own))}"
                fail(where, "arrays", needed, f"{problem} {', '.join(sorted(names))}")
        for name, old in own.items():
            new = arrays[name]
            if not isinstance(new, (np.ndarray, np.generic)):
                fail(where, name, f"must be {_form(old)}", type(new).__name__)
            if old.dtype.kind == "f":
                check_array(where, name, new, shape=old.shape, dtype=old.dtype, finite=True)
            elif new.shape != old.shape or new.dtype != old.dtype:
                fail(where, name, f"must be {_form(old)}", _form(new))
        first: dict[int, str] = {}
        for name, param in self._parameter_names():
            one = first.setdefault(id(param), name)
            if one != name and not np.array_equal(arrays[name], arrays[one]):
                fail(where, name, f"must equal {one}, which is the same parameter", "other values")
        buffers = [
            (module, {name: arrays[prefix + name].copy() for name in module.buffers()})
            for prefix, module in self.named_modules()
        ]
        for module, values in buffers:
            module.check_buffers(where, values)
        for name, param in self.named_parameters():
            param.value[...] = arrays[name]
        for module, values in buffers:
            module.set_buffers(values)


def _form(x: Array) -> str:
    return f"{x.dtype} of shape {x.shape}"
