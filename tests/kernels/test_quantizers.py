"""The kernels of the quantizers without a search, and of residual quantization: each is its plain form."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import dtypes, seeds

from vqnp import InputError
from vqnp.kernels import bit_entropy, finite_scalar, residual, signs, sphere, tanh, threads
from vqnp.kernels.exp import log1p
from vqnp.kernels.jit import JIT, jit
from vqnp.ops.finite_scalar import constants, place_values

compiled_only = pytest.mark.skipif(not JIT, reason="of compiled kernels only")
level_lists = st.lists(st.integers(2, 9), min_size=1, max_size=5)
few = settings(max_examples=25)


def on_three_threads(monkeypatch):
    """Work shared among three threads, however small it is."""
    monkeypatch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 3)


def grid_of(levels, dtype):
    L = np.array(levels)
    return finite_scalar.Grid(*(a.astype(dtype) for a in (*constants(L), place_values(L))))


@jit()
def _each(x, y, z):
    for i in range(x.size):
        y[i] = tanh.tanh(x[i])
        z[i] = log1p(abs(y[i]))


@compiled_only
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_and_log1p_to_a_few_ulps(dtype):
    x = np.concatenate([np.geomspace(1e-30, 40, 4000), [0, np.inf]]).astype(dtype)
    for sign in (1, -1):
        y, z = np.empty_like(x), np.empty_like(x)
        _each(sign * x, y, z)
        exact = np.tanh(x.astype(np.float64))
        assert (np.abs(sign * y - exact) <= 4 * np.spacing(exact.astype(dtype))).all()
        exact = np.log1p(np.abs(y).astype(np.float64))
        assert (np.abs(z - exact) <= 4 * np.spacing(exact.astype(dtype))).all()


@given(seeds, level_lists, dtypes, st.integers(0, 200), st.sampled_from([1e-3, 1.0, 30.0]))
@few
def test_finite_scalars_are_their_plain_form(seed, levels, dtype, N, scale):
    r, grid = np.random.default_rng(seed), grid_of(levels, dtype)
    z, dz_q = r.standard_normal((2, N, len(levels))).astype(dtype)
    z *= dtype.type(scale)
    (z_q, k, finite), (their_z_q, their_k, theirs) = (
        f(z, grid) for f in (finite_scalar.finite_scalar, finite_scalar.finite_scalar_plain)
    )
    y = np.tanh(z.astype(np.float64) + grid.s) * grid.h - grid.o
    clear = np.abs(y - np.rint(y)) < 0.5 - 1e-5  # elsewhere the last bits of tanh decide
    assert finite and theirs and z_q.dtype == dtype and k.dtype == np.int64
    np.testing.assert_array_equal(z_q[clear], their_z_q[clear])
    np.testing.assert_array_equal(k, ((z_q * grid.a + grid.a) @ grid.w).astype(np.int64))
    rows = clear.all(axis=1)
    np.testing.assert_array_equal(k[rows], their_k[rows])
    gradients = (finite_scalar.finite_scalar_gradient, finite_scalar.finite_scalar_gradient_plain)
    ours, plain = (f(dz_q, z, grid) for f in gradients)
    assert ours.dtype == dtype
    oracles.close(ours, plain, 10 * np.abs(dz_q).max(initial=0))


@given(seeds, st.integers(1, 24), dtypes, st.integers(0, 200), st.sampled_from([1.0, 0.3]))
@few
def test_signs_are_their_plain_form(seed, D, dtype, N, s):
    z, dz_q = np.random.default_rng(seed).standard_normal((2, N, D)).astype(dtype)
    z[::3] = 0
    (*ours, square, finite), (*plain, their_square, _) = (f(z, s) for f in (signs.signs, signs.signs_plain))
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    assert finite and square == pytest.approx(their_square, rel=1e-12)
    gradients = (f(dz_q, z, s, 0.7) for f in (signs.signs_gradient, signs.signs_gradient_plain))
    np.testing.assert_array_equal(*gradients)


@given(seeds, st.integers(1, 7), dtypes, st.integers(0, 70), st.booleans(), st.sampled_from([0.1, 3, 50]))
@few
def test_bit_entropies_are_their_plain_form(seed, D, dtype, N, joint, scale):
    r = np.random.default_rng(seed)
    a = (scale * r.standard_normal((N, D))).astype(dtype)
    (sample, sums), (their_sample, theirs) = (
        f(a, joint) for f in (bit_entropy.bit_entropy_sums, bit_entropy.bit_entropy_sums_plain)
    )
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    assert sums.dtype == np.float64 and sample == pytest.approx(their_sample, rel=rtol)
    np.testing.assert_allclose(sums, theirs, rtol=rtol, atol=rtol * 1e-20)
    f = r.standard_normal(sums.shape).astype(dtype)
    ours, plain = (
        g(a, f, 0.3, -0.7) for g in (bit_entropy.bit_entropy_gradient, bit_entropy.bit_entropy_gradient_plain)
    )
    assert ours.dtype == dtype
    oracles.close(ours, plain, 10 * scale)


sizes = {"N": st.integers(0, 200), "n": st.integers(1, 4), "K": st.integers(1, 9), "D": st.integers(1, 9)}


@given(seed=seeds, dtype=dtypes, **sizes, shared=st.booleans(), dropped=st.booleans())
@few
def test_residual_quantization_is_its_plain_form(seed, dtype, N, n, K, D, shared, dropped):
    r = np.random.default_rng(seed)
    z, dz_q = r.standard_normal((2, N, D)).astype(dtype)
    E = r.standard_normal((1 if shared else n, K, D)).astype(dtype)
    used = r.integers(1, n + 1, N) if dropped else None
    (z_q, k, square, finite), (their_z_q, their_k, theirs, _) = (
        f(z, E, n, used) for f in (residual.residual_codes, residual.residual_codes_plain)
    )
    assert finite and k.tobytes() == their_k.tobytes()
    np.testing.assert_array_equal(z_q, their_z_q)
    assert square == pytest.approx(theirs, rel=1e-12)
    ours, plain = (
        f(dz_q, z, E, k, 0.3) for f in (residual.residual_gradient, residual.residual_gradient_plain)
    )
    assert ours.dtype == dtype
    oracles.close(ours, plain, 10 * n)
    both = residual.residual_statistics, residual.residual_statistics_plain
    for after in (False, True):
        pairs = (f(z, E, k, after) for f in both)
        for mine, other in zip(*pairs, strict=True):
            np.testing.assert_array_equal(mine.counts, other.counts)
            np.testing.assert_array_equal(mine.sums, other.sums)
    before = z
    for i, (after_i, has) in enumerate(residual.residuals_plain(z, E, k)):
        np.testing.assert_array_equal(residual.residual_before(z, E, k, i), before[has])
        before = after_i


@given(seeds, dtypes, st.integers(0, 150), st.integers(1, 9), st.sampled_from([1e-30, 1.0, 1e30]))
@few
def test_normalization_is_its_plain_form(seed, dtype, N, D, scale):
    x, dy = np.random.default_rng(seed).standard_normal((2, N, D)).astype(dtype)
    x *= dtype.type(scale)
    x[::4] = 0
    ours, plain = sphere.normalize(x), sphere.normalize_plain(x)
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps)
    gradients = (f(dy, *plain) for f in (sphere.normalize_gradient, sphere.normalize_gradient_plain))
    oracles.close(*gradients, size=10 * plain[1].max(initial=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_no_bit(dtype, rng, monkeypatch):
    """Of more rows than are summed together."""
    N, levels = 2 * signs.SUMMED_ROWS + 77, (8, 5, 3)
    z, dz_q = rng.standard_normal((2, N, 3)).astype(dtype)
    E, grid, f = rng.standard_normal((3, 7, 3)).astype(dtype), grid_of(levels, dtype), rng.standard_normal(8)
    monkeypatch.setattr(residual, "BYTES", 1 << 12)
    used = rng.integers(1, 4, N)

    def everything():
        made = [*finite_scalar.finite_scalar(z, grid), finite_scalar.finite_scalar_gradient(dz_q, z, grid)]
        made += [*signs.signs(z, 0.5), signs.signs_gradient(dz_q, z, 0.5, 0.3)]
        made += [*bit_entropy.bit_entropy_sums(z, True), *bit_entropy.bit_entropy_sums(z, False)]
        made += [bit_entropy.bit_entropy_gradient(z, f.astype(dtype), 0.3, 0.7)]
        made += [*sphere.normalize(z), sphere.normalize_gradient(dz_q, z, z[:, :1])]
        made += residual.residual_codes(z, E, 3, used)
        k = made[-3]
        made += [residual.residual_gradient(dz_q, z, E, k, 0.3)]
        made += [a for s in residual.residual_statistics(z, E, k, True) for a in s]
        return [np.asarray(a).tobytes() for a in made]

    alone = everything()
    on_three_threads(monkeypatch)
    assert everything() == alone


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_seen_wherever_they_are(bad):
    for at in (0, 700, 899):
        z = np.zeros((300, 3), np.float32)
        z.reshape(-1)[at] = bad
        assert not finite_scalar.finite_scalar(z, grid_of((3, 3, 3), np.float32))[2]
        assert not signs.signs(z, 1.0)[3]
        assert not residual.residual_codes(z, np.ones((1, 2, 3), np.float32), 2, None)[3]


def test_statistics_of_codes_that_are_too_large_are_refused():
    z, E = np.zeros((4, 2)), np.zeros((2, 3, 2))
    with pytest.raises(InputError):
        residual.residual_statistics(z, E, np.array([[0, 1], [2, 2], [0, 3], [-1, 1]]), False)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_rows_of_every_part_are_summed(joint, over, rng):
    """2 · SUMMED_ROWS rows, one fewer and one more, of which each part has its own share of the sums."""
    a = rng.standard_normal((2 * bit_entropy.SUMMED_ROWS + over, 2))
    (sample, sums), (theirs, their_sums) = (
        f(a, joint) for f in (bit_entropy.bit_entropy_sums, bit_entropy.bit_entropy_sums_plain)
    )
    np.testing.assert_allclose(sample, theirs, rtol=1e-12)
    np.testing.assert_allclose(sums, their_sums, rtol=1e-12)
