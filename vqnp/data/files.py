"""The layout of MNIST's family: four IDX files with these names, in one folder."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from vqnp.data.reader import reading
from vqnp.data.stream import CHUNK, open_content

# split -> the names of its images and of its labels
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def find_idx(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, if it is there: gzipped or not, with - or . before idx."""
    dotted = name.replace("-idx", ".idx")
    for variant in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if (folder / variant).is_file():
            return folder / variant
    return None


def content_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, decompressed if it is gzipped: mirrors compress differently."""
    digest = hashlib.sha256()
    with reading(path), open_content(path) as f:
        for chunk in iter(partial(f.read, CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
