"""Elementwise kernels: the compiled loop equals its plain form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import LAYOUTS, dtypes, lay_out, seeds

from vqnp.kernels import adam, normal_cdf, relu, threads

SIZES = [1e-38, 1e-19, 1e-12, 1.0, 1e6]
"""Of gradients; at the first two some of Adam's moments in float32 are flushed."""
SCALES = st.sampled_from([1e-300, 1e-30, 1e-3, 1.0, 3.0, 30.0, 1e30])


def ulps(a, b):
    """How many numbers of their dtype lie between two arrays' entries."""
    a, b = a.astype(a.dtype), b.astype(a.dtype)
    gap = np.abs(a - b) / np.spacing(np.maximum(np.abs(a), np.abs(b)))
    return float(np.max(gap, initial=0.0))


def phi(x):
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@given(seeds, dtypes, SCALES)
@settings(max_examples=50)
def test_the_normal_cdf_is_the_c_librarys_to_a_few_ulps(seed, dtype, scale):
    x = (scale * np.random.default_rng(seed).standard_normal(40)).astype(dtype)
    y = normal_cdf.normal_cdf(x)
    assert y.dtype == dtype and y.shape == x.shape
    expected = np.array([phi(float(v)) for v in x]).astype(dtype)
    assert ulps(y, expected) <= 4
    assert ulps(y, normal_cdf.normal_cdf_plain(x)) <= 4
    np.testing.assert_allclose(normal_cdf.normal_cdf(-x) + y, 1, rtol=1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3,), (0,), (2, 0, 3), (4, 5)])
def test_the_normal_cdf_takes_any_shape_and_layout(rng, layout, shape):
    x = rng.standard_normal(shape)
    y = normal_cdf.normal_cdf(lay_out(x, layout))
    assert y.shape == shape
    np.testing.assert_allclose(y, np.vectorize(phi, otypes=[float])(x), rtol=1e-14)


def test_the_normal_cdf_of_the_ends_and_its_lower_tail():
    """The tail is where 1 + erf would be 0: Φ(−9) is 1.1285884e-19 (to eight digits)."""
    x = np.array([-np.inf, -9.0, 0.0, 40.0, np.inf, np.nan])
    np.testing.assert_allclose(normal_cdf.normal_cdf(x), [0, 1.1285884e-19, 0.5, 1, 1, np.nan], rtol=1e-7)
    assert normal_cdf.normal_cdf(np.array(0.5)).shape == ()
    assert normal_cdf.normal_cdf(np.array([-9.0], np.float32))[0] > 0


@pytest.fixture
def shared(monkeypatch):
    """Work shared among three threads, however small it is."""
    monkeypatch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 3)


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
@settings(max_examples=50)
def test_adams_step_is_its_plain_form_bit_for_bit(seed, dtype, size, t, scale):
    r = np.random.default_rng(seed)
    value, grad, m = (scale * r.standard_normal((3, size))).astype(dtype)
    v = (scale * scale * r.random(size)).astype(dtype)
    kernel, plain = ([a.copy() for a in (value, grad, m, v)] for _ in range(2))
    adam.adam_step([tuple(kernel)], t, 1e-3, 0.9, 0.999, 1e-8)
    adam.adam_step_plain(*plain, t, 1e-3, 0.9, 0.999, 1e-8)
    assert [a.tobytes() for a in kernel] == [a.tobytes() for a in plain]
    assert kernel[1].tobytes() == grad.tobytes()
