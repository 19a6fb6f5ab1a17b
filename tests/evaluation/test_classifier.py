"""The classifier that comes with vqnp: as accurate as its docstring says, small, the same in any batch."""

import re

import numpy as np
import pytest
from helpers import refused

from vqnp import load_dataset
from vqnp.evaluation.classifier import WEIGHTS, DigitClassifier, digit_classifier
from vqnp.kernels.jit import JIT

MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", "test")


@pytest.mark.slow
def test_its_accuracy_is_what_its_docstring_says(digits):
    right = (digit_classifier().probabilities(digits.images).argmax(axis=1) == digits.labels).mean()
    said = float(re.search(r"right on ([\d.]+) % of the 2,000 test digits", digit_classifier.__doc__)[1])
    assert 100 * right == pytest.approx(said, abs=0.011) and right > 0.985  # half a digit more or less


def test_its_weights_are_a_small_file_of_its_parameters():
    assert WEIGHTS.stat().st_size <= MOST_BYTES
    with np.load(WEIGHTS) as stored:
        assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}
        count = sum(array.size for array in stored.values())
    assert count == digit_classifier().num_parameters() and f"{count:,} parameters" in DigitClassifier.__doc__


@pytest.mark.skipif(not JIT, reason="NumPy's products may round a row in another batch otherwise")
def test_an_image_s_features_do_not_depend_on_the_others(digits):
    few, c = digits.images[:50], digit_classifier()
    h = c.features(few)
    assert h.shape == (50, 64) and h.dtype == np.float64
    np.testing.assert_allclose(np.square(h).mean(axis=1), 1)
    np.testing.assert_array_equal(c.features(few[7:9]), h[7:9])
    for same in (few / 255, few[..., None], few.reshape(50, 784)):
        np.testing.assert_array_equal(c.features(same), h)
    p = c.probabilities(few)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_an_image_without_a_digit_is_no_near_neighbour_of_one(rng, digits):
    h = digit_classifier().features(digits.images[:100])
    noise = digit_classifier().features(rng.random((100, 28, 28)))
    between = np.linalg.norm(noise[:, None] - h, axis=2)
    within = np.linalg.norm(h[:, None] - h, axis=2) + 99 * np.eye(100)
    assert between.min(axis=1).mean() > 1.5 * within.min(axis=1).mean()


def test_images_of_another_size():
    with refused("images", "28 x 28 pixels", "shape (2, 32, 32)", where="DigitClassifier.features"):
        digit_classifier().features(np.zeros((2, 32, 32)))
    with refused("images", "at least one", "shape (0, 28, 28)", where="DigitClassifier.probabilities"):
        digit_classifier().probabilities(np.zeros((0, 28, 28)))
