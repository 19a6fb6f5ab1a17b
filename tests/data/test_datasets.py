"""load_dataset, load_splits and open_images: every kind of source, and what is refused."""

import gzip
import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqnp._check import InputError, NonFiniteError
from vqnp.data import load_dataset, load_splits, open_images
from vqnp.data.idx import FILES
from vqnp.data.stream import open_array

from .idxfiles import KINDS, idx_bytes, npy_bytes, npz_bytes

RNG = np.random.default_rng(0)
X = {"train": RNG.integers(0, 256, (21, 4, 3), np.uint8), "test": RNG.integers(0, 256, (8, 4, 3), np.uint8)}
Y = {split: RNG.integers(0, 10, len(x), np.uint8) for split, x in X.items()}


@pytest.fixture
def folder(tmp_path):
    """MNIST's layout, every file in one of the variants of its name."""
    variants = itertools.cycle([("-", ".gz"), (".", ""), ("-", ""), (".", ".gz")])
    for split, names in FILES.items():
        for name, array in zip(names, (X[split], Y[split]), strict=True):
            mark, suffix = next(variants)
            content = gzip.compress(idx_bytes(array)) if suffix else idx_bytes(array)
            (tmp_path / (name.replace("-idx", f"{mark}idx") + suffix)).write_bytes(content)
    return tmp_path


def check_splits(source):
    for dataset, split in zip(load_splits(source), X, strict=True):
        for same in (dataset, load_dataset(source, split)):
            assert (same.name, same.split, len(same)) == (str(source), split, len(X[split]))
            np.testing.assert_array_equal(same.images, X[split])
            np.testing.assert_array_equal(same.labels, Y[split])
        np.testing.assert_array_equal(open_images(source, split).read(), X[split])


def test_folder(folder):
    check_splits(folder)
    check_splits(str(folder))


def test_folder_without_labels(folder):
    for path in folder.glob("*labels*"):
        path.unlink()
    assert load_dataset(folder, "test").labels is None


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_npz_with_splits(names, tmp_path):
    arrays = (X["train"], Y["train"], X["test"], Y["test"])
    (tmp_path / "data.npz").write_bytes(npz_bytes(**dict(zip(names, arrays, strict=True))))
    check_splits(tmp_path / "data.npz")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(n=st.integers(2, 45))
@settings(deadline=None, max_examples=8)
def test_one_array_has_no_splits_and_a_tenth_is_held_out(kind, n, tmp_path_factory):
    images = np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3) / (n * 6)
    path = tmp_path_factory.mktemp("one") / "array"
    path.write_bytes(KINDS[kind](images))
    for split in X:
        np.testing.assert_array_equal(load_dataset(path, split).images, images)
        np.testing.assert_array_equal(open_images(path, split).read(), images)
    train, test = load_splits(path)
    assert len(test) == max(1, n // 10)
    np.testing.assert_array_equal(np.concatenate([train.images, test.images]), images)
    assert train.labels is None and test.labels is None and (train.split, test.split) == ("train", "test")


def test_labels_are_divided_with_their_images(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz_bytes(images=X["train"], labels=Y["train"]))
    train, test = load_splits(tmp_path / "a.npz")
    np.testing.assert_array_equal(train.labels, Y["train"][:19])
    np.testing.assert_array_equal(test.labels, Y["train"][19:])


def test_a_name_wins_over_a_file_and_a_path_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_bytes(npy_bytes(X["test"]))
    assert len(load_dataset("digits")) == 10_000
    assert len(load_dataset("./digits")) == len(X["test"])


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.npy").write_bytes(npy_bytes(X["test"]))
    assert len(load_dataset("~/a.npy")) == len(X["test"])


def refused(load, source, *args):
    with pytest.raises(InputError) as caught:
        load(source, *args)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("load", [load_dataset, load_splits, open_images])
def test_unknown_sources(load, folder):
    (folder / "pictures.npy").write_bytes(b"")
    missing, near = folder / "pictres.npy", folder / "pictures.npy"
    for source, got in [
        ("minst", "'minst' (did you mean 'mnist'?)"),
        ("qqq", "'qqq'"),
        (folder / "qqq", f"'{folder / 'qqq'}'"),  # only the last part of a path is compared
        (missing, f"'{missing}' (did you mean '{near}'?)"),
        ("/no/such/folder/x.npy", "'/no/such/folder/x.npy'"),
    ]:
        error = refused(load, source)
        assert (error.where, error.argument, error.got) == (load.__name__, "source", got)
        assert "'mnist', 'fashion-mnist' or the path" in error.needed
    error = refused(load, None)
    assert (error.where, error.argument, error.got) == (load.__name__, "source", "NoneType")


@pytest.mark.parametrize("load", [load_dataset, open_images])
def test_unknown_split(load):
    error = refused(load, "digits", "dev")
    assert (error.where, error.argument, error.got) == (load.__name__, "split", "'dev'")


@pytest.mark.parametrize("load", [load_dataset, load_splits, open_images])
@pytest.mark.parametrize(
    "array, argument, got",
    [
        (np.zeros((0, 2), np.uint8), "", "shape (0, 2)"),
        (np.zeros((3, 0), np.uint8), "", "shape (3, 0)"),
        (np.zeros(3, np.uint8), "images", "shape (3,)"),
        (np.zeros((3, 2), np.int32), "images", "int32"),
        (np.zeros((3, 2), bool), "images", "bool"),
    ],
)
def test_arrays_that_are_no_images(load, array, argument, got, tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(array))
    error = refused(load, path)
    assert (error.where, error.argument, str(error.got)) == (str(path), argument, got)


def test_pixels_out_of_range(tmp_path):
    path = tmp_path / "a.npy"
    images = np.full((3, 2), 0.5)
    images[2, 0] = 255
    path.write_bytes(npy_bytes(images))
    error = refused(load_dataset, path)
    assert (error.argument, error.got) == ("images", "255.0 at index (2, 0)") and "[0, 1]" in error.needed
    images[1, 1] = np.nan
    path.write_bytes(npy_bytes(images))
    error = refused(load_splits, path)
    assert isinstance(error, NonFiniteError) and error.got == "nan at index (1, 1)"


@pytest.mark.parametrize("labels", [np.zeros(20, np.uint8), np.zeros(21), np.zeros((21, 10), int)])
def test_labels_that_do_not_match(labels, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(images=X["train"], labels=labels))
    error = refused(load_dataset, path)
    assert (error.where, error.argument) == (str(path), "labels") and "shape (21,)" in error.needed
    assert error.got == f"{labels.dtype} of shape {labels.shape}"


def test_one_image_cannot_be_divided(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(X["train"][:1]))
    error = refused(load_splits, path)
    assert error.where == str(path) and "at least 2 images" in error.needed and error.got == 1


def test_splits_of_two_shapes(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(x_train=X["train"], x_test=X["test"][:, :2]))
    error = refused(load_splits, path)
    assert (error.where, error.argument, error.got) == (str(path), "test images", (2, 3))
    assert "shape (4, 3)" in error.needed


def test_folder_without_the_split(folder, tmp_path_factory):
    next(folder.glob("t10k-images*")).unlink()
    error = refused(load_dataset, folder, "test")
    assert error.where == str(folder) and "must hold t10k-images-idx3-ubyte" in error.needed
    assert error.got.startswith("t10k-labels")
    empty = tmp_path_factory.mktemp("empty")
    assert refused(load_splits, empty).got == "an empty folder"


def test_a_pipe_is_no_file(tmp_path):
    """Opening it would wait for ever for somebody to write."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "images.npy")
    assert refused(open_array, tmp_path / "images.npy").got == "no regular file"
