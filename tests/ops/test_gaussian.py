"""The Gaussian ops: against plain loops, differences, the moments that they promise; at extremes."""

import math
from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds, shapes

from vqnp import ops
from vqnp.gradcheck import gradcheck
from vqnp.ops.loss import REDUCTIONS

reduced = pytest.mark.parametrize("reduction", REDUCTIONS)


def posterior(r, shape, dtype=np.float64):
    """mu and logvar of standard deviations from 0.2 to 3."""
    return r.standard_normal(shape).astype(dtype), r.uniform(-3, 2, shape).astype(dtype)


@given(seed=seeds, dtype=dtypes, shape=shapes, layout=layouts)
@at_most(40)
def test_reparameterise_against_the_oracle(seed, dtype, shape, layout):
    r = np.random.default_rng(seed)
    arrays = [
        lay_out(a, layout) for a in (*posterior(r, shape, dtype), r.standard_normal(shape).astype(dtype))
    ]
    before, dz = [a.tobytes() for a in arrays], r.standard_normal(shape).astype(dtype)
    z, cache = ops.reparameterise_forward(*arrays)
    gradients = ops.reparameterise_backward(dz, cache)
    their_z, theirs = oracles.reparameterise(*arrays, dz)
    oracles.close(z, their_z)
    for ours, their in zip(gradients, theirs, strict=True):
        oracles.close(ours, their)
    assert {a.dtype for a in (z, *gradients)} == {dtype} and [a.tobytes() for a in arrays] == before
    assert not any(np.shares_memory(a, b) for a in (z, *gradients) for b in (*arrays, dz))


@reduced
@given(seed=seeds, dtype=dtypes, shape=shapes, layout=layouts, dL=st.floats(-3, 3))
@at_most(40)
def test_kl_against_the_oracle(reduction, seed, dtype, shape, layout, dL):
    r = np.random.default_rng(seed)
    mu, logvar = (lay_out(a, layout) for a in posterior(r, shape, dtype))
    KL, cache = ops.gaussian_kl_forward(mu, logvar, reduction)
    gradients = ops.gaussian_kl_backward(dL, cache)
    their_KL, *theirs = oracles.gaussian_kl(mu, logvar, reduction)
    assert KL.shape == () and KL >= 0
    oracles.close(KL, their_KL, 1.0 if mu.size else 0.0)
    for ours, their in zip(gradients, theirs, strict=True):
        oracles.close(ours, dL * their, abs(dL))
    assert {a.dtype for a in (KL, *gradients)} == {dtype}
    terms = ops.gaussian_kl_terms(mu, logvar)
    assert terms.shape == shape and np.isclose(
        terms.sum(), oracles.gaussian_kl(mu, logvar, "sum")[0], rtol=1e-4
    )


@reduced
@pytest.mark.parametrize("s", [0.1, 1.0, 3.0])
@given(seed=seeds, dtype=dtypes, shape=shapes, dL=st.floats(-3, 3))
@at_most(20)
def test_likelihood_against_the_oracle(reduction, s, seed, dtype, shape, dL):
    r = np.random.default_rng(seed)
    x_hat, x = r.standard_normal(shape).astype(dtype), r.random(shape).astype(dtype)
    L, cache = ops.gaussian_nll_forward(x_hat, x, s, reduction)
    gradients = ops.gaussian_nll_backward(dL, cache)
    their_L, *theirs = oracles.gaussian_nll(x_hat, x, s, reduction)
    size = x.size / oracles.count(x.shape, reduction) / (s * s)  # both terms may cancel
    oracles.close(L, their_L, size + abs(math.log(s)) * size)
    for ours, their in zip(gradients, theirs, strict=True):
        oracles.close(ours, dL * their, abs(dL) / (s * s))
    assert L.shape == () and {a.dtype for a in (L, *gradients)} == {dtype}


@reduced
@given(seed=seeds, shape=shapes)
@at_most(20)
def test_gradcheck(reduction, seed, shape):
    r = np.random.default_rng(seed)
    mu, logvar = posterior(r, shape)
    pair = ops.reparameterise_forward, ops.reparameterise_backward
    gradcheck(*pair, mu, logvar, r.standard_normal(shape), rng=r).raise_if_failed()
    kl = partial(ops.gaussian_kl_forward, reduction=reduction)
    gradcheck(kl, ops.gaussian_kl_backward, mu, logvar, rng=r).raise_if_failed()
    nll = partial(ops.gaussian_nll_forward, noise_std=0.3, reduction=reduction)
    gradcheck(nll, ops.gaussian_nll_backward, mu, r.random(shape), rng=r).raise_if_failed()


# What the equations are of: a gradcheck cannot find a wrong model.


def test_samples_have_the_mean_and_the_variance_of_the_posterior(rng):
    """Over n draws the mean errs by σ/√n, the variance by σ² √(2/n): five of these are allowed."""
    n, (mu, logvar) = 40_000, posterior(rng, (6,))
    draws = np.broadcast_to(mu, (n, 6)).copy(), np.broadcast_to(logvar, (n, 6)).copy()
    z, _ = ops.reparameterise_forward(*draws, rng.standard_normal((n, 6)))
    variance = np.exp(logvar)
    assert (np.abs(z.mean(0) - mu) < 5 * np.sqrt(variance / n)).all()
    assert (np.abs(z.var(0) - variance) < 5 * variance * math.sqrt(2 / n)).all()
    assert (np.abs(np.exp(2 * logvar) - variance) > 5 * variance * math.sqrt(2 / n)).any()  # σ⁴ would be seen


def test_kl_is_its_monte_carlo_estimate(rng):
    """KL = E_q[log q(z) − log p(z)]: the mean over 100,000 draws is within four of its standard errors."""
    n, (mu, logvar) = 100_000, posterior(rng, (5,))
    eps = rng.standard_normal((n, 5))
    z = mu + np.exp(logvar / 2) * eps
    log_q = -(eps**2 + logvar + math.log(2 * math.pi)).sum(1) / 2
    log_p = -(z**2 + math.log(2 * math.pi)).sum(1) / 2
    ratio = log_q - log_p
    error = ratio.std() / math.sqrt(n)
    KL = float(ops.gaussian_kl_forward(mu, logvar)[0])
    assert abs(ratio.mean() - KL) < 4 * error and error < 0.02 * KL


@pytest.mark.slow
def test_the_likelihood_is_a_density():
    """exp(−L) integrates to 1 over x."""
    x = np.linspace(-6, 7, 20_001)[:, None]
    for s in (0.3, 1.0):
        nll = [float(ops.gaussian_nll_forward(np.full(1, 0.4), row, s, "sum")[0]) for row in x]
        assert np.exp(-np.array(nll)).sum() * (x[1, 0] - x[0, 0]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("s", [1e-200, 1e-160, 1e160, 1e200])
def test_a_noise_whose_square_is_no_float_has_its_constant(s):
    """−log N(x; x, s²) = log s + ½ log 2π for each pixel: at 1e-200 it was an error, at 1e200 infinite."""
    x = np.zeros((2, 3))
    constant = 3 * (math.log(s) + math.log(2 * math.pi) / 2)
    assert ops.gaussian_nll_forward(x, x, s)[0] == pytest.approx(constant)
    L, cache = ops.gaussian_nll_forward(x + 2e100, x, max(s, 1e100))
    assert L == pytest.approx(oracles.gaussian_nll(x + 2e100, x, max(s, 1e100), "mean_of_sums")[0])
    assert np.isfinite(ops.gaussian_nll_backward(1.0, cache)[0]).all()


def test_kl_is_zero_at_the_prior_only_and_exact_beside_it():
    zero = np.zeros(3)
    assert ops.gaussian_kl_forward(zero, zero)[0] == 0
    for h in (1e-3, 1e-5, 1e-7, -1e-7):  # ½(expm1 ℓ − ℓ) = ℓ²/4 + ℓ³/12 + …; exp ℓ − 1 − ℓ is all rounding
        near = float(ops.gaussian_kl_forward(np.zeros(1), np.full(1, h))[0])
        assert near == pytest.approx(h * h / 4 + h**3 / 12, abs=2e-16 * abs(h), rel=1e-6)
        assert near >= 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_variances_neither_vanish_nor_warn(dtype):
    """Warnings are errors: exp(ℓ) underflows to 0, and KL grows like −ℓ/2."""
    mu, logvar = np.zeros(2, dtype), np.full(2, -500.0, dtype)
    KL, cache = ops.gaussian_kl_forward(mu, logvar, "sum")
    assert float(KL) == pytest.approx(499.0)
    np.testing.assert_allclose(ops.gaussian_kl_backward(1.0, cache)[1], -0.5)
    z, _ = ops.reparameterise_forward(mu, logvar, np.ones(2, dtype))
    assert np.abs(z).max() <= np.exp(-250.0)


A = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: ops.reparameterise_forward(A, A[:1], A), "reparameterise_forward", "logvar", "must have shape (2, 3)", "shape (1, 3)"),  # noqa: E501
        (lambda: ops.reparameterise_forward(A, A, A.astype("f")), "reparameterise_forward", "eps", "must be float64", "float32"),  # noqa: E501
        (lambda: ops.reparameterise_forward([1.0], A, A), "reparameterise_forward", "mu", "must be a NumPy array", "list"),  # noqa: E501
        (lambda: ops.reparameterise_backward(A[:1], ops.reparameterise_forward(A, A, A)[1]), "reparameterise_backward", "dz", "must have shape (2, 3)", "shape (1, 3)"),  # noqa: E501
        (lambda: ops.gaussian_kl_terms(A, A[0]), "gaussian_kl_terms", "logvar", "must have shape (2, 3)", "shape (3,)"),  # noqa: E501
        (lambda: ops.gaussian_kl_forward(A, A[:1]), None, "logvar", "must have shape (2, 3)", "shape (1, 3)"),
        (lambda: ops.gaussian_kl_forward(A, A, "max"), "gaussian_kl_forward", "reduction", "must be one of 'mean', 'mean_of_sums', 'sum'", "'max'"),  # noqa: E501
        (lambda: ops.gaussian_kl_backward(A, ops.gaussian_kl_forward(A, A)[1]), "gaussian_kl_backward", "dL", "must be one number", "shape (2, 3)"),  # noqa: E501
        (lambda: ops.gaussian_nll_forward(A, A, 0), "gaussian_nll_forward", "noise_std", "must be in (0, inf)", "0.0"),  # noqa: E501
        (lambda: ops.gaussian_nll_forward(A, A[0]), None, "x", "must have shape (2, 3)", "shape (3,)"),
        (lambda: ops.gaussian_nll_forward(A, A, reduction="max"), None, "reduction", "must be one of", "'max'"),  # noqa: E501
        (lambda: ops.gaussian_nll_backward(A, ops.gaussian_nll_forward(A, A)[1]), "gaussian_nll_backward", "dL", "must be one number", "shape (2, 3)"),  # noqa: E501
    ],
)  # fmt: skip
def test_mistakes(call, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        call()
