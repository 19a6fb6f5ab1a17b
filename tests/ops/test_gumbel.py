"""The Gumbel-softmax: its equation, its draws, its two limits, both its gradients; KL from uniform codes."""

import math

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, lay_out, layouts, seeds

from vqnp import ops
from vqnp.gradcheck import gradcheck, surrogate_check
from vqnp.ops.loss import REDUCTIONS

sizes = st.tuples(st.integers(0, 5), st.integers(1, 6))


@given(seeds, sizes, st.floats(0.05, 5), st.sampled_from("fd"), layouts)
def test_it_is_the_oracle(seed, size, tau, dtype, layout):
    r = np.random.default_rng(seed)
    a, g = (lay_out(x.astype(dtype), layout) for x in r.standard_normal((2, *size)))
    before = a.tobytes(), g.tobytes()
    y, cache = ops.gumbel_softmax_forward(a, g, tau)
    oracles.close(y, oracles.gumbel_softmax(a, g, tau), 40 / tau)  # rounding of a + g, over τ
    da, dg = ops.gumbel_softmax_backward(np.ones(size, dtype), cache)
    np.testing.assert_allclose(da, 0, atol=1e-5 / tau)  # Σy is 1 whatever a is
    np.testing.assert_array_equal(da, dg)
    assert y.dtype == da.dtype == a.dtype and (a.tobytes(), g.tobytes()) == before


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), st.floats(0.2, 5))
@at_most(40)
def test_the_soft_gradient_is_the_derivative(seed, shape, tau):
    r = np.random.default_rng(seed)
    a, g = r.standard_normal((2, *shape))
    forward = lambda a, g: ops.gumbel_softmax_forward(a, g, tau)
    gradcheck(forward, ops.gumbel_softmax_backward, a, g, rng=r).raise_if_failed()


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.floats(0.2, 5))
@at_most(30)
def test_the_hard_gradient_is_the_soft_ones(seed, N, K, tau):
    """y_soft + sg(y_hard − y_soft)."""
    r = np.random.default_rng(seed)
    a, g = r.standard_normal((2, N, K))
    forward = lambda a, g: ops.gumbel_softmax_forward(a, g, tau, hard=True)

    def freeze(a, g):
        rest = np.eye(K)[(a + g).argmax(-1)] - oracles.gumbel_softmax(a, g, tau)

        def surrogate(a, g):
            e = np.exp((a + g) / tau)
            return e / e.sum(axis=-1, keepdims=True) + rest

        return surrogate

    surrogate_check(forward, ops.gumbel_softmax_backward, freeze, a, g, rng=r).raise_if_failed()


@given(seeds, st.integers(1, 5), st.integers(1, 6))
def test_the_limits_are_the_draw_and_the_uniform_distribution(seed, N, K):
    r = np.random.default_rng(seed)
    a, g = r.standard_normal((2, N, K))
    hard, _ = ops.gumbel_softmax_forward(a, g, 1.0, hard=True)
    np.testing.assert_array_equal(hard, np.eye(K)[(a + g).argmax(-1)])
    np.testing.assert_allclose(ops.gumbel_softmax_forward(a, g, 1e-300)[0], hard)
    np.testing.assert_allclose(ops.gumbel_softmax_forward(a, g, 1e9)[0], 1 / K)


def test_the_draws_have_the_probabilities_of_the_logits():
    """And one draw's soft values do not: their mean is nearer to uniform at high τ."""
    n, a = 40_000, np.log([0.5, 0.3, 0.15, 0.05])
    logits = np.broadcast_to(a, (n, 4)).copy()
    g = ops.gumbel_noise((n, 4), np.random.default_rng(0))
    y, _ = ops.gumbel_softmax_forward(logits, g, 1.0, hard=True)
    p = np.exp(a)
    assert (np.abs(y.mean(0) - p) < 4 * np.sqrt(p * (1 - p) / n)).all()
    soft = ops.gumbel_softmax_forward(logits, g, 5.0)[0].mean(0)
    assert soft[0] < 0.4 and soft[3] > 0.15


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_noise_has_the_mean_and_the_variance_of_gumbel(dtype):
    g = ops.gumbel_noise((200_000,), np.random.default_rng(0), dtype)
    assert g.dtype == dtype and np.isfinite(g).all()
    sd = math.pi / math.sqrt(6)
    assert abs(g.mean() - 0.5772156649) < 4 * sd / math.sqrt(g.size)
    assert abs(g.std() - sd) < 0.02
    assert abs((g < 0).mean() - math.exp(-1)) < 4 * math.sqrt(0.25 / g.size)  # P(g < 0) = exp(−exp(0))


def test_the_noise_survives_a_draw_of_0():
    class Zeros:
        def standard_exponential(self, shape, dtype):
            return np.zeros(shape, dtype)

    assert np.isfinite(ops.gumbel_noise((3,), Zeros(), "float32")).all()


# KL.


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seeds, sizes, st.floats(0, 50), st.sampled_from("fd"))
@at_most(40)
def test_the_kl_is_the_oracle(reduction, seed, size, scale, dtype):
    a = (scale * np.random.default_rng(seed).standard_normal(size)).astype(dtype)
    L, _ = ops.categorical_kl_forward(a, reduction)
    oracles.close(L, oracles.categorical_kl(a, reduction), 200 * max(size[0], 1))
    assert L.shape == () and L.dtype == a.dtype


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seeds, st.integers(1, 5), st.integers(1, 6))
@at_most(20)
def test_the_kl_has_its_gradient(reduction, seed, N, K):
    r = np.random.default_rng(seed)
    a = r.standard_normal((N, K))
    forward = lambda a: ops.categorical_kl_forward(a, reduction)
    backward = lambda dL, cache: (ops.categorical_kl_backward(dL, cache),)
    gradcheck(forward, backward, a, rng=r).raise_if_failed()


def test_the_kl_is_0_for_equal_logits_and_log_k_for_a_certain_code():
    assert ops.categorical_kl_forward(np.full((3, 8), 7.0))[0] == pytest.approx(0, abs=1e-14)
    certain = np.zeros((3, 8))
    certain[:, 2] = 1e4
    L, cache = ops.categorical_kl_forward(certain)
    assert L == pytest.approx(math.log(8)) and not ops.categorical_kl_backward(1.0, cache).any()


A = np.zeros((2, 3))


def test_bad_input_is_refused():
    with refused("tau", "must be in (0, inf)", "0.0", where="gumbel_softmax_forward"):
        ops.gumbel_softmax_forward(A, A, 0)
    with refused("g", "must have shape (2, 3)", "shape (2, 2)", where="gumbel_softmax_forward"):
        ops.gumbel_softmax_forward(A, A[:, :2])
    with refused("a", "must have at least one code", "shape (2, 0)", where="gumbel_softmax_forward"):
        ops.gumbel_softmax_forward(A[:, :0], A[:, :0])
    with refused("a", "must have at least one code", where="categorical_kl_forward"):
        ops.categorical_kl_forward(A[:, :0])
    with refused("dy", "must have shape (2, 3)", where="gumbel_softmax_backward"):
        ops.gumbel_softmax_backward(A[:, :2], ops.gumbel_softmax_forward(A, A)[1])
