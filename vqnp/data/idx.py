"""The IDX format, and MNIST's four files of it. http://yann.lecun.com/exdb/mnist/"""

import struct
from pathlib import Path

import numpy as np

from vqnp._check import fail
from vqnp._files import Header

# The third byte of a file -> the dtype of its numbers.
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

# split -> the names of its images and of its labels
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx_header(where: object, head: bytes) -> Header:
    """00 00 type axes, then one uint32 for each axis, then the numbers, all big-endian.

    A file in the byte order of a PC is read too: its magic number is reversed, and no type is 00.
    """
    if len(head) < 4:
        fail(str(where), "", "must have at least 4 bytes", f"{len(head)} bytes")
    order, (zero, zero_too, kind, axes) = (">", head[:4]) if head[:2] == b"\0\0" else ("<", head[3::-1])
    if zero or zero_too or kind not in TYPES:
        idx = f"00 00, a type ({', '.join(f'{t:02x}' for t in TYPES)}) and the number of axes"
        needed = f"must begin as gzip, .npy and .npz files do, or with IDX's magic number, {idx}"
        fail(str(where), "", needed, head[:4].hex(" "))
    offset = 4 + 4 * axes
    if len(head) < offset:
        needed = f"must have an IDX header of {offset} bytes for its {axes} axes"
        fail(str(where), "", needed, f"{len(head)} bytes")
    shape = struct.unpack(f"{order}{axes}I", head[4:offset])
    return Header(shape, np.dtype(order + TYPES[kind]), offset)


def find_idx(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, if it is there: gzipped or not, with - or . before idx."""
    dotted = name.replace("-idx", ".idx")
    paths = [folder / variant for variant in (name, f"{name}.gz", dotted, f"{dotted}.gz")]
    return next((path for path in paths if path.is_file()), None)
