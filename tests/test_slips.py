"""What a person gets wrong or finds natural: datasets for arrays, lists, masks, swapped arguments."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import refused, same

from vqnp import VQVAE, DataSpec, evaluate, fit, load, load_dataset, load_splits, ops, save
from vqnp._check import NonFiniteError
from vqnp.data import Dataset, open_images, to_float
from vqnp.nn import Linear
from vqnp.nn.quantizers import VectorQuantizer

DATA = load_dataset("digits")
FEW = Dataset("few", "train", DATA.images[:40], DATA.labels[:40])
TEST = Dataset("few", "test", DATA.images[40:60], None)
SMALL = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,)}
SHORT = {"epochs": 1, "batch_size": 16, "progress": False}


def made(**options):
    return VQVAE.mlp(**{**SMALL, **options})


# Data in other forms.


def test_a_dataset_stands_for_its_images():
    one, other = made(), made()
    history = fit(one, FEW, TEST, **SHORT)
    assert history == fit(other, FEW.images, TEST.images, **SHORT) and same(one, other)
    assert str(one.evaluate(TEST)) == str(evaluate(one, TEST)) == str(evaluate(one, TEST.images))
    np.testing.assert_array_equal(one.encode(TEST), one.encode(TEST.images))
    np.testing.assert_array_equal(one.latents(TEST), one.latents(TEST.images))
    np.testing.assert_array_equal(one.reconstruct(TEST), one.reconstruct(TEST.images))


@pytest.mark.parametrize(
    "data",
    [None, FEW.images.tolist(), iter(FEW.images), "digits", Path("digits"), load_splits("digits")],
    ids=["None", "list", "iterator", "str", "Path", "two datasets"],
)
def test_what_is_no_array_is_refused_by_the_arguments_name(data):
    kind = type(data).__name__
    with refused("data", "must be a NumPy array", kind, where="fit"):
        fit(made(), data, **SHORT)
    with refused("data", "must be a NumPy array, a Dataset or an ArrayStream", kind, where="evaluate"):
        evaluate(made(), data)
    with refused("images", "must be a NumPy array", kind, where="VQVAE.encode"):
        made().encode(data)
    if data is not None:
        with refused("test_data", "must be a NumPy array, a Dataset or an ArrayStream", kind, where="fit"):
            fit(made(), FEW, data, **SHORT)


def test_arguments_in_another_order(tmp_path):
    model, path = made(), tmp_path / "m.npz"
    with refused("model", "must be a model", "ndarray", where="fit"):
        fit(FEW.images, model, **SHORT)
    with refused("model", "must be a model", "Linear", where="fit"):
        fit(Linear(2, 2), FEW.images, **SHORT)
    with refused("model", "must be a model", "Dataset", where="evaluate"):
        evaluate(FEW, model)
    with refused("path", "must be a path", "VQVAE", where="save"):
        save(model, path)
    with refused("model", "must be a vqnp.nn.Module", "ndarray", where="save"):
        save(path, FEW.images)
    for wrong in (None, model, 3):
        with refused("path", "must be the path of a checkpoint or a run folder", where="load"):
            load(wrong)


# Subclasses of arrays.


def test_a_masked_array_is_refused_at_every_door():
    """The mask would count in some sums and not in others."""
    masked = np.ma.masked_less(FEW.images, 9)
    needed = "must not be masked (its method filled gives a plain array)"
    for argument, call in [
        ("data", lambda: fit(made(), masked, **SHORT)),
        ("test_data", lambda: fit(made(), FEW, masked, **SHORT)),
        ("data", lambda: evaluate(made(), masked)),
        ("images", lambda: made().encode(masked)),
        ("images", lambda: made().reconstruct(masked)),
        ("images", lambda: to_float(masked)),
        ("codes", lambda: made().decode(np.ma.masked_less(np.zeros((2, 3), int), 1))),
        ("z", lambda: VectorQuantizer(8, 4).forward(np.ma.masked_less(np.zeros((2, 4), "f"), 1))),
        ("x", lambda: ops.relu_forward(np.ma.masked_less(np.zeros((2, 4), "f"), 1))),
    ]:
        with refused(argument, needed, "MaskedArray"):
            call()


def test_a_matrix_of_images_is_read_as_the_array_that_it_is():
    rows = FEW.images.reshape(40, -1)
    one, other = made(), made()
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(rows)
    fit(one, matrix, **SHORT)
    fit(other, rows, **SHORT)
    assert same(one, other) and str(evaluate(one, matrix)) == str(evaluate(one, rows))
    with pytest.warns(PendingDeprecationWarning), refused("x", "must be a plain array", "matrix"):
        ops.relu_forward(np.asmatrix(np.zeros((2, 2), "f")))


def test_a_memory_map_is_an_array(tmp_path):
    np.save(tmp_path / "x.npy", FEW.images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(made().encode(mapped), made().encode(FEW.images))
    assert ops.relu_forward(mapped.astype("f"))[0].shape == mapped.shape


# What is known before the first step.


@pytest.mark.parametrize(
    ("test_data", "needed", "got"),
    [
        (np.zeros((5, 9, 9), "u1"), "shape (n, 28, 28) or (n, 784)", "shape (5, 9, 9)"),
        (np.zeros((0, 28, 28), "u1"), "at least one image", "(0, 28, 28)"),
        (np.zeros((5, 28, 28), "i4"), "uint8, or float32 or float64 in [0, 1]", "int32"),
        (np.full((2000, 28, 28), 2.0), "[0, 1]", "2.0 at index (0, 0, 0)"),
    ],
)
def test_test_data_are_checked_before_the_first_step(tmp_path, test_data, needed, got):
    model = made()
    before = model.state_dict()
    with refused("test_data", needed, got, where="fit"):
        fit(model, FEW, test_data, **SHORT, checkpoint=tmp_path / "c.npz")
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert not (tmp_path / "c.npz").exists()


def test_the_last_test_image_is_looked_at_too():
    last = np.zeros((1500, 28, 28))
    last[1400, 2, 3] = np.nan
    with refused("test_data", "finite", "nan at index (1400, 2, 3)", where="fit", error=NonFiniteError):
        fit(made(), FEW, last, **SHORT)


def test_a_callback_that_cannot_be_called_is_refused_before_the_first_step(tmp_path):
    with refused("on_epoch", "must be a function that takes the history", "[]", where="fit"):
        fit(made(), FEW, **SHORT, on_epoch=[], checkpoint=tmp_path / "c.npz")
    assert not (tmp_path / "c.npz").exists()


def test_test_data_may_be_streamed():
    history = fit(made(), FEW, open_images("digits", "test"), **SHORT)
    assert "test_mse" in history[0]


@pytest.mark.parametrize("call", [evaluate, VQVAE.encode, VQVAE.reconstruct, fit])
def test_images_of_another_shape_are_refused_before_they_take_memory(call):
    images = np.zeros((60, 512, 512), np.uint8)
    model, options = made(), SHORT if call is fit else {}
    tracemalloc.start()
    try:
        with refused("data" if call in (evaluate, fit) else "images", "(n, 28, 28)", "(60, 512, 512)"):
            call(model, images, **options)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


# The ends of a range.


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.3), (0.1, 0.7), (-1e-3, 1 / 3)])
def test_the_ends_of_a_range_may_have_been_rounded_to_float32(low, high):
    ends = np.array([[low, high]], np.float32)
    spec = DataSpec((2,), low, high)
    for x in (ends, ends.astype(np.float64)):
        for dtype in (np.float32, np.float64):
            y = spec.to_array(x, dtype, "test")
            np.testing.assert_allclose(y, [[low, high]], rtol=1e-7)
            assert dtype is np.float32 or (y.min() >= low and y.max() <= high)
    with refused("images", "must be in"):
        spec.to_array(np.array([[low, high + 1e-6]]), np.float64, "test")
