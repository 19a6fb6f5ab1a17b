"""Spectra and gradients: how much fine detail an image keeps."""

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from strategies import seeds

from vqnp._check import NonFiniteError
from vqnp.metrics import gradient_energy, radial_spectrum, relative_spectrum, sharpness


@given(st.integers(2, 9), st.integers(2, 9), seeds)
def test_the_spectrum_is_that_of_the_plain_loops(H, W, seed):
    x = np.random.default_rng(seed).random((2, H, W))
    r, P = radial_spectrum(x)
    assert r.tolist() == list(range(min(H, W) // 2 + 1))
    assert P == pytest.approx(oracles.radial_spectrum(x), rel=1e-9, abs=1e-12)
    if H == W:  # else frequencies of the longer side, below half a cycle of the shorter, are there too
        assert P[0] == pytest.approx((x.sum(axis=(1, 2)) ** 2).mean() / (H * W))


def test_a_wave_is_at_its_frequency():
    i, j = np.mgrid[:28, :28]
    for u, v, radius in ((3, 0, 3), (0, 11, 11), (3, 4, 5)):
        r, P = radial_spectrum(0.5 + 0.5 * np.cos(2 * np.pi * (u * i + v * j) / 28)[None])
        assert set(np.flatnonzero(P > 1e-9)) == {0, radius}


@given(seeds)
def test_sharpness_of_itself_is_one_and_blur_takes_the_high_frequencies(seed):
    x = np.random.default_rng(seed).random((3, 16, 16))
    blurred = (x + np.roll(x, 1, 1) + np.roll(x, 1, 2) + np.roll(x, (1, 1), (1, 2))) / 4
    r, S = relative_spectrum(x, x)
    assert (S == 1).all() and sharpness(x, x) == 1
    _, S = relative_spectrum(blurred, x)
    assert S[0] == pytest.approx(1) and S[-1] < 0.5 and sharpness(blurred, x) < 0.7
    assert sharpness(0.5 * x, x) == pytest.approx(0.25) == relative_spectrum(0.5 * x, x)[1][3]


@given(st.integers(2, 6), st.integers(2, 6), seeds)
def test_gradient_energy_is_its_equation(H, W, seed):
    x = np.random.default_rng(seed).random((2, H, W))
    assert gradient_energy(x) == pytest.approx(oracles.gradient_energy(x), rel=1e-12)
    assert gradient_energy(1 - x.transpose(0, 2, 1)) == pytest.approx(gradient_energy(x))
    assert gradient_energy(np.full((1, H, W), 7, np.uint8)) == 0


X = np.zeros((2, 4, 4))


@pytest.mark.parametrize("x", [X[0], X[:0], X[:, :1]])
def test_shapes_that_are_none(x):
    for function in (radial_spectrum, gradient_energy):
        with refused("images", "shape (n, H, W), n at least 1", f"shape {x.shape}", where=function.__name__):
            function(x)


@pytest.mark.parametrize("function", [relative_spectrum, sharpness])
def test_reconstructions_of_other_images(function):
    needed, got = "shape (2, 4, 4), as the images", "shape (1, 4, 4)"
    with refused("reconstructions", needed, got, where=function.__name__):
        function(X[:1], X)


def test_pixels_that_are_none_and_images_without_an_edge():
    with refused("images", "finite", "inf at index (0, 0, 0)", where="gradient_energy", error=NonFiniteError):
        gradient_energy(X + np.inf)
    with refused("images", "an edge somewhere", "flat", where="sharpness"):
        sharpness(X, X)
