"""A checkpoint: one .npz of plain arrays and a JSON text, written so that a reader never sees half of it."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vqnp._check import Array, InputError, fail
from vqnp._version import __version__
from vqnp.models import format1
from vqnp.nn import Module, build, describe

FORMAT = "vqnp-checkpoint"
FORMAT_VERSION = 2
META = "meta"


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file that appears at `path` whole or not at all; what was there stays until then.

    The content goes to `path`.part beside it, reaches the disk (fsync), and takes the name in one
    step (rename). Whatever goes wrong before, a full disk included, the part is removed.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say whose write it refused
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_arrays(path: str | Path, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write arrays and meta, atomically; the same content gives the same bytes."""
    with atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {META: np.array(json.dumps(dict(meta))), **arrays}.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its date is a constant, 1980
            with archive.open(member, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asarray(array), allow_pickle=False)


def read_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """meta and arrays of a checkpoint; anything else is refused with a sentence that says why.

    No pickle is ever loaded, and no header is believed: an array's size must be what the file holds
    of it, which is known before memory is asked for.
    """
    where = f"checkpoint {path}"
    needed = "a checkpoint written by vqnp, whole and unchanged"
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                fail(where, "", f"must be {needed}", "a file that is no zip archive, or the beginning of one")
            with zipfile.ZipFile(file) as archive:
                arrays = {
                    info.filename.removesuffix(".npy"): read_member(archive, info)
                    for info in archive.infolist()
                }
        meta = json.loads(str(arrays.pop(META)))
        if meta["format"] != FORMAT:
            fail(where, "", f"must be {needed}", f"format {meta['format']!r}")
        version = meta["format_version"]
    except InputError as error:
        raise (error if error.where == where else error.within(where)) from None
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            fail(where, "", "must exist", "no such file")
        if error.errno == errno.EINVAL:  # a directory whose bytes changed may send zipfile before the file
            fail(where, "", f"must be {needed}", "a zip directory that points outside of the file")
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        zipfile.BadZipFile,
    ) as error:
        fail(where, "", f"must be {needed}", f"{type(error).__name__}: {error}")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        made_by = meta.get("vqnp_version", "unknown")
        fail(
            where,
            "", f"must be of format {FORMAT_VERSION} or older",
            f"format {version}, written by vqnp {made_by}",
        )
    return meta, arrays


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array of an archive, after its header has been held against the bytes that are there."""
    if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
        fail(info.filename, "", "must be an uncompressed .npy member", f"compression {info.compress_type}")
    data = archive.read(info)  # stored: never longer than the file itself; its CRC is checked
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        fail(info.filename, "", "must hold plain numbers or text", "a pickled object")
    needed, held = int(np.prod(shape, dtype=object)) * dtype.itemsize, len(data) - stream.tell()
    if needed != held:
        fail(info.filename, "", f"must hold the {needed} bytes that its header claims", f"{held} bytes")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def save(
    path: str | Path,
    model: Module,
    meta: Mapping[str, Any] | None = None,
    arrays: Mapping[str, Array] | None = None,
) -> None:
    """Write a model, and whatever a trainer adds, to path, atomically.

    model: made of registered modules, see vqnp.nn.describe -> an .npz

    Parameters
    ----------
    path : path
    model : Module
    meta, arrays : mapping, optional
        What else the file shall hold: plain values, and arrays by names that do not begin with "model.".

    Raises
    ------
    InputError
        A module of a class that is not registered.
    OSError
        The folder cannot be written, or the disk is full; what was at path is still there.
    """
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "vqnp_version": __version__,
        "model": describe(model),
    }
    state = {f"model.{name}": array for name, array in model.state_dict().items()}
    write_arrays(path, {**head, **(meta or {})}, {**state, **(arrays or {})})


def load_all(path: str | Path) -> tuple[Any, dict[str, Any], dict[str, Array]]:
    """The model of a checkpoint, its meta, and the arrays that are not the model's."""
    meta, arrays = read_arrays(path)
    try:
        if meta["format_version"] == 1:
            return _load_format_1(meta, arrays)
        model = build(meta["model"])
        model.load_state_dict(_of_model(arrays))
    except (InputError, TypeError, KeyError, MemoryError) as error:
        raise InputError(f"checkpoint {path}", "", "must hold a whole model", error) from None
    return model, meta, _beside_model(arrays)


def _load_format_1(meta: dict[str, Any], arrays: dict[str, Array]) -> tuple[Any, dict[str, Any], dict[str, Array]]:
    """load_all of what version 0.1 wrote."""
    trainer = meta.get("trainer")
    restart = trainer["schedule"]["restart_dead_codes"] if trainer else 0.0
    model = format1.model_of(meta.get("kind", "vqvae"), meta["model"], restart)
    arrays = {format1.renamed(name): array for name, array in arrays.items()}
    model.load_state_dict(_of_model(arrays))
    rest = _beside_model(arrays)
    if trainer:
        trainer, rest = format1.trainer_of(trainer, model, rest)
        meta = {**meta, "trainer": trainer}
    return model, meta, rest


def _of_model(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}


def _beside_model(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: a for name, a in arrays.items() if not name.startswith("model.")}


def load(path: str | Path) -> Any:
    """The model of a checkpoint, or of a run folder.

    Raises
    ------
    InputError
        No checkpoint, or one that is truncated, corrupted, foreign, of a newer format, or holds a
        pickled object, or a module whose class is not registered.
    """
    path = Path(path)
    return load_all(path / "checkpoint.npz" if path.is_dir() else path)[0]
