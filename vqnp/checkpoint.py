"""A checkpoint: one .npz of plain arrays and a JSON text, written so that a reader never sees half of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vqnp.priors.hierarchical  # noqa: F401 - it makes the priors known to build
import vqnp.priors.text  # noqa: F401 - the same
from vqnp._check import Array, InputError, check_path, fail
from vqnp._files import META, one_line, read_npz, write_arrays
from vqnp._version import __version__
from vqnp.models import format1
from vqnp.nn import Module, Param, build, describe
from vqnp.nn.module import limited

FORMAT = "vqnp-checkpoint"
FORMAT_VERSION = 2

# What a description of no model makes its readers raise; an InputError is a ValueError.
_NO_MODEL = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def read_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """meta and arrays of a checkpoint; anything else is refused with a sentence that says why.

    Examples
    --------
    >>> from vqnp.nn import Linear
    >>> save("layer.npz", Linear(3, 2), {"author": "Ada"})
    >>> meta, arrays = read_arrays("layer.npz")
    >>> meta["author"], {name: array.shape for name, array in arrays.items()}
    ('Ada', {'model.W': (3, 2), 'model.b': (2,)})
    """
    check_path("checkpoint", path, "must be the path of a checkpoint")
    where, needed = f"checkpoint {path}", "must be a checkpoint written by vqnp"
    arrays = read_npz(where, path)
    if META not in arrays:
        fail(where, "", needed, f"an .npz file of {one_line(', '.join(arrays) or 'nothing')}")
    try:
        meta = json.loads(str(arrays.pop(META)))
        format, version = meta["format"], meta["format_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        got = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        fail(where, "", needed, one_line(got))
    if format != FORMAT:
        fail(where, "", needed, f"format {one_line(repr(format))}")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        writer = one_line(meta.get("vqnp_version", "unknown"))
        got = f"format {one_line(repr(version))}, written by vqnp {writer}"
        fail(where, "", f"must be of format {FORMAT_VERSION} or older", got)
    return meta, arrays


def save(
    path: str | Path, model: Module,
    meta: Mapping[str, Any] | None = None, arrays: Mapping[str, Array] | None = None,
) -> None:  # fmt: skip
    """Write a model, and whatever a trainer adds, to an .npz, atomically.

    Parameters
    ----------
    path : str or Path
    model : Module
        Made of registered modules, see vqnp.nn.describe.
    meta, arrays : mapping, optional
        What else the file shall hold: plain values, and arrays by names that do not begin with "model.".

    Raises
    ------
    InputError
        A module of a class that is not registered.
    OSError
        The folder cannot be written, or the disk is full; what was at path is still there.
    """
    check_path("save", path)
    if not isinstance(model, Module):
        fail("save", "model", "must be a vqnp.nn.Module", type(model).__name__)
    head: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "vqnp_version": __version__}
    waiting = [name for name, module in _codebooks(model).items() if not module.initialized]
    head |= {"model": describe(model), "uninitialized": waiting, "tied": _tied(model)}
    state = {f"model.{name}": array for name, array in model.state_dict().items()}
    write_arrays(path, {**head, **(meta or {})}, {**state, **(arrays or {})})


def _codebooks(model: Module) -> dict[str, Any]:
    """The modules, by name, that have a codebook which is initialized once, perhaps from vectors."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "initialized")}


def _tied(model: Module) -> dict[str, str]:
    """The names of parameters that another module has too, with the first name of each."""
    first: dict[int, tuple[str, Module]] = {}
    tied = {}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Param):
                one, owner = first.setdefault(id(value), (prefix + name, module))
                if owner is not module:  # a module that is used twice is described once
                    tied[prefix + name] = one
    return tied


def _tie(model: Module, tied: Mapping[str, str]) -> None:
    """Give modules the parameters of others."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for name, one in tied.items():
        prefix, dot, own = name.rpartition(".")
        module = modules[prefix + dot]
        if not isinstance(getattr(module, own), Param):
            raise KeyError(name)
        setattr(module, own, parameters[one])


def load_all(path: str | Path) -> tuple[Any, dict[str, Any], dict[str, Array]]:
    """The model of a checkpoint, its meta, and the arrays that are not the model's.

    Examples
    --------
    >>> import numpy as np
    >>> from vqnp.nn import Linear
    >>> save("run.npz", Linear(3, 2), {"epoch": 5}, {"averages": np.ones(4)})
    >>> layer, meta, arrays = load_all("run.npz")
    >>> layer.W.value.shape, meta["epoch"], arrays["averages"].tolist()
    ((3, 2), 5, [1.0, 1.0, 1.0, 1.0])
    """
    meta, arrays = read_arrays(path)
    try:
        model: Module
        with limited(sum(array.size for array in arrays.values())):
            if meta["format_version"] == 1:
                model, meta, arrays = format1.checkpoint_of(meta, arrays)
            else:
                model = build(meta["model"])
        _tie(model, meta.get("tied", {}))
        state = {n.removeprefix("model."): arrays.pop(n) for n in list(arrays) if n.startswith("model.")}
        model.load_state_dict(state)
        codebooks = _codebooks(model)
        for name in meta.get("uninitialized", []):  # an older file has no such entry: its codebook is to keep
            codebooks[name].initialized = False
    except _NO_MODEL as error:
        got = error if isinstance(error, InputError) else one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"checkpoint {path}", "", "must hold a whole model", got) from None
    return model, meta, arrays


def load(path: str | Path) -> Any:
    """The model of a checkpoint, or of a run folder.

    Raises
    ------
    InputError
        No checkpoint, or one that is truncated, corrupted, foreign, of a newer format, or holds a
        pickled object, or a module whose class is not registered.
    """
    path = check_path("load", path, "must be the path of a checkpoint or a run folder")
    return load_all(path / "checkpoint.npz" if path.is_dir() else path)[0]
