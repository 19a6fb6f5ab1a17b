"""A checkpoint: one .npz of plain arrays and a JSON text, written so that a reader never sees half of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqnp._check import Array, InputError, fail
from vqnp._files import META
from vqnp._files import atomic as atomic  # noqa: F401 (others import it from here)
from vqnp._files import read_npz, write_arrays
from vqnp._version import __version__
from vqnp.models import VAE, VQVAE, Autoencoder, ImageModel, build

FORMAT = "vqnp-checkpoint"
FORMAT_VERSION = 1


def read_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """meta and arrays of a checkpoint; anything else is refused with a sentence that says why.

    No pickle is ever loaded, and no header is believed: an array's size must be what the file holds
    of it, which is known before memory is asked for.
    """
    where = f"checkpoint {path}"
    needed = "must be a checkpoint written by vqnp"
    arrays = read_npz(where, path)
    try:
        meta = json.loads(str(arrays.pop(META)))
        format, version = meta["format"], meta["format_version"]
    except (KeyError, TypeError, ValueError) as error:
        fail(where, "", needed, f"{type(error).__name__}: {error}")
    if format != FORMAT:
        fail(where, "", needed, f"format {format!r}")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        made_by = meta.get("vqnp_version", "unknown")
        fail(
            where,
            "", f"must be of format {FORMAT_VERSION} or older",
            f"format {version}, written by vqnp {made_by}",
        )
    return meta, arrays


def save(
    path: str | Path, model: ImageModel, meta: Mapping[str, Any] = {}, arrays: Mapping[str, Array] = {}
) -> None:
    """Write model (and whatever a trainer adds) to path, atomically.

    Raises
    ------
    OSError
        The folder cannot be written, or the disk is full; what was at path is still there.
    """
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "vqnp_version": __version__,
        "kind": model.kind,
        "model": model.config,
    }
    state = {f"model.{name}": array for name, array in model.state().items()}
    write_arrays(path, {**head, **meta}, {**state, **arrays})


def load_all(path: str | Path) -> tuple[VQVAE | VAE | Autoencoder, dict[str, Any], dict[str, Array]]:
    """The model of a checkpoint, its meta, and the arrays that are not the model's."""
    meta, arrays = read_arrays(path)
    try:
        model = build(meta.get("kind", "vqvae"), meta["model"])  # older ones are all of a VQVAE
        model.load_state({n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")})
    except (InputError, TypeError, KeyError, MemoryError) as error:
        raise InputError(f"checkpoint {path}", "", "must hold a whole model", error) from None
    return model, meta, {name: a for name, a in arrays.items() if not name.startswith("model.")}


def load(path: str | Path) -> VQVAE | VAE | Autoencoder:
    """The model of a checkpoint, or of a run folder.

    Raises
    ------
    InputError
        No checkpoint, or one that is truncated, corrupted, foreign, of a newer format, or holds a
        pickled object.
    """
    path = Path(path)
    return load_all(path / "checkpoint.npz" if path.is_dir() else path)[0]
