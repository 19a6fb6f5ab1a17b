"""The two quantizers: their gradients, their updates, their starts, their restarts, and what they refuse."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import TAME, at_most, quantizer_inputs, seeds

from vqnp import VQVAE, EMAVectorQuantizer, InputError, VectorQuantizer, nearest_code, ops
from vqnp._check import NonFiniteError
from vqnp.gradcheck import gradcheck_module
from vqnp.nn.quantizers import CODEBOOK_INITS
from vqnp.ops.ema import SMOOTHINGS
from vqnp.ops.loss import REDUCTIONS

both = pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])


@both
@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_declared_estimator(kind, beta, reduction, rng):
    """Straight-through and both losses with every sg frozen; an EMA codebook has no codebook loss."""
    vq = kind(6, 3, beta, reduction=reduction, codebook_init="normal", dtype=np.float64)
    codebook = 1.0 if kind is VectorQuantizer else 0.0

    def freeze(z0, *params):
        k = oracles.nearest(z0.reshape(-1, 3), vq.embeddings).reshape(z0.shape[:-1])
        z0, e0 = z0.copy(), vq.embeddings[k]
        size = oracles.count(z0.shape, reduction)

        def surrogate(z, *params):
            e = params[0][k] if params else e0
            L = beta * np.sum((z - e0) ** 2) + codebook * np.sum((z0 - e) ** 2)
            return z + (e0 - z0), np.asarray(L / size)

        return surrogate

    def forward(z):
        z_q, codebook_loss, commitment_loss, k, cache = vq.forward(z)
        return z_q, np.asarray(codebook_loss + commitment_loss), k, cache

    def backward(dz_q, dL, cache):
        return vq.backward(dz_q, cache, dL)

    z = rng.standard_normal((4, 2, 3))
    report = gradcheck_module(vq, z, rng=rng, forward=forward, backward=backward, freeze=freeze)
    names = [row.argument for row in report.rows]
    assert names == (["x", "E"] if kind is VectorQuantizer else ["x"])
    report.raise_if_failed()


@both
@given(inputs=quantizer_inputs(kinds=TAME, dtypes=st.just(np.dtype(np.float32))), seed=seeds)
@at_most(40)
def test_forward_encode_and_decode_are_the_op(kind, inputs, seed):
    z, E = inputs
    vq = kind(*E.shape, 0.4, dtype=z.dtype)
    vq.embeddings[...] = E
    *outputs, k, cache = vq.forward(z)
    theirs = ops.quantize_forward(z, E, beta=0.4, codebook_loss=kind is VectorQuantizer)
    for ours, their in zip([*outputs, k], theirs[:4], strict=True):
        np.testing.assert_array_equal(ours, their)
    z_q, codebook, _ = outputs
    assert kind is VectorQuantizer or codebook == 0
    np.testing.assert_array_equal(vq.encode(z), k)
    np.testing.assert_array_equal(vq.decode(k), z_q)
    G = np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)
    dz, dE = ops.quantize_backward(G, 1.0, theirs[-1])
    np.testing.assert_array_equal(vq.backward(G, cache), dz)  # dL is 1 unless given
    if kind is VectorQuantizer:
        np.testing.assert_array_equal(vq.E.grad, dE)
        vq.zero_grad()
    assert vq.backward(G, cache, need_dx=False) is None
    if kind is VectorQuantizer:
        np.testing.assert_array_equal(vq.E.grad, dE)


def ema_options():
    return st.fixed_dictionaries(
        {
            "decay": st.sampled_from([0.0, 0.8, 0.99]),
            "epsilon": st.sampled_from([1e-5, 1e-2]),
            "smoothing": st.sampled_from(SMOOTHINGS),
            "zero_debias": st.booleans(),
        }
    )


@given(quantizer_inputs(kinds=TAME), ema_options(), seeds)
@at_most(60)
def test_update_takes_next_state_which_is_ema_update(inputs, options, seed):
    """next_state changes nothing; forward quantizes with the codes from before the update."""
    z, E = inputs
    vq = EMAVectorQuantizer(*E.shape, dtype=z.dtype, **options, rng=seed)
    vq.ema = old = ops.ema_initialize(E, zero=options["zero_debias"])
    k = vq.encode(z)
    before = vq.state_dict()
    wanted, tried = ops.ema_update(old, z, k, **options), vq.next_state(z, k)
    assert vq.ema is old and all(np.array_equal(a, before[name]) for name, a in vq.state_dict().items())
    np.testing.assert_array_equal(vq.forward(z)[0], old.E[k])
    assert vq.update(z, k, 0).size == 0
    for ours, theirs, next_ in zip(vq.ema, wanted, tried, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(next_, theirs)
    np.testing.assert_array_equal(vq.embeddings, wanted.E)


@pytest.mark.parametrize("restart", [0.0, 0.5])
def test_update_of_a_gradient_codebook_counts_and_restarts(restart, rng):
    vq = VectorQuantizer(
        4, 2, decay=0.5, codebook_init="normal", restart_dead_codes=restart, dtype=np.float64
    )
    z = rng.standard_normal((40, 2)) + 30
    E, N = vq.embeddings.copy(), np.ones(4)
    k = np.array([0] * 30 + [1] * 10)
    j = vq.update(z, k, rng)
    N = 0.5 * N + 0.5 * np.array([30, 10, 0, 0])
    if restart:
        assert list(j) == [2, 3]
        assert {row.tobytes() for row in vq.embeddings[2:]} <= {row.tobytes() for row in z}
        np.testing.assert_array_equal(vq.N, [N[0], N[1], N.mean(), N.mean()])
    else:
        assert j.size == 0
        np.testing.assert_array_equal(vq.N, N)
        np.testing.assert_array_equal(vq.embeddings, E)
    np.testing.assert_array_equal(vq.embeddings[:2], E[:2])


@both
def test_restarted_codes_survive_the_next_updates(kind, rng):
    """20 of 64 codes are dead; all of them are still where they restarted, three batches later."""
    z = 50 + rng.standard_normal((200, 4))
    vq = kind(64, 4, codebook_init="normal", dtype=np.float64, rng=rng)
    k = np.arange(200) % 44
    for _ in range(400):
        assert vq.update(z, k, rng).size == 0
    vq.restart_dead_codes = 0.05
    j = vq.update(z, k, rng)
    assert set(j) == set(range(44, 64))
    placed = vq.embeddings[j].copy()
    for _ in range(3):
        assert vq.update(z, k, rng).size == 0
    np.testing.assert_allclose(vq.embeddings[j], placed, rtol=1e-4)


@both
def test_an_empty_batch_restarts_nothing(kind):
    for restart in (0.0, 0.9):
        vq = kind(4, 2, restart_dead_codes=restart, dtype=np.float64)
        j = vq.update(np.zeros((0, 2)), np.zeros(0, int), 0)
        assert j.size == 0 and np.isfinite(vq.embeddings).all()


# Starts.


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_codebooks_have_their_declared_moments(kind, dtype):
    K, D = 400, 30
    E = {init: kind(K, D, codebook_init=init, rng=3, dtype=dtype).embeddings for init in CODEBOOK_INITS}
    assert {e.dtype for e in E.values()} == {np.dtype(dtype)} and {e.shape for e in E.values()} == {(K, D)}
    for init in ("uniform", "data", "kmeans"):
        np.testing.assert_allclose([E[init].min(), E[init].max()], [-1 / K, 1 / K], rtol=0.01)
        np.testing.assert_allclose(E[init].std(), 1 / K / np.sqrt(3), rtol=0.03)
    np.testing.assert_allclose([E["normal"].mean(), E["normal"].std()], [0, 1], atol=0.03)
    assert np.abs(E["normal"]).max() > 3.5
    np.testing.assert_allclose(np.square(E["scaled_uniform"]).sum(1).mean(), 1, rtol=0.03)
    assert np.abs(E["scaled_uniform"]).max() <= np.sqrt(3 / D) * (1 + 1e-6)
    again = kind(K, D, codebook_init="normal", rng=3, dtype=dtype).embeddings
    np.testing.assert_array_equal(again, E["normal"])
    assert not np.array_equal(kind(K, D, codebook_init="normal", rng=4, dtype=dtype).embeddings, again)


@both
def test_initialize_from_data(kind, rng):
    """Codes are vectors, different ones while there are enough; N = 1, and for EMA m = e."""
    z = rng.standard_normal((5, 4, 3)).astype(np.float32)
    vq = kind(20, 3, codebook_init="data")
    vq.initialize(z, 7)
    rows = z.reshape(20, 3)
    np.testing.assert_array_equal(np.sort(vq.embeddings, axis=0), np.sort(rows, axis=0))
    state = vq.state_dict()
    np.testing.assert_array_equal(state["N"], 1)
    if kind is EMAVectorQuantizer:
        np.testing.assert_array_equal(state["m"], vq.embeddings)
    z_q, codebook, commitment, *_ = vq.forward(z)
    np.testing.assert_array_equal(z_q, z)
    assert codebook == commitment == 0


@both
def test_initialize_from_kmeans(kind, rng):
    """N = n and m = n·μ, so that the codes are still the means after a second step (where m = μ is not)."""
    z = np.repeat(10 * np.eye(3), 30, axis=0) + 0.1 * rng.standard_normal((90, 3))
    vq = kind(3, 3, codebook_init="kmeans", rng=0, dtype=np.float64)
    vq.initialize(z, 5)
    mu, n = ops.kmeans(z, 3, np.random.default_rng(5))
    np.testing.assert_array_equal(vq.embeddings, mu)
    state = vq.state_dict()
    np.testing.assert_array_equal(state["N"], n)
    if kind is EMAVectorQuantizer:
        np.testing.assert_array_equal(state["m"], n[:, None] * mu)
    for _ in range(2):
        vq.update(z, vq.encode(z), 0)
    np.testing.assert_allclose(vq.embeddings, mu, rtol=1e-5)


def test_a_kmeans_centre_of_no_vectors_keeps_its_place(rng):
    """Fewer places than codes: some centres are empty, and N = 0 with m = 0 would send them to 0."""
    z = np.repeat(np.array([[5.0, 5.0], [9.0, 9.0]]), 20, axis=0)
    vq = EMAVectorQuantizer(6, 2, codebook_init="kmeans", rng=0, dtype=np.float64)
    vq.initialize(z, 5)
    for _ in range(3):
        vq.update(z, vq.encode(z), 0)
    assert np.abs(vq.embeddings).min() > 4


@both
@pytest.mark.parametrize("init", ["uniform", "normal", "scaled_uniform"])
def test_initialize_leaves_a_codebook_that_has_started(kind, init, rng):
    vq = kind(4, 3, codebook_init=init)
    before = {name: a.copy() for name, a in vq.state_dict().items()}
    vq.initialize(rng.standard_normal((9, 3)).astype(np.float32), 0)
    for name, a in vq.state_dict().items():
        np.testing.assert_array_equal(a, before[name])


def test_initialize_keeps_the_array_that_an_optimizer_holds(rng):
    vq = VectorQuantizer(4, 3, codebook_init="data")
    param, value = vq.E, vq.E.value
    vq.initialize(rng.standard_normal((9, 3)).astype(np.float32), 0)
    assert vq.E is param and vq.E.value is value


@pytest.mark.parametrize("zero_debias", [False, True])
def test_the_ema_starts_at_one_vector_for_each_code_or_at_none(zero_debias):
    vq = EMAVectorQuantizer(4, 3, zero_debias=zero_debias, rng=2, dtype=np.float64)
    E, N, m, t = vq.ema
    assert t == 0
    np.testing.assert_array_equal(N, 0.0 if zero_debias else 1.0)
    np.testing.assert_array_equal(m, 0 if zero_debias else E)


@both
def test_the_rotation_changes_dz_alone(kind, rng):
    z, dz_q = rng.standard_normal((9, 3)), rng.standard_normal((9, 3))
    estimators = ("straight_through", "rotation")
    plain, turned = (kind(4, 3, estimator=e, rng=2, dtype="float64") for e in estimators)
    for a, b in zip(plain.forward(z)[:-1], turned.forward(z)[:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    dz, turned_dz = (vq.backward(dz_q, vq.forward(z)[-1]) for vq in (plain, turned))
    rotated = ops.rotate_backward(dz_q, ops.rotate_forward(z, plain.decode(plain.encode(z)))[1])
    np.testing.assert_allclose(turned_dz - rotated, dz - dz_q, atol=1e-12)
    for a, b in zip(plain.parameters(), turned.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


@both
def test_the_codebook_by_gradient_is_a_parameter_and_by_ema_a_buffer(kind):
    vq = kind(4, 3)
    names = {VectorQuantizer: (["E"], ["N"]), EMAVectorQuantizer: ([], ["E", "N", "m", "t"])}[kind]
    assert [name for name, _ in vq.named_parameters()] == names[0] and list(vq.buffers()) == names[1]
    assert np.shares_memory(vq.embeddings, vq.E.value if kind is VectorQuantizer else vq.ema.E)


def test_the_default_is_the_papers():
    for kind in (VectorQuantizer, EMAVectorQuantizer):
        vq = kind(4, 3)
        defaults = (vq.commitment_cost, vq.reduction, vq.decay, vq.codebook_init, vq.restart_dead_codes)
        assert defaults == (0.25, "mean", 0.99, "uniform", 0.0)
    assert (vq.epsilon, vq.smoothing, vq.zero_debias) == (1e-5, "laplace", False)
    assert vq.num_parameters() == 0 and VectorQuantizer(4, 3).num_parameters() == 12
    assert {VQVAE.mlp(codebook=kind).quantizer.commitment_cost for kind in ("ema", "gradient")} == {0.25}


# What is refused.

BAD = [
    ({"num_embeddings": 0}, "num_embeddings", "must be an integer of at least 1", "0"),
    ({"embedding_dim": 2.5}, "embedding_dim", "must be an integer of at least 1", "2.5"),
    ({"commitment_cost": -0.25}, "commitment_cost", "must be in [0, inf)", "-0.25"),
    ({"commitment_cost": None}, "commitment_cost", "must be a number in [0, inf)", "None"),
    ({"reduction": "none"}, "reduction", "must be one of 'mean', 'mean_of_sums', 'sum'", "'none'"),
    ({"estimator": "copy"}, "estimator", "must be one of 'straight_through', 'rotation'", "'copy'"),
    ({"estimator": "copy"}, "estimator", "must be one of 'straight_through', 'rotation'", "'copy'"),
    ({"codebook_init": "zeros"}, "codebook_init", "must be one of 'uniform', 'normal', 'scaled_uniform', 'data', 'kmeans'", "'zeros'"),  # noqa: E501
    ({"decay": 1}, "decay", "must be in [0, 1)", "1.0"),
    ({"decay": np.nan}, "decay", "must be in [0, 1)", "nan"),
    ({"restart_dead_codes": 1.0}, "restart_dead_codes", "must be in [0, 1)", "1.0"),
    ({"restart_dead_codes": -0.1}, "restart_dead_codes", "must be in [0, 1)", "-0.1"),
    ({"rng": "seed"}, "rng", "must be a numpy.random.Generator or an integer", "'seed'"),
    ({"dtype": np.float16}, "dtype", "must be 'float32' or 'float64'", "float16"),
    ({"dtype": int}, "dtype", "must be 'float32' or 'float64'", "int"),
]  # fmt: skip
BAD_EMA = [
    ({"epsilon": -1e-5}, "epsilon", "must be in [0, inf)", "-1e-05"),
    ({"smoothing": "add"}, "smoothing", "must be one of 'laplace', 'additive', 'none'", "'add'"),
]


@pytest.mark.parametrize(
    ("kind", "options", "argument", "needed", "got"),
    [(kind, *case) for kind in (VectorQuantizer, EMAVectorQuantizer) for case in BAD]
    + [(EMAVectorQuantizer, *case) for case in BAD_EMA],
)
def test_bad_settings_are_refused(kind, options, argument, needed, got):
    with refused(argument, needed, got, where=kind.__name__):
        kind(**{"num_embeddings": 4, "embedding_dim": 3, **options})


F32 = np.zeros((2, 3), np.float32)


def infinite():
    z = F32.copy()
    z[1, 0] = np.inf
    return z


@both
@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda vq: vq.forward(F32[:, :2]), "quantize_forward", "z", "must have shape (..., 3)", "shape (2, 2)"),  # noqa: E501
        (lambda vq: vq.forward(F32.tolist()), "quantize_forward", "z", "must be a NumPy array", "list"),
        (lambda vq: vq.encode(F32[:, :2]), "nearest_code", "z", "must have shape (..., 3)", "shape (2, 2)"),
        (lambda vq: vq.encode(F32.astype(float)), "nearest_code", "z", "must be float32", "float64"),
        (lambda vq: vq.forward(infinite()), "nearest_code", "z", "must be finite", "inf at index (1, 0)"),
        (lambda vq: vq.encode(infinite()), "nearest_code", "z", "must be finite", "inf at index (1, 0)"),
        (lambda vq: vq.decode(np.array([0, 4])), "{}.decode", "codes", "must be in [0, 4)", "4 at index 1"),
        (lambda vq: vq.decode(-1), "{}.decode", "codes", "must be in [0, 4)", "-1"),
        (lambda vq: vq.decode(np.array([[0.5]])), "{}.decode", "codes", "must be integers", "float64"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(kind, call, where, argument, needed, got):
    error = NonFiniteError if "finite" in needed else InputError
    with refused(argument, needed, got, where=where.format(kind.__name__), error=error):
        call(kind(4, 3))


BAD_Z = [
    (F32[:, :1], "must have", "shape (2, 1)", InputError),
    (F32.astype(float), "must be float32", "float64", InputError),
    (infinite(), "must be finite", "inf at index (1, 0)", NonFiniteError),
]


@pytest.mark.parametrize(("z", "needed", "got", "error"), BAD_Z)
@pytest.mark.parametrize("restart", [0.0, 0.9])
@both
def test_a_refused_update_changes_nothing(kind, z, needed, got, error, restart):
    vq = kind(4, 3, restart_dead_codes=restart)
    before = vq.state_dict()
    where = "VectorQuantizer.update" if kind is VectorQuantizer else "ema_update"
    with refused("z", needed, got, where=where, error=error):
        vq.update(z, np.zeros(2, int), 0)
    with refused("codes", "must be in [0, 4)", "4 at index 0"):
        vq.update(F32, np.array([4, 0]), 0)
    for name, a in vq.state_dict().items():
        np.testing.assert_array_equal(a, before[name])


@both
def test_a_codebook_that_is_not_finite_is_named(kind):
    vq = kind(4, 3)
    vq.embeddings[2, 1] = np.nan
    with refused("E", "must be finite", "nan at index (2, 1)", where="nearest_code", error=NonFiniteError):
        vq.forward(F32)


def test_encode_is_nearest_code(rng):
    z = rng.standard_normal((3, 5, 2))
    vq = VectorQuantizer(4, 2, codebook_init="normal", dtype=np.float64)
    np.testing.assert_array_equal(vq.encode(z), nearest_code(z, vq.embeddings))


@both
@pytest.mark.parametrize("init", ["data", "kmeans"])
def test_initialize_takes_only_vectors_of_its_own_kind(kind, init):
    vq = kind(4, 3, codebook_init=init)
    before = vq.state_dict()
    for z, needed, got, error in [
        *BAD_Z,
        (np.zeros((0, 3), "f"), "must hold at least one vector", "shape (0, 3)", InputError),
    ]:
        with refused("z", needed, got, where=f"{kind.__name__}.initialize", error=error):
            vq.initialize(z, 0)
    for name, array in vq.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
