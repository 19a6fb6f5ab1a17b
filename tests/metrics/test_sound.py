"""Signal to noise, spectral convergence and pitch, of sounds whose figures are known."""

import numpy as np
import pytest
from helpers import refused

from vqnp.metrics import cents, pitch, signal_to_noise, spectral_convergence


def test_decibels(rng):
    x = rng.standard_normal((3, 600))
    assert signal_to_noise(0.9 * x, x) == pytest.approx(20)
    assert spectral_convergence(0.9 * x, x) == pytest.approx(-20)
    assert [f(0 * x, x) for f in (signal_to_noise, spectral_convergence)] == pytest.approx([0, 0])
    assert signal_to_noise(x, x) == np.inf and spectral_convergence(-x, x) == -np.inf
    assert signal_to_noise(-x, x) == pytest.approx(-10 * np.log10(4))
    assert np.isnan(spectral_convergence(x, 0 * x)) and signal_to_noise(x, 0 * x) == -np.inf
    assert signal_to_noise(0.9 * x[..., None], x[..., None]) == pytest.approx(20)


@pytest.mark.parametrize("hertz", [82.4, 130.0, 440.0, 987.0])
def test_pitch_of_a_buzz(hertz, rng):
    t = np.arange(4000) / 8000
    tones = (np.cos(2 * np.pi * k * hertz * t + k) / k for k in range(1, int(3900 / hertz)))
    x = np.exp(-3 * t) * sum(tones) + 0.01 * rng.standard_normal(4000)
    assert abs(cents(pitch(x[None], 8000)[0], hertz)) < 12


def test_no_pitch():
    assert np.isnan(pitch(np.zeros((1, 1000)), 8000)[0])
    assert cents(880, 440) == 1200
    with refused("x", "must have more than", where="pitch"):
        pitch(np.zeros((1, 100)), 8000)
    with refused("x_hat", "must have shape (2, 9), as x", "shape (2, 8)"):
        signal_to_noise(np.zeros((2, 8)), np.zeros((2, 9)))
    with refused("x", "must have shape (n, T)", where="pitch"):
        pitch(np.zeros(100), 8000)
