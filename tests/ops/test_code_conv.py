"""A convolution of codes: the loops, the convolution of one-hot codes, its gradient, a part of it."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import code_conv_backward, code_conv_forward, conv_forward
from vqnp.ops.code_conv import code_conv_part


@st.composite
def cases(draw):
    """k, W, b, offsets: grids of one axis or two, taps within the grid and outside."""
    axes, T, K, O, B = (draw(st.integers(low, 3)) for low in (1, 1, 1, 1, 0))
    axes = min(axes, 2)
    S = tuple(draw(st.integers(1, 5)) for _ in range(axes))
    offset = st.tuples(*[st.integers(-6, 6)] * axes)
    offsets = draw(st.lists(offset, min_size=T, max_size=T))
    r = np.random.default_rng(draw(seeds))
    dtype = draw(dtypes)
    k = r.integers(0, K, (B, *S))
    return k, r.standard_normal((T, K, O)).astype(dtype), r.standard_normal(O).astype(dtype), offsets


@given(cases())
@at_most(40)
def test_it_is_the_oracle(case):
    k, W, b, offsets = case
    y, cache = code_conv_forward(k, W, b, offsets)
    assert y.dtype == W.dtype and {g.dtype for g in code_conv_backward(y, cache)} == {W.dtype}
    oracles.close(y, oracles.code_conv(k, W, b, offsets), size=10)


@given(cases())
@at_most(40)
def test_gradcheck(case):
    k, W, b, offsets = case
    args = k, W.astype(np.float64), b.astype(np.float64)
    forward = lambda k, W, b: code_conv_forward(k, W, b, offsets)
    if len(k):
        gradcheck(forward, code_conv_backward, *args, rng=0).raise_if_failed()


@given(cases(), seeds)
@at_most(40)
def test_a_part_has_the_same_bits(case, seed):
    k, W, b, offsets = case
    y, _ = code_conv_forward(k, W, b, offsets)
    r = np.random.default_rng(seed)
    ends = [np.sort(r.integers(0, n + 1, 2)) for n in k.shape[1:]]
    start, stop = (tuple(int(end[i]) for end in ends) for i in range(2))
    part = code_conv_part(k, W, b, offsets, start, stop)
    inside = (slice(None), *(slice(*end) for end in ends))
    np.testing.assert_array_equal(part, y[inside])


def test_it_is_the_convolution_of_one_hot_codes(rng):
    k, W, b = rng.integers(0, 6, (2, 4, 5)), rng.standard_normal((9, 6, 3)), rng.standard_normal(3)
    offsets = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    y, _ = conv_forward(np.eye(6)[k], W.reshape(3, 3, 6, 3), b, padding=1)
    oracles.close(code_conv_forward(k, W, b, offsets)[0], y, size=10)


K, W, B = np.zeros((2, 3), int), np.zeros((2, 4, 5)), np.zeros(5)


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((K + 4, W, B, [(0,), (1,)]), "k", "must be in [0, 4)", "4 at index (0, 0)"),
        ((K[0], W, B, [(0,), (1,)]), "k", "must have shape (B, *S)", "shape (3,)"),
        ((K, W[0], B, [(0,), (1,)]), "W", "must have 3 axes", "shape (4, 5)"),
        ((K, W, B[:4], [(0,), (1,)]), "b", "must have shape (5,)", "shape (4,)"),
        ((K, W, B, [(0,)]), "offsets", "must be 2, one for each table", "1"),
        ((K, W, B, [(0,), (1, 2)]), "offsets[1]", "1 integers, one per axis", "(1, 2)"),
        ((K, W, B, [(0,), (0.5,)]), "offsets[1]", "must be an integer", "0.5"),
    ],
)
def test_bad_input_is_refused(args, argument, needed, got):
    with refused(argument, needed, got, where="code_conv_forward"):
        code_conv_forward(*args)


def test_a_bad_cotangent_is_refused():
    with refused("dy", "must have shape (2, 3, 5)", "shape (2, 3, 4)", where="code_conv_backward"):
        code_conv_backward(np.zeros((2, 3, 4)), code_conv_forward(K, W, B, [(0,), (1,)])[1])
