"""What a latent says: against plain loops, and where the answer is known."""

import math

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, seeds

from vqnp._check import NonFiniteError
from vqnp.metrics import active_units, kl_per_unit, mutual_information, posterior


def posteriors(r, n, D, dtype=np.float64):
    return r.standard_normal((n, D)).astype(dtype), r.uniform(-3, 1, (n, D)).astype(dtype)


@given(seed=seeds, n=st.integers(1, 9), D=st.integers(1, 5), dtype=dtypes)
@at_most(30)
def test_kl_per_unit_is_the_oracles_a_unit_at_a_time(seed, n, D, dtype):
    mu, logvar = posteriors(np.random.default_rng(seed), n, D, dtype)
    theirs = [oracles.gaussian_kl(mu[:, d : d + 1], logvar[:, d : d + 1], "mean")[0] for d in range(D)]
    oracles.close(kl_per_unit(mu, logvar), np.array(theirs), 1.0)


def test_active_units_by_the_variance_of_their_means():
    """Just above and just below the threshold; a constant is not active, however far from 0."""
    sign = np.array([1.0, -1.0] * 10)[:, None]
    mu = sign * np.sqrt([[0.0101, 0.0099, 0.0, 4.0]]) + [[0, 7, 7, 7]]
    assert active_units(mu).tolist() == [True, False, False, True]
    assert active_units(mu, 0.0).tolist() == [True, True, False, True]


@given(seed=seeds, n=st.integers(1, 7), D=st.integers(1, 4), rows=st.integers(1, 8))
@at_most(30)
def test_mutual_information_against_plain_loops(seed, n, D, rows):
    """Whatever the number of draws in memory."""
    r = np.random.default_rng(seed)
    (mu, logvar), eps = posteriors(r, n, D), r.standard_normal((n, D))
    gained = []
    for i in range(n):
        z = [mu[i, d] + math.exp(logvar[i, d] / 2) * eps[i, d] for d in range(D)]
        q = [
            math.prod(oracles.normal_pdf((z[d] - mu[j, d]) / math.exp(logvar[j, d] / 2)) / math.exp(logvar[j, d] / 2)  # noqa: E501
                      for d in range(D))
            for j in range(n)
        ]  # fmt: skip
        gained.append(math.log(q[i] / (math.fsum(q) / n)))
    before, posterior.ROWS = posterior.ROWS, rows
    try:
        found = mutual_information(mu, logvar, eps)
    finally:
        posterior.ROWS = before
    assert found.information == pytest.approx(math.fsum(gained) / n, rel=1e-9, abs=1e-11)
    assert found.kl == pytest.approx(oracles.gaussian_kl(mu, logvar, "mean_of_sums")[0], rel=1e-12)
    assert found.kl == pytest.approx(found.information + found.marginal_kl, rel=1e-12)
    assert found.limit == math.log(n) and found.information <= found.limit


def test_a_collapsed_latent_says_nothing(rng):
    found = mutual_information(np.zeros((300, 4)), np.zeros((300, 4)), rng.standard_normal((300, 4)))
    assert found.information == pytest.approx(0, abs=1e-12) and found.kl == 0


def test_posteriors_far_apart_say_which_image_it_is(rng):
    """log n, and no more, though the KL is far above."""
    mu = 1e3 * rng.standard_normal((300, 2))
    found = mutual_information(mu, np.full((300, 2), -8.0), rng.standard_normal((300, 2)))
    assert found.information == pytest.approx(math.log(300), abs=1e-9) and found.kl > 1e5


@pytest.mark.parametrize("logvar", [-5.0, -30.0, -50.0, -1000.0, 50.0])
def test_images_that_are_alike_are_not_told_apart_however_narrow_the_posterior(logvar, rng):
    """Two groups of equal posteriors: log 2 where they do not overlap, and next to 0 where they do.

    Multiplied out, (z − μ)² exp(−ℓ) loses such a distance: at ℓ = −50 it said I = −250 000 nats.
    """
    mu = np.repeat([[1.0, 1.0], [-1.0, 3.0]], 25, axis=0)
    found = mutual_information(mu, np.full((50, 2), logvar), rng.standard_normal((50, 2)))
    assert found.information == pytest.approx(math.log(2) if logvar < 0 else 0, abs=1e-6)
    same = mutual_information(mu[:25], np.full((25, 2), logvar), rng.standard_normal((25, 2)))
    assert same.information == pytest.approx(0, abs=1e-6) and same.error < 1e-6


def test_densities_one_by_one_are_those_of_the_products(rng, monkeypatch):
    (mu, logvar), eps = posteriors(rng, 40, 3), rng.standard_normal((40, 3))
    products = mutual_information(mu, logvar, eps)
    monkeypatch.setattr(posterior, "ROUNDING", 0.0)
    monkeypatch.setattr(posterior, "ROWS", 7)
    assert mutual_information(mu, logvar, eps) == pytest.approx(products, rel=1e-12)


def test_a_gaussian_channel_has_its_known_information(rng):
    """μ ~ N(0, 1 − v), variance v: z ~ N(0, 1), the prior, and I = −½ log v for each unit.

    So kl has the mean I too, marginal_kl about 0; the estimate from n images is a lower bound.
    """
    n, v = 3000, np.array([0.1, 0.5, 1.0])
    mu = rng.standard_normal((n, 3)) * np.sqrt(1 - v)
    found = mutual_information(mu, np.tile(np.log(v), (n, 1)), rng.standard_normal((n, 3)))
    true = -np.log(v).sum() / 2
    assert abs(found.information - true) < 4 * found.error and found.error < 0.03
    assert found.kl == pytest.approx(true, rel=0.05) and abs(found.marginal_kl) < 0.1


A = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: kl_per_unit(A[:0], A[:0]), "kl_per_unit", "mu", "at least one row", "shape (0, 3)"),
        (lambda: kl_per_unit(A, A[:, :2]), "kl_per_unit", "logvar", "shape (2, 3)", "shape (2, 2)"),
        (lambda: active_units(A[0]), "active_units", "mu", "2 axes", "shape (3,)"),
        (lambda: active_units(A, -1), "active_units", "threshold", "[0, inf)", "-1.0"),
        (lambda: mutual_information(A[0], A, A), "mutual_information", "mu", "2 axes", "shape (3,)"),
        (lambda: mutual_information(A, A, A[:1]), "mutual_information", "eps", "(2, 3)", "shape (1, 3)"),
    ],
)
def test_mistakes(call, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        call()


@pytest.mark.parametrize(
    ("call", "argument", "got"),
    [
        (lambda: active_units(A + np.nan), "mu", "nan at index (0, 0)"),
        (lambda: mutual_information(A, A - np.inf, A), "logvar", "-inf at index (0, 0)"),
        (lambda: mutual_information(A, A, A + np.nan), "eps", "nan at index (0, 0)"),
    ],
)
def test_numbers_that_are_not_finite(call, argument, got):
    with refused(argument, "must be finite", got, error=NonFiniteError):
        call()
