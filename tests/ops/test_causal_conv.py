"""Causal convolution against plain loops; which pixels see which; nothing is stored of what is not used."""

import math
from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import causal_conv_backward, causal_conv_forward, causal_taps, conv_forward

kernels = st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=2).map(tuple)
spaces = st.lists(st.integers(1, 5), min_size=2, max_size=2).map(tuple)


def arrays(r, kernel, centre, S, dtype=np.float64, B=2, C=2, O=3):
    taps = math.prod(kernel) // 2 + centre
    shapes = (B, *S[: len(kernel)], C), (taps, C, O), (O,)
    return [r.standard_normal(shape).astype(dtype) for shape in shapes]


@given(seeds, dtypes, kernels, st.booleans(), spaces, layouts)
@at_most(30)
def test_it_is_the_oracle(seed, dtype, kernel, centre, S, layout):
    x, W, b = arrays(np.random.default_rng(seed), kernel, centre, S, dtype)
    y, cache = causal_conv_forward(lay_out(x, layout), W, b, kernel, centre)
    assert y.dtype == dtype and {g.dtype for g in causal_conv_backward(y, cache)} == {np.dtype(dtype)}
    oracles.close(y, oracles.causal_conv(x, W, b, kernel, centre), size=30)


@given(seeds, kernels, st.booleans(), spaces)
@at_most(30)
def test_gradcheck(seed, kernel, centre, S):
    r = np.random.default_rng(seed)
    forward = partial(causal_conv_forward, kernel=kernel, centre=centre)
    gradcheck(forward, causal_conv_backward, *arrays(r, kernel, centre, S), rng=r).raise_if_failed()


@given(seeds, kernels, st.booleans(), spaces)
@at_most(30)
def test_it_is_the_whole_kernel_times_the_mask(seed, kernel, centre, S):
    """The usual form; and the weights under the mask, which it has, change nothing."""
    r = np.random.default_rng(seed)
    x, W, b = arrays(r, kernel, centre, S)
    mask = causal_taps(kernel, centre)
    whole = r.standard_normal((*kernel, *W.shape[1:]))
    whole[mask] = W
    masked = whole * mask[..., None, None]
    y, _ = conv_forward(x, masked, b, padding=[n // 2 for n in kernel])
    oracles.close(causal_conv_forward(x, W, b, kernel, centre)[0], y, size=10)


@pytest.mark.parametrize("kernel", [(3,), (5,), (3, 3), (1, 5), (5, 3)])
@pytest.mark.parametrize("centre", [False, True])
def test_a_pixel_sees_none_that_comes_after_it_nor_without_the_centre_itself(kernel, centre, rng):
    """On 5 × 8, so that both axes exchanged would show; and each tap within the image is seen."""
    S = (5, 8)[: len(kernel)]
    x, W, b = arrays(rng, kernel, centre, S, B=1)
    y, cache = causal_conv_forward(x, W, b, kernel, centre)
    number = np.arange(math.prod(S)).reshape(S)
    for i in np.ndindex(*S):
        dy = np.zeros_like(y)
        dy[0][i] = 1
        seen = causal_conv_backward(dy, cache)[0][0].any(axis=-1)
        near = np.ones(S, bool)
        for axis, size in enumerate(kernel):
            close = np.abs(np.arange(S[axis]) - i[axis]) <= size // 2
            near &= close.reshape([-1 if a == axis else 1 for a in range(len(S))])
        np.testing.assert_array_equal(seen, near & (number < number[i] + centre))


def test_the_taps():
    assert causal_taps((3, 3), False).astype(int).tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert causal_taps((3, 3), True).astype(int).tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert causal_taps((5,), False).tolist() == [True, True, False, False, False]


X, W, B = np.zeros((1, 4, 4, 2)), np.zeros((4, 2, 3)), np.zeros(3)


@pytest.mark.parametrize(
    ("args", "where", "argument", "needed", "got"),
    [
        ((X, W, B, (3, 4), False), "causal_taps", "kernel", "one odd length or two", "(3, 4)"),
        ((X, W, B, (3, 3, 3), False), "causal_taps", "kernel", "one odd length or two", "(3, 3, 3)"),
        ((X, W, B, (3, 3), True), "causal_conv_forward", "W", "must have 5 taps", "shape (4, 2, 3)"),
        ((X[0], W, B, (3, 3), False), "causal_conv_forward", "x", "must have 4 axes", "(4, 4, 2)"),
        ((X, W[0], B, (3, 3), False), "causal_conv_forward", "W", "must have 3 axes", "(2, 3)"),
    ],
)
def test_bad_input_is_refused(args, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        causal_conv_forward(*args)
