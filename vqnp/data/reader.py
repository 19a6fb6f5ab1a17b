"""for images in stream.batches(n): memory for n images, however many the file holds.

An ArrayStream is one array in a file, of which no more is in memory than the batch at hand.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from vqnp._check import Array, InputError, check_int, fail
from vqnp.data.headers import Header

Opener = Callable[[], AbstractContextManager[IO[bytes]]]

# What gzip, zlib and zipfile raise for damaged, encrypted, exotic or exchanged files. Their OSErrors
# have no number, or that of seeking to before a file's start; those of the disk have others.
_DAMAGED = (EOFError, KeyError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)
_DAMAGED_ERRNO = (None, errno.EINVAL)


class ArrayStream:
    """One array in a file, read batch by batch along its first axis, as often as wanted.

    Attributes
    ----------
    path : pathlib.Path
    member : str
        The array's name in a .npz file; "" for other files.
    shape : tuple of int
    dtype : numpy.dtype
        In this machine's byte order, whatever the file's is.
    """

    def __init__(self, path: Path, member: str, header: Header, opener: Opener, plain: bool) -> None:
        self.path = path
        self.member = member
        self.shape = header.shape
        self.dtype = header.stored.newbyteorder("=")
        self._header = header
        self._open = opener
        self._plain = plain

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"ArrayStream({str(self.path)!r}, shape {self.shape}, {self.dtype})"

    def batches(self, size: int) -> Iterator[Array]:
        """Arrays of size images each, in order, the last of what remains; each is the caller's own.

        Raises
        ------
        InputError
            size below 1; later, a file that was changed since it was opened.
        """
        size = check_int("ArrayStream.batches", "size", size)
        return self._columns(size) if self._header.fortran else self._rows(size)

    def read(self) -> Array:
        """The whole array."""
        for whole in self.batches(max(1, len(self))):
            return whole
        return np.empty(self.shape, self.dtype)

    def _rows(self, size: int) -> Iterator[Array]:
        """Batches of a C-ordered array: the file's bytes, one after another."""
        with reading(self.path), self._open() as f:
            f.seek(self._header.offset)
            for start in range(0, len(self), size):
                yield self._fill(f, min(size, len(self) - start)).astype(self.dtype, copy=False)

    def _columns(self, size: int) -> Iterator[Array]:
        """Batches of a Fortran-ordered array, whose every image is spread over the whole file.

        A plain file is mapped; a compressed one has to be read whole.
        """
        h = self._header
        if self._plain:
            with reading(self.path):  # ValueError: a file shorter than it was
                whole: Array = np.memmap(self.path, h.stored, "r", h.offset, h.shape, "F")
        else:
            with reading(self.path), self._open() as f:
                f.seek(h.offset)
                whole = self._fill(f, len(self)).reshape(-1).reshape(h.shape, order="F")
        for start in range(0, len(self), size):
            yield np.array(whole[start : start + size], self.dtype, order="C")

    def _fill(self, f: IO[bytes], n: int) -> Array:
        """The next n images' bytes, in the file's byte order."""
        batch = np.empty((n, *self.shape[1:]), self._header.stored)
        raw = batch.reshape(-1).view(np.uint8)
        came = f.readinto(raw)  # type: ignore[attr-defined]
        if came != raw.size:
            fail(str(self.path), f"the next {n} images", f"must have {raw.size} bytes", came)
        return batch


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """One InputError for whatever a damaged file makes its readers raise."""
    try:
        yield
    except InputError:
        raise
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGED_ERRNO:
            raise
        fail(str(path), "", "must be a sound file of its kind", said(error))


def said(error: Exception) -> str:
    """An exception's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
