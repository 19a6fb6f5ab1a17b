"""µ-law and its inverse against the equation; bytes and back."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import ops
from vqnp.gradcheck import gradcheck

PAIRS = {
    "mu_law": (ops.mu_law_forward, ops.mu_law_backward),
    "mu_law_inverse": (ops.mu_law_inverse_forward, ops.mu_law_inverse_backward),
}


@pytest.mark.parametrize("name", PAIRS)
@given(seeds, st.sampled_from("fd"), st.lists(st.integers(0, 4), max_size=3), st.sampled_from([0.5, 255.0]))
@at_most(25)
def test_it_is_the_oracle_and_has_its_gradient(name, seed, dtype, shape, mu):
    r = np.random.default_rng(seed)
    x = np.asarray(r.uniform(-1, 1, shape), dtype)
    forward, backward = PAIRS[name]
    y, cache = forward(x, mu)
    assert y.dtype == backward(np.ones_like(x), cache).dtype == x.dtype
    oracles.close(y, getattr(oracles, name)(x, mu), 1)
    if x.size:
        x = np.where(np.abs(x) < 0.01, 0.5, x).astype(np.float64)  # the second derivative jumps at 0
        gradcheck(lambda x: forward(x, mu), backward, x, rng=r).raise_if_failed()


@given(seeds)
@settings(max_examples=10)
def test_the_inverse_undoes_it(seed):
    x = np.random.default_rng(seed).uniform(-1, 1, 20)
    y, _ = ops.mu_law_forward(x)
    np.testing.assert_allclose(ops.mu_law_inverse_forward(y)[0], x, atol=1e-15)
    assert ops.mu_law_backward(np.ones(1), ops.mu_law_forward(np.zeros(1))[1])[0] == pytest.approx(
        255 / np.log(256)
    )


def test_every_byte_is_that_of_its_sample():
    k = np.arange(1, 256).astype(np.uint8)
    x = ops.mu_law_decode(k, np.float64)
    assert np.array_equal(ops.mu_law_encode(x), k) and np.array_equal(x, -x[::-1])
    assert x[0] == pytest.approx(-1) and x[127] == 0 and x[-1] == pytest.approx(1) and (np.diff(x) > 0).all()
    s = np.linspace(-1, 1, 9001)
    error = np.abs(ops.mu_law_decode(ops.mu_law_encode(s), np.float64) - s)
    assert (error <= 0.023 * np.abs(s) + 1e-4).all()  # half a step of y, times the slope of the inverse


def test_bad_input_is_refused():
    with refused("x", "must be in [-1, 1]", "1.5", where="mu_law_encode"):
        ops.mu_law_encode(np.array([0.0, 1.5]))
    with refused("mu", "must be in (0, inf)", "0", where="mu_law_forward"):
        ops.mu_law_forward(np.zeros(2), 0)
    with refused("x", "must be float32 or float64", "int64", where="mu_law_forward"):
        ops.mu_law_forward(np.zeros(2, int))
    with refused("dy", "must have shape (2,)", where="mu_law_backward"):
        ops.mu_law_backward(np.zeros(3), ops.mu_law_forward(np.zeros(2))[1])
