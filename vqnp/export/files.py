"""A model's weights in a file that PyTorch's side can read, with the description that rebuilds it.

torch-npz: a plain .npz of arrays by name, and "meta", a JSON text; safetensors: the same, meta in its header.
"""

import json
from pathlib import Path
from types import ModuleType

from vqnp._check import Array, InputError, check_choice, check_path, fail
from vqnp._files import META, atomic, check_file, one_line, read_npz, write_arrays
from vqnp._version import __version__
from vqnp.export.names import from_torch, to_torch
from vqnp.models import format1
from vqnp.nn import Module, build, describe
from vqnp.nn.module import limited

FORMATS = {"torch-npz": ".npz", "safetensors": ".safetensors"}  # with its file's suffix
FORMAT, FORMAT_VERSION = "vqnp-torch", 2


def save_torch(path: str | Path, model: Module, format: str = "torch-npz") -> dict[str, Array]:
    """Write to_torch(model) and nn.describe(model) to a file, atomically, the same model as the same bytes.

    Parameters
    ----------
    path : str or Path
        Any name; load_torch wants it to end in .npz or .safetensors.
    model : Module
    format : {"torch-npz", "safetensors"}
        "torch-npz" is an .npz of the arrays, and "meta", a JSON text whose "model" is the description.
        "safetensors" needs the package of that name; the JSON text is the entry "vqnp" of its metadata.

    Returns
    -------
    arrays : dict of ndarray
        What was written.

    Raises
    ------
    InputError
        An unknown format, safetensors is not installed, or a model that to_torch refuses.
    OSError
        The file cannot be written; what was at path is still there.
    """
    check_choice("save_torch", "format", format, tuple(FORMATS))
    path = check_path("save_torch", path)
    if not isinstance(model, Module):
        fail("save_torch", "model", "must be a vqnp.nn.Module", type(model).__name__)
    arrays = to_torch(model)
    meta = {"format": FORMAT, "format_version": FORMAT_VERSION, "vqnp_version": __version__}
    meta["model"] = describe(model)
    if format == "torch-npz":
        write_arrays(path, meta, arrays)
    else:
        data = _safetensors("save_torch").numpy.save(arrays, metadata={"vqnp": json.dumps(meta)})
        with atomic(path) as file:
            file.write(data)
    return arrays


def load_torch(path: str | Path, model: Module | None = None) -> Module:
    """The model of a file that save_torch wrote, or somebody's PyTorch code with the same names.

    Parameters
    ----------
    path : str or Path
        An .npz (as numpy.savez writes it, uncompressed) or a .safetensors.
    model : Module, optional
        A model of the same parts, whose parameters are replaced; needed for a file that vqnp did not
        write. Default: one made from the file's description.

    Raises
    ------
    InputError
        No such file, or a truncated, corrupted or foreign one, or one of a newer format; no
        description; arrays that from_torch refuses; safetensors is not installed.
    """
    path = check_path("load_torch", path)
    where = f"weights {path}"
    if path.suffix not in FORMATS.values():
        fail(where, "", f"must end in {' or '.join(FORMATS.values())}", path.name)
    check_file(where, path)
    try:
        if path.suffix == ".npz":
            arrays = read_npz("file", path)
            text = str(arrays.pop(META)) if META in arrays else None
        else:
            arrays, text = _read_safetensors(path)
        if model is None:
            with limited(sum(array.size for array in arrays.values())):
                model, arrays = _described(text, arrays)
        return from_torch(arrays, model)
    except InputError as error:
        raise error.within(where) from None
    except MemoryError as error:
        fail(where, "", "must fit into memory", error or "out of memory")


def _described(text: str | None, arrays: dict[str, Array]) -> tuple[Module, dict[str, Array]]:
    """A model of the description in the JSON text that save_torch wrote, and the arrays by its names."""
    if text is None:
        fail("", "model", "must be given for a file that vqnp did not write", "none")
    try:
        meta = json.loads(text)
        format, version, description = meta["format"], meta["format_version"], dict(meta["model"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        fail("", "meta", "must be the JSON text that vqnp writes", f"{type(error).__name__}: {error}")
    if format != FORMAT:
        fail("", "format", f"must be {FORMAT!r}", repr(format))
    if version == 1:
        try:
            model = format1.model_of(meta.get("kind", "vqvae"), description)
        except (KeyError, TypeError) as error:
            fail("", "meta", "must have the arguments of a model", error)
        return model, {format1.renamed(name): array for name, array in arrays.items()}
    if version != FORMAT_VERSION:
        fail("", "format_version", f"must be at most {FORMAT_VERSION}, which this vqnp reads", version)
    return build(description), arrays


def _read_safetensors(path: Path) -> tuple[dict[str, Array], str | None]:
    """The arrays of a .safetensors, and its meta if there is one."""
    package = _safetensors("load_torch")
    try:
        with package.safe_open(path, framework="np") as file:
            meta = (file.metadata() or {}).get("vqnp")
            return {name: file.get_tensor(name) for name in file.keys()}, meta
    except (package.SafetensorError, TypeError, ValueError, AttributeError) as error:  # NumPy has no bfloat16
        fail("file", "", "must be a .safetensors of NumPy's dtypes, whole and unchanged", one_line(error))


def _safetensors(where: str) -> ModuleType:
    """The package, imported only when asked for."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        fail(where, "safetensors", "must be installed (the extra: pip install 'vqnp[safetensors]')", error)
    return safetensors
