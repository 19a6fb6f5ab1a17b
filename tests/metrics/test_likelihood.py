"""A distribution over 256 grey levels: it adds up to 1, has the right limits, and its scale is the best."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from strategies import seeds

from vqnp.metrics import fit_scale, grey_level_nats

ALL = np.arange(256, dtype=np.uint8)[:, None]


@given(st.floats(-0.5, 1.5), st.floats(0.02, 300))
def test_the_probabilities_of_all_levels_add_up_to_one(x_hat, scale):
    nats = grey_level_nats(np.full((256, 1), x_hat), ALL, scale)
    assert (nats > -1e-12).all() and np.exp(-nats).sum() == pytest.approx(1, rel=1e-9)


@given(st.integers(1, 5), st.floats(0.3, 50), seeds)
def test_it_is_its_equation(n, scale, seed):
    r = np.random.default_rng(seed)
    x_hat, v = r.random((n, 2, 2)), r.integers(0, 256, (n, 2, 2)).astype(np.uint8)
    v[0, 0, 0], v[0, 1, 1] = 0, 255
    sigma = lambda t: 1 / (1 + math.exp(-t)) if t > -700 else 0.0

    def p(level, mean):
        above = 1.0 if level == 255 else sigma((level + 0.5 - 255 * mean) / scale)
        below = 0.0 if level == 0 else sigma((level - 0.5 - 255 * mean) / scale)
        return above - below

    x_hat = np.clip(x_hat, v / 255 - 5 * scale / 255, v / 255 + 5 * scale / 255)  # where this form is exact
    wanted = [
        -sum(math.log(p(int(a), float(b))) for a, b in zip(i.flat, m.flat, strict=True))
        for i, m in zip(v, x_hat, strict=True)
    ]
    assert grey_level_nats(x_hat, v, scale) == pytest.approx(wanted, rel=1e-7)


def test_far_levels_have_a_finite_length():
    assert np.isfinite(grey_level_nats([[0.0]], np.array([[255]], np.uint8), 0.02)).all()
    middle = grey_level_nats([[0.5]], np.array([[10]], np.uint8), 0.05)
    assert middle[0] == pytest.approx((127.5 - 10 - 0.5) / 0.05, rel=1e-9)


def test_a_flat_distribution_takes_eight_bits():
    wide = grey_level_nats(np.full((256, 1), 0.5), ALL, 1e5)
    inner = wide[1:-1] / math.log(2)
    assert np.ptp(inner) < 0.01  # what is beyond the ends belongs to the two ends


def test_the_scale_is_the_best_and_found_again(rng):
    x_hat = rng.random((500, 4)) * 0.6 + 0.2
    for true in (2.0, 9.0):
        v = np.clip(np.rint(255 * x_hat + rng.logistic(0, true, x_hat.shape)), 0, 255).astype(np.uint8)
        s = fit_scale(x_hat, v)
        assert s == pytest.approx(true, rel=0.06)
        least = grey_level_nats(x_hat, v, s).sum()
        assert all(grey_level_nats(x_hat, v, s * f).sum() > least for f in (0.97, 1.03))


def test_images_of_other_levels_or_another_shape():
    v = np.zeros((2, 3), np.uint8)
    with refused("images", "must be integers", "float64", where="grey_level_nats"):
        grey_level_nats(v / 255, v / 255, 1.0)
    with refused("images", "in [0, 256)", "256", where="fit_scale"):
        fit_scale(v / 255, v.astype(int) + 256)
    with refused("x_hat and images", "one shape", "shapes (2, 2) and (2, 3)", where="grey_level_nats"):
        grey_level_nats(np.zeros((2, 2)), v, 1.0)
    with refused("scale", "in (0, inf)", "0", where="grey_level_nats"):
        grey_level_nats(v / 255, v, 0)
