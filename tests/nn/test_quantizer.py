"""The two quantizers: their gradients, their updates, their starts, their restarts, and what they refuse."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import TAME, quantizer_inputs, seeds

from vqnp import VQVAE, EMAVectorQuantizer, InputError, VectorQuantizer, gradcheck_module, nearest_code, ops
from vqnp._check import NonFiniteError
from vqnp.nn.quantizer import CODEBOOK_INITS
from vqnp.ops.ema import SMOOTHINGS, STARTS
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.quantize import BETA_PLACEMENTS

both = pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])


class Checked:
    """A quantizer as gradcheck_module takes it: outputs in, cotangents in the same order."""

    def __init__(self, vq):
        self.vq = vq

    def named_params(self):
        return self.vq.named_params()

    def forward(self, z):
        return self.vq.forward(z)

    def backward(self, dz_q, dL, cache):
        return self.vq.backward(dz_q, cache, dL)


@both
@pytest.mark.parametrize("beta_on", BETA_PLACEMENTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_declared_estimator(kind, beta_on, reduction, rng):
    """Straight-through and both losses with every sg frozen; an EMA codebook has no codebook loss."""
    vq = kind(6, 3, 0.3, beta_on=beta_on, reduction=reduction, codebook_init="normal", dtype=np.float64)
    commitment, codebook = oracles.beta_weights(0.3, beta_on)
    if kind is EMAVectorQuantizer:
        codebook = 0.0

    def freeze(z0, *params):
        k = oracles.nearest(z0.reshape(-1, 3), vq.embeddings).reshape(z0.shape[:-1])
        z0, e0 = z0.copy(), vq.embeddings[k]
        size = oracles.count(z0.shape, reduction)

        def surrogate(z, *params):
            e = params[0][k] if params else e0
            L = commitment * np.sum((z - e0) ** 2) + codebook * np.sum((z0 - e) ** 2)
            return z + (e0 - z0), np.asarray(L / size)

        return surrogate

    report = gradcheck_module(Checked(vq), rng.standard_normal((4, 2, 3)), rng=rng, freeze=freeze)
    names = [row.argument for row in report.rows]
    assert names == (["x", "E"] if kind is VectorQuantizer else ["x"])
    report.raise_if_failed()


@both
@given(inputs=quantizer_inputs(kinds=TAME, dtypes=st.just(np.dtype(np.float32))), seed=seeds)
@settings(max_examples=40)
def test_forward_encode_and_decode_are_the_op(kind, inputs, seed):
    z, E = inputs
    vq = kind(*E.shape, 0.4, dtype=z.dtype)
    vq.embeddings[...] = E
    z_q, L, k, cache = vq.forward(z)
    theirs = ops.quantize_forward(z, E, beta=0.4, codebook_loss=kind is VectorQuantizer)
    np.testing.assert_array_equal(z_q, theirs[0])
    assert L == theirs[1]
    np.testing.assert_array_equal(k, theirs[2])
    np.testing.assert_array_equal(vq.encode(z), k)
    np.testing.assert_array_equal(vq.decode(k), z_q)
    G = np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)
    dz, dE = ops.quantize_backward(G, 1.0, theirs[3])
    np.testing.assert_array_equal(vq.backward(G, cache), dz)  # dL is 1 unless given
    if kind is VectorQuantizer:
        np.testing.assert_array_equal(vq.E.grad, dE)


def ema_options():
    return st.fixed_dictionaries(
        {
            "decay": st.sampled_from([0.0, 0.8, 0.99]),
            "epsilon": st.sampled_from([1e-5, 1e-2]),
            "smoothing": st.sampled_from(SMOOTHINGS),
            "zero_debias": st.booleans(),
            "write_back": st.booleans(),
        }
    )


@given(quantizer_inputs(kinds=TAME), ema_options(), st.sampled_from(STARTS), seeds)
@settings(max_examples=60)
def test_update_is_ema_update_and_look_ahead_sees_it(inputs, options, start, seed):
    """forward(lookahead=True) is what forward with the same codes would be after the update."""
    z, E = inputs
    vq = EMAVectorQuantizer(*E.shape, start=start, codes="after", dtype=z.dtype, **options, rng=seed)
    vq.ema = ops.ema_start(E, start, rng=seed)
    old, k = vq.ema, vq.encode(z)
    wanted = ops.ema_update(old, z, k, **options)
    now, ahead = vq.forward(z), vq.forward(z, lookahead=True)
    assert vq.ema is old
    assert vq.update(z, k, 0).size == 0
    for ours, theirs in zip(vq.ema, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(now[0], old.E[k])
    np.testing.assert_array_equal(ahead[0], wanted.E[k])
    np.testing.assert_array_equal(ahead[2], k)
    assert ahead[1] == ops.quantize_forward(z, wanted.E, k, beta=0.25, codebook_loss=False)[1]
    np.testing.assert_array_equal(vq.embeddings, wanted.E)


def test_lookahead_at_decay_0_quantizes_to_the_batchs_means(rng):
    z = rng.standard_normal((20, 3))
    vq = EMAVectorQuantizer(4, 3, decay=0.0, smoothing="none", codebook_init="normal", dtype=np.float64)
    mu, _ = oracles.lloyd_step(z, vq.embeddings)
    ahead = vq.forward(z, lookahead=True)
    oracles.close(ahead[0], mu[ahead[2]])
    assert ahead[1] < vq.forward(z)[1]  # a Lloyd step never raises the error


def test_the_gradient_codebook_has_nothing_to_look_ahead_to(rng):
    vq, z = VectorQuantizer(4, 3, dtype=np.float64), rng.standard_normal((5, 3))
    assert vq.forward(z, lookahead=True)[1] == vq.forward(z)[1]


@pytest.mark.parametrize("restart", [0.0, 0.5])
def test_update_of_a_gradient_codebook_counts_and_restarts(restart, rng):
    vq = VectorQuantizer(4, 2, decay=0.5, codebook_init="normal", dtype=np.float64)
    z = rng.standard_normal((40, 2)) + 30
    E, N = vq.embeddings.copy(), np.ones(4)
    k = np.array([0] * 30 + [1] * 10)
    j = vq.update(z, k, rng, restart)
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
    k = rng.integers(0, 44, 200)
    for _ in range(400):
        vq.update(z, k, rng)
    j = vq.update(z, k, rng, restart=0.05)
    assert set(j) == set(range(44, 64))
    placed = vq.embeddings[j].copy()
    for _ in range(3):
        assert vq.update(z, k, rng, restart=0.05).size == 0
    np.testing.assert_allclose(vq.embeddings[j], placed, rtol=1e-4)


@both
def test_an_empty_batch_restarts_nothing(kind):
    vq = kind(4, 2, dtype=np.float64)
    for restart in (0.0, 0.9):
        j = vq.update(np.zeros((0, 2)), np.zeros(0, int), 0, restart)
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
def test_start_from_data(kind, rng):
    """Codes are vectors, different ones while there are enough; N = 1, and for EMA m = e."""
    z = rng.standard_normal((5, 4, 3)).astype(np.float32)
    vq = kind(20, 3, codebook_init="data")
    vq.start_from(z, 7)
    rows = z.reshape(20, 3)
    np.testing.assert_array_equal(np.sort(vq.embeddings, axis=0), np.sort(rows, axis=0))
    state = vq.state()
    np.testing.assert_array_equal(state["N"], 1)
    if kind is EMAVectorQuantizer:
        np.testing.assert_array_equal(state["m"], vq.embeddings)
    z_q, L, _, _ = vq.forward(z)
    np.testing.assert_array_equal(z_q, z)
    assert L == 0


@both
def test_start_from_kmeans(kind, rng):
    """N = n and m = n·μ, so that the codes are still the means after a second step (where m = μ is not)."""
    z = np.repeat(10 * np.eye(3), 30, axis=0) + 0.1 * rng.standard_normal((90, 3))
    vq = kind(3, 3, codebook_init="kmeans", rng=0, dtype=np.float64)
    vq.start_from(z, 5)
    mu, n = ops.kmeans(z, 3, np.random.default_rng(5))
    np.testing.assert_array_equal(vq.embeddings, mu)
    state = vq.state()
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
    vq.start_from(z, 5)
    for _ in range(3):
        vq.update(z, vq.encode(z), 0)
    assert np.abs(vq.embeddings).min() > 4


@both
@pytest.mark.parametrize("init", ["uniform", "normal", "scaled_uniform"])
def test_start_from_leaves_a_codebook_that_has_started(kind, init, rng):
    vq = kind(4, 3, codebook_init=init)
    before = {name: a.copy() for name, a in vq.state().items()}
    vq.start_from(rng.standard_normal((9, 3)).astype(np.float32), 0)
    for name, a in vq.state().items():
        np.testing.assert_array_equal(a, before[name])


def test_start_from_keeps_the_array_that_an_optimizer_holds(rng):
    vq = VectorQuantizer(4, 3, codebook_init="data")
    param, value = vq.E, vq.E.value
    vq.start_from(rng.standard_normal((9, 3)).astype(np.float32), 0)
    assert vq.E is param and vq.E.value is value


@pytest.mark.parametrize("start", STARTS)
def test_the_ema_starts_reach_the_state(start):
    vq = EMAVectorQuantizer(4, 3, start=start, rng=2, dtype=np.float64)
    E, N, m, t = vq.ema
    assert t == 0
    np.testing.assert_array_equal(N, 1.0 if start == "consistent" else 0.0)
    if start == "independent":
        assert m.std() > 0.3 and not np.array_equal(m, E)
    else:
        np.testing.assert_array_equal(m, 0 if start == "zero" else E)


def test_the_default_is_the_papers():
    for kind in (VectorQuantizer, EMAVectorQuantizer):
        vq = kind(4, 3)
        assert (vq.commitment_cost, vq.beta_on, vq.reduction, vq.decay) == (0.25, "commitment", "mean", 0.99)
    assert (vq.epsilon, vq.start, vq.smoothing, vq.zero_debias, vq.write_back, vq.codes) == (
        1e-5, "consistent", "laplace", False, False, "before",
    )  # fmt: skip
    assert vq.num_parameters() == 0 and VectorQuantizer(4, 3).num_parameters() == 12
    assert {VQVAE(codebook=kind).quantizer.commitment_cost for kind in ("ema", "gradient")} == {0.25}


# What is refused.

BAD = [
    ({"num_embeddings": 0}, "num_embeddings must be an integer of at least 1; got 0"),
    ({"embedding_dim": 2.5}, "embedding_dim must be an integer of at least 1; got 2.5"),
    ({"commitment_cost": -0.25}, "commitment_cost must be in [0, inf); got -0.25"),
    ({"commitment_cost": None}, "commitment_cost must be a number in [0, inf); got None"),
    ({"beta_on": "encoder"}, "beta_on must be one of 'commitment', 'codebook', 'complement', 'both'; got 'encoder'"),  # noqa: E501
    ({"reduction": "none"}, "reduction must be one of 'mean', 'mean_of_sums', 'sum'; got 'none'"),
    ({"codebook_init": "zeros"}, "codebook_init must be one of 'uniform', 'normal', 'scaled_uniform', 'data', 'kmeans'; got 'zeros'"),  # noqa: E501
    ({"decay": 1}, "decay must be in [0, 1); got 1.0"),
    ({"decay": np.nan}, "decay must be in [0, 1); got nan"),
    ({"dtype": np.float16}, "dtype must be float32 or float64; got float16"),
    ({"dtype": int}, "dtype must be float32 or float64; got int64"),
]  # fmt: skip
BAD_EMA = [
    ({"epsilon": -1e-5}, "epsilon must be in [0, inf); got -1e-05"),
    ({"start": "ones"}, "start must be one of 'consistent', 'zero_counts', 'independent', 'zero'; got 'ones'"),  # noqa: E501
    ({"smoothing": "add"}, "smoothing must be one of 'laplace', 'additive', 'none'; got 'add'"),
    ({"codes": "both"}, "codes must be one of 'before', 'after'; got 'both'"),
]


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [(kind, *case) for kind in (VectorQuantizer, EMAVectorQuantizer) for case in BAD]
    + [(EMAVectorQuantizer, *case) for case in BAD_EMA],
)
def test_bad_settings_are_refused(kind, options, sentence):
    with pytest.raises(InputError) as error:
        kind(**{"num_embeddings": 4, "embedding_dim": 3, **options})
    assert str(error.value) == f"{kind.__name__}: {sentence}"


F32 = np.zeros((2, 3), np.float32)


def infinite():
    z = F32.copy()
    z[1, 0] = np.inf
    return z


@both
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda vq: vq.forward(F32[:, :2]), "encode: z must have last axis 3; got shape (2, 2)"),
        (lambda vq: vq.encode(F32.astype(float)), "encode: z must be float32, like the other arrays; got float64"),  # noqa: E501
        (lambda vq: vq.forward(infinite()), "encode: z must be finite; got inf at index (1, 0)"),
        (lambda vq: vq.decode(np.array([0, 4])), "decode: codes must be in [0, 4); got 4 at index 1"),
        (lambda vq: vq.decode(-1), "decode: codes must be in [0, 4); got -1"),
        (lambda vq: vq.decode(np.array([[0.5]])), "decode: codes must be integers; got float64"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(kind, call, sentence):
    with pytest.raises(InputError) as error:
        call(kind(4, 3))
    assert str(error.value) == f"{kind.__name__}.{sentence}"
    assert isinstance(error.value, NonFiniteError) == ("finite" in sentence)


@both
@pytest.mark.parametrize("init", ["data", "kmeans"])
def test_a_codebook_cannot_start_from_nothing(kind, init):
    with pytest.raises(InputError) as error:
        kind(4, 3, codebook_init=init).start_from(F32[:0], 0)
    assert str(error.value) == f"{kind.__name__}.start_from: z must hold at least one vector; got shape (0, 3)"  # noqa: E501


@pytest.mark.parametrize(
    ("kind", "z", "restart", "sentence"),
    [
        (VectorQuantizer, F32, 1.0, "VectorQuantizer.update: restart must be in [0, 1); got 1.0"),
        (VectorQuantizer, F32[:, :1], 0.0, "VectorQuantizer.update: z must have last axis 3; got shape (2, 1)"),  # noqa: E501
        (VectorQuantizer, infinite(), 0.0, "VectorQuantizer.update: z must be finite; got inf at index (1, 0)"),  # noqa: E501
        (EMAVectorQuantizer, F32, 1.0, "ema_restart: threshold must be in [0, 1); got 1.0"),
        (EMAVectorQuantizer, F32[:, :1], 0.0, "ema_update: z must have last axis 3; got shape (2, 1)"),
        (EMAVectorQuantizer, infinite(), 0.0, "ema_update: z must be finite; got inf at index (1, 0)"),
    ],
)
def test_a_refused_update_changes_nothing(kind, z, restart, sentence):
    vq = kind(4, 3)
    before = {name: a.copy() for name, a in vq.state().items()}
    with pytest.raises(InputError) as error:
        vq.update(z, np.zeros(2, int), 0, restart)
    assert str(error.value) == sentence
    for name, a in vq.state().items():
        np.testing.assert_array_equal(a, before[name])


@both
def test_a_codebook_that_is_not_finite_is_named(kind):
    vq = kind(4, 3)
    vq.embeddings[2, 1] = np.nan
    with pytest.raises(NonFiniteError) as error:
        vq.forward(F32)
    assert str(error.value) == "nearest_code: E must be finite; got nan at index (2, 1)"


def test_encode_is_nearest_code(rng):
    z = rng.standard_normal((3, 5, 2))
    vq = VectorQuantizer(4, 2, codebook_init="normal", dtype=np.float64)
    np.testing.assert_array_equal(vq.encode(z), nearest_code(z, vq.embeddings))


@pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])
@pytest.mark.parametrize("init", ["data", "kmeans"])
def test_start_from_takes_only_vectors_of_its_own_kind(kind, init):
    vq = kind(4, 3, codebook_init=init)
    before = vq.state()
    for z, sentence in [
        (np.zeros((50, 3)), "z must be float32, like the other arrays; got float64"),
        (np.zeros((50, 1), "f"), "z must have last axis 3; got shape (50, 1)"),
        (np.full((50, 3), np.nan, "f"), "z must be finite; got nan at index (0, 0)"),
        (np.zeros((0, 3), "f"), "z must hold at least one vector; got shape (0, 3)"),
    ]:
        with pytest.raises(InputError) as caught:
            vq.start_from(z, 0)
        assert str(caught.value) == f"{kind.__name__}.start_from: {sentence}"
    for name, array in vq.state().items():
        np.testing.assert_array_equal(array, before[name])
