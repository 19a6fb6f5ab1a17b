"""Lloyd's k-means: its steps, its fixed points, and its counts."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import TAME, quantizer_inputs, seeds

from vqnp import nearest_code
from vqnp._check import NonFiniteError
from vqnp.ops import kmeans
from vqnp.ops.ema import random_rows


@given(quantizer_inputs(kinds=TAME, min_n=1), seeds)
def test_one_pass_is_the_oracles_step(inputs, seed):
    z, E = inputs
    K = len(E)
    mu, n = kmeans(z, K, seed, iterations=1)
    start = random_rows(z, K, np.random.default_rng(seed))
    their_mu, their_n = oracles.lloyd_step(z, start)
    assert mu.dtype == z.dtype and n.dtype == np.int64
    np.testing.assert_array_equal(n, their_n)
    oracles.close(mu[n > 0], their_mu[n > 0], 1.0)
    rows = {row.tobytes() for row in z}
    assert all(row.tobytes() in rows for row in mu[n == 0])  # an empty centre goes to a vector


@given(quantizer_inputs(kinds=TAME, min_n=1), seeds, st.integers(1, 4))
def test_counts_belong_to_the_means(inputs, seed, iterations):
    """Σ n = N and Σ n_j μ_j = Σ z: what makes m = n·μ right."""
    z, E = inputs
    mu, n = kmeans(z, len(E), seed, iterations)
    assert n.sum() == len(z)
    size = np.abs(z.astype(float)).sum() + 1
    oracles.close((n[:, None] * mu).astype(z.dtype).sum(0), z.astype(float).sum(0), size)


@given(quantizer_inputs(kinds=("normal", "duplicates"), dtypes=st.just(np.float64), min_n=1), seeds)
def test_more_passes_are_never_worse(inputs, seed):
    z, E = inputs

    def error(iterations):
        mu, _ = kmeans(z, len(E), seed, iterations)
        return np.square(z - mu[nearest_code(z, mu)]).sum()

    if len(z) >= len(E):  # no duplicates among the start, and for normal vectors no empty centre
        assert error(4) <= error(1) * (1 + 1e-12) + 1e-12


def test_separated_clusters_are_found(rng):
    centres = 100 * np.eye(4)
    z = np.repeat(centres, 25, axis=0) + rng.standard_normal((100, 4))
    best = min((kmeans(z, 4, seed, 20) for seed in range(8)), key=lambda r: r[1].max())
    mu, n = best
    np.testing.assert_array_equal(n, [25] * 4)
    np.testing.assert_allclose(mu[np.argmax(mu, axis=1).argsort()], centres, atol=1)


def test_as_many_codes_as_vectors_is_the_vectors_and_leading_axes_do_not_matter(rng):
    z = rng.standard_normal((3, 4, 2))
    mu, n = kmeans(z, 12, 0)
    np.testing.assert_array_equal(np.sort(mu, axis=0), np.sort(z.reshape(12, 2), axis=0))
    np.testing.assert_array_equal(n, 1)
    np.testing.assert_array_equal(kmeans(z.reshape(12, 2), 5, 3)[0], kmeans(z, 5, 3)[0])


def test_fewer_vectors_than_codes():
    z = np.array([[1.0], [5.0]])
    mu, n = kmeans(z, 7, 0)
    assert set(mu[:, 0]) == {1.0, 5.0} and sorted(n)[-2:] == [1, 1] and n.sum() == 2


Z = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((Z, 0, 0), "num_embeddings", "must be an integer of at least 1", "0"),
        ((Z, 2, 0, 0), "iterations", "must be an integer of at least 1", "0"),
        ((Z[:0], 2, 0), "z", "must hold at least one vector", "shape (0, 3)"),
        ((np.array(1.0), 2, 0), "z", "must hold at least one vector", "shape ()"),
        ((Z.astype(int), 2, 0), "z", "must be float32 or float64", "int64"),
        ((Z.tolist(), 2, 0), "z", "must be a NumPy array of float32 or float64", "list"),
        ((Z, 2, "seed"), "rng", "must be a numpy.random.Generator or an integer", "'seed'"),
    ],
)
def test_bad_input_is_refused(args, argument, needed, got):
    with refused(argument, needed, got, where="kmeans"):
        kmeans(*args)


def test_vectors_that_are_not_finite_are_refused():
    with refused("z", "must be finite", "inf at index (0, 0)", where="kmeans", error=NonFiniteError):
        kmeans(Z + np.inf, 2, 0)
