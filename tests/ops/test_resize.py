"""Upsampling and pixel shuffle against plain loops; both are linear, and backward is the adjoint."""

import math
from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp import ops
from vqnp.gradcheck import gradcheck

OPS = {
    "upsample": (ops.upsample_forward, ops.upsample_backward),
    "pixel_shuffle": (ops.pixel_shuffle_forward, ops.pixel_shuffle_backward),
}
each_op = pytest.mark.parametrize("name", OPS)
sizes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=2)
"""(length, factor) of each axis."""


def image(r, name, B, sizes, C):
    """x, and the factors."""
    S, f = zip(*sizes, strict=True)
    return r.standard_normal((B, *S, C * (math.prod(f) if name == "pixel_shuffle" else 1))), f


@each_op
@given(seed=seeds, dtype=dtypes, B=st.integers(0, 3), sizes=sizes, C=st.integers(1, 3), layout=layouts)
@at_most(40)
def test_it_is_the_oracle_and_backward_its_adjoint(name, seed, dtype, B, sizes, C, layout):
    r = np.random.default_rng(seed)
    x, f = image(r, name, B, sizes, C)
    x = lay_out(x.astype(dtype), layout)
    before = x.tobytes()
    y, cache = OPS[name][0](x, f)
    assert y.dtype == dtype and y.shape == (B, *(n * m for n, m in sizes), C)
    np.testing.assert_array_equal(y, getattr(oracles, name)(x, f))
    dy = r.standard_normal(y.shape).astype(dtype)
    dx = OPS[name][1](lay_out(dy, layout), cache)
    assert dx.shape == x.shape and dx.dtype == dtype and x.tobytes() == before
    inner = [(a.astype(float) * b).sum() for a, b in ((y, dy), (x, dx))]
    oracles.close(np.array(inner[1], dtype), inner[0], 1 + np.linalg.norm(y) * np.linalg.norm(dy))
    if len(set(f)) == 1:
        np.testing.assert_array_equal(OPS[name][0](x, f[0])[0], y)


@each_op
@given(seed=seeds, sizes=sizes)
@at_most(20)
def test_gradcheck(name, seed, sizes):
    r = np.random.default_rng(seed)
    x, f = image(r, name, 2, sizes, 2)
    forward, backward = OPS[name]
    gradcheck(partial(forward, factor=f), backward, x, rng=r).raise_if_failed()


@given(seeds, sizes)
def test_pixel_shuffle_moves_numbers_and_back(seed, sizes):
    x, f = image(np.random.default_rng(seed), "pixel_shuffle", 2, sizes, 3)
    y, cache = ops.pixel_shuffle_forward(x, f)
    np.testing.assert_array_equal(np.sort(y, axis=None), np.sort(x, axis=None))
    np.testing.assert_array_equal(ops.pixel_shuffle_backward(y, cache), x)


@each_op
@pytest.mark.parametrize(
    ("x", "factor", "argument", "needed", "got"),
    [
        (np.zeros((2, 4)), 2, "x", "must have 3 or 4 axes", "shape (2, 4)"),
        (np.zeros((2, 3, 3, 3, 8)), 2, "x", "must have 3 or 4 axes", "shape (2, 3, 3, 3, 8)"),
        (np.zeros((2, 3, 3, 8), int), 2, "x", "must be float32 or float64", "int64"),
        (np.zeros((2, 3, 3, 8)), 0, "factor", "at least 1", "0"),
        (np.zeros((2, 3, 3, 8)), (2,), "factor", "2 of them, one per axis", "(2,)"),
        (np.zeros((2, 3, 3, 8)), (2, 1.5), "factor[1]", "an integer", "1.5"),
    ],
)
def test_bad_input_is_refused(name, x, factor, argument, needed, got):
    with refused(argument, needed, got, where=f"{name}_forward"):
        OPS[name][0](x, factor)


def test_channels_that_do_not_divide_are_refused():
    with refused("x", "must have a last axis that 4 divides", "shape (2, 3, 3, 6)"):
        ops.pixel_shuffle_forward(np.zeros((2, 3, 3, 6)), 2)


@each_op
@pytest.mark.parametrize(
    ("shape", "dtype", "needed"), [((2, 6, 5, 1), "f8", "shape (2, 6, 6, "), ((2, 6, 6), "f4", "be float64")]
)
def test_a_bad_cotangent_is_refused(name, shape, dtype, needed):
    _, cache = OPS[name][0](np.zeros((2, 3, 3, 4)), 2)
    with refused("dy", needed, where=f"{name}_backward"):
        OPS[name][1](np.zeros(shape, dtype), cache)
