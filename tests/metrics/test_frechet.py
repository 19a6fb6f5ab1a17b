"""The Fréchet distance of Gaussians: zero, symmetry, invariance, closed forms, few points."""

import hypothesis.strategies as st
import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from strategies import seeds

from vqnp._check import NonFiniteError
from vqnp.metrics import frechet_distance


def features(r, n, d):
    return r.standard_normal((n, d)) @ r.standard_normal((d, d)) + r.standard_normal(d)


@given(st.integers(2, 8), st.integers(2, 8), st.integers(1, 5), seeds)
def test_it_is_zero_for_one_set_symmetric_and_blind_to_a_common_motion(n, other, d, seed):
    r = np.random.default_rng(seed)
    x, y = features(r, n, d), features(r, other, d)
    scale = np.square(x).sum() + np.square(y).sum()
    assert frechet_distance(x, x) <= 1e-12 * scale  # also if fewer points than axes: covariances are singular
    found = frechet_distance(x, y)
    assert found >= 0 and frechet_distance(y, x) == pytest.approx(found, rel=1e-9, abs=1e-12 * scale)
    turn, _ = np.linalg.qr(r.standard_normal((d, d)))
    moved = frechet_distance(x @ turn + 3, y @ turn + 3)
    assert moved == pytest.approx(found, rel=1e-7, abs=1e-10 * scale)
    assert frechet_distance(2 * x, 2 * y) == pytest.approx(4 * found, rel=1e-9, abs=1e-10 * scale)


@given(st.integers(3, 30), seeds)
def test_one_axis_is_the_closed_form(n, seed):
    x, y = np.random.default_rng(seed).standard_normal((2, n, 1)) * [[[1]], [[3]]]
    (mu, nu), (s, t) = (x.mean(), y.mean()), (x.std(ddof=1), y.std(ddof=1))
    assert frechet_distance(x, y) == pytest.approx((mu - nu) ** 2 + (s - t) ** 2, rel=1e-9, abs=1e-12)


def test_a_shift_alone_counts_by_its_square(rng):
    x = features(rng, 50, 4)
    assert frechet_distance(x, x + [1, 2, 0, 0]) == pytest.approx(5, rel=1e-6)


def test_it_does_not_depend_on_the_precision_of_the_features(rng):
    x, y = (features(rng, 40, 3).astype(np.float32) for _ in range(2))
    assert frechet_distance(x, y) == frechet_distance(x.astype(np.float64), y.astype(np.float64))


@pytest.mark.parametrize("y", [np.zeros((1, 2)), np.zeros((4, 3)), np.zeros(4)])
def test_features_of_another_kind_or_too_few(y):
    where = "frechet_distance"
    with refused("samples and images", "n at least 2, d equal", f"shapes (4, 2) and {y.shape}", where=where):
        frechet_distance(np.zeros((4, 2)), y)


def test_features_must_be_finite_numbers():
    x = np.zeros((4, 2))
    with refused("images", "finite", "inf", where="frechet_distance", error=NonFiniteError):
        frechet_distance(x, x + np.inf)
    with refused("samples", "must be numbers", "<U1", where="frechet_distance"):
        frechet_distance(np.full((4, 2), "a"), x)
