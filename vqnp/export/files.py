"""A model's weights in a file that PyTorch's side can read, with the configuration that rebuilds it.

torch-npz: a plain .npz of arrays by name, and "meta", a JSON text; safetensors: the same, meta in its header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from vqnp._check import Array, InputError, check_choice, fail
from vqnp._files import META, atomic, check_file, one_line, read_npz, write_arrays
from vqnp._version import __version__
from vqnp.export.names import from_torch, to_torch
from vqnp.models import VAE, VQVAE, Autoencoder

FORMATS = {"torch-npz": ".npz", "safetensors": ".safetensors"}
"""Formats by name, each with its file's suffix."""

FORMAT = "vqnp-torch"
FORMAT_VERSION = 1


def save_torch(
    path: str | Path, model: VQVAE | VAE | Autoencoder, format: str = "torch-npz"
) -> dict[str, Array]:
    """Write to_torch(model) and model.config to a file, atomically; the same model gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Any name; load_torch wants it to end in .npz or .safetensors.
    model : VQVAE, VAE or Autoencoder
    format : {"torch-npz", "safetensors"}
        "torch-npz" is an .npz: its members are the arrays, and "meta", a JSON text whose "model" is the
        configuration. "safetensors" needs the package of that name; the JSON text is the entry "vqnp"
        of its metadata.

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
    arrays = to_torch(model)
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "vqnp_version": __version__,
        "kind": model.kind,
        "model": model.config,
    }
    if format == "torch-npz":
        write_arrays(path, meta, arrays)
    else:
        data = _safetensors("save_torch").numpy.save(arrays, metadata={"vqnp": json.dumps(meta)})
        with atomic(path) as file:
            file.write(data)
    return arrays


def load_torch(
    path: str | Path, config: Mapping[str, Any] | None = None, kind: str | None = None
) -> VQVAE | VAE | Autoencoder:
    """The model of a file that save_torch wrote, or somebody's PyTorch code with the same names.

    Parameters
    ----------
    path : str or Path
        An .npz (as numpy.savez writes it, uncompressed) or a .safetensors.
    config : mapping, optional
        The arguments of the model; default: what the file says. A file that vqnp did not write says nothing.
    kind : {"vqvae", "vae", "autoencoder"}, optional
        Of a given config; default: "vqvae".

    Returns
    -------
    model : VQVAE, VAE or Autoencoder

    Raises
    ------
    InputError
        No such file, or a truncated, corrupted or foreign one, or one of a newer format; no
        configuration; arrays that from_torch refuses; safetensors is not installed.
    """
    path = Path(path)
    where = f"weights {path}"
    if path.suffix not in FORMATS.values():
        fail(where, "", f"must end in {' or '.join(FORMATS.values())}", path.name)
    check_file(where, path)
    try:
        arrays, text = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
        if config is None:
            kind, config = _config(text)
        return from_torch(arrays, config, "vqvae" if kind is None else kind)
    except InputError as error:
        raise error.within(where) from None
    except MemoryError as error:
        fail(where, "", "must fit into memory", error or "out of memory")


def _config(text: str | None) -> tuple[str, dict[str, Any]]:
    """The model's kind and its configuration in the JSON text that save_torch wrote."""
    if text is None:
        fail("config", "", "must be given for a file that vqnp did not write", "none")
    try:
        meta = json.loads(text)
        format, version, config = meta["format"], meta["format_version"], dict(meta["model"])
    except (ValueError, KeyError, TypeError) as error:
        fail("meta", "", "must be the JSON text that vqnp writes", f"{type(error).__name__}: {error}")
    if format != FORMAT:
        fail("format", "", f"must be {FORMAT!r}", repr(format))
    if version != FORMAT_VERSION:
        fail("format_version", "", f"must be {FORMAT_VERSION}, which this vqnp reads", version)
    return meta.get("kind", "vqvae"), config  # which the first files did not say


def _read_npz(path: Path) -> tuple[dict[str, Array], str | None]:
    """The arrays of an .npz, and its meta if there is one."""
    arrays = read_npz("file", path)
    text = arrays.pop(META, None)
    return arrays, None if text is None else str(text)


def _read_safetensors(path: Path) -> tuple[dict[str, Array], str | None]:
    """The arrays of a .safetensors, and its meta if there is one."""
    package = _safetensors("load_torch")
    try:
        with package.safe_open(path, framework="np") as file:
            meta = (file.metadata() or {}).get("vqnp")
            return {name: file.get_tensor(name) for name in file.keys()}, meta
    except (package.SafetensorError, TypeError, ValueError, AttributeError) as error:  # NumPy has no bfloat16
        needed = "must be a .safetensors of NumPy's dtypes, whole and unchanged"
        fail("file", "", needed, one_line(error))


def _safetensors(where: str) -> ModuleType:
    """The package, imported only when asked for."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        fail(where, "safetensors", "must be installed (the extra: pip install 'vqnp[safetensors]')", error)
    return safetensors
