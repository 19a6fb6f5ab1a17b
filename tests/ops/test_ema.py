"""The EMA codebook: every variant against its own loop, and the facts of which each variant is known."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import TAME, at_most, dtypes, quantizer_inputs, seeds

from vqnp import nearest_code, ops
from vqnp._check import NonFiniteError
from vqnp.ops.ema import SMOOTHINGS, EMAState, random_rows, rarely_used

variants = st.fixed_dictionaries({"smoothing": st.sampled_from(SMOOTHINGS), "zero_debias": st.booleans()})
decays = st.sampled_from([0.0, 0.5, 0.8, 0.99])
epsilons = st.sampled_from([0.0, 1e-5, 1e-2])


def norm(a):
    return float(np.linalg.norm(a.astype(np.float64), axis=-1))


def frozen(state):
    return [np.asarray(a).tobytes() for a in state]


@given(quantizer_inputs(kinds=TAME), variants, decays, epsilons, st.booleans())
def test_ten_updates_of_every_variant_are_the_oracles(inputs, variant, decay, epsilon, zero):
    """Each step from our own state, so that a code near a tie cannot send the two apart."""
    z, E = inputs
    state, r = ops.ema_initialize(E, zero), np.random.default_rng(0)
    for a, b in zip(state[:3], oracles.ema_initialize(E, zero)[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    for _ in range(10):
        batch = z[r.random(len(z)) < 0.5]
        k = nearest_code(batch, state.E)
        before, given_state = frozen(state), [np.asarray(a, float) for a in state[:3]] + [state.t]
        mine = ops.ema_update(state, batch, k, decay, epsilon, **variant)
        theirs = oracles.ema_update(given_state, batch, k, decay, epsilon, **variant)
        assert {a.dtype for a in mine[:3]} == {z.dtype}
        assert frozen(state) == before and mine.t == theirs[3] == state.t + 1
        oracles.close(mine.N, theirs[1])
        for j in range(len(E)):
            # Sums of vectors may cancel: m's error is that of its terms, and E = m/Ñ has it over Ñ.
            terms = decay * norm(state.m[j]) + (1 - decay) * np.abs(batch[k == j]).sum()
            oracles.close(mine.m[j], theirs[2][j], terms)
            if norm(theirs[2][j]):
                oracles.close(mine.E[j], theirs[0][j], norm(theirs[0][j]) / norm(theirs[2][j]) * terms)
        state = mine


@given(quantizer_inputs(kinds=("normal",), min_n=1))
def test_at_decay_0_it_is_one_step_of_lloyds_k_means(inputs):
    """Without smoothing exactly; a code without vectors stays, as 0/0 says nothing."""
    z, E = inputs
    state = ops.ema_update(ops.ema_initialize(E), z, nearest_code(z, E), 0.0, smoothing="none")
    mu, n = oracles.lloyd_step(z, E)
    oracles.close(state.E, mu)
    np.testing.assert_array_equal(state.N, n)
    np.testing.assert_array_equal(state.E[n == 0], E[n == 0])


@given(quantizer_inputs(kinds=TAME, dtypes=st.just(np.float64)), decays)
def test_an_update_keeps_the_total_mass(inputs, decay):
    z, E = inputs
    state = ops.ema_initialize(E)
    mine = ops.ema_update(state, z, nearest_code(z, E), decay, 1e-2)
    np.testing.assert_allclose(mine.N.sum(), decay * len(E) + (1 - decay) * len(z), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(mine.m.sum(0), decay * E.sum(0) + (1 - decay) * z.sum(0), atol=1e-11)


@given(seeds, dtypes, st.integers(1, 30), st.floats(1e-8, 10))
def test_laplace_smoothing(seed, dtype, K, epsilon):
    """The sum stays, the order stays, nothing is 0, and everything moves towards the mean."""
    r = np.random.default_rng(seed)
    N = (r.integers(0, 5, K) * r.random(K)).astype(dtype)
    smooth = ops.laplace_smoothing(N, epsilon)
    assert smooth.dtype == dtype
    np.testing.assert_allclose(smooth.sum(), N.sum(), rtol=1e-12 if dtype == np.float64 else 1e-5)
    if N.any():
        assert (smooth > 0).all()
        assert (np.diff(smooth[np.argsort(N)]) >= 0).all()
        mean, slack = N.mean(), 1e-5 * N.max()
        assert (np.abs(smooth - mean) <= np.abs(N - mean) + slack).all()
    np.testing.assert_array_equal(ops.laplace_smoothing(np.zeros(K, dtype), epsilon), 0)
    np.testing.assert_array_equal(ops.laplace_smoothing(np.zeros(K, dtype), 0.0), 0)
    np.testing.assert_allclose(ops.laplace_smoothing(N, 0.0), N, rtol=1e-6)


@given(seeds, dtypes, st.lists(st.integers(1, 3), max_size=2).map(tuple), st.integers(1, 5))
@at_most(40)
def test_smoothing_and_codes_of_several_codebooks_are_those_of_each(seed, dtype, leading, K):
    """Leading axes broadcast: N: (..., K), m: (..., K, D); one of them may be without counts."""
    r = np.random.default_rng(seed)
    N = r.integers(0, 4, (*leading, K)).astype(dtype)
    if leading:
        N[(0,) * len(leading)] = 0
    m, E = (r.standard_normal((*leading, K, 2)).astype(dtype) for _ in range(2))
    smooth = ops.laplace_smoothing(N, 0.1)
    codes = {s: ops.ema_codes(E, N, m, 0.1, s) for s in SMOOTHINGS}
    assert smooth.shape == N.shape and smooth.dtype == dtype
    for at in np.ndindex(leading):
        oracles.close(smooth[at], oracles.smoothed(N[at], 0.1, "laplace"))
        np.testing.assert_array_equal(smooth[at], ops.laplace_smoothing(N[at], 0.1))
        for s in SMOOTHINGS:
            used = np.array(oracles.smoothed(N[at], 0.1, s))
            alone = ops.ema_codes(E[at], N[at], m[at], 0.1, s)
            np.testing.assert_array_equal(codes[s][at], alone)
            stays = used == 0
            np.testing.assert_array_equal(alone[stays], E[at][stays])
            oracles.close(alone[~stays], m[at][~stays].astype(float) / used[~stays, None])


@given(quantizer_inputs(kinds=TAME), variants, decays, epsilons)
def test_ema_codes_are_the_codes_of_the_update(inputs, variant, decay, epsilon):
    """And a new array: an update may be tried without being taken."""
    z, E = inputs
    state = ops.ema_update(ops.ema_initialize(E), z, nearest_code(z, E), decay, epsilon, **variant)
    debias = 1 - decay if variant["zero_debias"] else 1.0
    codes = ops.ema_codes(E, state.N / debias, state.m / debias, epsilon, variant["smoothing"])
    np.testing.assert_array_equal(codes, state.E)
    assert codes.dtype == E.dtype and not any(np.shares_memory(codes, a) for a in (E, state.m))


def test_one_codebook_before_serves_several_sets_of_averages():
    """E: (K, D) beside N: (T, K), m: (T, K, D): where Ñ is 0 its code stays."""
    E, N = np.array([[1.0], [2.0]]), np.array([[2.0, 0.0], [0.0, 4.0]])
    m = np.array([[[6.0], [0.0]], [[0.0], [8.0]]])
    np.testing.assert_array_equal(ops.ema_codes(E, N, m, 0.0)[..., 0], [[3, 2], [1, 2]])


@given(quantizer_inputs(kinds=TAME), variants, decays, epsilons)
@at_most(50)
def test_an_empty_batch_only_lets_n_and_m_decay(inputs, variant, decay, epsilon):
    _, E = inputs
    state = ops.ema_initialize(E)
    empty = np.zeros((0, E.shape[1]), E.dtype)
    mine = ops.ema_update(state, empty, np.zeros(0, int), decay, epsilon, **variant)
    assert np.isfinite(mine.E).all() and mine.t == 1
    oracles.close(mine.m, decay * state.m.astype(float))
    if decay == 0:
        np.testing.assert_array_equal(mine.N, 0)
    elif not variant["zero_debias"]:
        np.testing.assert_allclose(mine.E, E, rtol=1e-5 + 1.1 * epsilon / decay, atol=1e-6)


# Facts that docs/math/ema.md states, each at the size at which it is stated there.

K, D, BATCH, EPSILON, GAMMA = 512, 64, 128, 1e-5, 0.99


@pytest.fixture
def first_step(rng):
    """K = 512, D = 64, 128 inputs: (E, z, k, which codes are unused)."""
    E, z = rng.standard_normal((K, D)), rng.standard_normal((BATCH, D))
    k = nearest_code(z, E)
    unused = np.setdiff1d(np.arange(K), k)
    assert 400 < len(unused) < 460
    return E, z, k, unused


def test_a_start_from_one_vector_each_leaves_unused_codes_where_they_are(first_step):
    E, z, k, unused = first_step
    after = ops.ema_update(ops.ema_initialize(E), z, k, GAMMA, EPSILON)
    np.testing.assert_allclose(after.E[unused], E[unused], rtol=2 * EPSILON)


@pytest.mark.slow
@pytest.mark.parametrize("zero_debias", [True, False])
def test_a_zero_start_makes_unused_codes_0_and_used_ones_the_batchs_means(first_step, zero_debias):
    E, z, k, unused = first_step
    after = ops.ema_update(
        ops.ema_initialize(E, zero=True), z, k, GAMMA, EPSILON, zero_debias=zero_debias
    )
    assert not after.E[unused].any()
    mu, n = oracles.lloyd_step(z, E)
    np.testing.assert_allclose(after.E[n > 0], mu[n > 0], rtol=5e-3)


@given(quantizer_inputs(kinds=("normal",), dtypes=st.just(np.float64), min_n=5), decays)
@at_most(50)
def test_zero_debias_cancels_but_for_epsilon(inputs, decay):
    z, E = inputs
    plain = debiased = ops.ema_initialize(E, zero=True)
    for _ in range(3):
        k = nearest_code(z, plain.E)
        plain = ops.ema_update(plain, z, k, decay, 0.0)
        debiased = ops.ema_update(debiased, z, k, decay, 0.0, zero_debias=True)
    oracles.close(debiased.E, plain.E)
    np.testing.assert_array_equal(debiased.N, plain.N)  # what is stored is not debiased


def run_with_an_unused_code(updates, **variant):
    """Two codes, of which the second is never used: 64 vectors a batch at the first."""
    E = np.array([[1.0, 0.0], [0.0, 8.0]])
    state = ops.ema_initialize(E)
    z, k = np.tile([1.0, 0.0], (64, 1)), np.zeros(64, int)
    for _ in range(updates):
        state = ops.ema_update(state, z, k, GAMMA, EPSILON, **variant)
    return state


@pytest.mark.parametrize("updates", [1, 500, 1150, 2000])
def test_an_unused_code_keeps_its_place_until_its_count_is_near_epsilon(updates):
    """E_t = γᵗe / Ñ_t in closed form; halfway to 0 after about 1,150 updates at γ = 0.99."""
    state = run_with_an_unused_code(updates)
    count = GAMMA**updates
    total = 2 * count + (1 - count) * 64
    expected = 8 * count / ((count + EPSILON) / (total + 2 * EPSILON) * total)
    np.testing.assert_allclose(state.E[1], [0, expected], rtol=1e-10)
    np.testing.assert_allclose(state.N[1], count, rtol=1e-10)
    np.testing.assert_allclose(state.E[0], [1, 0], rtol=1e-5)
    if updates <= 500:
        assert expected > 7.98
    elif updates == 1150:
        assert abs(expected / 8 - 0.5) < 0.02
    else:
        assert expected < 0.01


def test_smoothing_variants_of_an_unused_code():
    """Without smoothing it keeps its place for ever; ε without normalisation shrinks codes in use too."""
    np.testing.assert_allclose(run_with_an_unused_code(2000, smoothing="none").E, [[1, 0], [0, 8]], rtol=1e-9)
    N = np.array([1.0, 3.0])
    state = EMAState(np.ones((2, 1)), N, N[:, None].copy())
    shrunk = ops.ema_update(state, np.ones((0, 1)), np.zeros(0, int), 0.5, 0.5, smoothing="additive")
    np.testing.assert_allclose(shrunk.E[:, 0], [0.5 / 1, 1.5 / 2])
    kept = ops.ema_update(state, np.ones((0, 1)), np.zeros(0, int), 0.5, 0.5, smoothing="laplace")
    np.testing.assert_allclose(kept.E[:, 0], [0.5 / (1 / 3 * 2), 1.5 / (2 / 3 * 2)])


# Restarts.


@given(quantizer_inputs(kinds=TAME, min_n=1), seeds, st.floats(0, 0.99))
def test_a_restart_resets_e_n_and_m_together(inputs, seed, threshold):
    z, E = inputs
    N = np.random.default_rng(seed).exponential(size=len(E)).astype(E.dtype) ** 4
    state = EMAState(E, N, N[:, None] * E, 7)
    before = frozen(state)
    after, j = ops.ema_restart(state, z, threshold, np.random.default_rng(seed))
    assert frozen(state) == before and after.t == 7
    assert {a.dtype for a in after[:3]} == {z.dtype}
    mean = N.astype(float).mean()
    expected = [i for i in range(len(E)) if float(N[i]) < threshold * mean * (1 - 1e-6)]
    surely_not = [i for i in range(len(E)) if float(N[i]) > threshold * mean * (1 + 1e-6)]
    assert set(expected) <= set(j) and not set(surely_not) & set(j)
    rows = {row.tobytes() for row in z}
    for i in range(len(E)):
        if i in j:
            assert after.E[i].tobytes() in rows or not after.E[i].any()
            oracles.close(after.N[i], mean)
            oracles.close(after.m[i], mean * after.E[i].astype(float))
        else:
            assert [a[i].tobytes() for a in after[:3]] == [a[i].tobytes() for a in state[:3]]


def test_a_restart_survives_the_next_update_and_is_undone_without_its_counts(rng):
    E = rng.standard_normal((8, 4))
    N = np.array([1.0] * 7 + [1e-7])
    z = rng.standard_normal((50, 4)) + 20
    restarted, j = ops.ema_restart(EMAState(E, N, N[:, None] * E), z, 0.1, rng)
    assert list(j) == [7] and restarted.E[7].min() > 15
    elsewhere, zeros = rng.standard_normal((64, 4)), np.zeros(64, int)
    kept = ops.ema_update(restarted, elsewhere, zeros, GAMMA, EPSILON)
    np.testing.assert_allclose(kept.E[7], restarted.E[7], rtol=1e-4)
    half = EMAState(restarted.E, N, N[:, None] * E)  # e alone
    undone = ops.ema_update(half, elsewhere, zeros, GAMMA, EPSILON)
    assert np.abs(undone.E[7]).max() < 5


def test_restarted_codes_are_different_vectors_while_there_are_enough(rng):
    z = rng.standard_normal((6, 2))
    state = EMAState(np.zeros((5, 2)), np.array([100.0, 0, 0, 0, 0]), np.zeros((5, 2)))
    after, j = ops.ema_restart(state, z, 0.5, rng)
    assert list(j) == [1, 2, 3, 4] and len({row.tobytes() for row in after.E[1:]}) == 4
    after, j = ops.ema_restart(state, z[:2], 0.5, rng)
    assert {row.tobytes() for row in after.E[1:]} <= {row.tobytes() for row in z[:2]}


def test_nothing_restarts_from_an_empty_batch_or_at_threshold_0(rng):
    state = EMAState(np.zeros((5, 2)), np.array([100.0, 0, 0, 0, 0]), np.zeros((5, 2)))
    for z, threshold in ((np.zeros((0, 2)), 0.5), (np.ones((3, 2)), 0.0)):
        after, j = ops.ema_restart(state, z, threshold, rng)
        assert after is state and j.size == 0 and j.dtype == np.int64


def test_rarely_used_is_relative_to_uniform_use():
    N = np.array([0.0, 0.9, 1.0, 10.1])  # the mean is 3
    assert list(rarely_used(N, 0.3)) == [0]
    assert list(rarely_used(N, 1 / 3)) == [0, 1]
    assert list(rarely_used(1000 * N, 1 / 3)) == [0, 1]
    assert list(rarely_used(N, 0)) == []


@given(seeds, st.integers(1, 8), st.integers(0, 12))
def test_random_rows(seed, n, count):
    z = np.arange(2.0 * n).reshape(n, 1, 2)
    rows = random_rows(z, count, np.random.default_rng(seed))
    assert rows.shape == (count, 2) and set(rows[:, 0]) <= set(z[:, 0, 0])
    if count <= n:
        assert len(set(rows[:, 0])) == count


def test_every_start_copies_the_codebook(rng):
    E = rng.standard_normal((3, 2))
    for zero in (False, True):
        state = ops.ema_initialize(E, zero)
        assert state.t == 0 and all(a.dtype == E.dtype for a in state[:3])
        for a in (state.E, state.m):
            assert not np.shares_memory(a, E)
        assert not np.shares_memory(state.E, state.m)


Z, E0, K0, RNG = np.zeros((2, 3)), np.ones((4, 3)), np.zeros(2, int), np.random.default_rng(0)
STATE = ops.ema_initialize(E0)


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: ops.ema_initialize(E0[0]), "ema_initialize", "E", "must have shape (K, D)", "shape (3,)"),
        (lambda: ops.ema_initialize(E0.tolist()), "ema_initialize", "E", "must be a NumPy array", "list"),
        (lambda: ops.ema_update(STATE, Z[:, :2], K0), "ema_update", "z", "must have shape (..., 3)", "shape (2, 2)"),  # noqa: E501
        (lambda: ops.ema_update(STATE, Z.astype("f"), K0), "ema_update", "z", "must be float64", "float32"),
        (lambda: ops.ema_update(STATE, Z, K0, 1.0), "ema_update", "decay", "must be in [0, 1)", "1.0"),
        (lambda: ops.ema_update(STATE, Z, K0, -0.1), "ema_update", "decay", "must be in [0, 1)", "-0.1"),
        (lambda: ops.ema_update(STATE, Z, K0, np.nan), "ema_update", "decay", "must be in [0, 1)", "nan"),
        (lambda: ops.ema_update(STATE, Z, K0, 0.9, -1e-5), "ema_update", "epsilon", "must be in [0, inf)", "-1e-05"),  # noqa: E501
        (lambda: ops.ema_update(STATE, Z, K0, 0.9, -1e-5, smoothing="none"), "ema_update", "epsilon", "must be in [0, inf)", "-1e-05"),  # noqa: E501
        (lambda: ops.ema_update(STATE, Z, K0, smoothing="lidstone"), "ema_update", "smoothing", "must be one of 'laplace', 'additive', 'none'", "'lidstone'"),  # noqa: E501
        (lambda: ops.ema_update(STATE, Z, K0 + 4), "code_statistics", "codes", "must be in [0, 4)", "4 at index 0"),  # noqa: E501
        (lambda: ops.ema_update(STATE, Z, K0[:1]), "code_statistics", "k", "must have shape (2,)", "shape (1,)"),  # noqa: E501
        (lambda: ops.ema_restart(STATE, Z, 1.0, RNG), "ema_restart", "threshold", "must be in [0, 1)", "1.0"),
        (lambda: ops.ema_restart(STATE, Z[:, :1], 0.5, RNG), "ema_restart", "z", "must have last axis 3", "shape (2, 1)"),  # noqa: E501
        (lambda: ops.ema_restart(STATE, Z.astype("f"), 0.5, RNG), "ema_restart", "z", "must be float64", "float32"),  # noqa: E501
        (lambda: ops.laplace_smoothing(np.ones(3), -1.0), "laplace_smoothing", "epsilon", "must be in [0, inf)", "-1.0"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        call()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_never_reach_the_codebook(value):
    z = Z.copy()
    z[1, 0] = value
    rare = EMAState(E0, np.array([9.0, 0, 0, 0]), E0)
    calls = {
        "ema_update": lambda: ops.ema_update(STATE, z, K0),
        "ema_restart": lambda: ops.ema_restart(rare, z, 0.5, RNG),
    }
    for where, call in calls.items():
        with refused("z", "must be finite", f"{value} at index (1, 0)", where=where, error=NonFiniteError):
            call()


def test_numpy_scalars_leave_float32_what_it_is():
    state = ops.ema_initialize(np.ones((3, 2), np.float32))
    z, k = np.ones((4, 2), np.float32), np.zeros(4, int)
    wide = {"decay": np.float64(0.9), "epsilon": np.float64(1e-5)}
    assert all(a.dtype == np.float32 for a in ops.ema_update(state, z, k, **wide)[:3])
    assert ops.laplace_smoothing(state.N, np.float64(1e-5)).dtype == np.float32


def test_a_code_unused_for_ever_keeps_its_place_without_smoothing():
    """N and m sink into float32's last subnormal numbers, whose ratio means nothing."""
    state = ops.ema_initialize(np.array([[3.0, -2.0], [0.0, 0.0]], np.float32))
    z, k = np.zeros((4, 2), np.float32), np.ones(4, int)
    for _ in range(1200):
        state = ops.ema_update(state, z, k, decay=0.9, smoothing="none")
    np.testing.assert_allclose(state.E[0], [3, -2], rtol=1e-4)
