"""x: (n, T, 1) in [-1, 1]: recordings of one length, with zeros after those that are shorter.

spoken-digits: part of vqnp; fsdd: the whole data set, in $VQNP_DATA; notes: synthesized; or a folder of WAV
files.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vqnp._check import Array, fail
from vqnp._files import Header
from vqnp.data.captioned_digits import NUMBERS
from vqnp.data.named import cache_folder
from vqnp.data.notes import RATE, TEST_NOTES, TRAINING_NOTES, notes
from vqnp.data.stream import ArrayStream, open_array
from vqnp.data.wav import read_wav, wav_form

EMBEDDED = Path(__file__).with_name("spoken_digits.npz")
NAMES = ("spoken-digits", "notes", "fsdd")
ARCHIVE = "recordings.zip"

SPEAKERS = ("nicolas", "yweweler")
"""Of the embedded recordings: those who speak shortest."""

ARRAYS = ("bytes", "starts", "digits", "speakers", "takes")
"""Of the embedded file."""

LENGTHS = {"spoken-digits": 4096, "fsdd": 8192}
"""T in samples. Of the embedded recordings 974 of 1,000 are no longer, of the whole set 2,983 of 3,000."""

UNIT = 256
"""T of a folder's recordings is a multiple of this, and so of the usual hops."""

LONGEST = 1 << 16
"""Samples of the longest recording of a data set: each of the others takes as much memory."""

TEST_TAKES = 5
"""Takes 0 to 4 of each digit and speaker are the data set's own test data."""

NAMED_BY_DIGIT = re.compile(r"(\d+)_([^_/]+)_(\d+)\.wav", re.IGNORECASE)
"""7_jackson_32.wav: the digit, the speaker, the take."""


class Recordings(NamedTuple):
    """read(i) is recording i, (T_i,) float32; length, T, and rate are of all; labels: (n,), or None."""

    read: Callable[[int], Array]
    number: int
    length: int
    rate: int
    labels: Array | None
    captions: tuple[str, ...] | None


class SoundStream(ArrayStream):
    """Recordings as (n, T, 1) float32, read some at a time; rate: samples a second."""

    low = -1.0

    def __init__(self, path: Path, recordings: Recordings, member: str) -> None:
        self.path, self.member, self.rate = path, member, recordings.rate
        self.recordings = recordings
        self.shape, self.dtype = (recordings.number, recordings.length, 1), np.dtype(np.float32)

    def _copy(self, rows: slice) -> Array:
        chosen = range(*rows.indices(len(self)))
        x = np.zeros((len(chosen), *self.shape[1:]), np.float32)
        for row, i in enumerate(chosen):
            samples = self.recordings.read(i)[: self.shape[1]]
            x[row, : len(samples), 0] = samples
        return x


def is_sound(source: str | Path) -> bool:
    """Whether load_dataset(source) gives sounds: a name among NAMES, or a folder with WAV files in it."""
    if isinstance(source, str) and source in NAMES:
        return True
    with contextlib.suppress(OSError):  # a folder that cannot be read is another's error
        path = Path(source).expanduser()
        return path.is_dir() and next(_wav_files(path), None) is not None
    return False


def open_sounds(
    source: str | Path, split: str
) -> tuple[SoundStream, ArrayStream | None, tuple[str, ...] | None]:
    """The recordings of a split as a stream, their labels and captions, if they have any."""
    if source == "spoken-digits":
        path, found = EMBEDDED, _embedded(split)
    elif source == "notes":
        path, found = Path("notes"), _notes(split)
    elif source == "fsdd":
        path, found = _whole_set(split)
    else:
        path = Path(source).expanduser()
        found = _folder(path, sorted(_wav_files(path)), split, None)
    labels = None
    if found.labels is not None:
        content = found.labels.astype(np.int64).view(np.uint8)
        header = Header((found.number,), np.dtype(np.int64), 0)
        labels = ArrayStream(path, header, lambda: content, f"{split} labels")
    return SoundStream(path, found, split), labels, found.captions


@functools.cache
def _embedded_arrays() -> dict[str, Array]:
    return {name: open_array(EMBEDDED, [name]).read() for name in ARRAYS}


def _embedded(split: str) -> Recordings:
    """The recordings that come with vqnp: µ-law bytes one after the other; starts: (n + 1,)."""
    from vqnp.ops.mu_law import mu_law_decode  # when needed: ops loads numba

    arrays = _embedded_arrays()
    chosen = np.flatnonzero((arrays["takes"] < TEST_TAKES) == (split == "test"))
    bytes_, starts = arrays["bytes"], arrays["starts"]

    def read(i: int) -> Array:
        first = chosen[i]
        return mu_law_decode(bytes_[starts[first] : starts[first + 1]])

    labels = arrays["digits"][chosen]
    speakers = [SPEAKERS[i] for i in arrays["speakers"][chosen]]
    captions = tuple(f"{NUMBERS[k]} by {who}" for k, who in zip(labels, speakers, strict=True))
    return Recordings(read, len(chosen), LENGTHS["spoken-digits"], 8000, labels, captions)


def _notes(split: str) -> Recordings:
    n, seed = (TRAINING_NOTES, 0) if split == "train" else (TEST_NOTES, 1)
    x, labels, captions = notes(n, seed)
    return Recordings(lambda i: x[i], len(x), x.shape[1], RATE, labels, captions)


def _whole_set(split: str) -> tuple[Path, Recordings]:
    """recordings.zip, or a folder recordings, in $VQNP_DATA/fsdd, $VQNP_DATA or the cache."""
    own = Path(os.environ.get("VQNP_DATA", ""))
    for folder in ([own / "fsdd", own] if own.parts else []) + [cache_folder("fsdd")]:
        if (folder / "recordings").is_dir():
            path = folder / "recordings"
            return path, _folder(path, sorted(_wav_files(path)), split, LENGTHS["fsdd"])
        if (folder / ARCHIVE).is_file():
            return folder / ARCHIVE, _archive(folder / ARCHIVE, split)
    needed = (
        "must be in $VQNP_DATA/fsdd: the Free Spoken Digit Dataset "
        "(github.com/Jakobovski/free-spoken-digit-dataset), its folder recordings or a zip archive of it"
    )
    fail("data set 'fsdd'", ARCHIVE, needed, f"VQNP_DATA={own if own.parts else ''}")


def _archive(path: Path, split: str) -> Recordings:
    """The WAV files of a zip archive, kept in memory as 16 bit: about 21 MB."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if NAMED_BY_DIGIT.fullmatch(Path(name).name))
        chosen = [name for name in names if (_take(name) < TEST_TAKES) == (split == "test")]
        contents = [archive.read(name) for name in chosen]
    if not chosen:
        fail(str(path), "", "must hold recordings named as 7_jackson_32.wav", f"{len(names)} of them")
    labels = np.array([int(Path(name).name.split("_")[0]) for name in chosen])

    def read(i: int) -> Array:
        return read_wav(io.BytesIO(contents[i]))[0]

    captions = tuple(_caption(Path(name).name) for name in chosen)
    return Recordings(read, len(chosen), LENGTHS["fsdd"], 8000, labels, captions)


def _caption(name: str) -> str:
    digit, speaker, _ = NAMED_BY_DIGIT.fullmatch(name).groups()  # type: ignore[union-attr]
    return f"{NUMBERS[int(digit)]} by {speaker}" if int(digit) < len(NUMBERS) else f"{digit} by {speaker}"


def _take(name: str) -> int:
    return int(NAMED_BY_DIGIT.fullmatch(Path(name).name)[3])  # type: ignore[index]


def _wav_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() == ".wav")


def _folder(folder: Path, paths: Sequence[Path], split: str, length: int | None) -> Recordings:
    """WAV files of one rate. Named as 7_jackson_32.wav they have labels, and takes 0 to 4 are test data; else
    every tenth file is."""
    if not paths:
        fail(str(folder), "", "must hold WAV files", "none")
    forms = [wav_form(path) for path in paths]
    for path, form in zip(paths, forms, strict=True):
        if form.rate != forms[0].rate:
            needed = f"must have {forms[0].rate} samples a second, as {paths[0].name}"
            fail(str(path), "", needed, form.rate)
        if form.samples == 0:
            fail(str(path), "", "must hold at least one sample", "none")
    longest = max(form.samples for form in forms)
    if length is None and longest > LONGEST:
        path = paths[[form.samples for form in forms].index(longest)]
        needed = f"must have at most {LONGEST} samples, which all recordings are filled up to: cut it"
        fail(str(path), "", needed, longest)
    named = all(NAMED_BY_DIGIT.fullmatch(path.name) for path in paths)
    test = [_take(path.name) < TEST_TAKES if named else i % 10 == 9 for i, path in enumerate(paths)]
    if len(paths) < 2:
        fail(str(folder), "", "must hold at least 2 WAV files, one of them to test with", len(paths))
    if not any(test) or all(test):
        test = [i == len(paths) - 1 for i in range(len(paths))]
    chosen = [path for path, is_test in zip(paths, test, strict=True) if is_test == (split == "test")]
    labels = np.array([int(path.name.split("_")[0]) for path in chosen]) if named else None
    captions = tuple(_caption(path.name) for path in chosen) if named else None
    T = length or -(-longest // UNIT) * UNIT
    return Recordings(lambda i: read_wav(chosen[i])[0], len(chosen), T, forms[0].rate, labels, captions)
