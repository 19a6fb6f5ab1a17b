"""The logit-Laplace density: its equation, its mass, its gradient."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import ops
from vqnp.gradcheck import gradcheck
from vqnp.ops.logit_laplace import logit_laplace_median, squeeze, unsqueeze
from vqnp.ops.loss import REDUCTIONS


def draw(seed, shape, dtype=np.float64):
    r = np.random.default_rng(seed)
    x = r.uniform(0.02, 0.98, shape)
    return *(a.astype(dtype) for a in (r.standard_normal(shape), r.standard_normal(shape), x)), r


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seeds, st.tuples(st.integers(0, 5), st.integers(1, 5)), st.sampled_from("fd"))
@at_most(40)
def test_it_is_the_oracle(reduction, seed, shape, dtype):
    mu, logb, x, _ = draw(seed, shape, dtype)
    L, cache = ops.logit_laplace_nll_forward(mu, logb, x, reduction)
    oracles.close(L, oracles.logit_laplace_nll(mu, logb, x, reduction), 500 * x.size)
    assert L.shape == () and {a.dtype for a in (L, *ops.logit_laplace_nll_backward(1.0, cache))} == {x.dtype}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seeds, st.tuples(st.integers(1, 5), st.integers(1, 5)))
@at_most(20)
def test_it_has_its_gradient(reduction, seed, shape):
    mu, logb, x, r = draw(seed, shape)
    logit = np.log(x / (1 - x))
    mu = np.where(np.abs(logit - mu) < 0.01, mu + 0.1, mu)  # away from the kink at μ = logit x
    forward = lambda *arrays: ops.logit_laplace_nll_forward(*arrays, reduction)
    gradcheck(forward, ops.logit_laplace_nll_backward, mu, logb, x, rng=r).raise_if_failed()


@pytest.mark.parametrize(("mu", "b"), [(0.0, 1.0), (1.5, 0.3), (-2.0, 0.8)])
def test_it_is_a_density_with_median_sigma_of_mu(mu, b):
    n = 200_000
    x = (np.arange(n) + 0.5) / n  # midpoints
    full = lambda v: np.full(n, v)
    terms = [ops.logit_laplace_nll_forward(full(mu)[:, None], full(np.log(b))[:, None], x[:, None], "sum")[0]]
    r = np.abs(np.log(x / (1 - x)) - mu) / b
    density = np.exp(-r) / (2 * b * x * (1 - x))
    assert terms[0] == pytest.approx(-np.log(density).sum(), rel=1e-12)
    assert density.mean() == pytest.approx(1, abs=2e-3)
    median = 1 / (1 + np.exp(-mu))
    assert density[x < median].sum() / n == pytest.approx(0.5, abs=2e-3)


def test_squeeze_and_back():
    x = np.linspace(0, 1, 11)
    assert squeeze(x)[[0, -1]].tolist() == [0.1, 0.9]
    np.testing.assert_allclose(unsqueeze(squeeze(x)), x, atol=1e-15)
    assert unsqueeze(np.array([0.0, 1.0])).tolist() == [0, 1]
    s = squeeze(x)
    np.testing.assert_allclose(logit_laplace_median(np.log(s / (1 - s))), x, atol=1e-14)
    assert squeeze(x.astype("f")).dtype == unsqueeze(x.astype("f")).dtype == np.float32


A = np.full((2, 3), 0.5)


def test_bad_input_is_refused():
    where = "logit_laplace_nll_forward"
    for bad in (0.0, 1.0, -0.1, np.nan):
        x = A.copy()
        x[1, 2] = bad
        with refused("x", "must be in (0, 1)", str(bad), where=where):
            ops.logit_laplace_nll_forward(A, A, x)
    with refused("logb", "must have shape (2, 3)", "shape (2, 2)", where=where):
        ops.logit_laplace_nll_forward(A, A[:, :2], A)
    with refused("reduction", "must be one of", where=where):
        ops.logit_laplace_nll_forward(A, A, A, "all")
