"""Losses against their definitions, against differences, under every reduction, and at extreme logits."""

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
from vqnp.ops.loss import REDUCTIONS, reduction_scale

PAIRS = {
    "mse": (ops.mse_forward, ops.mse_backward, oracles.mse),
    "bce_logits": (ops.bce_logits_forward, ops.bce_logits_backward, oracles.bce),
}
both = pytest.mark.parametrize("name", PAIRS)
scalars = st.floats(-3, 3)
reduced = pytest.mark.parametrize("reduction", REDUCTIONS)


@both
@reduced
@given(seed=seeds, dtype=dtypes, shape=shapes, layout=layouts, dL=scalars)
@at_most(40)
def test_two_arrays_against_the_oracle(name, reduction, seed, dtype, shape, layout, dL):
    r = np.random.default_rng(seed)
    a, x = (3 * r.standard_normal(shape)).astype(dtype), r.random(shape).astype(dtype)
    a, x = lay_out(a, layout), lay_out(x, layout)
    before = a.tobytes(), x.tobytes()
    forward, backward, oracle = PAIRS[name]
    L, cache = forward(a, x, reduction)
    gradients = backward(dL, cache)
    their_L, *theirs = oracle(a, x, reduction)
    assert L.shape == () and L.dtype == dtype
    oracles.close(L, their_L)
    for ours, their in zip(gradients, theirs, strict=True):
        assert ours.dtype == dtype
        oracles.close(ours, dL * their, abs(dL) * max(1, np.abs(a).max(initial=0)))
    assert (a.tobytes(), x.tobytes()) == before


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(seed=seeds, dtype=dtypes, N=st.integers(0, 6), K=st.integers(1, 6), layout=layouts, dL=scalars)
@at_most(40)
def test_softmax_cross_entropy_against_the_oracle(reduction, seed, dtype, N, K, layout, dL):
    r = np.random.default_rng(seed)
    a, k = lay_out((3 * r.standard_normal((N, K))).astype(dtype), layout), r.integers(0, K, N)
    before = a.tobytes()
    L, cache = ops.softmax_cross_entropy_forward(a, k, reduction)
    da = ops.softmax_cross_entropy_backward(dL, cache)
    their_L, theirs = oracles.softmax_cross_entropy(a, k, reduction)
    assert L.shape == () and L.dtype == da.dtype == dtype
    oracles.close(L, their_L, np.abs(a).max(initial=0))
    oracles.close(da, dL * theirs, abs(dL))
    assert a.tobytes() == before
    folded = ops.softmax_cross_entropy_forward(a.reshape(N, 1, K), k[:, None], reduction)[0]
    oracles.close(folded, their_L, np.abs(a).max(initial=0))


@both
@reduced
@given(seed=seeds, shape=shapes)
@at_most(20)
def test_gradcheck(name, reduction, seed, shape):
    r = np.random.default_rng(seed)
    forward, backward, _ = PAIRS[name]
    a, x = r.standard_normal(shape), r.random(shape)
    gradcheck(partial(forward, reduction=reduction), backward, a, x, rng=r).raise_if_failed()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(seed=seeds, N=st.integers(1, 5), K=st.integers(1, 5))
@at_most(20)
def test_gradcheck_of_softmax_cross_entropy(reduction, seed, N, K):
    r = np.random.default_rng(seed)
    forward = partial(ops.softmax_cross_entropy_forward, reduction=reduction)
    args = r.standard_normal((N, K)), r.integers(0, K, N)
    gradcheck(forward, ops.softmax_cross_entropy_backward, *args, rng=r).raise_if_failed()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [100, 1e4, 1e30])
def test_extreme_logits_neither_overflow_nor_vanish(dtype, size):
    """Warnings are errors: no overflow, no log of 0; a certain mistake costs its logit, a certain truth 0."""
    a, x = np.array([size, -size, size, -size], dtype), np.array([1, 0, 0, 1], dtype)
    L, cache = ops.bce_logits_forward(a, x, "sum")
    np.testing.assert_allclose(L, 2 * size, rtol=1e-6)
    np.testing.assert_allclose(ops.bce_logits_backward(1.0, cache)[0], [0, 0, 1, -1], atol=1e-40)
    a = np.array([[size, -size, 0], [size, -size, 0]], dtype)
    L, cache = ops.softmax_cross_entropy_forward(a, np.array([0, 1]), "sum")
    np.testing.assert_allclose(L, 2 * size, rtol=1e-6)
    da = ops.softmax_cross_entropy_backward(1.0, cache)
    np.testing.assert_allclose(da, [[0, 0, 0], [1, -1, 0]], atol=1e-40)


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.floats(-1e6, 1e6))
@at_most(50)
def test_softmax_laws(seed, N, K, shift):
    r = np.random.default_rng(seed)
    a, k = r.standard_normal((N, K)), r.integers(0, K, N)
    L, cache = ops.softmax_cross_entropy_forward(a, k)
    moved, moved_cache = ops.softmax_cross_entropy_forward(a + shift, k)
    oracles.close(moved, L, size=1 + abs(shift))
    da, moved_da = (ops.softmax_cross_entropy_backward(1.0, c) for c in (cache, moved_cache))
    oracles.close(moved_da, da, size=1 + abs(shift))
    np.testing.assert_allclose(da.sum(axis=-1), 0, atol=1e-14)  # probabilities sum to 1
    even = ops.softmax_cross_entropy_forward(np.zeros((N, K)), k)[0]
    np.testing.assert_allclose(even, np.log(K), rtol=1e-14, atol=1e-15)


@given(seeds, st.integers(1, 6))
def test_two_classes_are_a_binary_cross_entropy(seed, N):
    r = np.random.default_rng(seed)
    a, k = 5 * r.standard_normal(N), r.integers(0, 2, N)
    pair = np.stack([np.zeros(N), a], axis=-1)
    oracles.close(ops.softmax_cross_entropy_forward(pair, k)[0], ops.bce_logits_forward(a, k * 1.0)[0], 5.0)


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
@at_most(50)
def test_reductions_are_consistent(seed, shape):
    """Four copies of a batch: means stay, "sum" is four times as large; sums over D are D times the means."""
    r = np.random.default_rng(seed)
    a, x = r.standard_normal(shape), r.random(shape)
    for forward, _, _ in PAIRS.values():
        once = {reduction: float(forward(a, x, reduction)[0]) for reduction in REDUCTIONS}
        four = {reduction: float(forward(*(np.stack([b] * 4) for b in (a, x)), reduction)[0])
                for reduction in REDUCTIONS}  # fmt: skip
        np.testing.assert_allclose(four["mean"], once["mean"], rtol=1e-13)
        np.testing.assert_allclose(four["mean_of_sums"], once["mean_of_sums"], rtol=1e-13)
        np.testing.assert_allclose(four["sum"], 4 * once["sum"], rtol=1e-13)
        np.testing.assert_allclose(once["mean_of_sums"], shape[-1] * once["mean"], rtol=1e-13)
        np.testing.assert_allclose(once["sum"], a.size * once["mean"], rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_entries_no_loss(dtype):
    for shape in ((0,), (0, 3), (2, 0), (2, 0, 3)):
        for reduction in REDUCTIONS:
            for forward, backward, _ in PAIRS.values():
                L, cache = forward(np.zeros(shape, dtype), np.zeros(shape, dtype), reduction)
                assert L == 0 and L.dtype == dtype
                assert [g.shape for g in backward(1.0, cache)] == [shape] * 2
    L, cache = ops.softmax_cross_entropy_forward(np.zeros((0, 3), dtype), np.zeros(0, int))
    assert L == 0 and ops.softmax_cross_entropy_backward(1.0, cache).shape == (0, 3)


def test_mse_facts(rng):
    x = rng.standard_normal((3, 4))
    assert ops.mse_forward(x, x)[0] == 0
    assert ops.mse_forward(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]), "mean")[0] == 2.5
    assert ops.mse_forward(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]), "mean_of_sums")[0] == 5


def test_the_scale_of_a_scalar():
    assert [reduction_scale("here", r, ()) for r in REDUCTIONS] == [1, 1, 1]
    with refused("reduction", "must be one of 'mean', 'mean_of_sums', 'sum'", "'none'", where="here"):
        reduction_scale("here", "none", (2,))


A, F32 = np.zeros((2, 3)), np.zeros((2, 3), np.float32)
K = np.zeros(2, int)


@pytest.mark.parametrize(
    ("op", "args", "argument", "needed", "got"),
    [
        ("mse", (A, F32), "x", "must be float64", "float32"),
        ("mse", (A, A[:1]), "x", "must have shape (2, 3)", "shape (1, 3)"),
        ("mse", (3.0, A), "x_hat", "must be a NumPy array of float32 or float64", "float"),
        ("mse", (A, A, "average"), "reduction", "must be one of 'mean', 'mean_of_sums', 'sum'", "'average'"),
        ("bce_logits", (A, F32), "x", "must be float64", "float32"),
        ("bce_logits", (A, A[0]), "x", "must have shape (2, 3)", "shape (3,)"),
        ("bce_logits", (A > 0, A), "a", "must be float32 or float64", "bool"),
        ("bce_logits", (A, A, None), "reduction", "must be one of 'mean', 'mean_of_sums', 'sum'", "None"),
        ("softmax_cross_entropy", (A, K + 3), "k", "must be in [0, 3)", "3 at index 0"),
        ("softmax_cross_entropy", (A, K + 0.5), "k", "must be integers", "float64"),
        ("softmax_cross_entropy", (A, K[:1]), "k", "must have shape (2,)", "shape (1,)"),
        ("softmax_cross_entropy", (A[:, :0], K), "a", "must have at least one class", "shape (2, 0)"),
        ("softmax_cross_entropy", (np.array(1.0), K), "a", "must have at least one class", "shape ()"),
        ("softmax_cross_entropy", (A, K, "mean_of_sums"), "reduction", "must be one of 'mean', 'sum'", "'mean_of_sums'"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_input_is_refused(op, args, argument, needed, got):
    with refused(argument, needed, got, where=f"{op}_forward"):
        getattr(ops, f"{op}_forward")(*args)


@pytest.mark.parametrize(
    ("dL", "needed", "got"),
    [
        (np.ones(2), "must be one number, the gradient of the loss", "shape (2,)"),
        (np.nan, "must be in [-inf, inf]", "nan"),
        ("1", "must be a number in [-inf, inf]", "'1'"),
        (None, "must be a number in [-inf, inf]", "None"),
    ],
)
def test_the_cotangent_of_a_loss_is_one_number(dL, needed, got):
    calls = {
        "mse_backward": (ops.mse_backward, ops.mse_forward(A, A)[1]),
        "bce_logits_backward": (ops.bce_logits_backward, ops.bce_logits_forward(A, A)[1]),
        "softmax_cross_entropy_backward": (
            ops.softmax_cross_entropy_backward,
            ops.softmax_cross_entropy_forward(A, K)[1],
        ),
        "quantize_backward": (
            lambda dL, cache: ops.quantize_backward(A, dL, cache),
            ops.quantize_forward(A, A)[-1],
        ),
    }
    for where, (backward, cache) in calls.items():
        with refused("dL", needed, got, where=where):
            backward(dL, cache)


@pytest.mark.parametrize(("dtype", "gap"), [("f4", 2.0**-24), ("f8", 2.0**-53)])
def test_cross_entropy_of_a_certain_right_answer_does_not_cancel(dtype, gap):
    """max(a, 0) − a x loses the digits of 1 − x; a (1 − x) has them."""
    a, x = np.array([100.0], dtype), np.array([1 - gap], dtype)
    assert float(ops.bce_logits_forward(a, x)[0]) == pytest.approx(100 * gap + np.exp(-100.0), rel=1e-6)
    a, x = np.array([30.0], dtype), np.array([1.0], dtype)
    da, _ = ops.bce_logits_backward(1.0, ops.bce_logits_forward(a, x)[1])
    assert float(da[0]) == pytest.approx(-1 / (1 + np.exp(30.0)), rel=1e-6)
