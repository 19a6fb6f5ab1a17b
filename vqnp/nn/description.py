"""A module as plain data: {"module": "Linear", "in_features": 784, ...}, and a module from such data.

This is how a checkpoint knows what it holds, whatever parts a model is made of.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from vqnp._check import InputError, check_choice, fail
from vqnp.nn.module import Module

M = TypeVar("M", bound=type[Module])

MODULES: dict[str, type[Module]] = {}
"""Every kind of module that a description can name."""


def register(cls: M) -> M:
    """Make a class of modules known by its name to `build`; a decorator. Its `config` must rebuild it."""
    MODULES[cls.__name__] = cls
    return cls


def describe(module: Module) -> dict[str, Any]:
    """The module's class and config, and those of the modules in it: what JSON can hold.

    Raises
    ------
    InputError
        A module of a class that is not registered.
    """
    name = type(module).__name__
    if MODULES.get(name) is not type(module):
        fail("describe", name, "must be registered with vqnp.nn.register", "an unknown class")
    return {"module": name, **{key: _plain(value) for key, value in module.config().items()}}


def build(description: Mapping[str, Any]) -> Module:
    """The module that a description is of, its parameters newly drawn.

    Raises
    ------
    InputError
        An unknown class, or arguments that it does not take.
    """
    if not isinstance(description, Mapping) or "module" not in description:
        fail("build", "a module's description", "must be a mapping with 'module' in it", repr(description))
    name = check_choice("build", "module", description["module"], tuple(MODULES))
    config = {key: _built(value) for key, value in description.items() if key != "module"}
    try:
        return MODULES[name].from_config(**config)
    except (TypeError, KeyError) as error:
        raise InputError("build", f"the description of {name}", "must have its arguments", error) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Module):
        return describe(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _built(value: Any) -> Any:
    if isinstance(value, Mapping) and "module" in value:
        return build(value)
    return [_built(item) for item in value] if isinstance(value, list) else value
