"""Running averages hold no subnormal numbers, and what is flushed changes no more than is stated."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import LAYOUTS, at_most, dtypes, lay_out, seeds

from vqnp import ops
from vqnp.kernels import adam, product
from vqnp.kernels.jit import JIT
from vqnp.kernels.statistics import code_statistics
from vqnp.kernels.subnormal import flush
from vqnp.nn import VectorQuantizer

EPSILON = 1e-8
only_compiled = pytest.mark.skipif(not JIT, reason="of compiled kernels only")


def subnormal(a):
    """How many entries are neither 0 nor normal."""
    return int(((a != 0) & (np.abs(a) < np.finfo(a.dtype).tiny)).sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flush(dtype, layout):
    tiny, least = np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    below = np.nextafter(tiny, dtype(0))
    x = np.array([[0.0, -0.0, least, -least, below], [-below, tiny, -tiny, 1, -np.inf]], dtype)
    y = flush(lay_out(x, layout))
    np.testing.assert_array_equal(y, [[0, 0, 0, 0, 0], [0, tiny, -tiny, 1, -np.inf]])
    assert y.dtype == dtype and subnormal(x) == 4 and not subnormal(y)
    assert np.isnan(flush(np.array([np.nan], dtype))).all()


# Adam.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", ["compiled", "plain", pytest.param("fused", marks=only_compiled)])
def test_adam_keeps_the_smallest_normal_number_and_flushes_the_next(form, dtype):
    """With gradients 0 and β₁ = β₂ = ½ both moments are halved, exactly."""
    tiny, how = np.finfo(dtype).tiny, (3, 1e-3, 0.5, 0.5, EPSILON)
    for start, end in ((2 * tiny, tiny), (2 * np.nextafter(tiny, dtype(0)), dtype(0))):
        value, m, v = np.ones((5, 9), dtype), np.full((5, 9), start, dtype), np.full((5, 9), start, dtype)
        arrays = [a.reshape(-1) for a in (value, np.zeros((5, 9), dtype), m, v)]
        if form == "compiled":
            adam.adam_step([tuple(arrays)], *how)
        elif form == "plain":
            adam.adam_step_plain(*arrays, *how)
        else:
            factors = np.array(adam.adam_factors(np.dtype(dtype), *how))
            product.adam_gradient(np.zeros((2, 5), dtype), np.zeros((2, 9), dtype), value, m, v, factors)
        assert (m == end).all() and (v == end).all()


def unflushed(value, grad, m, v, t, lr, beta1, beta2, epsilon):
    """The update as the paper has it."""
    m[:] = beta1 * m + (1 - beta1) * grad
    v[:] = beta2 * v + (1 - beta2) * (grad * grad)
    value -= lr / (1 - beta1**t) * (m / (np.sqrt(v * (1 / (1 - beta2**t))) + epsilon))


@given(seeds, dtypes, st.floats(0.0, 0.99), st.floats(0.0, 0.99))
def test_adam_of_normal_numbers_is_the_papers_at_any_decay(seed, dtype, beta1, beta2):
    """Plain and compiled, bit for bit; defaults alone would not tell 1 − β from 1 mod β."""
    r = np.random.default_rng(seed)
    arrays = [r.uniform(0.5, 2, 12).astype(dtype) for _ in range(4)]
    paper, plain, compiled = ([a.copy() for a in arrays] for _ in range(3))
    how = int(r.integers(1, 9)), 1e-3, beta1, beta2, EPSILON
    unflushed(*paper, *how)
    adam.adam_step_plain(*plain, *how)
    adam.adam_step([tuple(compiled)], *how)
    np.testing.assert_array_equal(plain, paper)
    np.testing.assert_array_equal(compiled, paper)


def fading_gradients(r, steps, dtype):
    """g: (steps, 12); a third of the parameters dies after some steps, a third fades, a third stays tiny.

    What is tiny has squares, or even itself, near the smallest normal number.
    """
    tiny = float(np.finfo(dtype).tiny)
    start = tiny ** r.uniform(0, 1.02, 12)
    start[:5] = 1, 1, 1, 1, 1e3 * tiny
    fade = np.ones((steps, 12))
    fade[int(r.integers(1, 9)) :, 0::3] = 0
    fade[:, 1::3] = r.uniform(0.5, 0.99, 4) ** np.arange(steps)[:, None]
    with np.errstate(under="ignore"):
        return (start * fade * r.standard_normal((steps, 12))).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@given(seeds, dtypes, st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.sampled_from([0.1, 0.5, 0.9, 0.999]))
@example(0, np.dtype(np.float32), 0.9, 0.5)
@example(0, np.dtype(np.float64), 0.1, 0.5)
@at_most(12)
def test_adams_moments_are_never_subnormal_and_the_steps_within_the_stated_bound(
    compiled, seed, dtype, beta1, beta2
):
    """adam_step_plain's Notes: |u' − u| ≤ (τ/(1−β₁) + |u| √(τ/(1−β₂))) / ε, and rounding."""
    steps, tau, lr = 1100, float(np.finfo(dtype).tiny), 0.5
    eps = np.finfo(dtype).eps
    # What each step adds to rounding decays as the averages do.
    rounding = 8 * eps * (1 / (1 - beta1) + 1 / (1 - beta2))
    ours, theirs = np.zeros((2, 3, 12), dtype)  # θ, m, v
    size, met = np.zeros(12), False
    for t, grad in enumerate(fading_gradients(np.random.default_rng(seed), steps, dtype), 1):
        ours[0] = theirs[0] = 0  # so that θ is the step alone
        arrays = (ours[0], grad, ours[1], ours[2])
        if compiled:
            adam.adam_step([arrays], t, lr, beta1, beta2, EPSILON)
        else:
            adam.adam_step_plain(*arrays, t, lr, beta1, beta2, EPSILON)
        unflushed(theirs[0], grad, theirs[1], theirs[2], t, lr, beta1, beta2, EPSILON)
        assert not subnormal(ours[1:]), t
        met = met or subnormal(theirs[1:])
        size = beta1 * size + (1 - beta1) * np.abs(grad.astype(float))  # of m's terms, which may cancel
        u, v = theirs[0].astype(float) / lr, theirs[2].astype(float) / (1 - beta2**t)
        bound = (tau / (1 - beta1) + np.abs(u) * np.sqrt(tau / (1 - beta2))) / EPSILON
        slack = rounding * size / (1 - beta1**t) / (np.sqrt(v) + EPSILON) + 4 * tau
        assert (np.abs(ours[0].astype(float) / lr - u) <= bound + slack).all(), t
    assert met  # without flush there are some: the test can fail


def test_without_flush_a_dead_parameters_moment_stays_subnormal_for_ever():
    """And with it the moments are 0, so that the parameter stands still."""
    value, grad, m, v = np.ones((4, 1), np.float32)
    adam.adam_step([(value, grad, m, v)], 1, 1e-3, 0.9, 0.999, EPSILON)
    alone, grad[:] = [a.copy() for a in (value, m, v)], 0
    for t in range(2, 1500):
        adam.adam_step([(value, grad, m, v)], t, 1e-3, 0.9, 0.999, EPSILON)
        unflushed(alone[0], grad, *alone[1:], t, 1e-3, 0.9, 0.999, EPSILON)
    assert m[0] == 0 and v[0] > 1e-4
    assert alone[1][0] == 0.9 * alone[1][0] != 0 or subnormal(alone[1])
    assert value[0] == alone[0][0]


# Moving averages of codes.

decays = st.sampled_from([0.1, 0.5, 0.9])


def run_unflushed(state, z, k, decay, updates, epsilon, smoothing):
    N, m, E = state.N, state.m, state.E
    for _ in range(updates):
        n = np.bincount(k, minlength=len(N)).astype(N.dtype)
        s = code_statistics(z, k, len(N)).sums.astype(m.dtype)
        N, m = decay * N + (1 - decay) * n, decay * m + (1 - decay) * s
        E = ops.ema_codes(E, N, m, epsilon, smoothing)
    return E, N, m


@given(seeds, dtypes, decays, st.sampled_from([0.0, 1e-5, 1e-2]), st.sampled_from(ops.ema.SMOOTHINGS))
@example(0, np.dtype(np.float32), 0.5, 1e-5, "laplace")
@at_most(12)
def test_averages_of_codes_that_nothing_chooses_are_never_subnormal(seed, dtype, decay, epsilon, smoothing):
    """And the codebook is, to rounding, that of averages that sink without end."""
    r = np.random.default_rng(seed)
    E, z = r.standard_normal((4, 3)).astype(dtype), r.standard_normal((9, 3)).astype(dtype)
    E[3] = [1e-3, 0, -4]
    k = np.append([0, 1], r.integers(0, 2, 7))  # codes 0 and 1 are chosen, 2 and 3 never
    state = ops.ema_initialize(E)
    updates = int(1.1 * np.log(float(np.finfo(dtype).smallest_subnormal)) / np.log(decay)) + 1
    for _ in range(updates):
        state = ops.ema_update(state, z, k, decay, epsilon, smoothing=smoothing)
        assert not subnormal(state.N) and not subnormal(state.m)
    assert not state.N[2:].any() and not state.m[2:].any()
    expected, N, m = run_unflushed(ops.ema_initialize(E), z, k, decay, updates, epsilon, smoothing)
    np.testing.assert_array_equal(state.N[:2], N[:2])
    np.testing.assert_array_equal(state.m[:2], m[:2])
    np.testing.assert_array_equal(state.E[:2], expected[:2])
    if epsilon and smoothing != "none":
        np.testing.assert_allclose(state.E[2:], 0, atol=1e-10)
        np.testing.assert_allclose(expected[2:], 0, atol=1e-10)
    else:  # no smoothing moves them: they stay where they were
        np.testing.assert_allclose(state.E[2:], E[2:], rtol=updates * np.finfo(dtype).eps, atol=1e-18)
    assert ops.laplace_smoothing(state.N, epsilon).sum() == pytest.approx(
        state.N.sum(), rel=1e-5 if dtype == np.float32 else 1e-12
    )


@pytest.mark.slow
@given(seeds, dtypes, decays, st.sampled_from([1e-12, 1e-8, 1e-5, 1e-2]))
@at_most(12)
def test_at_each_update_a_fading_code_is_where_it_would_be_without_flush(seed, dtype, decay, epsilon):
    """|Δe| ≤ |e| √τ/(√τ + ε), and rounding."""
    r = np.random.default_rng(seed)
    E, z = r.standard_normal((2, 3)).astype(dtype), r.standard_normal((5, 3)).astype(dtype)
    k, state = np.zeros(5, int), ops.ema_initialize(E)
    N, m, last = state.N, state.m, state.E
    root = float(np.sqrt(np.finfo(dtype).tiny))
    updates = int(1.1 * np.log(root) / np.log(decay)) + 1
    for _ in range(updates):
        state = ops.ema_update(state, z, k, decay, epsilon)
        last, N, m = run_unflushed(ops.EMAState(last, N, m), z, k, decay, 1, epsilon, "laplace")
        bound = np.abs(E[1]) * (root / (root + epsilon) + 1e-12)
        assert (np.abs(state.E[1].astype(float) - last[1]) <= bound).all()
    assert N[1] > 0 and state.N[1] == 0


@pytest.mark.slow
def test_a_code_that_is_not_chosen_for_50_000_updates():
    """γ = 0.999, float64: N has sunk to 2e-22 and is still there; then a fast decay, which ends it."""
    state = ops.ema_initialize(np.array([[1.0, 2.0], [3.0, 4.0]]))
    z, k = np.ones((3, 2)), np.zeros(3, int)
    for _ in range(50_000):
        state = ops.ema_update(state, z, k, 0.999)
    assert 0 < state.N[1] < 1e-21 and not subnormal(state.N)
    for _ in range(1000):
        state = ops.ema_update(state, z, k, 0.5)
        assert not subnormal(state.N) and not subnormal(state.m)
    assert state.N[1] == 0 and not state.m[1].any()
    state = ops.ema_update(state, np.full((4, 2), 7.0), np.ones(4, int), 0.5, smoothing="none")
    np.testing.assert_array_equal(state.E[1], 7)  # chosen again, it is the mean of its vectors


def test_sums_without_counts_keep_decaying():
    """N = 0 and m = e, from which some public code starts, is not a code that has faded."""
    E = np.array([[1.0, 2.0], [3.0, 4.0]])
    state = ops.ema_update(ops.EMAState(E, np.zeros(2), E), np.ones((3, 2)), np.zeros(3, int), 0.9)
    np.testing.assert_allclose(state.m[1], 0.9 * E[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_counts_of_a_codebook_trained_by_gradient(dtype):
    vq = VectorQuantizer(3, 2, decay=0.5, rng=0, dtype=dtype)
    z, k = np.ones((4, 2), dtype), np.array([0, 0, 1, 1])
    for _ in range(1200):
        vq.update(z, k, 0)
        assert not subnormal(vq.N)
    np.testing.assert_array_equal(vq.N, [2, 2, 0])
