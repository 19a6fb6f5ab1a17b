"""Cosine codes: the largest cosine, the gradient through the normalisation, averages on the sphere."""

from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import TAME, at_most, lay_out, layouts, quantizer_inputs, seeds

from vqnp import ops
from vqnp._check import NonFiniteError
from vqnp.gradcheck import gradcheck, surrogate_check
from vqnp.ops.loss import REDUCTIONS


@given(seeds, st.tuples(st.integers(0, 5), st.integers(1, 5)), st.sampled_from("fd"), layouts)
def test_normalize_is_the_oracle(seed, size, dtype, layout):
    r = np.random.default_rng(seed)
    x = lay_out(r.integers(-2, 3, size).astype(dtype), layout)
    y, cache = ops.normalize_forward(x)
    oracles.close(y, oracles.normalize(x))
    dx = ops.normalize_backward(r.standard_normal(size).astype(dtype), cache)
    assert y.dtype == dx.dtype == x.dtype
    np.testing.assert_allclose((dx * x).sum(axis=-1), 0, atol=20 * np.finfo(dtype).eps)  # perpendicular to x
    nothing = ~x.any(axis=-1)
    assert not y[nothing].any() and not dx[nothing].any()


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), st.sampled_from([1e-3, 1, 1e3]))
@at_most(40)
def test_normalize_has_its_gradient(seed, shape, scale):
    r = np.random.default_rng(seed)
    x = r.standard_normal(shape)
    x = scale * (x + np.sign(x))  # not near 0, where the slope has no bound
    # The step follows the length of x: the curvature of x/‖x‖ is that of a sphere of this radius.
    check = gradcheck(ops.normalize_forward, ops.normalize_backward, x, rng=r, h=1e-5 * scale)
    check.raise_if_failed()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_that_float32_cannot_hold(scale, rng):
    x = rng.standard_normal((5, 4)).astype(np.float32)
    scaled = ops.normalize_forward(np.float32(scale) * x)[0]
    np.testing.assert_allclose(scaled, ops.normalize_forward(x)[0], rtol=1e-6)


@given(quantizer_inputs(kinds=("normal", "lattice", "large", "mixed"), max_n=20))
@example((np.array([[2.0, -2.0, -1.0]]), np.array([[-2.0, -2.0, 1.0], [0, 0, 0], [1, 0, 2], [3, 1, 0]])))
def test_the_code_has_the_largest_cosine(inputs):
    """To the rounding of the unit vectors; the code vector is the unit vector of the code."""
    z, E = inputs
    z_q, *_, k, _ = ops.cosine_quantize_forward(z, E)
    cosines, eps = oracles.cosines(z, E), np.finfo(z.dtype).eps
    chosen = cosines[np.arange(len(z)), k]
    assert (chosen >= cosines.max(axis=1, initial=-2) - 8 * eps * E.shape[1]).all()
    np.testing.assert_array_equal(z_q, ops.normalize_forward(E)[0][k])


@given(quantizer_inputs(kinds=("normal",)), seeds)
@at_most(40)
def test_lengths_do_not_matter(inputs, seed):
    """Powers of 2, which round nothing: codes and losses keep their bits."""
    z, E = inputs
    r = np.random.default_rng(seed)
    lengths = [2.0 ** r.integers(-9, 10, (len(x), 1)).astype(x.dtype) for x in (z, E)]
    plain = ops.cosine_quantize_forward(z, E)
    other = ops.cosine_quantize_forward((z * lengths[0]).astype(z.dtype), (E * lengths[1]).astype(z.dtype))
    for a, b in zip(plain[:-1], other[:-1], strict=True):
        np.testing.assert_array_equal(a, b)


def freeze(z0, E0, beta, codebook_loss, reduction):
    """The paper's loss on unit vectors, every sg at its value at (z0, E0)."""
    z0, E0 = oracles.normalize(z0), oracles.normalize(E0)
    k = oracles.nearest(z0, E0)
    size = oracles.count(z0.shape, reduction)

    def surrogate(z, E):
        z, E = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (z, E))
        L = beta * np.sum((z - E0[k]) ** 2) / size
        if codebook_loss:
            L = L + np.sum((z0 - E[k]) ** 2) / size
        return z + (E0[k] - z0), np.asarray(L)

    return surrogate


def with_one_loss(variant):
    def forward(z, E):
        z_q, codebook, commitment, k, cache = ops.cosine_quantize_forward(z, E, **variant)
        return z_q, np.asarray(codebook + commitment), k, cache

    return forward


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seed=seeds, N=st.integers(1, 6), K=st.integers(1, 5), D=st.integers(2, 4), beta=st.floats(0, 4),
       codebook_loss=st.booleans())
@at_most(20)
def test_the_declared_estimator(reduction, seed, N, K, D, beta, codebook_loss):
    r = np.random.default_rng(seed)
    variant = {"beta": beta, "codebook_loss": codebook_loss, "reduction": reduction}
    z, E = (x / np.linalg.norm(x, axis=1, keepdims=True) * r.uniform(0.5, 2, (len(x), 1))
            for x in (r.standard_normal((N, D)), r.standard_normal((K, D))))
    pair = with_one_loss(variant), ops.cosine_quantize_backward
    surrogate_check(*pair, partial(freeze, **variant), z, E, rng=r).raise_if_failed()


@given(quantizer_inputs(kinds=TAME), seeds)
@at_most(40)
def test_no_gradient_changes_a_length(inputs, seed):
    z, E = inputs
    dz_q = np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)
    dz, dE = ops.cosine_quantize_backward(dz_q, 1.0, ops.cosine_quantize_forward(z, E)[-1])
    bound = 50 * np.finfo(z.dtype).eps * (np.linalg.norm(dz_q) + 2 * len(z))  # of dẑ and dÊ
    for x, dx in ((z, dz), (E, dE)):
        assert (np.abs((x * dx).sum(axis=-1)) <= bound).all()


def test_a_rotation_on_the_sphere_keeps_the_length_of_the_gradient_before_the_normalisation(rng):
    """λ = 1 between unit vectors."""
    z, E, dz_q = rng.standard_normal((5, 3)), rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    _, _, _, k, cache = ops.cosine_quantize_forward(z, E, beta=0.0, estimator="rotation")
    unit = ops.normalize_forward(z)
    turned = ops.rotate_backward(dz_q, ops.rotate_forward(unit[0], ops.normalize_forward(E)[0][k])[1])
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(dz_q, axis=1))
    dz, _ = ops.cosine_quantize_backward(dz_q, 0.0, cache)
    np.testing.assert_allclose(dz, ops.normalize_backward(turned, unit[1]), atol=1e-13)


# Averages on the sphere.


@given(quantizer_inputs(kinds=TAME), st.floats(0, 0.99))
@at_most(60)
def test_the_averages_are_their_equations(inputs, decay):
    z, E = inputs
    E = oracles.normalize(E + 3).astype(z.dtype)
    state = ops.ema_initialize(E)
    k = ops.cosine_quantize_forward(z, E)[3]
    new = ops.spherical_ema_update(state, z, k, decay)
    unit = oracles.normalize(z)
    for j in range(len(E)):
        N = decay + (1 - decay) * (k == j).sum()
        m = decay * E[j].astype(float) + (1 - decay) * unit[k == j].sum(axis=0)
        oracles.close(new.N[j], N, max(N, 1))
        oracles.close(new.m[j], m, max(N, 1))
        length = np.linalg.norm(m)
        if length > 1e-3 * max(N, 1e-30):
            oracles.close(new.E[j], m / length, max(1.0, N / length))
    assert new.t == 1 and {a.dtype for a in new[:3]} == {z.dtype}
    np.testing.assert_allclose(np.linalg.norm(new.E.astype(float), axis=1), 1, rtol=1e-5)


def test_at_decay_0_a_code_is_the_mean_direction_and_an_unused_one_stays():
    E = np.eye(3)[:2]
    z = np.array([[2.0, 1.0, 0.0], [2.0, -1.0, 0.0], [30.0, 0.0, 40.0]])
    new = ops.spherical_ema_update(ops.ema_initialize(E), z, np.zeros(3, int), 0.0)
    mean = np.array([4 / 5**0.5 + 0.6, 0, 0.8])
    np.testing.assert_allclose(new.E[0], mean / np.linalg.norm(mean))
    np.testing.assert_array_equal(new.E[1], E[1])


def test_an_unused_code_keeps_its_direction_until_its_averages_are_0():
    """5,000 batches that never choose it, in float32: N and m fade to 0, the code stays to 6 digits."""
    E = np.array([[1, 0], [0.6, 0.8]], np.float32)
    state, z = ops.ema_initialize(E), np.ones((1, 2), np.float32)
    for _ in range(5000):
        state = ops.spherical_ema_update(state, z, np.zeros(1, int), 0.9)
    assert state.N[1] == 0 and not state.m[1].any()
    np.testing.assert_allclose(state.E[1], E[1], rtol=1e-6)


def test_opposite_vectors_that_cancel_leave_the_code_where_it_is():
    E = np.array([[1.0, 0.0]])
    z = np.array([[0.0, 3.0], [0.0, -5.0]])
    new = ops.spherical_ema_update(ops.ema_initialize(E), z, np.zeros(2, int), 0.0)
    np.testing.assert_array_equal(new.E, E)


Z, E = np.zeros((2, 3)), np.eye(3)


def test_bad_input_is_refused():
    with refused("z", "must have shape (..., 3)", "shape (2, 2)", where="cosine_quantize_forward"):
        ops.cosine_quantize_forward(Z[:, :2], E)
    with refused("beta", "must be in [0, inf)", "-1.0"):
        ops.cosine_quantize_forward(Z, E, beta=-1)
    with refused("dy", "must have shape (2, 3)", "shape (1, 3)", where="normalize_backward"):
        ops.normalize_backward(Z[:1], ops.normalize_forward(Z)[1])
    state = ops.ema_initialize(E)
    with refused("decay", "must be in [0, 1)", "1.0", where="spherical_ema_update"):
        ops.spherical_ema_update(state, Z, np.zeros(2, int), 1.0)
    with refused("z", "must be finite", where="spherical_ema_update", error=NonFiniteError):
        ops.spherical_ema_update(state, Z + np.nan, np.zeros(2, int))
    with refused("z", "must have last axis 3", where="spherical_ema_update"):
        ops.spherical_ema_update(state, Z[:, :2], np.zeros(2, int))
