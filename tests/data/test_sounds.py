"""Data sets of sounds: those that come with vqnp, and folders of WAV files."""

import zipfile

import numpy as np
import pytest
from helpers import refused

from vqnp.data import load_dataset, load_splits, open_images, write_wav
from vqnp.data.notes import CLASSES, PITCHES, RATE, caption, frequency, notes, plucked
from vqnp.data.sounds import EMBEDDED, is_sound
from vqnp.metrics import cents, pitch


def test_the_embedded_recordings():
    train, test = load_splits("spoken-digits")
    assert train.images.shape == (900, 4096, 1) and test.images.shape == (100, 4096, 1)
    assert train.images.dtype == np.float32 and train.rate == test.rate == 8000
    assert np.bincount(train.labels).tolist() == [90] * 10 and np.bincount(test.labels).tolist() == [10] * 10
    for x in (train.images, test.images):
        assert 0.3 < np.abs(x).max() <= 1 and x.any(axis=(1, 2)).all()
    assert EMBEDDED.stat().st_size < 3e6
    text = EMBEDDED.with_name("LICENSE-spoken-digits.txt").read_text(encoding="utf-8")
    assert "ShareAlike 4.0" in " ".join(text.split())


def test_a_stream_is_what_is_loaded():
    stream = open_images("spoken-digits", "test")
    parts = list(stream.batches(64))
    assert [len(part) for part in parts] == [64, 36] and len(stream) == 100
    np.testing.assert_array_equal(np.concatenate(parts), load_dataset("spoken-digits", "test").images)


@pytest.fixture
def folder(tmp_path, rng):
    """Twelve recordings of two digits, takes 0 to 5."""
    for digit in (3, 7):
        for take in range(6):
            x = rng.uniform(-0.5, 0.5, 200 + 10 * take)
            write_wav(tmp_path / f"{digit}_ann_{take}.wav", x, 8000)
    return tmp_path


def test_a_folder_of_named_recordings(folder):
    train, test = load_splits(folder)
    assert is_sound(folder) and not is_sound(folder / "no") and not is_sound("digits")
    assert train.images.shape == (2, 256, 1) and test.images.shape == (10, 256, 1)
    assert train.labels.tolist() == [3, 7] and sorted(test.labels) == [3] * 5 + [7] * 5
    assert train.images[0, 249].any() and not train.images[0, 250:].any()


def test_a_folder_of_other_names(tmp_path, rng):
    for i in range(20):
        write_wav(tmp_path / f"sound{i:02}.WAV", rng.uniform(-1, 1, 300), 44100)
    train, test = load_splits(str(tmp_path))
    assert (len(train), len(test), train.labels, train.rate) == (18, 2, None, 44100)
    assert train.images.shape[1:] == (512, 1)


def test_a_bad_folder_is_refused(folder, rng):
    write_wav(folder / "8_ann_9.wav", rng.uniform(-1, 1, 300), 16000)
    with refused("", "must have 8000 samples a second, as 3_ann_0.wav", "16000"):
        load_splits(folder)
    write_wav(folder / "8_ann_9.wav", np.empty(0), 8000)
    with refused("", "must hold at least one sample", "none"):
        load_splits(folder)
    write_wav(folder / "8_ann_9.wav", np.zeros(70_000), 8000)
    with refused("", "must have at most 65536 samples", "70000"):
        load_splits(folder)
    for path in list(folder.iterdir())[1:]:
        path.unlink()
    with refused("", "must hold at least 2 WAV files"):
        load_splits(folder)


def test_the_whole_set_is_found(folder, monkeypatch, tmp_path):
    with zipfile.ZipFile(tmp_path / "recordings.zip", "w") as archive:
        for path in folder.glob("*.wav"):
            archive.write(path, f"recordings/{path.name}")
    monkeypatch.setenv("VQNP_DATA", str(tmp_path))
    train, test = load_splits("fsdd")
    assert train.images.shape == (2, 8192, 1) and len(test) == 10 and train.labels.tolist() == [3, 7]
    np.testing.assert_array_equal(train.images[:, :256], load_dataset(folder).images)
    monkeypatch.setenv("VQNP_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    with refused("recordings.zip", "must be in $VQNP_DATA/fsdd", where="data set 'fsdd'"):
        load_splits("fsdd")


def test_notes_have_their_pitch_and_caption():
    x, labels, captions = notes(60, 3)
    assert x.shape == (60, 4096) and x.dtype == np.float32 and np.abs(x).max() <= 0.9
    assert (labels < CLASSES).all() and np.array_equal(x, notes(60, 3)[0])
    strings = labels < PITCHES
    wanted = np.array([frequency(k) for k in labels[strings]])
    error = np.abs(cents(pitch(x[strings], RATE), wanted))
    assert np.median(error) < 5 and error.max() < 40
    for k, words, sound in zip(labels, captions, x, strict=True):
        assert words == caption(int(k), np.abs(sound).max() > 0.5)
    assert caption(9, False) == "a quiet plucked A 3" and caption(24, True) == "a loud kick drum"


def test_a_string_is_the_loop_of_karplus_and_strong():
    rng = np.random.default_rng(4)
    y = plucked(np.array([400.0]), rng)[0]
    g = 0.001 ** (1 / (np.random.default_rng(4).uniform(0.5, 2.0, 1)[0] * 400))  # period 20 = N + 1/2 + a
    t = np.arange(100, 3000)
    np.testing.assert_allclose(y[t], g * (0.25 * y[t - 19] + 0.5 * y[t - 20] + 0.25 * y[t - 21]), atol=1e-12)
