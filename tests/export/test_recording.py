"""A recording that is encoded and decoded in windows has the codes and samples of the whole, bit for bit."""

import tracemalloc

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp._files import read_npz
from vqnp.data import read_wav, write_wav
from vqnp.export import recording
from vqnp.export.recording import decode_recording, decoded, encode_recording, encoded, windows
from vqnp.models import SoundVQVAE

MODEL = SoundVQVAE.conv((256, 1), hops=(32, 4), channels=8, residual_blocks=2, num_embeddings=16,
                        codebook_init="normal", rng=3)  # fmt: skip


def whole(x):
    """Codes and sound of each level, of (T,) with T a multiple of 32."""
    out = []
    for level in MODEL.levels:
        k = level.quantizer.encode(level.encoder.forward(x[None, :, None])[0])
        out.append((k[0], MODEL.data.clip(level.decoder.forward(level.quantizer.decode(k))[0])[0, :, 0]))
    return out


@pytest.mark.slow
@given(seeds, st.integers(0, 60), st.integers(1, 9), st.integers(0, 9), st.integers(1, 20))
@at_most(40)
def test_windows_cover_everything_once(seed, n, size, around, most):
    r, items = np.random.default_rng(seed), np.arange(n)
    cuts = np.sort(r.integers(0, n + 1, r.integers(0, most)))
    seen = []
    for window, first, count in windows(np.split(items, cuts), size, around):
        own = window[first : first + count]
        seen += own.tolist()
        assert first == min(around, own[0]) and len(window) - first - count in (around, n - 1 - own[-1])
        np.testing.assert_array_equal(window, np.arange(window[0], window[0] + len(window)))
        assert count == size or own[-1] == n - 1
    assert seen == items.tolist()


@pytest.mark.parametrize("T", [32, 512, 2048 + 32, 3072])
@pytest.mark.parametrize("level", [1, 2])
def test_streamed_is_whole(T, level, monkeypatch, rng):
    monkeypatch.setattr(recording, "WINDOW_SAMPLES", 500)
    x = rng.uniform(-0.9, 0.9, T).astype(np.float32)
    k, y = whole(x)[level - 1]
    streamed = list(encoded(MODEL, level, np.split(x, range(100, T, 100))))
    assert T <= 512 or len(streamed) > 1
    np.testing.assert_array_equal(np.concatenate(streamed), k)
    parts = list(decoded(MODEL, level, np.split(k, range(7, len(k), 7))))
    np.testing.assert_array_equal(np.concatenate(parts), y)


def test_a_wav_file_and_back(tmp_path, rng):
    x = rng.uniform(-0.9, 0.9, 1001)
    write_wav(tmp_path / "in.wav", x, 8000)
    assert encode_recording(MODEL, tmp_path / "in.wav", tmp_path / "k.npz") == 1001
    arrays = read_npz("codes", tmp_path / "k.npz")
    assert arrays["codes_1"].shape == (32,) and arrays["codes_2"].shape == (256,)
    assert arrays["codes_1"].dtype == np.uint8 and arrays["samples"].tolist() == [1001]
    padded = np.concatenate([read_wav(tmp_path / "in.wav")[0], np.zeros(23, np.float32)])
    for level, (k, y) in enumerate(whole(padded), 1):
        np.testing.assert_array_equal(arrays[f"codes_{level}"], k)
        with open(tmp_path / "out.wav", "wb") as file:
            assert decode_recording(MODEL, tmp_path / "k.npz", file, level) == 1001
        np.testing.assert_allclose(read_wav(tmp_path / "out.wav")[0], y[:1001], atol=2**-15)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path, rng):
    peaks = []
    for seconds in (20, 80):
        write_wav(tmp_path / "in.wav", rng.uniform(-0.9, 0.9, 8000 * seconds), 8000)
        tracemalloc.start()
        encode_recording(MODEL, tmp_path / "in.wav", tmp_path / "k.npz")
        with open(tmp_path / "out.wav", "wb") as file:
            decode_recording(MODEL, tmp_path / "k.npz", file, 2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_bad_recordings_are_refused(tmp_path, rng):
    write_wav(tmp_path / "in.wav", np.zeros(100), 16000)
    with refused("", "must have 8000 samples a second", "16000"):
        encode_recording(MODEL, tmp_path / "in.wav", tmp_path / "k.npz")
    write_wav(tmp_path / "in.wav", np.empty(0), 8000)
    with refused("", "must hold at least one sample"):
        encode_recording(MODEL, tmp_path / "in.wav", tmp_path / "k.npz")
    write_wav(tmp_path / "in.wav", rng.uniform(-1, 1, 3), 8000)  # shorter than a hop
    assert encode_recording(MODEL, tmp_path / "in.wav", tmp_path / "k.npz") == 3
    other = SoundVQVAE.conv((256, 1), hops=(32, 4), channels=8, num_embeddings=16, rng=4)
    with refused("", "must be codes of this model"), open(tmp_path / "out.wav", "wb") as file:
        decode_recording(other, tmp_path / "k.npz", file, 1)
    np.savez(tmp_path / "l.npz", codes_1=np.zeros(1, np.uint8))
    with refused("", "must hold an array named 'model'"), open(tmp_path / "out.wav", "wb") as file:
        decode_recording(MODEL, tmp_path / "l.npz", file, 1)
