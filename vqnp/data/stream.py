"""stream = open_stream(path): the images in an IDX, .npy or .npz file, to be read in batches.

The kind of a file is told by its first bytes, and the file checked before anything is read from it.
"""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

from vqnp._check import check_choice, fail
from vqnp.data.headers import GZIP, HEAD_BYTES, ZIP, Header, read_header
from vqnp.data.reader import ArrayStream, Opener, reading

SPLITS = ("train", "test")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that NumPy writes

# The piece in which a file is read when it is only looked through: Python's share of the time is small.
CHUNK = 1 << 20


def open_stream(path: str | Path, split: str = "train") -> ArrayStream:
    """A reader of the array in an IDX or .npy file (gzipped or not), or of one in a .npz file.

    The file is checked before the first batch: its length against its header, and a compressed
    file's checksum by reading it once, so that a broken file costs a sentence and not half a result.

    Parameters
    ----------
    path : str or pathlib.Path
        The kind of file is told by its first bytes, not by its name.
    split : {"train", "test"}
        Which array of a .npz file: the first there is of x_train, train_images and images (x_test,
        test_images and images), or the only one of two axes or more. Other files have one array.

    Raises
    ------
    InputError
        No such file; not of these kinds; longer or shorter than its header says; damaged; an
        array of objects (nothing is ever unpickled).
    """
    check_choice("open_stream", "split", split, SPLITS)
    stream = open_member(path, (f"x_{split}", f"{split}_images", "images"))
    return _only_images(Path(path)) if stream is None else stream


def open_member(path: str | Path, names: Sequence[str]) -> ArrayStream | None:
    """The first array of a .npz file that has one of these names, if any; another file's one array."""
    path = Path(path)
    if not path.is_file():
        fail("open_stream", "path", "must be that of an existing file", repr(str(path)))
    with open(path, "rb") as f:
        magic = f.read(4)
    if magic not in ZIP:
        return _checked(path, "", partial(open_content, path), plain=not magic.startswith(GZIP))
    there = _members(path)
    for name in names:
        if name in there:
            return _checked(path, name, partial(_unzip, path, name))
    return None


def open_content(path: Path) -> AbstractContextManager[IO[bytes]]:
    """A file's content, decompressed if it is gzipped."""
    f = open(path, "rb")
    gzipped = f.peek(2).startswith(GZIP)
    if not gzipped:
        return f
    f.close()
    return cast(IO[bytes], gzip.open(path, "rb"))


def count_bytes(f: IO[bytes]) -> int:
    """How many bytes are left; reading to the end is what checks a checksum."""
    return sum(len(chunk) for chunk in iter(partial(f.read, CHUNK), b""))


def _checked(path: Path, member: str, opener: Opener, plain: bool = False) -> ArrayStream:
    """The stream, once the array is one of numbers and the file exactly as long as its header says."""
    header = _header(path, opener)
    if header.stored.kind not in "biuf":
        fail(str(path), "", "must hold numbers (objects could run code and are never read)", header.stored)
    with reading(path), opener() as f:
        came = path.stat().st_size if plain else count_bytes(f)
    need = header.offset + header.nbytes
    if came != need:
        what = f"{header.stored.name} of shape {header.shape} and its header of {header.offset} bytes"
        fail(str(path), what, f"must take {need} bytes", came)
    return ArrayStream(path, member, header, opener, plain)


def _header(path: Path, opener: Opener) -> Header:
    with reading(path), opener() as f:
        return read_header(str(path), f.read(HEAD_BYTES))


def _only_images(path: Path) -> ArrayStream:
    """The only array of two axes or more in a .npz file whose arrays have none of the known names."""
    openers = {name: partial(_unzip, path, name) for name in _members(path)}
    images = [name for name, opener in openers.items() if len(_header(path, opener).shape) >= 2]
    if len(images) != 1:
        known = "x_train and x_test, train_images and test_images, or images"
        came = f"arrays {', '.join(openers)}" if openers else "no arrays"
        fail(str(path), "", f"must hold {known}, or a single array of 2 axes or more", came)
    return _checked(path, images[0], openers[images[0]])


def _members(path: Path) -> list[str]:
    """The names of the arrays in a .npz file."""
    with reading(path), zipfile.ZipFile(path) as z:
        return [name.removesuffix(".npy") for name in z.namelist() if name.endswith(".npy")]


@contextmanager
def _unzip(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as z:
        method = z.getinfo(f"{name}.npy").compress_type
        if method not in METHODS:
            raise NotImplementedError(f"compression method {method}")
        with z.open(f"{name}.npy") as f:
            yield f
