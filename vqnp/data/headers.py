"""header = shape, dtype, order and offset of the one array that an IDX or .npy file holds.

Pure functions of the file's first bytes: nothing is allocated on a header's word, nothing unpickled.
"""

from __future__ import annotations

import io
import math
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import fail

DType = np.dtype[Any]

NPY = b"\x93NUMPY"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive of no members
GZIP = b"\x1f\x8b"

# IDX's third byte, from the table on MNIST's page.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

# NumPy 1 has no array of more axes.
MAX_AXES = 32

# More bytes than any header accepted here has: NumPy refuses a longer .npy header as unsafe to parse.
HEAD_BYTES = 12 + 10_000


@dataclass(frozen=True)
class Header:
    """What a file says of its array.

    Attributes
    ----------
    shape : tuple of int
    stored : numpy.dtype
        With the byte order of the file.
    offset : int
        Where the array's first byte is.
    fortran : bool
        Whether the first axis varies fastest in the file.
    """

    shape: tuple[int, ...]
    stored: DType
    offset: int
    fortran: bool = False

    @property
    def nbytes(self) -> int:
        """The bytes that the array takes in the file, exactly (a Python int does not overflow)."""
        return math.prod(self.shape) * self.stored.itemsize


def read_header(where: str, head: bytes) -> Header:
    """The header that begins with the bytes head (all of the file's, or at least HEAD_BYTES).

    Raises
    ------
    InputError
        Neither IDX nor .npy, cut short, mangled, or more than memory has addresses for.
    """
    header = _npy(where, head) if head.startswith(NPY) else _idx(where, head)
    if not 1 <= len(header.shape) <= MAX_AXES:
        fail(where, "an array", f"must have 1 to {MAX_AXES} axes", f"{len(header.shape)}")
    # Zeros aside, as NumPy counts when it judges whether a shape is possible.
    if math.prod(n or 1 for n in header.shape) * header.stored.itemsize > sys.maxsize:
        fail(where, "an array", "must fit into memory", f"shape {header.shape}")
    return header


def _idx(where: str, head: bytes) -> Header:
    """00 00 type axes, then one uint32 an axis, then the numbers, all big-endian.

    A file written with the byte order of a PC has its magic number reversed, axes type 00 00, and
    is read too: the two cannot be confused, because no type is 00.
    """
    if len(head) < 4:
        fail(where, "an IDX, gzip, .npy or .npz file", "must begin with at least 4 bytes", f"{len(head)}")
    order, (zero, zero_too, kind, axes) = (">", head[:4]) if head[:2] == b"\0\0" else ("<", head[3::-1])
    if zero or zero_too or kind not in IDX_TYPES:
        types = ", ".join(f"{t:02x}" for t in IDX_TYPES)
        fail(
            where,
            "",
            "must begin as gzip, .npy and .npz files do, or with IDX's magic number, 00 00, "
            f"a type ({types}) and the number of axes",
            head[:4].hex(" "),
        )
    offset = 4 + 4 * axes
    if len(head) < offset:
        fail(where, f"an IDX header of {axes} axes", f"must have {offset} bytes", f"{len(head)}")
    shape = struct.unpack(f"{order}{axes}I", head[4:offset])
    return Header(shape, np.dtype(IDX_TYPES[kind]).newbyteorder(order), offset)  # type: ignore[arg-type]


def _npy(where: str, head: bytes) -> Header:
    """NumPy's own reader of .npy headers, with one error for whatever a mangled one makes it raise."""
    f = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(f)
        numpy_format = np.lib.format
        read = numpy_format.read_array_header_1_0 if version == (1, 0) else numpy_format.read_array_header_2_0
        shape, fortran, stored = read(f)
    except Exception as error:  # the header is Python source: NumPy lets through what its parser raises
        fail(where, "a .npy header", "must be NumPy's", " ".join(str(error).split()) or type(error).__name__)
    if any(n < 0 for n in shape):
        fail(where, "every axis", "must be at least 0", f"shape {shape}")
    return Header(tuple(int(n) for n in shape), stored, f.tell(), fortran)
