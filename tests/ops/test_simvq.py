"""SimVQ: the quantizer's equations for codes C W, and a gradient that reaches every code through W."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import ops
from vqnp.gradcheck import surrogate_check
from vqnp.ops.loss import REDUCTIONS

sizes = st.tuples(*(st.integers(1, n) for n in (6, 7, 4, 5)))  # N, K, C, D


def draw(seed, size):
    r, (N, K, C, D) = np.random.default_rng(seed), size
    return r.standard_normal((N, D)), r.standard_normal((K, C)), r.standard_normal((C, D)), r


@given(seeds, sizes, st.sampled_from("fd"), st.sampled_from(REDUCTIONS), st.floats(-3, 3))
def test_it_is_the_oracle(seed, size, dtype, reduction, dL):
    *arrays, r = draw(seed, size)
    z, C, W = (x.astype(dtype) for x in arrays)
    dz_q = r.standard_normal(z.shape).astype(dtype)
    *outputs, cache = ops.simvq_forward(z, C, W, beta=0.3, reduction=reduction)
    dz, dW = ops.simvq_backward(dz_q, dL, cache)
    E = oracles.linear(C, W, np.zeros(W.shape[1]))
    *theirs, k = oracles.quantize(z, E, 0.3, True, reduction, outputs[3])
    their_dz, dE = oracles.quantize_gradients(dz_q, dL, z, E, k, 0.3, True, reduction)
    size = 10 * (abs(dL) + 1) * (1 + np.abs(E).max() + np.abs(z).max())
    for ours, their in zip(outputs[:3], theirs, strict=True):
        oracles.close(ours, their, size)
    distances = ((z[:, None].astype(float) - E) ** 2).sum(-1)
    assert (distances[np.arange(len(z)), k] <= distances.min(1) + size * oracles.RTOL[z.dtype]).all()
    oracles.close(dz, their_dz, size)
    oracles.close(dW, oracles.linear_gradients(dE, C, W)[1], size * len(z) * np.abs(C).max())
    assert {x.dtype for x in (*outputs[:3], dz, dW)} == {np.dtype(dtype)}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seeds, sizes, st.floats(0, 4))
@at_most(20)
def test_the_declared_estimator(reduction, seed, size, beta):
    """z and W have gradients, C none."""
    z, C, W, r = draw(seed, size)

    def forward(z, C, W):
        z_q, codebook, commitment, k, cache = ops.simvq_forward(z, C, W, beta=beta, reduction=reduction)
        return z_q, np.asarray(codebook + commitment), k, cache

    def freeze(z0, C0, W0):
        k, z0, e0 = oracles.nearest(z0, C0 @ W0), z0.copy(), C0 @ W0
        c = 1 / oracles.count(z0.shape, reduction)
        return lambda z, C, W: (
            z + (e0[k] - z0), c * (((z0 - (C @ W)[k]) ** 2).sum() + beta * ((z - e0[k]) ** 2).sum()),
        )  # fmt: skip

    surrogate_check(
        forward, ops.simvq_backward, freeze, z, C, W, rng=r, argnums=(0, 2)
    ).raise_if_failed()


def test_a_step_moves_codes_that_no_vector_chose(rng):
    """Each by c_j dW; in an ordinary codebook their gradient is 0."""
    z, C, W = rng.standard_normal((1, 3)), rng.standard_normal((6, 3)), np.eye(3)
    _, _, _, k, cache = ops.simvq_forward(z, C, W)
    dW = ops.simvq_backward(0 * z, 1.0, cache)[1]
    assert np.linalg.matrix_rank(dW) == 1 and (np.abs(C @ dW).max(axis=1) > 1e-3).all()
    dE = ops.quantize_backward(0 * z, 1.0, ops.quantize_forward(z, C)[-1])[1]
    assert not dE[np.arange(6) != k[0]].any()


def test_an_empty_batch_and_bad_input():
    C, W = np.ones((4, 2)), np.ones((2, 3))
    z_q, codebook, commitment, k, cache = ops.simvq_forward(np.empty((0, 3)), C, W)
    assert z_q.shape == (0, 3) and k.shape == (0,) and codebook == commitment == 0
    assert not ops.simvq_backward(z_q, 1.0, cache)[1].any()
    for z, argument, needed in (
        ((np.ones((1, 2)), C, W), "z", "must have shape (..., 3)"),
        ((np.ones((1, 3)), C, W.T), "W", "must have shape (2, D)"),
        ((np.ones((1, 3)), C[0], W), "C", "must have shape (K, C)"),
    ):
        with refused(argument, needed, where="simvq_forward"):
            ops.simvq_forward(*z)
