"""erf and Adam's step: the compiled loop and its plain twin are the same function."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import LAYOUTS, dtypes, lay_out, seeds

from vqnp.kernels import adam, erf

SCALES = st.sampled_from([1e-300, 1e-30, 1e-3, 1.0, 3.0, 30.0, 1e30])


def ulps(a, b):
    """How many numbers of their dtype lie between two arrays' entries."""
    a, b = a.astype(a.dtype), b.astype(a.dtype)
    gap = np.abs(a - b) / np.spacing(np.maximum(np.abs(a), np.abs(b)))
    return float(np.max(gap, initial=0.0))


@given(seeds, dtypes, SCALES)
@settings(max_examples=50)
def test_erf_is_the_c_librarys_to_one_ulp(seed, dtype, scale):
    x = (scale * np.random.default_rng(seed).standard_normal(40)).astype(dtype)
    y = erf.erf(x)
    assert y.dtype == dtype and y.shape == x.shape
    expected = np.array([math.erf(float(v)) for v in x]).astype(dtype)
    assert ulps(y, expected) <= 1
    assert ulps(erf._erf_compiled(x), erf.erf_plain(x)) <= 1
    np.testing.assert_array_equal(erf.erf(-x), -y)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3,), (0,), (2, 0, 3), (4, 5)])
def test_erf_takes_any_shape_and_layout(rng, layout, shape):
    x = rng.standard_normal(shape)
    y = erf.erf(lay_out(x, layout))
    assert y.shape == shape
    np.testing.assert_allclose(y, np.vectorize(math.erf, otypes=[float])(x), rtol=1e-15)


def test_erf_of_the_ends_and_of_zero():
    x = np.array([-np.inf, -6.0, -0.0, 0.0, 6.0, np.inf, np.nan])
    np.testing.assert_array_equal(erf.erf(x), [-1, -1, 0, 0, 1, 1, np.nan])
    assert list(np.signbit(erf.erf(x))[2:4]) == [True, False]
    assert erf.erf(np.array(0.5)).shape == ()


@given(seeds, dtypes, st.integers(0, 40), st.sampled_from([1, 2, 1000]), st.sampled_from([1e-12, 1.0, 1e6]))
@settings(max_examples=50)
def test_adams_kernel_is_its_plain_twin_bit_for_bit(seed, dtype, size, t, scale):
    r = np.random.default_rng(seed)
    value, grad, m = (scale * r.standard_normal((3, size))).astype(dtype)
    v = (scale * scale * r.random(size)).astype(dtype)
    f = dtype.type
    scalars = tuple(f(s) for s in (0.9, 0.1, 0.999, 0.001, 1e-3 / (1 - 0.9**t), 1 / (1 - 0.999**t), 1e-8))
    given_grad = grad.tobytes()
    results = []
    for step in (adam._adam_compiled, adam.adam_step_plain):
        arrays = value.copy(), m.copy(), v.copy()
        step(arrays[0], grad, arrays[1], arrays[2], scalars)
        results.append([a.tobytes() for a in arrays])
    assert results[0] == results[1]
    assert grad.tobytes() == given_grad
