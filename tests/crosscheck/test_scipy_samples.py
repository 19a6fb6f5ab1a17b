"""Measures of samples against SciPy and scikit-learn, which compute them in other ways."""

import numpy as np
import pytest

from vqnp.metrics import (
    density_coverage, energy_distance, frechet_distance, grey_level_nats, precision_recall,
)

linalg = pytest.importorskip("scipy.linalg", reason="not installed: SciPy (the extra bench)")
cdist = pytest.importorskip("scipy.spatial.distance").cdist
logistic = pytest.importorskip("scipy.stats").logistic
neighbors = pytest.importorskip("sklearn.neighbors", reason="not installed: scikit-learn (the extra bench)")


def sets(rng, d, n=200, other=150):
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)), 1 + rng.standard_normal((other, d))


@pytest.mark.parametrize("d", [1, 3, 16])
def test_frechet_distance_by_the_root_of_a_matrix(d, rng):
    x, y = sets(rng, d)
    A, B = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (x, y))
    step = x.mean(axis=0) - y.mean(axis=0)
    true = step @ step + np.trace(A + B - 2 * np.real(linalg.sqrtm(A @ B)))
    assert frechet_distance(x, y) == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_balls_by_nearest_neighbours(k, rng):
    x, y = sets(rng, 4)

    def radii(points):
        found, _ = neighbors.NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)
        return found[:, k]

    d, r_x, r_y = cdist(x, y), radii(x), radii(y)
    near = d <= r_y
    assert precision_recall(x, y, k) == (near.any(axis=1).mean(), (d <= r_x[:, None]).any(axis=0).mean())
    assert density_coverage(x, y, k) == (near.sum() / (k * len(x)), near.any(axis=0).mean())


def test_energy_distance_by_all_distances(rng):
    x, y = rng.random((60, 5)), rng.random((80, 5)) ** 2
    within = [cdist(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y)]
    true = 2 * cdist(x, y).mean() - sum(within)
    assert energy_distance(x, y).distance == pytest.approx(true, rel=1e-9)


def test_grey_levels_by_the_distribution_function(rng):
    x, v, s = rng.random((20, 6)), rng.integers(1, 255, (20, 6)), 12.0
    p = logistic.cdf(v + 0.5, 255 * x, s) - logistic.cdf(v - 0.5, 255 * x, s)
    assert grey_level_nats(x, v, s) == pytest.approx(-np.log(p).sum(axis=1), rel=1e-6)
