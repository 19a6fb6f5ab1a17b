"""The rotation trick: a turn in the plane of z and q, its laws, and the cases without such a turn."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, lay_out, layouts, seeds

from vqnp import ops
from vqnp.gradcheck import surrogate_check

sizes = st.tuples(st.integers(0, 5), st.integers(1, 5))
dtypes = st.sampled_from([np.float32, np.float64])


def matrices(z, q):
    """λR of each pair, from the gradients of the coordinates: (N, D, D)."""
    _, cache = ops.rotate_forward(z, q)
    units = np.eye(z.shape[1], dtype=z.dtype)
    rows = [ops.rotate_backward(np.broadcast_to(e, z.shape).copy(), cache) for e in units]
    return np.stack(rows, axis=1)  # row i is (λR)ᵀ e_i


@given(seeds, sizes, dtypes, layouts)
def test_it_is_the_oracle(seed, size, dtype, layout):
    r = np.random.default_rng(seed)
    z, q = (lay_out(x.astype(dtype), layout) for x in r.standard_normal((2, *size)))
    y, cache = ops.rotate_forward(z, q)
    dy = r.standard_normal(size).astype(dtype)
    before = z.tobytes(), q.tobytes(), dy.tobytes()
    dz = ops.rotate_backward(dy, cache)
    assert y.tobytes() == q.tobytes() and dz.dtype == dtype
    for n in range(size[0]):
        M = oracles.rotation(z[n], q[n])
        # Near opposite directions, the direction of r = (ẑ + q̂)/‖ẑ + q̂‖ loses digits.
        half_way = oracles.normalize(z[[n]]) + oracles.normalize(q[[n]])
        lost = 1 / max(np.linalg.norm(half_way), np.finfo(dtype).eps ** 0.5) + 1
        oracles.close(dz[n], M.T @ dy[n], lost * np.linalg.norm(M, 2) * np.linalg.norm(dy[n]))
    assert (z.tobytes(), q.tobytes(), dy.tobytes()) == before


@given(seeds, st.integers(1, 6))
def test_the_laws(seed, D):
    """λRz = q; R is orthogonal with determinant 1; angles to q become angles to z."""
    r = np.random.default_rng(seed)
    z, q = r.standard_normal((2, 4, D))
    if D == 1:
        q = np.abs(q) * np.sign(z)  # on a line the only rotation is 1
    for M, one_z, one_q in zip(matrices(z, q), z, q, strict=True):
        scale = np.linalg.norm(one_q) / np.linalg.norm(one_z)
        half = np.linalg.norm(one_z / np.linalg.norm(one_z) + one_q / np.linalg.norm(one_q))
        rtol = 1e-13 * max(1, 1 / half**2)
        np.testing.assert_allclose(M @ one_z, one_q, atol=rtol * np.abs(one_q).max())
        np.testing.assert_allclose(M.T @ M, scale**2 * np.eye(D), atol=rtol * scale**2)
        assert np.linalg.det(M / scale) == pytest.approx(1, abs=100 * rtol)


@given(seeds, st.integers(1, 4), st.floats(0.1, 10))
@at_most(30)
def test_the_declared_estimator(seed, D, size):
    """The derivative of sg(λR) z, with λR from the oracle."""
    r = np.random.default_rng(seed)
    z, q = size * r.standard_normal((3, D)), r.standard_normal((3, D))
    if D == 1:
        q = np.abs(q) * np.sign(z)

    def freeze(z, q):
        M = np.stack([oracles.rotation(*pair) for pair in zip(z, q, strict=True)])
        return lambda z, q: np.einsum("nij,nj->ni", M, z)

    backward = lambda dy, cache: (ops.rotate_backward(dy, cache),)
    surrogate_check(ops.rotate_forward, backward, freeze, z, q, rng=r, argnums=(0,)).raise_if_failed()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_vector_or_a_code_of_length_0_copies_the_gradient(dtype, rng):
    dy = rng.standard_normal((3, 4)).astype(dtype)
    some, none = rng.standard_normal((3, 4)).astype(dtype), np.zeros((3, 4), dtype)
    for z, q in ((none, some), (some, none), (none, none), (some * np.finfo(dtype).smallest_subnormal, some)):
        dz = ops.rotate_backward(dy, ops.rotate_forward(z, q)[1])
        np.testing.assert_array_equal(dz, dy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("D", [1, 2, 5])
def test_opposite_vectors_are_reflected(dtype, D, rng):
    """Exactly opposite, and so nearly that rounding would choose the plane of the turn."""
    z = rng.standard_normal((20, D)).astype(dtype)
    ulp = 1 + np.finfo(dtype).eps * rng.integers(-2, 3, z.shape).astype(dtype)
    for q in (-2 * z, -2 * z * ulp):
        for M, one in zip(matrices(z, q), z, strict=True):
            u = one / np.linalg.norm(one)
            np.testing.assert_allclose(M, 2 * (np.eye(D) - 2 * np.outer(u, u)), atol=40 * np.finfo(dtype).eps)


@pytest.mark.parametrize("gap", 10.0 ** np.arange(-16, -1))
def test_nearly_opposite_vectors_keep_the_length_of_the_gradient(gap, rng):
    """No gradient is amplified where the turn is ill-conditioned: at most √ε is lost."""
    z, aside = rng.standard_normal((2, 50, 6))
    q, dy = -z + gap * aside, rng.standard_normal((50, 6))
    dz = ops.rotate_backward(dy, ops.rotate_forward(z, q)[1])
    ratio = np.linalg.norm(dz, axis=1) / np.linalg.norm(dy, axis=1)
    scale = np.linalg.norm(q, axis=1) / np.linalg.norm(z, axis=1)
    np.testing.assert_allclose(ratio, scale, rtol=4 * np.finfo(float).eps ** 0.5)


@pytest.mark.parametrize("scale", [1e-30, 1e-5, 1e30])
def test_squares_that_float32_cannot_hold(scale, rng):
    z, q, dy = rng.standard_normal((3, 6, 4)).astype(np.float32)
    plain = ops.rotate_backward(dy, ops.rotate_forward(z, q)[1])
    size = np.float32(scale)
    scaled = ops.rotate_backward(dy, ops.rotate_forward(size * z, size * q)[1])
    np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-5)


# As an option of the quantizer.


@given(seeds, st.floats(0, 4))
@at_most(30)
def test_the_quantizer_rotates_the_decoders_gradient_alone(seed, beta):
    """Values, dE and the commitment gradient are those of straight-through."""
    r = np.random.default_rng(seed)
    z, E, dz_q = r.standard_normal((6, 3)), r.standard_normal((4, 3)), r.standard_normal((6, 3))
    *plain, plain_cache = ops.quantize_forward(z, E, beta=beta)
    *turned, cache = ops.quantize_forward(z, E, beta=beta, estimator="rotation")
    for a, b in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(a, b)
    dz, dE = ops.quantize_backward(dz_q, 1.5, cache)
    plain_dz, plain_dE = ops.quantize_backward(dz_q, 1.5, plain_cache)
    rotated = ops.rotate_backward(dz_q, ops.rotate_forward(z, E[plain[3]])[1])
    np.testing.assert_array_equal(dE, plain_dE)
    np.testing.assert_allclose(dz - rotated, plain_dz - dz_q, atol=1e-12)


def test_a_vector_that_is_its_code_gets_the_gradient_unchanged(rng):
    E, dz_q = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    dz, _ = ops.quantize_backward(dz_q, 0.0, ops.quantize_forward(E, E, estimator="rotation")[-1])
    np.testing.assert_allclose(dz, dz_q, rtol=1e-12)


Z = np.zeros((2, 3))


def test_bad_input_is_refused():
    with refused("q", "must have shape (2, 3)", "shape (1, 3)", where="rotate_forward"):
        ops.rotate_forward(Z, Z[:1])
    with refused("q", "must be float64", "float32", where="rotate_forward"):
        ops.rotate_forward(Z, Z.astype("f"))
    with refused("dy", "must have shape (2, 3)", "shape (2, 2)", where="rotate_backward"):
        ops.rotate_backward(Z[:, :2], ops.rotate_forward(Z, Z)[1])
    needed = "must be one of 'straight_through', 'rotation'"
    with refused("estimator", needed, "'rotate'", where="quantize_forward"):
        ops.quantize_forward(Z, Z, estimator="rotate")
