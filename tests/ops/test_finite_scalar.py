"""Finite scalars: the equations entry by entry, their laws, and the gradient with the rounding frozen."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, lay_out, layouts, seeds

from vqnp import ops
from vqnp._check import NonFiniteError
from vqnp.gradcheck import gradcheck, surrogate_check

level_lists = st.lists(st.integers(2, 9), min_size=1, max_size=4)


def drawn(seed, levels, dtype=np.float64, n=20, scale=2.0):
    return (scale * np.random.default_rng(seed).standard_normal((n, len(levels)))).astype(dtype)


@given(seeds, level_lists, dtypes, layouts, st.integers(0, 20), st.sampled_from([1e-3, 2.0, 30.0]))
def test_it_is_the_oracle(seed, levels, dtype, layout, n, scale):
    """Where the rounding is not a matter of the last bits."""
    z = lay_out(drawn(seed, levels, dtype, n, scale), layout)
    before = z.tobytes()
    z_q, k, cache = ops.finite_scalar_forward(z, levels)
    dz_q = np.random.default_rng(seed).standard_normal(z.shape).astype(dtype)
    dz = ops.finite_scalar_backward(dz_q, cache)
    their_z_q, their_k, slope, margin = oracles.finite_scalar(z, levels)
    clear = margin > (1e-4 if dtype == np.float32 else 1e-12)
    rows = clear.all(axis=1)
    assert z_q.dtype == dz.dtype == dtype and k.dtype == np.int64
    np.testing.assert_array_equal(k[rows], their_k[rows])
    oracles.close(z_q[clear], their_z_q[clear])
    oracles.close(dz, dz_q * slope, 10 * np.abs(dz_q).max(initial=0))
    assert z.tobytes() == before


@given(seeds, level_lists, dtypes)
def test_decode_gives_the_vectors_to_the_bit_and_every_code_is_reached(seed, levels, dtype):
    K = int(np.prod(levels))
    z_q, k, _ = ops.finite_scalar_forward(drawn(seed, levels, dtype), levels)
    assert ops.finite_scalar_decode(k, levels, dtype).tobytes() == z_q.tobytes()
    every = ops.finite_scalar_decode(np.arange(K), levels, dtype)
    assert len(np.unique(every, axis=0)) == K
    half = np.array(levels) // 2
    assert (every.min(axis=0) == -1).all()
    np.testing.assert_allclose(every.max(axis=0), (np.array(levels) - 1 - half) / half, rtol=1e-6)


@given(st.integers(2, 9), dtypes)
def test_a_coordinate_takes_all_its_values_in_order(L, dtype):
    z = np.linspace(-9, 9, 4001, dtype=dtype)[:, None]
    _, k, _ = ops.finite_scalar_forward(z, [L])
    assert (np.diff(k) >= 0).all() and set(k) == set(range(L))


def test_the_shift_of_an_even_number_of_levels_is_the_published_one():
    """tan, which is near the inverse of tanh, so that z = 0 is near the middle of a level."""
    for L in (2, 4, 6, 8):
        h = (L - 1) * 0.999 / 2
        assert 1e-6 < abs(h * np.tanh(np.tan(0.5 / h)) - 0.5) < 0.05
        _, k, _ = ops.finite_scalar_forward(np.zeros((1, 1)), [L])
        assert k[0] == L // 2


def freeze(z0, levels):
    L = np.array(levels, np.float64)
    h, o = (L - 1) * 0.999 / 2, np.where(L % 2 == 1, 0, 0.5)
    bounded = lambda z: h * np.tanh(z + np.tan(o / h)) - o
    rounding = np.round(bounded(z0)) - bounded(z0)
    return lambda z: (bounded(z) + rounding) / (L // 2)


@given(seeds, level_lists)
def test_the_declared_estimator(seed, levels):
    z = drawn(seed, levels, scale=1.0)
    forward = lambda z: ops.finite_scalar_forward(z, levels)
    pair = forward, ops.finite_scalar_backward
    surrogate_check(*pair, lambda z0: freeze(z0, levels), z, rng=seed).raise_if_failed()


def test_the_true_derivative_is_zero(rng):
    z = rng.standard_normal((20, 3))
    forward = lambda z: ops.finite_scalar_forward(z, (5, 4, 3))
    assert not gradcheck(forward, ops.finite_scalar_backward, z, rng=0)


@pytest.mark.parametrize(
    ("levels", "argument", "needed"),
    [
        ((), "levels", "at least one"),
        (5, "levels", "sequence"),
        ((5, 1), "levels[1]", "[2, 1000]"),
        ((5, 2.5), "levels[1]", "integer"),
        ((5, 4, 3), "levels", "must be 2 integers"),
        ((1000,) * 9, "levels", "product of at most"),
    ],
)
def test_wrong_levels(levels, argument, needed):
    with refused(argument, needed, where="finite_scalar_forward"):
        ops.finite_scalar_forward(np.zeros((3, 2)), levels)


def test_wrong_arrays():
    for bad in (np.nan, np.inf):
        with refused("z", "finite", error=NonFiniteError):
            ops.finite_scalar_forward(np.array([[0.0, bad]]), (3, 3))
    with refused("k", "[0, 9)"):
        ops.finite_scalar_decode(np.array([9]), (3, 3))
    _, _, cache = ops.finite_scalar_forward(np.zeros((2, 2)), (3, 3))
    with refused("dz_q", "shape (2, 2)"):
        ops.finite_scalar_backward(np.zeros((2, 3)), cache)
