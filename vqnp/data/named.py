"""mnist and fashion-mnist: found on this machine or fetched; accepted for their SHA-256 alone."""

from __future__ import annotations

import os
from pathlib import Path

from vqnp._check import fail
from vqnp.data.files import content_sha256, find_idx

# name -> file -> SHA-256 of its decompressed content
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}

# Where Debian's package dataset-fashion-mnist puts its files.
SYSTEM = Path("/usr/share/datasets")


def cache_folder(name: str) -> Path:
    """Where downloads of a data set are kept: $XDG_CACHE_HOME/vqnp/NAME, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqnp" / name


def folders(name: str) -> list[Path]:
    """Where a data set is looked for, in this order."""
    own = [Path(own) for own in [os.environ.get("VQNP_DATA")] if own]
    return [*(folder / name for folder in own), *own, SYSTEM / name, cache_folder(name)]


def named_file(name: str, file: str) -> Path:
    """One of the four files of a named data set: found, else downloaded; of the right content.

    Raises
    ------
    InputError
        A file of that name with other content; not found, and no mirror has it.
    """
    for folder in folders(name):
        path = find_idx(folder, file)
        if path is not None and _is_right(path, name, file):
            return path
    from vqnp.data.download import fetch  # needs the network's modules, slow to import

    return fetch(name, file, SHA256[name][file], cache_folder(name))


def _is_right(path: Path, name: str, file: str) -> bool:
    """Whether path has the content wanted; another data set's is passed over, any other refused.

    (VQNP_DATA may name the folder of one data set while the other is asked for.)
    """
    came = content_sha256(path)
    if came in [SHA256[other][file] for other in SHA256 if other != name]:
        return False
    if came != SHA256[name][file]:
        fail(str(path), f"the content of {name}'s {file}", f"must have SHA-256 {SHA256[name][file]}", came)
    return True
