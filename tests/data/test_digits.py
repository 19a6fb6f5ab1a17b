"""The embedded digits: MNIST's first 10,000 and 2,000, as examples/make_digits.py makes them."""

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vqnp.data import datasets, load_dataset, load_splits, open_images
from vqnp.data.idx import FILES, find_idx
from vqnp.data.named import content_sha256

from .idxfiles import idx_bytes

SCRIPT = Path(__file__).parents[2] / "examples" / "make_digits.py"

# SHA-256 of the arrays' bytes
SHA256 = {
    "train_images": "2f7182bf021ffc5c1f62db987487f14d899b5c639f421a80f3095affc09a7db2",
    "train_labels": "2f345bad07338ec537641465e169cc4b7288a44244f251211c7f842641e7d927",
    "test_images": "170ff6838184f9ec6aaa1bbb5932ed59b7463585418d2da081525165ef21edae",
    "test_labels": "949a3782a9c308bf8ca08ff720810fe1de358fe09887727264c684c785d1ec53",
}


@pytest.fixture
def make_digits():
    spec = importlib.util.spec_from_file_location("make_digits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("split, n", [("train", 10_000), ("test", 2_000)])
def test_content(split, n):
    digits = load_dataset("digits", split)
    assert (digits.name, digits.split, len(digits)) == ("digits", split, n)
    assert digits.images.shape == (n, 28, 28) and digits.images.dtype == np.uint8
    assert digits.labels.shape == (n,) and digits.labels.dtype == np.uint8
    assert hashlib.sha256(digits.images).hexdigest() == SHA256[f"{split}_images"]
    assert hashlib.sha256(digits.labels).hexdigest() == SHA256[f"{split}_labels"]
    batches = list(open_images("digits", split).batches(999))
    np.testing.assert_array_equal(np.concatenate(batches), digits.images)


def test_labels():
    train, test = load_splits()
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert np.bincount(train.labels).tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    assert np.bincount(test.labels).tolist() == [175, 234, 219, 207, 217, 179, 178, 205, 192, 194]


def test_licence_is_shipped():
    text = datasets.DIGITS.with_name("LICENSE-digits.txt").read_text(encoding="utf-8")
    for needed in ("Yann LeCun", "Corinna Cortes", "Christopher J.C. Burges", "NIST", "first 10,000"):
        assert needed in text
    assert "https://creativecommons.org/licenses/by-sa/3.0/" in text


def test_same_as_the_script_makes(make_digits, tmp_path):
    there = [Path(os.environ.get("VQNP_DATA", "nowhere"), name) for name in ("mnist", ".")]
    folder = next((p for p in there if find_idx(p, "train-images-idx3-ubyte")), None)
    if folder is None:
        pytest.skip("VQNP_DATA has no mnist to make the digits from")
    assert make_digits.main([str(folder), "--out", str(tmp_path / "digits.npz")]) == 0
    with np.load(tmp_path / "digits.npz") as made, np.load(datasets.DIGITS) as ours:
        assert made.files == ours.files
        for name in ours.files:
            np.testing.assert_array_equal(made[name], ours[name])


@pytest.fixture
def small_mnist(make_digits, tmp_path, monkeypatch):
    """A folder of four small files, passed for MNIST's."""
    rng = np.random.default_rng(0)
    for images, labels in FILES.values():
        (tmp_path / images).write_bytes(idx_bytes(rng.integers(0, 256, (30, 4, 4), np.uint8)))
        (tmp_path / labels).write_bytes(idx_bytes(rng.integers(0, 10, 30, np.uint8)))
    names = [name for pair in FILES.values() for name in pair]
    monkeypatch.setitem(make_digits.SHA256, "mnist", {n: content_sha256(tmp_path / n) for n in names})
    monkeypatch.setattr(make_digits, "COUNTS", {"train": 20, "test": 10})
    return tmp_path


def test_script_is_deterministic(make_digits, small_mnist):
    outs = [small_mnist / name for name in ("a.npz", "b.npz")]
    for out in outs:
        assert make_digits.main([str(small_mnist), "--out", str(out)]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with zipfile.ZipFile(outs[0]) as z:
        assert {info.date_time for info in z.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    train, test = load_splits(outs[0])
    assert (len(train), len(test)) == (20, 10) and len(train.labels) == 20
    np.testing.assert_array_equal(train.images, load_dataset(small_mnist).images[:20])


def test_script_refuses_other_content(make_digits, small_mnist, capsys):
    file = small_mnist / "t10k-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\x0a")
    assert make_digits.main([str(small_mnist), "--out", str(small_mnist / "out.npz")]) == 2
    assert f"{file}: the content must have SHA-256 " in capsys.readouterr().err
    file.unlink()
    assert make_digits.main([str(small_mnist), "--out", str(small_mnist / "out.npz")]) == 2
    assert "must hold t10k-labels-idx1-ubyte, gzipped or not; got" in capsys.readouterr().err
    assert not (small_mnist / "out.npz").exists()


def test_script_has_help():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the vqnp that is tested
    command = [sys.executable, SCRIPT, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "--out" in done.stdout and "MNIST" in done.stdout
