"""Dropout: the mask is the generator's, is kept, is the same in both dtypes, and averages to 1."""

from functools import partial

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, lay_out, layouts, seeds, shapes

from vqnp.gradcheck import gradcheck
from vqnp.ops import dropout_backward, dropout_forward

rates = st.floats(0.01, 0.99)


@given(seeds, dtypes, shapes, rates, layouts)
def test_each_number_is_0_or_divided_by_1_minus_p(seed, dtype, shape, p, layout):
    r = np.random.default_rng(seed)
    x = lay_out(1 + r.random(shape).astype(dtype), layout)
    given = x.tobytes()
    y, cache = dropout_forward(x, p, seed)
    kept = np.random.default_rng(seed).random(shape, np.float32) >= p
    assert y.dtype == dtype and x.tobytes() == given
    np.testing.assert_allclose(y, np.where(kept, x / (1 - p), 0), rtol=1e-5)
    dy = r.standard_normal(shape).astype(dtype)
    np.testing.assert_allclose(dropout_backward(dy, cache), np.where(kept, dy / (1 - p), 0), rtol=1e-5)


@given(seeds, shapes, rates)
def test_gradcheck(seed, shape, p):
    r = np.random.default_rng(seed)
    forward = partial(dropout_forward, p=p, rng=seed)
    gradcheck(forward, dropout_backward, r.standard_normal(shape), rng=r).raise_if_failed()


@pytest.mark.parametrize(("p", "rng"), [(0.0, np.random.default_rng(1)), (0.5, None)])
def test_without_p_or_generator_it_is_the_identity_and_draws_nothing(p, rng):
    x = np.random.default_rng(0).standard_normal((3, 4))
    before = rng.bit_generator.state if rng else None
    y, cache = dropout_forward(x, p, rng)
    assert y is x and dropout_backward(x, cache) is x
    assert rng is None or rng.bit_generator.state == before


def test_the_mean_is_the_identity_and_each_call_draws_anew():
    rng, p, n = np.random.default_rng(0), 0.3, 100_000
    y, _ = dropout_forward(np.ones(n), p, rng)
    again, _ = dropout_forward(np.ones(n), p, rng)
    assert abs(y.mean() - 1) < 5 * np.sqrt(p / (1 - p) / n) and (y != again).any()


@pytest.mark.parametrize(
    ("args", "argument", "needed"),
    [
        ((np.zeros(3), 1.0, 0), "p", "must be in [0, 1)"),
        ((np.zeros(3), -0.1, 0), "p", "must be in [0, 1)"),
        ((np.zeros(3, int), 0.1, 0), "x", "must be float32 or float64"),
        ((np.zeros(3), 0.1, "seed"), "rng", "must be a numpy.random.Generator"),
    ],
)
def test_bad_input_is_refused(args, argument, needed):
    with refused(argument, needed, where="dropout_forward"):
        dropout_forward(*args)


def test_a_bad_cotangent_is_refused():
    for p in (0.0, 0.5):
        with refused("dy", "must have shape (3,)", where="dropout_backward"):
            dropout_backward(np.zeros(2), dropout_forward(np.zeros(3), p, 0)[1])
