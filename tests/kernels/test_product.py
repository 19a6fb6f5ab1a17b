"""The products of vqnp.kernels.product: equal to NumPy's to rounding, and the same bits in any company."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from vqnp.kernels import product as kernels
from vqnp.kernels import threads
from vqnp.kernels.adam import adam_factors, adam_step
from vqnp.kernels.frame import framed, framed_plain
from vqnp.kernels.jit import JIT
from vqnp.kernels.llvm import vector_bytes
from vqnp.kernels.memory import LINE_BYTES, copy, empty, zeros
from vqnp.kernels.product import (
    adam_gradient, fusible, gradient, gradient_plain, linear, linear_dW, linear_dx, product, product_plain,
)
from vqnp.ops.linear import linear_forward, linear_plain

dtypes = st.sampled_from([np.float32, np.float64])
sizes = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 12, 13, 16, 17, 31, 48, 65, 80])
only_compiled = pytest.mark.skipif(not JIT, reason="the plain form is NumPy's")
MANY = np.random.default_rng(5)


def bound(K, dtype, products):
    """Chains of K + 1 roundings, ours and NumPy's: 2 (K + 1) u Σ |x| |w|."""
    return 2 * (K + 1) * np.finfo(dtype).eps * products + np.finfo(dtype).tiny


@st.composite
def operands(draw):
    """x: flat, at: (M, T), W: (T, K, N), b, dy: (M, N), in which any window of x may overlap any other."""
    rng = np.random.default_rng(draw(seeds))
    M, K, N = (draw(sizes) for _ in range(3))
    T, dtype = draw(st.sampled_from([0, 1, 1, 2, 4])), draw(dtypes)
    x = rng.standard_normal(K + 40).astype(dtype)
    at = rng.integers(0, 41, (M, T))
    W, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((T, K, N), N, (M, N)))
    return x, at, W, b, dy


@given(operands(), st.booleans(), st.booleans())
def test_product_is_the_plain_form(arrays, relu, biased):
    x, at, W, b, _ = arrays
    b = b if biased else None
    expected = product_plain(x, at, W, b)
    size = product_plain(abs(x), at, abs(W), None if b is None else abs(b))
    y = product(x, at, W, b, relu=relu)
    assert y.dtype == x.dtype and y.shape == expected.shape
    expected = np.maximum(expected, 0) if relu else expected
    assert (abs(y - expected) <= bound(at.shape[1] * W.shape[1], x.dtype, size)).all()


@given(operands())
def test_product_writes_its_rows_and_nothing_else(arrays):
    x, at, W, b, _ = arrays
    (M, _), N = at.shape, W.shape[2]
    y = np.full((M + 2) * (N + 3), 7, x.dtype)
    to = (np.random.default_rng(M).permutation(M) + 1) * (N + 3)
    assert product(x, at, W, b, y, to) is y
    rows = np.full((M + 2, N + 3), 7, x.dtype)
    rows[to // (N + 3), :N] = product(x, at, W, b)
    np.testing.assert_array_equal(y, rows.reshape(-1))


@given(operands())
def test_gradient_is_the_plain_form(arrays):
    x, at, W, _, dy = arrays
    K = W.shape[1]
    dW = gradient(x, at, K, dy)
    expected = gradient_plain(x, at, K, dy)
    assert dW.dtype == x.dtype and dW.shape == expected.shape
    size = gradient_plain(abs(x), at, K, abs(dy))
    assert (abs(dW - expected) <= bound(len(at), x.dtype, size)).all()


@only_compiled
@given(operands(), st.data())
def test_a_row_has_the_same_bits_in_any_batch(arrays, data):
    x, at, W, b, _ = arrays
    y = product(x, at, W, b)
    some = data.draw(st.lists(st.integers(0, len(at) - 1), max_size=9)) if len(at) else []
    np.testing.assert_array_equal(product(x, at[some], W, b), y[some])


def big(dtype, M, K, N):
    return tuple(MANY.standard_normal(s).astype(dtype) for s in ((M, K), (K, N), N, (M, N)))


@only_compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("M, K, N", [(33, 530, 300), (700, 40, 70), (400, 300, 5), (16, 500, 129)])
def test_the_same_bits_at_any_number_of_threads_and_in_any_blocks(M, K, N, dtype, monkeypatch):
    x, W, b, dy = big(dtype, M, K, N)
    at = np.arange(M)[:, None] * K + np.array([0, 1, 2])  # a convolution's table: T = 3
    padded = np.concatenate([x.reshape(-1), x[0, :2]])
    three = np.stack([W, W[::-1], W])

    def everything():
        value, m, v = W.copy(), W * dtype(0.1), W * W
        adam_gradient(x, dy, value, m, v, np.array(adam_factors(x.dtype, 3, 1e-3, 0.9, 0.999, 1e-8)))
        sums = product(padded, at, three, b), gradient(padded, at, K, dy)
        return linear(x, W, b), linear_dx(dy, W), linear_dW(x, dy), *sums, value, m, v

    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 1)
    alone = everything()
    monkeypatch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
    for number in (2, 3):
        monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", number)
        for ours, one in zip(everything(), alone, strict=True):
            np.testing.assert_array_equal(ours, one)
    monkeypatch.setattr(kernels, "ROWS_PER_BLOCK", 24)
    for rows in (1, 50, 1000):
        monkeypatch.setattr(kernels, "GRADIENT_ROWS_PER_BLOCK", rows)
        for ours, one in zip(everything(), alone, strict=True):
            np.testing.assert_array_equal(ours, one)


@only_compiled
@given(seeds, dtypes, st.integers(1, 40), st.integers(1, 90), st.integers(1, 90))
def test_either_transposition_gives_the_same_dx(seed, dtype, B, I, O):
    rng = np.random.default_rng(seed)
    dy, W = rng.standard_normal((B, O)).astype(dtype), rng.standard_normal((I, O)).astype(dtype)
    a, c = linear(dy, kernels.transposed(W)), kernels.transposed(linear(W, kernels.transposed(dy)))
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(linear_dx(dy, W), a)


@only_compiled
@given(seeds, dtypes, st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.integers(1, 2000))
def test_adam_in_the_product_is_adam_after_it(seed, dtype, M, I, O, t):
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((M, I)).astype(dtype), rng.standard_normal((M, O)).astype(dtype)
    x[:, rng.random(I) < 0.3] = 0  # black pixels
    value, m, v = rng.standard_normal((I, O)), rng.standard_normal((I, O)), rng.random((I, O))
    scale = 10.0 ** rng.integers(-40, 2, (I, O))  # moments far below the threshold too
    fused = [a.astype(dtype) for a in (value, m * scale, v * scale)]
    apart = [a.copy() for a in fused]
    settings = (t, 1e-3, 0.9, 0.999, 1e-8)
    adam_gradient(x, dy, *fused, np.array(adam_factors(x.dtype, *settings)))
    flat = [a.reshape(-1) for a in (apart[0], linear_dW(x, dy), *apart[1:])]
    adam_step([tuple(flat)], *settings)
    for ours, theirs in zip(fused, apart, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay(value):
    x, W = np.ones((3, 20), np.float32), np.ones((20, 20), np.float32)
    x[1, 4] = value
    with np.errstate(invalid="ignore"):  # NumPy's, with NUMBA_DISABLE_JIT=1
        y = linear(x, W, relu=True)
    assert np.isfinite(y[[0, 2]]).all() and not np.isfinite(y[1]).any()


def test_large_batches_are_not_fused():
    small = np.zeros((8, 8), np.float32)
    assert fusible(small, small) == JIT
    assert not fusible(small, np.zeros((kernels.LARGEST_FUSED, 2), np.float32))


@given(st.lists(st.integers(0, 5), max_size=3), dtypes)
def test_aligned_arrays(shape, dtype):
    for make in (empty, zeros, lambda shape, dtype: copy(np.zeros(shape, dtype))):
        a = make(tuple(shape), dtype)
        assert a.shape == tuple(shape) and a.dtype == dtype and a.flags.c_contiguous and a.flags.writeable
        assert a.size == 0 or a.ctypes.data % LINE_BYTES == 0
    assert not zeros(tuple(shape), dtype).any()


PROGRAM = """
import hashlib
import numpy as np
from vqnp.kernels.llvm import vector_bytes
from vqnp.kernels.product import linear, linear_dW, linear_dx
digest, r = hashlib.sha256(), np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for M, K, N in ((5, 300, 70), (33, 17, 12), (2, 40, 1)):
        x, W, b, dy = (r.standard_normal(s).astype(dtype) for s in ((M, K), (K, N), N, (M, N)))
        for ours, exact in (
            (linear(x, W, b), x.astype(np.longdouble) @ W + b),
            (linear_dx(dy, W), dy.astype(np.longdouble) @ W.T),
            (linear_dW(x, dy), x.astype(np.longdouble).T @ dy),
        ):
            assert abs(ours - exact).max() < 100 * np.finfo(dtype).eps * abs(exact).max()
            digest.update(ours.tobytes())
print(vector_bytes(), digest.hexdigest())
"""

PROCESSORS = {
    "as it is": {},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2"},
    "SSE2 only": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}


@only_compiled
@pytest.mark.slow
def test_every_width_of_vectors(tmp_path):
    """With fused multiply-adds the bits do not even depend on the processor."""
    root = str(Path(__file__).parents[2])
    printed = {}
    for name, limits in PROCESSORS.items():
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / name), **limits}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
        assert done.returncode == 0, (name, done.stderr)
        printed[name] = done.stdout.split()
    assert printed["AVX2"][0] == "32" and printed["SSE2 only"][0] == "16"
    if printed["as it is"][0] == "64":
        assert printed["as it is"][1] == printed["AVX2"][1]


@given(seeds, dtypes, *[st.integers(0, 3)] * 4)
def test_a_frame_is_its_plain_form(seed, dtype, top, bottom, left, right):
    x = np.random.default_rng(seed).standard_normal((2, 3, 4, 5)).astype(dtype)
    sides = (top, bottom), (left, right)
    np.testing.assert_array_equal(framed(x, *sides), framed_plain(x, *sides))


@given(seeds, dtypes)
def test_a_linear_layer_is_its_plain_form(seed, dtype):
    r = np.random.default_rng(seed)
    x, W, b = (r.standard_normal(s).astype(dtype) for s in ((2, 3, 9), (9, 20), (20,)))
    size = linear_plain(abs(x), abs(W), abs(b))
    assert (abs(linear_forward(x, W, b)[0] - linear_plain(x, W, b)) <= bound(9, dtype, size)).all()


@only_compiled
@given(st.integers(1, 300), st.integers(1, 4), st.integers(1, 40), st.integers(1, 300), dtypes)
def test_the_cost_by_which_work_is_shared_is_that_of_the_product(M, T, K, N, dtype):
    """M T K N multiply-adds, and at most those of a strip of columns more. No result depends on it."""
    costs, strip = [], max(kernels.ROWS_PER_TILE) * (vector_bytes() // np.dtype(dtype).itemsize)

    def noted(work, size, multiply_adds, multiple=1):
        costs.append(size * multiply_adds)
        work(0, size)

    x, at = np.ones(K + T + M, dtype), np.arange(M)[:, None] + np.arange(T)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "in_blocks", noted)
        product(x, at, np.ones((T, K, N), dtype))
        gradient(x, at, K, np.ones((M, N), dtype))
    whole = M * T * K * N
    assert whole <= costs[0] < whole + M * T * K * strip and costs[1] == whole
