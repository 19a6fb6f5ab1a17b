"""load_dataset("digits"), load_splits, open_images: images by name or path, in memory or as a stream."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import FLOATS, Array, check_choice, fail
from vqnp._files import Header
from vqnp._images import check_pixels
from vqnp.data import captioned_digits
from vqnp.data.idx import FILES, find_idx
from vqnp.data.named import SHA256, emoji_file, named_file
from vqnp.data.sounds import NAMES as SOUNDS
from vqnp.data.sounds import is_sound, open_sounds
from vqnp.data.stream import ArrayStream, find_array, find_text, open_array

DIGITS = Path(__file__).with_name("digits.npz")
SPLITS = tuple(FILES)
GENERATED: dict[str, Callable[[str], tuple[Array, tuple[str, ...]]]] = {
    captioned_digits.NAME: captioned_digits.generate,
}
"""Data sets that are computed: images and captions of a split, by name."""

NAMES = ("digits", *GENERATED, "emoji", *SOUNDS, *SHA256)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, and the class or the caption of each.

    name: the source as it was asked for; split: "train" or "test"; images: (n, ...) of uint8, or of float32
    or float64 in [0, 1]; labels: (n,) integers, or None; captions: n str, or None; of sounds images are
    (n, T, 1) float32 in [-1, 1], and rate is their samples a second
    """

    name: str
    split: str
    images: Array
    labels: Array | None
    captions: tuple[str, ...] | None = None
    rate: int | None = None

    def __len__(self) -> int:
        return len(self.images)


def images_of(data: Any) -> Any:
    """The images of a Dataset; anything else as it is."""
    return data.images if isinstance(data, Dataset) else data


def load_dataset(source: str | Path = "digits", split: str = "train") -> Dataset:
    """Load the images and labels of one split into memory.

    Parameters
    ----------
    source : str or pathlib.Path
        A name: "digits" (the first 10,000 training and 2,000 test images of MNIST, part of vqnp), "mnist"
        or "fashion-mnist" (found in $VQNP_DATA, the system's or the user's folders, else downloaded, which
        needs the extra "download"), "captioned-digits" (digits in colour with captions, see
        vqnp.data.captioned_digits), or "emoji" (made by examples/make_emoji.py). Or a path ("./mnist" is
        one, "mnist" is a name): an IDX file, gzipped or not; a folder of them with MNIST's names; a .npy
        file; a .npz file with x_train and x_test, train_images and test_images, or images, or a single
        array of 2 axes or more. Its labels are y_train, train_labels or labels, and so on, and its
        captions, an array of str, captions_train or captions, and so on. The images are uint8, or floating
        point in [0, 1].
        Sounds: "spoken-digits" (1,000 recordings, part of vqnp), "notes" (synthesized), "fsdd" (3,000
        recordings, in $VQNP_DATA), or a folder of WAV files of one rate.
    split : {"train", "test"}
        A single array has no splits: all of it is given for either (load_splits divides it).

    Raises
    ------
    InputError
        No such name or path; no images; pixels out of range; labels that do not match; a damaged file.
    """
    return _load(str(source), split, _open("load_dataset", source, split))


def load_splits(source: str | Path = "digits") -> tuple[Dataset, Dataset]:
    """Load the training and the test data into memory.

    Parameters
    ----------
    source : str or pathlib.Path
        As for load_dataset. Of a source that is one array, the last tenth, at least one image, is held
        out as test data.

    Raises
    ------
    InputError
        As load_dataset; images of different shapes in the two; a single image, which cannot be divided.
    """
    train, test = (_open("load_splits", source, split) for split in SPLITS)
    one, other = train.images, test.images
    if one.shape[1:] != other.shape[1:]:
        needed = f"must have shape {one.shape[1:]}, as the training images"
        fail(str(other.path), "test images", needed, other.shape[1:])
    name = str(source)
    data = _load(name, "train", train)
    if (one.path, one.member) != (other.path, other.member):
        return data, _load(name, "test", test)
    if len(data) < 2:
        fail(str(one.path), "", "must hold at least 2 images, one of them to test with", len(data))
    kept = len(data) - max(1, len(data) // 10)
    x, y, words = data.images, data.labels, data.captions
    parts = (("train", slice(kept)), ("test", slice(kept, None)))
    first, last = (
        Dataset(name, split, x[rows], None if y is None else y[rows], words and words[rows])
        for split, rows in parts
    )
    return first, last


def open_images(source: str | Path = "digits", split: str = "train") -> ArrayStream:
    """Open the images of one split as a stream: memory for a batch, not for all of them.

    Constant memory is promised for uncompressed files; a gzipped file or a compressed member of a .npz is
    decompressed into memory. Pixels are checked by to_float, batch by batch.

    Parameters
    ----------
    source, split
        As for load_dataset.

    Raises
    ------
    InputError
        As load_dataset, but for the pixels.

    Examples
    --------
    >>> stream = open_images("digits", "test")
    >>> stream.shape, next(stream.batches(32)).shape
    ((2000, 28, 28), (32, 28, 28))
    """
    return _open("open_images", source, split).images


class _Source(NamedTuple):
    """Where the images, and the labels and the captions if there are any, are read from."""

    images: ArrayStream
    labels: ArrayStream | None = None
    captions: tuple[str, ...] | None = None


def _load(name: str, split: str, source: _Source) -> Dataset:
    pixels, labels = source.images.read(), source.labels
    check_pixels(str(source.images.path), pixels, low=source.images.low)
    rate = getattr(source.images, "rate", None)
    return Dataset(name, split, pixels, None if labels is None else labels.read(), source.captions, rate)


def _open(where: str, source: str | Path, split: str) -> _Source:
    """Streams of the images and, where there are any, of the labels; the captions."""
    check_choice(where, "split", split, SPLITS)
    if not isinstance(source, (str, Path)):
        fail(where, "source", "must be a name or a path", type(source).__name__)
    if isinstance(source, str) and source in GENERATED:
        return _generated(source, split)
    if is_sound(source):
        return _Source(*open_sounds(source, split))
    path = DIGITS if source == "digits" else Path(source).expanduser()
    if source == "emoji":
        path = emoji_file()
    labels: ArrayStream | None
    captions = None
    if isinstance(source, str) and source in SHA256:
        images, labels = (open_array(named_file(source, file)) for file in FILES[split])
    elif path.is_dir():
        images, labels = _open_folder(path, split)
    elif path.is_file():
        images = open_array(path, (f"x_{split}", f"{split}_images", "images"))
        names = (f"y_{split}", f"{split}_labels", "labels")
        labels = find_array(path, names) if images.member else None  # a file of one array has none
        if images.member:
            captions = find_text(path, (f"captions_{split}", f"{split}_captions", "captions"))
    else:
        known = ", ".join(map(repr, NAMES))
        fail(where, "source", f"must be {known} or the path of an existing file or folder", _hint(path))
    _check_images(images)
    if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
        needed = f"must be integers of shape {(len(images),)}, one for each image"
        fail(str(labels.path), "labels", needed, f"{labels.dtype} of shape {labels.shape}")
    if captions is not None and len(captions) != len(images):
        fail(str(path), "captions", f"must be {len(images)}, one for each image", len(captions))
    return _Source(images, labels, captions)


def _generated(name: str, split: str) -> _Source:
    """Images that are computed, as if they were in a file of that name."""
    images, captions = GENERATED[name](split)
    content = images.reshape(-1).view(np.uint8)
    stream = ArrayStream(Path(name), Header(images.shape, images.dtype, 0), lambda: content, split)
    return _Source(stream, None, captions)


def _open_folder(folder: Path, split: str) -> tuple[ArrayStream, ArrayStream | None]:
    images, labels = (find_idx(folder, name) for name in FILES[split])
    if images is None:
        found = sorted(path.name for path in folder.iterdir())[:5]
        got = ", ".join(found) or "an empty folder"
        fail(str(folder), "", f"must hold {FILES[split][0]}, gzipped or not", got)
    return open_array(images), None if labels is None else open_array(labels)


def _check_images(images: ArrayStream) -> None:
    where = str(images.path)
    if len(images.shape) < 2:
        fail(where, "images", "must have at least 2 axes, the first counting them", f"shape {images.shape}")
    if 0 in images.shape:
        fail(where, "", "must hold at least one image of at least one pixel", f"shape {images.shape}")
    if images.dtype != "uint8" and images.dtype not in FLOATS:
        fail(where, "images", "must be uint8, or float32 or float64 in [0, 1]", images.dtype)


def _hint(path: Path) -> str:
    """The source that was given, and the name, or the file beside it, that resembles it."""
    if path.exists():
        return f"{str(path)!r}, which is no regular file"
    beside = {p.name: str(p) for p in islice(path.parent.iterdir(), 1000)} if path.parent.is_dir() else {}
    near = difflib.get_close_matches(path.name, [*NAMES, *beside], n=1)
    return repr(str(path)) + (f" (did you mean {beside.get(near[0], near[0])!r}?)" if near else "")
