"""Arrays in files, written and read in one place for everyone.

A file appears whole or not at all, the same content gives the same bytes, nothing is ever unpickled, and no
memory is allocated for an array before its header has been checked against the bytes that are there.
"""

import contextlib
import errno
import io
import itertools
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple

import numpy as np

from vqnp._check import Array, InputError, fail

META = "meta"  # the member of an .npz that holds a JSON text about the others
CHUNK_BYTES = 1 << 20  # read at a time: large enough that Python's share of the time is small
END_BYTES = 22  # of an archive's last record, without a comment
HEAD_BYTES = 12 + 10_000  # NumPy refuses a longer .npy header as unsafe to parse

# What zipfile, gzip, zlib and NumPy raise for damaged, encrypted or exotic files. OSErrors of the disk have
# other numbers than none or that of seeking to before the start of a file.
_DAMAGE = (
    EOFError, KeyError, OSError, OverflowError, RuntimeError, ValueError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_DAMAGE_ERRNO = (None, errno.EINVAL)


_PARTS = itertools.count()


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file that appears at `path` whole or not at all; what was there stays until then.

    The content goes to a file beside it, whose name ends in .part and is this writer's own, reaches the disk
    (fsync), and takes the name in one step (rename). Whatever goes wrong before, a full disk included, the
    part is removed; only a killed process leaves it.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}-{next(_PARTS)}.part")
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


class Rows(NamedTuple):
    """An array of a known shape to be written while its rows still come, some at a time."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Iterable[Array]


def write_npy(file: IO[bytes], array: Array | Rows) -> None:
    """Write an array as .npy, without pickle; of Rows, no more than one part is in memory."""
    if not isinstance(array, Rows):
        np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        return
    form = np.lib.format
    descr = form.dtype_to_descr(array.dtype)
    form.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": array.shape})
    for part in array.parts:
        file.write(np.ascontiguousarray(part, array.dtype).tobytes())


def write_npz(path: str | Path, arrays: Mapping[str, Array | Rows]) -> None:
    """Write an uncompressed .npz, atomically; the same arrays give the same bytes."""
    with atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                write_npy(member, array)  # ZipInfo's date is a constant, 1980


def write_arrays(path: str | Path, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """write_npz of arrays and of meta, as a JSON text."""
    write_npz(path, {META: np.array(json.dumps(dict(meta))), **arrays})


def one_line(error: object) -> str:
    """An error's message in one line of at most 200 characters, to be part of a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


@contextlib.contextmanager
def reading(where: object, needed: str = "must be whole and unchanged") -> Iterator[None]:
    """Raise one InputError for whatever a damaged file makes its readers raise."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, InputError) or getattr(error, "errno", None) not in _DAMAGE_ERRNO:
            raise
        fail(str(where), "", needed, one_line(error))


def check_file(where: object, path: str | Path) -> Path:
    """Return path if a regular file is there (a pipe could block for ever), else raise InputError."""
    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no regular file" if path.exists() else "no such file"
        fail(str(where), "", "must be an existing file", got)
    return path


@dataclass(frozen=True)
class Header:
    """What a file's first bytes say: dtype has the file's byte order, offset is where the array begins."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool = False

    @property
    def size(self) -> int:
        """The bytes of the header and the array together (a Python int does not overflow)."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def view(self, where: object, content: bytearray | Array) -> Array:
        """The array, as a view of the content, which must be exactly as long as the header says."""
        if len(content) != self.size:
            claim = one_line(f"{self.dtype.name} of shape {self.shape}")
            needed = f"must have {self.size} bytes, as its header says ({claim})"
            fail(str(where), "", needed, f"{len(content)} bytes")
        with reading(where):  # a shape that NumPy refuses, such as one of 100 axes
            order: Literal["C", "F"] = "F" if self.fortran else "C"
            return np.ndarray(self.shape, self.dtype, content, self.offset, order=order)


def npy_header(where: object, head: bytes) -> Header:
    """The header of a .npy that begins with the bytes head: all of them, or at least HEAD_BYTES."""
    file, form = io.BytesIO(head), np.lib.format
    try:
        one = form.read_magic(file) == (1, 0)
        shape, fortran, dtype = (form.read_array_header_1_0 if one else form.read_array_header_2_0)(file)
    except Exception as error:  # the header is Python source: NumPy lets through what its parser raises
        fail(str(where), "", "must have a .npy header", one_line(error))
    if dtype.hasobject:
        needed = "must hold plain numbers or text (objects could run code and are never read)"
        fail(str(where), "", needed, "a pickled object")
    return Header(shape, dtype, file.tell(), fortran)


def read_content(
    where: object, file: IO[bytes], parse: Callable[[object, bytes], Header] = npy_header
) -> tuple[Header, bytearray]:
    """The header and the bytes of a stream that is one array, read to its end, where a checksum is checked.

    A stream that is longer than its header says is not read on: a few bytes could expand to many.
    """
    with reading(where):
        content = bytearray(file.read(HEAD_BYTES))
        header = parse(where, bytes(content))
        while len(content) <= header.size and (chunk := file.read(CHUNK_BYTES)):
            content += chunk
    return header, content


def members(where: object, path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Every member of an archive, as many as its last record says and named as before their contents."""
    infos = archive.infolist()
    with open(path, "rb") as file:
        file.seek(-END_BYTES, os.SEEK_END)
        end = file.read()
    (count,) = struct.unpack_from("<H", end, 10)
    if end.startswith(b"PK\5\6") and count not in (len(infos), 0xFFFF):  # the last: there are more
        fail(str(where), "", f"must have {count} members, as its end says", len(infos))
    for info in infos:
        archive.open(info).close()
    return infos


def read_npz(where: object, path: str | Path) -> dict[str, Array]:
    """The arrays of an uncompressed .npz by name, such as write_npz and numpy.savez write.

    where: what the file is to the user, with its path, for the InputError that refuses it if it is damaged,
    truncated or compressed, or if a member is no .npy, holds objects, or has not the bytes its header claims
    """
    path, arrays = check_file(where, path), {}
    with reading(where, "must be an .npz file, whole and unchanged"), zipfile.ZipFile(path) as archive:
        infos = members(where, path, archive)
        places = {info: f"{where}: {one_line(info.filename)}" for info in infos}
        for info, place in places.items():
            if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
                fail(place, "", "must be an uncompressed .npy member", f"compression {info.compress_type}")
        total = sum(info.file_size for info in places)
        if total > path.stat().st_size:  # members that overlap, or say they are longer than the file
            fail(str(where), "", "must be as long as its members together", f"members of {total} bytes")
        for info, place in places.items():
            with archive.open(info) as member:
                header, content = read_content(place, member)
            view = header.view(place, content)
            arrays[info.filename.removesuffix(".npy")] = np.require(view, requirements="A")
    return arrays
