"""Temperature, top_k, top_p and the draw itself, against their definitions."""

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, seeds

from vqnp.priors.sampling import Choice, draw, guide, probabilities, streams


def kept(row, choice):
    """The codes that a row of logits may give, by sorting."""
    row = row.astype(float) / choice.temperature
    left = [k for k in range(len(row)) if np.sum(row > row[k]) < (choice.top_k or len(row))]
    p = {k: np.exp(row[k] - row.max()) for k in left}
    total, result, mass = sum(p.values()), set(), 0.0
    for k in sorted(left, key=lambda k: (-row[k], k)):
        if choice.top_p is None or mass < choice.top_p:
            result.add(k)
        mass += p[k] / total
    return result


choices = st.builds(
    Choice,
    st.sampled_from([0.5, 1.0, 2.0]),
    st.none() | st.integers(1, 9),
    st.none() | st.sampled_from([1e-9, 0.301, 0.9, 1.0]),
)


@given(seeds, dtypes, st.integers(1, 7), choices, st.booleans())
def test_probabilities_are_the_softmax_of_what_is_kept(seed, dtype, K, choice, ties):
    r = np.random.default_rng(seed)
    a = (r.integers(0, 3, (5, K)) if ties else 3 * r.standard_normal((5, K))).astype(dtype)
    p = probabilities(a, choice)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1)
    for row, ours in zip(a, p, strict=True):
        codes = kept(row, choice)
        assert set(np.flatnonzero(ours)) == codes and codes
        e = np.exp((row.astype(float) - row.max()) / choice.temperature)
        expected = [e[k] / sum(e[j] for j in codes) if k in codes else 0 for k in range(K)]
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_by_default_it_is_the_softmax(rng):
    a = rng.standard_normal((4, 6))
    np.testing.assert_allclose(probabilities(a), np.exp(a) / np.exp(a).sum(1, keepdims=True), rtol=1e-14)


def test_the_code_that_crosses_top_p_is_kept_and_ties_with_the_kth_are_too():
    a = np.log([[0.5, 0.3, 0.2]])
    assert probabilities(a, Choice(top_p=0.6))[0].round(6).tolist() == [0.625, 0.375, 0]
    assert probabilities(a, Choice(top_p=1e-9))[0].tolist() == [1, 0, 0]
    assert np.count_nonzero(probabilities(np.array([[1.0, 2.0, 1.0, 0.0]]), Choice(top_k=2))) == 3


@given(seeds, st.integers(1, 6))
def test_a_draw_is_the_code_at_u_and_never_of_probability_0(seed, K):
    r = np.random.default_rng(seed)
    p = r.random((50, K)) * (r.random((50, K)) < 0.6)
    p[:, r.integers(K)] += 0.1
    u = np.concatenate([r.random(48), [0.0, np.nextafter(1, 0)]])
    k = draw(p, u)
    assert k.dtype == np.int64 and (p[np.arange(50), k] > 0).all()
    for row, x, code in zip(p, u, k, strict=True):
        assert row[:code].sum() <= x * row.sum() * (1 + 1e-12)
        assert row[: code + 1].sum() >= x * row.sum() * (1 - 1e-12)


def test_the_draws_have_the_probabilities():
    p, n = np.array([0.5, 0.0, 0.3, 0.2]), 40_000
    counts = np.bincount(draw(np.tile(p, (n, 1)), np.random.default_rng(0).random(n)), minlength=4)
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p))).all()


@given(seeds, st.integers(0, 5), st.integers(0, 5))
def test_streams_do_not_depend_on_their_number_nor_on_how_they_are_asked_for(seed, n, more):
    make = lambda: np.random.default_rng(seed)
    whole = streams(make(), n + more, 3)
    assert whole.shape == (n + more, 3)
    np.testing.assert_array_equal(streams(make(), n, 3), whole[:n])
    rng = make()
    np.testing.assert_array_equal(np.concatenate([streams(rng, n, 3), streams(rng, more, 3)]), whole)
    children = np.random.SeedSequence(seed).spawn(n)
    for row, child in zip(whole, children, strict=False):
        np.testing.assert_array_equal(row, np.random.default_rng(child).random(3))


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance(scale, rng):
    cond, null = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(guide(cond, null, scale), (1 - scale) * null + scale * cond, atol=1e-14)


@pytest.mark.parametrize("temperature", [1e-300, 1e-320])
def test_a_temperature_near_0_leaves_the_likeliest(temperature, rng):
    a = rng.standard_normal((5, 6)).astype(np.float32)
    for how in ({}, {"top_k": 2}, {"top_p": 0.5}):
        p = probabilities(a, Choice(temperature, **how))
        np.testing.assert_array_equal(p, np.eye(6)[a.argmax(axis=1)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_logits_are_refused(bad):
    with refused("a", "a finite maximum", str(bad), where="probabilities"):
        probabilities(np.array([[1.0, 2.0], [bad, 0.0]]))
    with refused("a", "a finite maximum", "-inf", where="probabilities"):
        probabilities(np.full((1, 2), -np.inf))
    np.testing.assert_array_equal(probabilities(np.array([[0.0, -np.inf]])), [[1, 0]])
