"""evaluate: what is said of a model is what the model does."""

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st

from vqnp import VQVAE, evaluate, fit, load_dataset
from vqnp._check import NonFiniteError
from vqnp.data import open_images
from vqnp.data.batches import BATCH, batches
from vqnp.nn import Reshape, Sequential

TEST = load_dataset("digits", "test").images[:200]


@pytest.fixture(scope="module")
def model():
    model = VQVAE.mlp(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(12,))
    fit(model, TEST, epochs=3, progress=False)
    return model


def test_evaluate_is_the_definition(model):
    result = evaluate(model, TEST)
    k = model.encode(TEST)
    assert result.mse == pytest.approx(np.mean((model.decode(k).astype("d") - TEST / 255.0) ** 2), rel=1e-12)
    np.testing.assert_array_equal(result.counts, np.bincount(k.ravel(), minlength=8))
    assert result.codes_used == len(np.unique(k)) and result.images == 200 and result.bits_per_image == 9
    assert result.utilization == result.perplexity / 8


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_images_in_memory_or_streamed_are_the_same(model, tmp_path, dtype):
    images = TEST if dtype == "u1" else (TEST / 255.0).astype(dtype)
    np.save(tmp_path / "x.npy", images)
    streamed, in_memory = evaluate(model, open_images(tmp_path / "x.npy")), evaluate(model, images)
    assert streamed.mse == in_memory.mse
    np.testing.assert_array_equal(streamed.counts, in_memory.counts)


def test_the_counts_of_a_set_are_those_of_its_parts(model):
    whole = evaluate(model, TEST)
    parts = [evaluate(model, TEST[i : i + 70]) for i in range(0, 200, 70)]
    np.testing.assert_array_equal(whole.counts, sum(part.counts for part in parts))
    assert whole.mse == pytest.approx(sum(p.mse * p.images for p in parts) / 200, rel=1e-6)


def test_nothing_to_evaluate(model):
    with refused("data", "at least one image", "none", where="evaluate"):
        evaluate(model, TEST[:0])
    with refused("data", "finite", "nan at index (0, 0, 0)", where="evaluate", error=NonFiniteError):
        evaluate(model, np.full((3, 28, 28), np.nan))


@given(st.integers(0, 20), st.integers(1, 25))
def test_batches_are_the_whole_in_order(n, size):
    parts = list(batches(np.arange(n), size))
    assert [i for part in parts for i in part] == list(range(n))
    assert all(len(part) == size for part in parts[:-1])


@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_names_the_image_by_its_number_and_the_file(model, tmp_path, streamed):
    images = np.zeros((BATCH + 9, 28, 28), np.float32)
    images[BATCH + 2, 3, 4] = np.inf
    np.save(tmp_path / "x.npy", images)
    data = open_images(tmp_path / "x.npy") if streamed else images
    where = str(tmp_path / "x.npy") if streamed else "evaluate"
    name = "images" if streamed else "data"
    with refused(name, "finite", f"inf at index ({BATCH + 2}, 3, 4)", where=where, error=NonFiniteError):
        evaluate(model, data)


def test_latents_in_a_plane_are_those_in_a_row(model):
    plane = VQVAE(Sequential(*model.encoder.layers[:-1], Reshape(3, 1, 4)), model.quantizer, model.decoder)
    assert evaluate(plane, TEST).as_dict() == evaluate(model, TEST).as_dict()


def test_a_few_images_are_no_collapse_during_training(model):
    """Over n codes perplexity is at most n: the training's history says nothing about so few."""
    history = [{"epoch": e, "perplexity": 7.5, "reconstruction_loss": 1.0 / e} for e in range(1, 9)]
    assert "collapse during" not in evaluate(model, TEST[:1], history).diagnosis.level
    assert "overfitting" not in evaluate(model, TEST[:1], history).diagnosis.level


def test_the_reports_figures(model):
    """As a row of the history, as JSON, and as a table."""
    result = evaluate(model, TEST)
    assert result.row() == {"test_mse": result.mse, "test_perplexity": result.perplexity}
    figures = result.as_dict()
    assert figures["dead_codes"] == np.flatnonzero(result.counts == 0).tolist()
    names = ("mse", "perplexity", "utilization", "codes_used", "num_embeddings", "bits_per_image", "images")
    for name in names:
        assert figures[name] == getattr(result, name)
    assert figures["diagnosis"] == str(result.diagnosis) and figures["diagnosis"] in str(result)
    assert f"{result.mse:.5f}" in str(result) and f"{result.codes_used} of 8" in str(result)
