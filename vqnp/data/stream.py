"""for batch in stream.batches(n): an array in a file, read n rows at a time.

The kind of file (IDX, .npy, either gzipped, .npz) follows from its first bytes. Uncompressed arrays are
mapped into memory a batch at a time, compressed ones are decompressed into memory once.
"""

import gzip
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp._files import HEAD_BYTES, Header, check_file, members, npy_header, one_line, read_content, reading
from vqnp.data.idx import idx_header

GZIP = b"\x1f\x8b"
NPY = b"\x93NUMPY"
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without members


class ArrayStream:
    """One array in a file, read batch by batch along its first axis, as often as wanted.

    path: of the file; member: the array's name in a .npz file, "" for other files; shape and dtype: of the
    array, in this machine's byte order, whatever the file's is; low: the least value of floating-point data

    Examples
    --------
    >>> np.save("images.npy", np.zeros((10, 8, 8), np.uint8))
    >>> stream = open_array("images.npy")
    >>> len(stream), [batch.shape for batch in stream.batches(4)]
    (10, [(4, 8, 8), (4, 8, 8), (2, 8, 8)])
    """

    low = 0.0

    def __init__(
        self, path: Path, header: Header, content: Callable[[], bytearray | Array], member: str = ""
    ) -> None:
        self.path, self.member, self._header, self._content = path, member, header, content
        self.shape, self.dtype = header.shape, header.dtype.newbyteorder("=")
        if header.dtype.kind not in "biuf":
            fail(str(path), "", "must hold numbers", header.dtype)
        if not header.shape:
            fail(str(path), "", "must hold an array of at least one axis", "a single number")
        self._view()  # a file that is not as long as its header says is refused now

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"ArrayStream({str(self.path)!r}, shape {self.shape}, {self.dtype})"

    def batches(self, size: int) -> Iterator[Array]:
        """Read the array, size rows at a time: an iterator of (size, ...), the last one perhaps smaller.

        Each batch is the caller's own.

        Raises
        ------
        InputError
            size below 1; later, a file whose length has changed since it was opened.
        """
        size = check_int("ArrayStream.batches", "size", size)
        return (self._copy(slice(start, start + size)) for start in range(0, len(self), size))

    def read(self) -> Array:
        """The whole array."""
        return self._copy(slice(None))

    def _copy(self, rows: slice) -> Array:
        return np.array(self._view()[rows], self.dtype, order="C")

    def _view(self) -> Array:
        """The array as it lies in the file; mapped anew each time, so that the pages read are given back."""
        with reading(self.path):
            return self._header.view(self.path, self._content())


def open_array(path: str | Path, names: Sequence[str] = ()) -> ArrayStream:
    """Open the array in an IDX or .npy file, gzipped or not, or one of a .npz file.

    Its length is checked against its header, and a compressed file's checksum, before the first batch.

    Parameters
    ----------
    path : str or pathlib.Path
        The kind of file follows from its first bytes, not from its name.
    names : sequence of str
        Which array of a .npz file: the first of these that it has, else its only one of 2 axes or more.

    Raises
    ------
    InputError
        No such file; not of these kinds; longer or shorter than its header says; damaged; an
        array of anything but numbers (nothing is ever unpickled).
    """
    found = find_array(path, names)
    return _only_images(Path(path)) if found is None else found


def find_array(path: str | Path, names: Sequence[str]) -> ArrayStream | None:
    """As open_array, but None for a .npz file that has no array of these names."""
    path = check_file(path, path)
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(PICTURES):
        needed = "must be an array (np.save of np.stack of all the images makes one)"
        fail(str(path), "", needed, "a single picture, as PNG, JPEG or GIF")
    if head.startswith(ZIP):
        found = _members(path)
        return next((_open_member(path, found[name]) for name in names if name in found), None)
    if head.startswith(GZIP):
        with open_content(path) as file:
            header, content = read_content(path, file, _header)
        return ArrayStream(path, header, lambda: content)
    return ArrayStream(path, _header(path, head), lambda: np.memmap(path, mode="r"))


def find_text(path: str | Path, names: Sequence[str]) -> tuple[str, ...] | None:
    """The first array of strings in a .npz file that has one of these names; None if it has none.

    Raises
    ------
    InputError
        An array of another type or of several axes, or one that is no text.
    """
    path = check_file(path, path)
    found = _members(path) if zipfile.is_zipfile(path) else {}
    name = next((name for name in names if name in found), None)
    if name is None:
        return None
    with _member(path, found[name]) as file:
        header, content = read_content(path, file)
    if header.dtype.kind != "U" or len(header.shape) != 1:
        got = f"{header.dtype} of shape {header.shape}"
        fail(str(path), name, "must be an array of str with one axis", got)
    text = header.view(path, content)
    points = np.ndarray((text.nbytes // 4,), header.dtype.byteorder + "u4", content, header.offset)
    if points.size and points.max() > sys.maxunicode:
        fail(str(path), name, "must be text", f"a character of number {points.max()}")
    return tuple(text.tolist())


def _only_images(path: Path) -> ArrayStream:
    """The only array of 2 axes or more in a .npz file whose arrays have none of the known names."""
    found, images = _members(path), []
    for info in found.values():
        with _member(path, info) as file:
            if len(_header(path, file.read(HEAD_BYTES)).shape) >= 2:
                images.append(info)
    if len(images) != 1:
        known = "x_train and x_test, train_images and test_images, or images"
        got = f"arrays {', '.join(found)}" if found else "no arrays"
        fail(str(path), "", f"must hold {known}, or a single array of 2 axes or more", one_line(got))
    return _open_member(path, images[0])


def open_content(path: Path) -> Any:
    """A file's content, decompressed if it is gzipped."""
    with open(path, "rb") as file:
        gzipped = file.read(2) == GZIP
    return gzip.open(path) if gzipped else open(path, "rb")


def _header(where: object, head: bytes) -> Header:
    return npy_header(where, head) if head.startswith(NPY) else idx_header(where, head)


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays in a .npz file by name."""
    with reading(path), zipfile.ZipFile(path) as archive:
        infos = [info for info in members(path, path, archive) if info.filename.endswith(".npy")]
    return {info.filename.removesuffix(".npy"): info for info in infos}


def _open_member(path: Path, info: zipfile.ZipInfo) -> ArrayStream:
    name = info.filename.removesuffix(".npy")
    with _member(path, info) as file:
        if info.compress_type == zipfile.ZIP_DEFLATED:
            header, content = read_content(path, file, _header)
            return ArrayStream(path, header, lambda: content, name)
        header = _header(path, file.read(HEAD_BYTES))
        while file.read(1 << 20):  # to the end, where the checksum is checked
            pass
    with reading(path), open(path, "rb") as archive:  # the local header: 30 bytes, a name, extra fields
        archive.seek(info.header_offset)
        start = info.header_offset + 30 + sum(struct.unpack("<26x2H", archive.read(30)))
    place = slice(start, start + info.file_size)
    return ArrayStream(path, header, lambda: np.memmap(path, mode="r")[place], name)


@contextmanager
def _member(path: Path, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """The bytes of a member, decompressed."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        fail(str(path), "", "must be compressed by deflate or not at all", f"method {info.compress_type}")
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(info) as file:
        yield file
