"""Bits an image, with and without an entropy coder, beside the error in decibels."""

import math

import pytest
from helpers import refused

from vqnp.metrics import code_information, psnr, rate_distortion


def test_rate_distortion(rng):
    k = rng.integers(8, size=(500, 3))
    found = rate_distortion(k, 8, 0.01)
    assert found.bits == 9 and found.mse == 0.01 and found.psnr == pytest.approx(20)
    assert found.entropy_bits == code_information(k, 8).upper <= 9
    assert psnr(255**2 / 100, peak=255) == pytest.approx(20) and psnr(0) == math.inf


@pytest.mark.parametrize(
    ("args", "argument", "needed"),
    [((-1,), "mse", "[0, inf)"), ((1, 0), "peak", "(0, inf)"), ((math.nan,), "mse", "[0, inf)")],
)
def test_errors_that_are_none(args, argument, needed):
    with refused(argument, needed, str(float(args[-1])), where="psnr"):
        psnr(*args)
    with refused("mse", "[0, inf)", "-1.0"):
        rate_distortion([[0]], 2, -1)
