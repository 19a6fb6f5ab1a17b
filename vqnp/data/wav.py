"""x = integer / 2^(bits − 1): WAV files in and out, by the standard library's wave.

Samples of 8, 16, 24 or 32 bits become float32 in [-1, 1); several channels become their mean.
"""

import contextlib
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp._files import check_file, one_line

BLOCK_SAMPLES = 1 << 16  # read at a time: half a second of a CD, so memory is small and Python's share too
WIDEST = 4  # bytes of a sample


WavFile = str | Path | IO[bytes]


class WavForm(NamedTuple):
    """What the header of a WAV file says: samples a second, samples (of each channel), channels, bytes."""

    rate: int
    samples: int
    channels: int
    width: int


def wav_form(path: WavFile) -> WavForm:
    """The form of a WAV file, checked.

    Raises
    ------
    InputError
        No such file, or not a WAV file of integers (PCM) of 8 to 32 bits.
    """
    with _opened(path) as file:
        return _form(path, file)


def wav_blocks(path: WavFile, size: int = BLOCK_SAMPLES) -> Iterator[Array]:
    """The samples of a WAV file, size at a time: (size,) float32 in [-1, 1), the last block perhaps smaller.

    Raises
    ------
    InputError
        As wav_form; a file that ends before its header says.
    """
    with _opened(path) as file:
        form = _form(path, file)
        left = form.samples
        while left:
            count = min(size, left)
            content = file.readframes(count)
            if len(content) != count * form.channels * form.width:
                got = f"{form.samples - left + len(content) // (form.channels * form.width)}"
                fail(_name(path), "", f"must hold {form.samples} samples, as its header says", got)
            left -= count
            yield _samples(content, form)


def read_wav(path: WavFile) -> tuple[Array, int]:
    """The samples of a WAV file, and how many there are in a second.

    Parameters
    ----------
    path : str, pathlib.Path, or a file opened for reading bytes
        A WAV file of 8, 16, 24 or 32 bits (PCM). Several channels become their mean.

    Returns
    -------
    x : ndarray of float32, shape (T,)
        In [-1, 1).
    rate : int

    Raises
    ------
    InputError
        No such file, or not such a WAV file.
    """
    form = wav_form(path)
    blocks = list(wav_blocks(path))
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32), form.rate


def write_wav(file: str | Path | IO[bytes], x: Array | Iterator[Array], rate: int) -> None:
    """Write samples as a WAV file of one channel and 16 bits; x outside [-1, 1] is clipped.

    Parameters
    ----------
    file : str, pathlib.Path or a file opened for writing bytes
    x : ndarray of float, shape (T,), or an iterator of such blocks
    rate : int
        Samples a second.
    """
    rate = check_int("write_wav", "rate", rate)
    with wave.open(str(file) if isinstance(file, Path) else file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        for block in [x] if isinstance(x, np.ndarray) else x:
            out.writeframes(to_int16(block).tobytes())


def to_int16(x: Array) -> Array:
    """round(2^15 x), the nearest number of 16 bits: (...) float -> (...) little-endian integers."""
    return np.clip(np.rint(np.asarray(x, np.float64) * 2**15), -(2**15), 2**15 - 1).astype("<i2")


@contextlib.contextmanager
def _opened(path: WavFile) -> Iterator[wave.Wave_read]:
    if isinstance(path, (str, Path)):
        path = str(check_file(path, path))
    else:
        path.seek(0)
    try:
        file = wave.open(path, "rb")
    except (wave.Error, EOFError, RuntimeError) as error:
        needed = "must be a WAV file of integer samples (PCM), which another program can convert it to"
        fail(_name(path), "", needed, one_line(error) if str(error) else "a file that ends early")
    with file:
        yield file


def _form(path: WavFile, file: wave.Wave_read) -> WavForm:
    form = WavForm(file.getframerate(), file.getnframes(), file.getnchannels(), file.getsampwidth())
    if not 1 <= form.width <= WIDEST:
        fail(_name(path), "", "must have samples of 8, 16, 24 or 32 bits", f"{8 * form.width} bits")
    return form


def _samples(content: bytes, form: WavForm) -> Array:
    """(count,) float32 of little-endian integers; those of 8 bits are unsigned, with 128 for 0."""
    if form.width == 1:
        k = np.frombuffer(content, np.uint8).astype(np.float64) - 128
    elif form.width == 3:  # as the upper three of four bytes
        four = np.zeros((len(content) // 3, 4), np.uint8)
        four[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        k = (four.reshape(-1).view("<i4") >> 8).astype(np.float64)
    else:
        k = np.frombuffer(content, f"<i{form.width}").astype(np.float64)
    x = k.reshape(-1, form.channels).mean(axis=1) / 2.0 ** (8 * form.width - 1)
    return np.minimum(x, np.float64(1)).astype(np.float32)


def _name(path: WavFile) -> str:
    return str(path) if isinstance(path, (str, Path)) else "a WAV file"
