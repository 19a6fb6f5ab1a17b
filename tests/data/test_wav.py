"""WAV files of every width and number of channels, against the integers that were written."""

import io
import wave

import numpy as np
import pytest
from helpers import refused

from vqnp.data import read_wav, write_wav
from vqnp.data.wav import wav_blocks, wav_form


def wav(path, k, width=2, rate=8000):
    """Write integers (T, channels) of so many bytes."""
    k = np.atleast_2d(np.asarray(k, np.int64).T).T
    if width == 1:
        k = k + 128
    content = k.astype("<i8").view(np.uint8).reshape(*k.shape, 8)[..., :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(k.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_sample_is_its_integer_over_the_largest(tmp_path, width, rng):
    top = 2 ** (8 * width - 1)
    k = np.array([-top, -1, 0, 1, top - 1, *rng.integers(-top, top, 40)])
    x, rate = read_wav(wav(tmp_path / "a.wav", k, width, 11025))
    assert rate == 11025 and x.dtype == np.float32 and np.abs(x).max() <= 1
    np.testing.assert_allclose(x, k / top, rtol=1e-7, atol=1e-9)


def test_channels_become_their_mean(tmp_path):
    x, _ = read_wav(wav(tmp_path / "a.wav", [[100, 300], [-7, 7], [2**15 - 1, 2**15 - 1]]))
    np.testing.assert_array_equal(x, np.float32([200, 0, 2**15 - 1]) / 2**15)


def test_what_is_written_is_read_and_blocks_are_the_whole(tmp_path, rng):
    x = (rng.integers(-(2**15), 2**15, 1000) / 2**15).astype(np.float32)
    write_wav(tmp_path / "a.wav", x, 8000)
    write_wav(str(tmp_path / "b.wav"), iter([x[:300], x[300:300], x[300:]]), 8000)
    file = io.BytesIO()
    write_wav(file, x, 8000)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes() == file.getvalue()
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav")[0], x)
    np.testing.assert_array_equal(read_wav(file)[0], x)
    blocks = list(wav_blocks(tmp_path / "a.wav", 300))
    assert [len(b) for b in blocks] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate(blocks), x)
    assert wav_form(tmp_path / "a.wav") == (8000, 1000, 1, 2)
    write_wav(tmp_path / "loud.wav", np.array([-3.0, 3.0]), 8000)
    assert read_wav(tmp_path / "loud.wav")[0].tolist() == [-1, 1 - 2**-15]


def test_an_empty_file_has_no_samples(tmp_path):
    x, rate = read_wav(wav(tmp_path / "a.wav", np.empty((0, 1))))
    assert x.shape == (0,) and rate == 8000


def test_other_files_are_refused_in_a_sentence(tmp_path):
    floats = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\3\0\1\0" + bytes(20)
    for content in (b"", b"RIFF", b"\x89PNG and so on", floats):
        (tmp_path / "a.wav").write_bytes(content)
        with refused("", "must be a WAV file of integer samples (PCM)", where=str(tmp_path / "a.wav")):
            read_wav(tmp_path / "a.wav")
    with refused("", "must be an existing file", "no such file"):
        read_wav(tmp_path / "none.wav")
    whole = wav(tmp_path / "b.wav", np.arange(100)).read_bytes()
    (tmp_path / "b.wav").write_bytes(whole[:-50])
    with refused("", "must hold 100 samples, as its header says", "75"):
        read_wav(tmp_path / "b.wav")
