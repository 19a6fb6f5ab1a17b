"""A row for each integer; the gradient adds up, in order, for integers that occur more than once."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, lay_out, layouts, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import embedding_backward, embedding_forward

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(seeds, dtypes, shapes, st.integers(1, 5), st.integers(1, 4), layouts)
def test_it_is_the_oracle(seed, dtype, shape, K, D, layout):
    r = np.random.default_rng(seed)
    E, k = lay_out(r.standard_normal((K, D)).astype(dtype), layout), r.integers(0, K, shape)
    y, cache = embedding_forward(E, k)
    assert y.dtype == dtype and y.shape == (*shape, D)
    for at in np.ndindex(*shape):
        np.testing.assert_array_equal(y[at], E[k[at]])
    dy = r.standard_normal(y.shape).astype(dtype)
    if dy.ndim > 1:
        dy = lay_out(dy, layout)
    dE = embedding_backward(dy, cache)
    assert dE.dtype == dtype
    oracles.close(dE, oracles.embedding_gradient(dy.reshape(-1, D), k.reshape(-1), K), size=10)


@given(seeds, shapes, st.integers(1, 5), st.integers(1, 4))
def test_gradcheck(seed, shape, K, D):
    r = np.random.default_rng(seed)
    args = r.standard_normal((K, D)), r.integers(0, K, shape)
    gradcheck(embedding_forward, embedding_backward, *args, rng=r).raise_if_failed()


def test_it_is_a_product_with_one_hot_rows(rng):
    E, k = rng.standard_normal((5, 3)), np.array([[4, 0], [4, 4]])
    y, cache = embedding_forward(E, k)
    onehot = np.eye(5)[k]
    np.testing.assert_array_equal(y, onehot @ E)
    dy = rng.standard_normal(y.shape)
    dE = embedding_backward(dy, cache)
    np.testing.assert_allclose(dE, np.einsum("abk,abd->kd", onehot, dy), rtol=1e-14)
    assert not dE[1:4].any()


@pytest.mark.parametrize(
    ("E", "k", "argument", "needed", "got"),
    [
        (np.zeros(3), [0], "E", "must have shape (K, D)", "shape (3,)"),
        (np.zeros((3, 2)), [0, 3], "k", "must be in [0, 3)", "3 at index 1"),
        (np.zeros((3, 2)), [0.5], "k", "must be integers", "float64"),
    ],
)
def test_bad_input_is_refused(E, k, argument, needed, got):
    with refused(argument, needed, got, where="embedding_forward"):
        embedding_forward(E, k)


def test_a_bad_cotangent_is_refused():
    with refused("dy", "must have shape (2, 3)", "shape (3, 3)", where="embedding_backward"):
        embedding_backward(np.zeros((3, 3)), embedding_forward(np.zeros((4, 3)), [1, 2])[1])
