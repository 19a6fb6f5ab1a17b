"""Elementwise kernels: the compiled loop equals its plain form."""

import numpy as np
import oracles
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import LAYOUTS, at_most, dtypes, lay_out, seeds

from vqnp.kernels import adam, attention, exp, gelu, layer_norm, relu, threads
from vqnp.kernels.jit import JIT

SIZES = [1e-38, 1e-19, 1e-12, 1.0, 1e6]
"""Of gradients; at the first two some of Adam's moments in float32 are flushed."""
SCALES = st.sampled_from([1e-300, 1e-30, 1e-3, 1.0, 3.0, 30.0, 1e30])


def ulps(a, b):
    """How many numbers of their dtype lie between two arrays' entries."""
    a, b = a.astype(a.dtype), b.astype(a.dtype)
    gap = np.abs(a - b) / np.spacing(np.maximum(np.abs(a), np.abs(b)))
    return float(np.max(gap, initial=0.0))


@pytest.fixture
def shared(monkeypatch):
    """Work shared among three threads, however small it is."""
    monkeypatch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 3)


compiled_only = pytest.mark.skipif(not JIT, reason="of compiled kernels only")


@compiled_only
@given(st.floats(-87, 80), st.floats(-1, 1))
def test_exp_of_a_sum_is_exp_to_a_few_ulps(a, b):
    """Without the error of rounding a + b, which at −80 would be some 60 units in the last place."""
    a, b = np.float32(a), np.float32(b)
    if float(a) + float(b) > -86.9:
        exact = np.exp(np.float64(a) + np.float64(b))
        assert abs(float(exp.exp_of_sum(a, b)) - exact) <= 3 * np.spacing(np.float32(exact))


@compiled_only
def test_exp_at_its_ends():
    zero = np.float32(0)
    assert exp.exp_of_sum(np.float32(-87.5), zero) == 0 == exp.exp_of_sum(np.float32(-np.inf), zero)
    assert exp.exp_of_sum(zero, zero) == 1 and np.isnan(exp.exp_of_sum(np.float32(np.nan), zero))


@given(seeds, dtypes, SCALES)
@at_most(50)
def test_gelu_is_its_plain_form_to_a_few_ulps(seed, dtype, scale):
    """Where Φ is subnormal, or would have been on the way, it may be 0 in float32."""
    x = (scale * np.random.default_rng(seed).standard_normal(40)).astype(dtype)
    (y, slope), (y_plain, slope_plain) = gelu.gelu(x), gelu.gelu_plain(x)
    assert y.dtype == slope.dtype == dtype and y.shape == slope.shape == x.shape
    large = (np.abs(y_plain) > 1e-36) | (x == 0)
    assert ulps(y[large], y_plain[large]) <= 8 and np.abs(y[~large]).max(initial=0) <= 1e-36
    oracles.close(slope, slope_plain)
    oracles.close(gelu.gelu(-x)[1] + slope, np.ones(40), 2)  # f(x) − f(−x) = x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0, 3), (4, 5), (300, 70)])
def test_gelu_takes_any_shape_and_layout_on_any_number_of_threads(rng, shared, dtype, layout, shape):
    x = 3 * rng.standard_normal(shape).astype(dtype)
    x = lay_out(x, layout) if shape else np.asarray(x)
    for shared_out, alone in zip(gelu.gelu(x), gelu.gelu(np.ascontiguousarray(x).reshape(-1)), strict=True):
        assert shared_out.shape == shape and shared_out.tobytes() == alone.tobytes()
    for ours, plain in zip(gelu.gelu(x), gelu.gelu_plain(x), strict=True):
        oracles.close(ours, plain, 10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_at_the_ends_and_in_its_lower_tail(dtype):
    """The tail is where 1 + erf would be 0: Φ(−9) is 1.1285884e-19 (to eight digits)."""
    y, slope = gelu.gelu(np.array([-9.0, 0.0, 40.0, np.inf, np.nan], dtype))
    np.testing.assert_allclose(y, [-9 * 1.1285884e-19, 0, 40, np.inf, np.nan], rtol=1e-6)
    np.testing.assert_allclose(slope[1:], [0.5, 1, 1, np.nan], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(0,), (7,), (3, 0, 2), (5, 1639), (3, 4096)])
def test_relus_gradient_is_its_plain_form_bit_for_bit(rng, shared, dtype, layout, shape):
    dy, y = rng.standard_normal((2, *shape)).astype(dtype)
    y.reshape(-1)[::3] = 0
    y.reshape(-1)[1::5] = -0.0
    y.reshape(-1)[2::7] = np.nan
    dx = relu.relu_gradient(lay_out(dy, layout), lay_out(y, layout))
    assert dx.shape == shape and dx.dtype == dtype
    assert dx.tobytes() == relu.relu_gradient_plain(dy, y).tobytes()


def test_adams_step_is_the_same_on_any_number_of_threads(rng, shared, monkeypatch):
    """And block by block: three parameters, one of several blocks, one empty."""
    monkeypatch.setattr(adam, "ELEMENTS_WORTH_SHARING", 0)
    sizes = (2 * adam.ELEMENTS_PER_BLOCK + 7, 5, 0)
    arrays = [rng.random((4, n)) for n in sizes]
    together, alone = [a.copy() for a in arrays], [a.copy() for a in arrays]
    adam.adam_step([tuple(a) for a in together], 3, 1e-3, 0.9, 0.999, 1e-8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adam, "JIT", False)
        adam.adam_step([tuple(a) for a in alone], 3, 1e-3, 0.9, 0.999, 1e-8)
    for a, b, before in zip(together, alone, arrays, strict=True):
        assert a.tobytes() == b.tobytes()
        np.testing.assert_array_equal(a[1], before[1])
        assert not a.size or (a[0] != before[0]).all()


@given(seeds, dtypes, st.integers(0, 40), st.sampled_from([1, 2, 1000]), st.sampled_from(SIZES))
@at_most(50)
def test_adams_step_is_its_plain_form_bit_for_bit(seed, dtype, size, t, scale):
    r = np.random.default_rng(seed)
    value, grad, m = (scale * r.standard_normal((3, size))).astype(dtype)
    v = (scale * scale * r.random(size)).astype(dtype)
    kernel, plain = ([a.copy() for a in (value, grad, m, v)] for _ in range(2))
    adam.adam_step([tuple(kernel)], t, 1e-3, 0.9, 0.999, 1e-8)
    adam.adam_step_plain(*plain, t, 1e-3, 0.9, 0.999, 1e-8)
    assert [a.tobytes() for a in kernel] == [a.tobytes() for a in plain]
    assert kernel[1].tobytes() == grad.tobytes()


@given(seeds, dtypes, st.integers(0, 200), st.integers(1, 70))
@at_most(30)
def test_layer_norm_is_its_plain_form(seed, dtype, M, C):
    r = np.random.default_rng(seed)
    x, dy, gamma, beta = (r.standard_normal(s).astype(dtype) for s in ((M, C), (M, C), C, C))
    compiled = layer_norm.layer_norm(x, gamma, beta, 0.1)
    plain = layer_norm.layer_norm_plain(x, gamma, beta, 0.1)
    for ours, theirs in zip(compiled, plain, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        oracles.close(ours, theirs, 30)
    gradients = (f(dy, *plain[1:], gamma) for f in (
        layer_norm.layer_norm_gradient, layer_norm.layer_norm_gradient_plain
    ))  # fmt: skip
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        oracles.close(ours, theirs, 100 * max(1, M) ** 0.5)


@given(seeds, dtypes, st.integers(1, 40), st.integers(0, 40), st.integers(1, 20))
@example(seed=0, dtype=np.dtype(np.float32), T=150, before=3, d=150)
@example(seed=0, dtype=np.dtype(np.float64), T=150, before=3, d=150)
@at_most(30)
def test_attention_is_its_plain_form(seed, dtype, T, before, d):
    """Over several blocks of queries, with and without a prefix, in memory of any layout.

    The examples are larger than a vector has bytes, so that no mistake in the number of lanes is too large.
    """
    r, H = np.random.default_rng(seed), 2
    q, do = r.standard_normal((2, 2, T, H, d)).astype(dtype)
    k, v = r.standard_normal((2, before + T, 2, H, d)).astype(dtype).transpose(2, 0, 1, 3, 4)[:, :2]
    compiled, plain = attention.attention(q, k, v), attention.attention_plain(q, k, v)
    o, P = plain
    gradients = (f(do, q, k, v, P, o) for f in (
        attention.attention_gradient, attention.attention_gradient_plain
    ))  # fmt: skip
    for ours, theirs in zip(compiled + next(gradients), plain + next(gradients), strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        oracles.close(ours, theirs, 100)


@compiled_only
@given(seeds, dtypes, st.integers(1, 60), st.integers(1, 9))
@at_most(20)
def test_a_querys_bits_do_not_depend_on_the_queries_beside_it(seed, dtype, T, d):
    """So logits from cached keys and values are the full ones, bit for bit, however they are cut."""
    q, k, v = np.random.default_rng(seed).standard_normal((3, 2, T, 3, d)).astype(dtype)
    whole, _ = attention.attention(q, k, v)
    for i in range(T):
        row, _ = attention.attention(q[:, i : i + 1], k[:, : i + 1], v[:, : i + 1])
        assert row.tobytes() == whole[:, i : i + 1].tobytes()


def test_threads_change_no_bit_of_a_norm_or_of_attention(rng, monkeypatch):
    x, dy = rng.standard_normal((2, 300, 33)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, 33)).astype(np.float32)
    q, k, v, do = rng.standard_normal((4, 5, 30, 3, 8)).astype(np.float32)

    def everything():
        y, x_hat, scale = layer_norm.layer_norm(x, gamma, beta, 1e-5)
        o, P = attention.attention(q, k, v)
        made = [y, *layer_norm.layer_norm_gradient(dy, x_hat, scale, gamma)]
        made += [o, *attention.attention_gradient(do, q, k, v, P, o)]
        return [a.tobytes() for a in made]

    alone = everything()
    monkeypatch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 3)
    assert everything() == alone
