"""What the tests of vqnp.data write: IDX files by struct alone, and every other kind by NumPy."""

import gzip
import io
import struct
import zipfile

import numpy as np

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
CODES = {np.dtype(t): code for code, t in TYPES.items()}


def idx_bytes(array, order=">"):
    """An IDX file: in its own byte order, or (order "<") in that of a PC."""
    magic = bytes([0, 0, CODES[array.dtype], array.ndim])
    sizes = struct.pack(f"{order}{array.ndim}I", *array.shape)
    numbers = array.astype(array.dtype.newbyteorder(order)).tobytes()
    return (magic if order == ">" else magic[::-1]) + sizes + numbers


def npy_bytes(array):
    f = io.BytesIO()
    np.save(f, array)
    return f.getvalue()


def npz_bytes(compressed=True, **arrays):
    f = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(f, **arrays)
    return f.getvalue()


def zip_bytes(method=zipfile.ZIP_DEFLATED, **members):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", method) as z:
        for name, content in members.items():
            z.writestr(f"{name}.npy", content)
    return f.getvalue()


# kind -> the bytes of a file that holds the array
KINDS = {
    "idx": idx_bytes,
    "idx, little-endian": lambda a: idx_bytes(a, "<"),
    "idx.gz": lambda a: gzip.compress(idx_bytes(a), 1),
    "npy": npy_bytes,
    "npy, Fortran order": lambda a: npy_bytes(np.asfortranarray(a)),
    "npy, big-endian": lambda a: npy_bytes(a.astype(a.dtype.newbyteorder(">"))),
    "npy.gz": lambda a: gzip.compress(npy_bytes(a), 1),
    "npy.gz, Fortran order": lambda a: gzip.compress(npy_bytes(np.asfortranarray(a)), 1),
    "npz": lambda a: npz_bytes(False, images=a),
    "npz, compressed": lambda a: npz_bytes(images=a),
    "npz, Fortran order": lambda a: npz_bytes(images=np.asfortranarray(a)),
}
