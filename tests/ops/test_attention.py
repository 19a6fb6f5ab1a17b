"""Causal attention against plain loops, against differences; what no query can see; prefixes."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import attention_backward, attention_forward

sizes = st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 3), st.integers(1, 4))


def arrays(r, size, before=0, dtype=np.float64):
    """q, and k and v of a prefix and as many positions."""
    B, T, H, d = size
    shapes = (B, T, H, d), (B, before + T, H, d), (B, before + T, H, d)
    return [r.standard_normal(shape).astype(dtype) for shape in shapes]


@given(seeds, dtypes, sizes, st.integers(0, 3), layouts)
@at_most(40)
def test_it_is_the_oracle(seed, dtype, size, before, layout):
    r = np.random.default_rng(seed)
    q, k, v = (lay_out(a, layout) for a in arrays(r, size, before, dtype))
    given = [a.tobytes() for a in (q, k, v)]
    o, cache = attention_forward(q, k, v)
    assert o.dtype == dtype and {g.dtype for g in attention_backward(o, cache)} == {np.dtype(dtype)}
    oracles.close(o, oracles.attention(q, k, v), size=4)
    assert [a.tobytes() for a in (q, k, v)] == given


@given(seeds, sizes, st.integers(0, 3))
@at_most(30)
def test_gradcheck(seed, size, before):
    r = np.random.default_rng(seed)
    gradcheck(attention_forward, attention_backward, *arrays(r, size, before), rng=r).raise_if_failed()


@given(seeds, st.integers(1, 5), st.integers(0, 3))
@at_most(20)
def test_no_query_sees_a_later_key_and_each_sees_all_others(seed, T, before):
    """∂o_i/∂k_j and ∂o_i/∂v_j: bit for bit 0 for the keys after i, and not 0 for any other."""
    r = np.random.default_rng(seed)
    q, k, v = arrays(r, (1, T, 2, 3), before)
    o, cache = attention_forward(q, k, v)
    for i in range(T):
        do = np.zeros_like(o)
        do[:, i] = r.standard_normal((2, 3))
        dq, dk, dv = attention_backward(do, cache)
        seen = i + before + 1
        assert not dk[:, seen:].any() and not dv[:, seen:].any()
        assert not dq[:, :i].any() and not dq[:, i + 1 :].any()
        assert dv[:, :seen].any(axis=(0, 2, 3)).all()
        assert seen == 1 or dk[:, :seen].any(axis=(0, 2, 3)).all()
        later_k, later_v = k.copy(), v.copy()
        later_k[:, seen:], later_v[:, seen:] = 1e30, -1e30
        np.testing.assert_array_equal(attention_forward(q, later_k, later_v)[0][:, : i + 1], o[:, : i + 1])


@given(seeds, st.integers(1, 6), st.data())
def test_the_last_queries_alone_are_those_of_the_whole(seed, T, data):
    """A chunk after a prefix: its rows are the last ones."""
    r = np.random.default_rng(seed)
    q, k, v = arrays(r, (2, T, 2, 3))
    whole, _ = attention_forward(q, k, v)
    start = data.draw(st.integers(0, T))
    oracles.close(attention_forward(q[:, start:], k, v)[0], whole[:, start:], size=1)


@given(seeds, sizes, st.integers(0, 3))
def test_the_rows_of_dp_p_and_of_do_o_have_the_same_sums(seed, size, before):
    r = np.random.default_rng(seed)
    q, k, v = arrays(r, size, before)
    o, cache = attention_forward(q, k, v)
    P, do = cache[3], r.standard_normal(o.shape)
    dP = np.einsum("bihd,bjhd->bhij", do, v)
    oracles.close((dP * P).sum(-1), np.einsum("bihd,bihd->bhi", do, o), size=10)
    oracles.close(P.sum(-1), np.ones(P.shape[:-1]))


def test_large_scores_do_not_overflow():
    q = np.full((1, 3, 1, 1), 1e4, np.float32)
    k = q * np.array([1, -1, 0.5], np.float32)[:, None, None]
    o, cache = attention_forward(q, k, k)
    np.testing.assert_array_equal(o, q)  # the first key has all the weight
    assert all(np.isfinite(g).all() for g in attention_backward(o, cache))


X = np.zeros((2, 3, 2, 4))


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((X[0], X, X), "q", "must have shape (B, T, H, d)", "shape (3, 2, 4)"),
        ((X, X[:, :2], X[:, :2]), "q", "must have at most 2 positions", "shape (2, 3, 2, 4)"),
        ((X, X, X[:, :2]), "v", "must have shape (2, 3, 2, 4)", "shape (2, 2, 2, 4)"),
        ((X, X.astype("f4"), X), "k", "must be float64", "float32"),
        ((X[..., :0], X[..., :0], X[..., :0]), "q", "heads that are not empty", "shape (2, 3, 2, 0)"),
    ],
)
def test_bad_input_is_refused(args, argument, needed, got):
    with refused(argument, needed, got, where="attention_forward"):
        attention_forward(*args)


def test_a_bad_cotangent_is_refused():
    with refused("do", "must have shape (2, 3, 2, 4)", where="attention_backward"):
        attention_backward(X[:1], attention_forward(X, X, X)[1])


def test_without_queries_keys_and_values_have_no_gradient(rng):
    q, k = np.zeros((2, 0, 3, 4)), rng.standard_normal((2, 5, 3, 4))
    o, cache = attention_forward(q, k, k)
    dq, dk, dv = attention_backward(o, cache)
    assert dq.shape == q.shape and not dk.any() and not dv.any() and dk.shape == dv.shape == k.shape
