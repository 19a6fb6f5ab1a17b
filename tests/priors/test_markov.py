"""Codes as a Markov chain: its lengths are its equation, its draws have its probabilities."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import assume, given
from strategies import labelled_codes, seeds

from vqnp.metrics import code_information
from vqnp.priors import Markov, code_length


@given(labelled_codes())
def test_code_length_is_at_least_the_entropy_and_a_sum_of_logarithms(case):
    k, c, K = case
    assume(len(k) > 1)
    half = len(k) // 2
    true = 0.0
    for row in k[half:]:
        for m, j in enumerate(row):
            seen = sum(1 for other in k[:half] if other[m] == j)
            true -= math.log2((seen + 0.5) / (half + K / 2)) / len(k[half:])
    assert code_length(k[half:], k[:half], K) == pytest.approx(true, rel=1e-12, abs=1e-12)
    assert code_length(k, k, K) >= code_information(k, K).upper - 1e-9


@given(labelled_codes(), st.sampled_from([0, 1]), st.sampled_from([None, 0.5, 30]))
def test_the_chain_is_its_equation(case, order, weight):
    k, _, K = case
    assume(len(k) > 1)
    seen, new = k[: len(k) // 2], k[len(k) // 2 :]
    chain = Markov(seen, K, order, weight)
    true = oracles.chain_bits(seen.tolist(), new.tolist(), K, order, K / 2 if weight is None else weight)
    assert chain.code_length(new) == pytest.approx(true, rel=1e-12, abs=1e-12)


@given(labelled_codes(), seeds)
def test_a_chain_with_a_heavy_prior_is_one_of_order_0(case, seed):
    k, _, K = case
    new = np.random.default_rng(seed).integers(K, size=(5, k.shape[1]))
    length = code_length(new, k, K)
    assert Markov(k, K, weight=1e12).code_length(new) == pytest.approx(length, rel=1e-9, abs=1e-9)


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 1]), seeds)
def test_the_chains_probabilities_sum_to_one(K, M, order, seed):
    chain = Markov(np.random.default_rng(seed).integers(K, size=(7, M)), K, order)
    every = np.stack(np.meshgrid(*[range(K)] * M, indexing="ij"), axis=-1).reshape(-1, M)
    assert sum(2 ** -chain.code_length(row[None]) for row in every) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("order", [0, 1])
def test_draws_from_a_chain_have_its_probabilities(order, rng):
    chain = Markov(rng.choice(3, (9, 3), p=[0.6, 0.4, 0]), 3, order)
    k = chain.sample(20_000, 5)
    rows, counts = np.unique(k, axis=0, return_counts=True)
    assert len(rows) == 27, "also a code that was never seen comes"
    p = np.array([2 ** -chain.code_length(row[None]) for row in rows])
    assert (np.abs(counts / len(k) - p) < 5 * np.sqrt(p / len(k))).all()
    assert np.array_equal(chain.sample(20_000, np.random.default_rng(5)), k)
    assert chain.sample(0, 0).shape == (0, 3)


def test_nll_is_of_each_code_in_the_grids_shape(rng):
    k = rng.integers(3, size=(9, 2, 2))
    chain = Markov(k, 3)
    nats = chain.nll(k[:4])
    assert nats.shape == (4, 2, 2) and chain.latent_shape == (2, 2) and chain.num_latents == 4
    bits = [chain.code_length(row[None]) for row in k[:4]]
    np.testing.assert_allclose(nats.sum(axis=(1, 2)) / math.log(2), bits, rtol=1e-14)
    assert chain.sample(3, 0).shape == (3, 2, 2)


def test_a_chains_sample_does_not_depend_on_their_number(rng):
    chain = Markov(rng.integers(3, size=(9, 4)), 3)
    many = chain.sample(130, 7)
    for n in (1, 5, 129):
        np.testing.assert_array_equal(chain.sample(n, 7), many[:n])
    assert (chain.sample(130, 8) != many).any()


def test_a_chain_knows_a_copy(rng):
    first = rng.integers(4, size=(4000, 1))
    k = np.concatenate([first, first], axis=1)
    chain = Markov(k, 4, weight=1e-3)
    assert chain.code_length(k) == pytest.approx(2, abs=0.01) and code_length(k, k, 4) > 3.99
    assert (chain.sample(1000, 0)[:, 0] == chain.sample(1000, 0)[:, 1]).all()


# --- what is refused ---

CHAIN = Markov([[0]], 2)


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: code_length([[0, 1]], [[0, 2]], 2), "code_length", "fitted_to", "[0, 2)", "2 at index"),
        (lambda: code_length([[0, 1]], [[0]], 2), "code_length", "fitted_to", "2 positions, as codes", "1"),
        (lambda: code_length([[2]], [[0]], 2), "code_length", "codes", "[0, 2)", "2 at index (0, 0)"),
        (lambda: Markov([0, 1], 2), "Markov", "codes", "shape (n, *latent_shape), not empty", "shape (2,)"),
        (lambda: Markov([[0]], 0), "Markov", "num_embeddings", "at least 1", "0"),
        (lambda: Markov([[0]], 2, 2), "Markov", "order", "[0, 1]", "2"),
        (lambda: Markov([[0]], 2, weight=0), "Markov", "weight", "(0, inf)", "0.0"),
        (lambda: CHAIN.sample(1, -1), "Markov.sample", "rng", "an integer of at least 0", "-1"),
        (lambda: CHAIN.sample(-1, 0), "Markov.sample", "n", "at least 0", "-1"),
        (lambda: CHAIN.sample(1, 0, 2), "Markov.sample", "condition", "must be None", "2"),
        (lambda: CHAIN.sample(1, 0, guidance=2), "Markov.sample", "guidance", "must be 1", "2"),
        (lambda: CHAIN.nll([[0]], 1), "Markov.nll", "condition", "must be None", "1"),
        (lambda: CHAIN.nll(0), "Markov.nll", "codes", "shape (n', *latent_shape)", "shape ()"),
        (lambda: CHAIN.nll([[0, 1]]), "Markov.nll", "codes", "must have 1 position", "2"),
        (lambda: CHAIN.code_length([[0, 1]]), "Markov.code_length", "codes", "must have 1 position", "2"),
        (lambda: CHAIN.code_length([[2]]), "Markov.code_length", "codes", "[0, 2)", "2 at index (0, 0)"),
    ],
)
def test_mistakes(call, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        call()


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_no_grids_have_no_nats(shape, rng):
    chain = Markov(rng.integers(0, 2, (5, *shape)), 2)
    assert chain.nll(np.zeros((0, *shape), int)).shape == (0, *shape) == chain.sample(0, 0).shape
