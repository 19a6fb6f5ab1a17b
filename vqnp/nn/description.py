"""A module as plain data, {"module": "Linear", "in_features": 784, ...}, and a module from such data.

This is how a checkpoint records what it holds, whatever parts a model consists of. The second and every later
use of one module with arrays only refers to the first: {"module": "the same as", "number": 0}, where modules
are numbered from 0 in the order in which they are completed, parts before the whole. What is shared is thus
shared again.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from vqnp._check import InputError, check_int, fail
from vqnp.nn.module import Module

M = TypeVar("M", bound=type[Module])

MODULES: dict[str, type[Module]] = {}  # every kind of module that a description can name
SHARED = "the same as"  # for the class of a module that has been described already: no class has this name


def register(cls: M) -> M:
    """Class decorator: make a module class known to `build` by its name. Its `config` must rebuild it."""
    MODULES[cls.__name__] = cls
    return cls


def describe(module: Module) -> dict[str, Any]:
    """The class and config of the module and of the modules in it, in a form that JSON can hold.

    Raises
    ------
    InputError
        The class of a module is not registered.
    """
    return _description(module, [])


def build(description: Mapping[str, Any]) -> Module:
    """The module that the description describes, with newly drawn parameters.

    Raises
    ------
    InputError
        The class is unknown, or does not take these arguments.
    """
    if not isinstance(description, Mapping) or "module" not in description:
        fail("build", "a module's description", "must be a mapping with 'module' in it", repr(description))
    return _module(description, [])


def _description(module: Module, before: list[Module]) -> dict[str, Any]:
    """describe(module); before: the modules that have been described, to which it is added."""
    name = type(module).__name__
    if MODULES.get(name) is not type(module):
        fail("describe", name, "must be registered with vqnp.nn.register", "an unknown class")
    number = next((i for i, other in enumerate(before) if other is module), None)
    if number is not None and module.state_dict():
        return {"module": SHARED, "number": number}
    try:
        config = module.config()
    except NotImplementedError:
        fail("describe", name, "must have a method config, without which it cannot be saved", "none")
    plain = {key: _plain(value, before) for key, value in config.items()}
    before.append(module)
    return {"module": name, **plain}


def _module(description: Mapping[str, Any], before: list[Module]) -> Module:
    """build(description); before: the modules that have been built, to which it is added."""
    name = description["module"]
    if name not in (*MODULES, SHARED):
        fail("build", "module", "must be one of the classes that are registered, as Linear is", repr(name))
    if name == SHARED:
        return before[check_int("build", "number", description.get("number"), 0, len(before) - 1)]
    config = {key: _built(value, before) for key, value in description.items() if key != "module"}
    try:
        module = MODULES[name].from_config(**config)
    except (TypeError, KeyError) as error:
        raise InputError("build", f"the description of {name}", "must match its arguments", error) from None
    before.append(module)
    return module


def _plain(value: Any, before: list[Module]) -> Any:
    if isinstance(value, Module):
        return _description(value, before)
    if isinstance(value, (list, tuple)):
        return [_plain(item, before) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _built(value: Any, before: list[Module]) -> Any:
    if isinstance(value, Mapping) and "module" in value:
        return _module(value, before)
    return [_built(item, before) for item in value] if isinstance(value, list) else value
