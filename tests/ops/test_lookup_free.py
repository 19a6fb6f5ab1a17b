"""Signs as codes and the entropies of their bits: equations by loops, laws, gradients, the bound."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp import nearest_code, ops
from vqnp._check import NonFiniteError
from vqnp.gradcheck import gradcheck, surrogate_check
from vqnp.ops.bit_entropy import BATCH_ENTROPIES
from vqnp.ops.loss import REDUCTIONS

each_batch = pytest.mark.parametrize("batch", BATCH_ENTROPIES)
options = st.fixed_dictionaries(
    {"scale": st.sampled_from([1.0, 0.5]), "beta": st.floats(0, 2), "reduction": st.sampled_from(REDUCTIONS)}
)


@given(seeds, st.integers(0, 9), st.integers(1, 6), dtypes, layouts, options)
def test_it_is_the_oracle(seed, N, D, dtype, layout, opts):
    r = np.random.default_rng(seed)
    z = lay_out(r.standard_normal((N, D)).astype(dtype), layout)
    dz_q, dL = r.standard_normal((N, D)).astype(dtype), 1.5
    z_q, commitment, k, cache = ops.lookup_free_forward(z, **opts)
    dz = ops.lookup_free_backward(dz_q, dL, cache)
    their_z_q, their_commitment, their_k, their_dz = oracles.lookup_free(z, dz_q, dL, **opts)
    assert z_q.dtype == dz.dtype == commitment.dtype == dtype and k.dtype == np.int64
    np.testing.assert_array_equal(z_q, their_z_q.astype(dtype))
    np.testing.assert_array_equal(k, their_k)
    oracles.close(commitment, their_commitment)
    oracles.close(dz, their_dz, 10)
    assert ops.lookup_free_decode(k, D, opts["scale"], dtype).tobytes() == z_q.tobytes()


@given(seeds, st.integers(1, 6))
def test_the_code_is_the_nearest(seed, D):
    z = np.random.default_rng(seed).standard_normal((20, D))
    every = ops.lookup_free_decode(np.arange(1 << D), D, dtype=np.float64)
    np.testing.assert_array_equal(ops.lookup_free_forward(z)[2], nearest_code(z, every))


def test_the_sign_of_zero_is_minus():
    z_q, _, k, _ = ops.lookup_free_forward(np.array([[0.0, -0.0, 1e-300]]))
    assert z_q.tolist() == [[-1, -1, 1]] and k[0] == 4


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_declared_estimator(reduction, rng):
    z = rng.standard_normal((4, 5, 3))
    opts = {"beta": 0.7, "scale": 0.6, "reduction": reduction}

    def forward(z):
        z_q, commitment, k, cache = ops.lookup_free_forward(z, **opts)
        return z_q, commitment, k, cache

    def freeze(z0):
        q = 0.6 * np.sign(z0)
        return lambda z: (z + (q - z0), 0.7 * ((z - q) ** 2).sum() / oracles.count(z.shape, reduction))

    surrogate_check(forward, ops.lookup_free_backward, freeze, z, rng=1).raise_if_failed()


@each_batch
@given(seeds, st.integers(0, 7), st.integers(1, 4), dtypes, st.sampled_from([0.1, 3.0]))
def test_the_entropies_are_the_oracle(batch, seed, N, D, dtype, scale):
    a = (scale * np.random.default_rng(seed).standard_normal((N, D))).astype(dtype)
    sample, whole, _ = ops.bit_entropy_forward(a, batch)
    their_sample, exact, bound = oracles.bit_entropies(a)
    oracles.close(sample, their_sample, D)
    oracles.close(whole, exact if batch == "exact" else bound, D)


@each_batch
@given(seeds, st.integers(1, 7), st.integers(1, 5), st.sampled_from([0.1, 3.0]))
@at_most(25)
def test_the_entropies_gradient_is_the_derivative(batch, seed, N, D, scale):
    a = scale * np.random.default_rng(seed).standard_normal((N, D))
    forward = lambda a: ops.bit_entropy_forward(a, batch)
    gradcheck(forward, ops.bit_entropy_backward, a, rng=seed).raise_if_failed()


@given(seeds, st.integers(1, 40), st.integers(1, 7), st.floats(0.01, 30))
def test_the_bound_is_one_and_all_lie_between_zero_and_all_bits(seed, N, D, scale):
    a = scale * np.random.default_rng(seed).standard_normal((N, D))
    (sample, exact, _), (same, bound, _) = (ops.bit_entropy_forward(a, batch) for batch in BATCH_ENTROPIES)
    assert sample == same and -1e-12 <= sample <= exact + 1e-9 <= bound + 2e-9 <= D * np.log(2) + 3e-9
    if N == 1 or D == 1:
        assert exact == pytest.approx(bound)


def test_the_bound_does_not_see_that_bits_agree():
    """Two codes that differ in every bit, half the vectors each: log 2, and its bound is D log 2."""
    a = np.array([[50.0] * 4, [-50.0] * 4])
    assert ops.bit_entropy_forward(a, "exact")[1] == pytest.approx(np.log(2))
    assert ops.bit_entropy_forward(a, "bound")[1] == pytest.approx(4 * np.log(2))


@each_batch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(batch, dtype):
    with np.errstate(all="raise", under="ignore"):
        a = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, 700.0]], dtype)
        sample, whole, cache = ops.bit_entropy_forward(a, batch)
        da = ops.bit_entropy_backward(1.0, -1.0, cache)
    assert np.isfinite([sample, whole]).all() and np.isfinite(da).all()


def test_wrong_arguments():
    with refused("batch", "'bound' for more than 12 bits", "13 bits"):
        ops.bit_entropy_forward(np.zeros((2, 13)))
    ops.bit_entropy_forward(np.zeros((2, 13)), "bound")
    with refused("batch", "one of"):
        ops.bit_entropy_forward(np.zeros((2, 3)), "joint")
    with refused("z's last axis", "[1, 24]"):
        ops.lookup_free_forward(np.zeros((2, 25)))
    with refused("z", "finite", error=NonFiniteError):
        ops.lookup_free_forward(np.full((2, 2), np.nan))
    with refused("k", "[0, 4)"):
        ops.lookup_free_decode(4, 2)
