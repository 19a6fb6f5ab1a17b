"""How far images that a model makes up are from real ones: the equations and what they are for."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from strategies import seeds

from vqnp._check import NonFiniteError
from vqnp.metrics import energy_distance, nearest_distance


@given(st.integers(2, 6), st.integers(2, 6), st.integers(1, 3), seeds)
def test_energy_distance_is_its_equation(n, other, P, seed):
    r = np.random.default_rng(seed)
    x, y = r.random((n, P, 2)), r.random((other, P, 2)) ** 2
    found, back = energy_distance(x, y), energy_distance(y, x)
    assert found.distance == pytest.approx(oracles.energy_distance(x, y), rel=1e-6, abs=1e-7)
    assert back == pytest.approx(found, rel=1e-9, abs=1e-9) and found.coefficient <= 1
    turned = energy_distance(1 - x[:, :, ::-1], 1 - y[:, :, ::-1])
    assert turned == pytest.approx(found, rel=1e-9, abs=1e-7)


def test_energy_distance_of_halves_is_zero_on_average_and_of_far_points_nearly_one(rng):
    halves = [energy_distance(*np.split(rng.random((80, 1, 3)), 2)).distance for _ in range(200)]
    assert abs(np.mean(halves)) < 5 * np.std(halves) / math.sqrt(200) and min(halves) < 0 < max(halves)
    black, white = np.zeros((3, 2, 2), np.uint8), np.full((4, 2, 2), 255, np.uint8)
    assert energy_distance(black, white) == pytest.approx((4.0, 1.0))
    assert energy_distance(black, black) == (0, 0)


@pytest.mark.slow
def test_energy_distance_goes_with_the_square_of_a_small_shift(rng):
    def mean(shift):
        pairs = 0.8 * rng.random((20, 2, 500, 4))
        return np.mean([energy_distance(x, y + shift).distance for x, y in pairs])

    assert mean(0.1) / mean(0.05) == pytest.approx(4, rel=0.15)


def test_energy_distance_in_parts(rng, monkeypatch):
    x, y = rng.random((20, 4)), rng.random((9, 4))
    whole = energy_distance(x, y)
    monkeypatch.setattr("vqnp.metrics.generation.ROWS", 7)
    assert energy_distance(x, y) == pytest.approx(whole, rel=1e-9)


@given(st.integers(1, 6), st.integers(1, 6), seeds)
def test_nearest_distance_is_its_equation(n, other, seed):
    r = np.random.default_rng(seed)
    x, y = r.random((n, 2, 3), np.float32), r.random((other, 2, 3), np.float32)
    true = [min(math.sqrt(float(((a - b).astype(float) ** 2).mean())) for b in y) for a in x]
    assert nearest_distance(x, y) == pytest.approx(true, rel=1e-5)
    assert not nearest_distance(y[::-1], y).any()


X = np.zeros((2, 4, 4))


@pytest.mark.parametrize(
    ("function", "least", "images"),
    [(energy_distance, 2, X[:1]), (energy_distance, 2, X[:, :3]), (nearest_distance, 1, X[0, :2]),
     (nearest_distance, 1, X[:0])],
)  # fmt: skip
def test_images_of_another_shape_or_too_few(function, least, images):
    got = f"shapes (2, 4, 4) and {images.shape}"
    with refused("samples and images", f"n at least {least}, the rest equal", got, where=function.__name__):
        function(X, images)


@pytest.mark.parametrize("function", [energy_distance, nearest_distance])
def test_images_and_samples_must_be_finite(function):
    for args, argument in (((X, X + np.inf), "images"), ((X + np.inf, X), "samples")):
        got, where = "inf at index (0, 0, 0)", function.__name__
        with refused(argument, "finite", got, where=where, error=NonFiniteError):
            function(*args)
