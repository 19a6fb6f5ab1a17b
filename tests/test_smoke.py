"""The smoke test: the whole library in short, in a few seconds; the bugs of tests/bugs are caught by it.

Each test here passes on the package as it is; on a copy with a bug, the one that the museum names fails.
It takes nothing from the other tests, so that it can run on a copy of the package.
"""

import numpy as np
import pytest

from vqnp import crosscheck, nearest_code, ops, perplexity
from vqnp.gradcheck import gradcheck, gradcheck_module, surrogate_check
from vqnp.kernels.nearest import nearest_code_plain
from vqnp.metrics import grey_level_nats, precision_recall
from vqnp.models import HierarchicalVQVAE, Level
from vqnp.nn import EMAVectorQuantizer, Linear, LookupFreeQuantizer, Param, VectorQuantizer, residual_stack
from vqnp.ops.conv import conv_plain
from vqnp.ops.loss import REDUCTIONS
from vqnp.optim import Adam
from vqnp.priors import HierarchicalPrior, PixelCNN, Transformer
from vqnp.priors.sampling import Choice, probabilities

R = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def numbers():
    """Each check draws the same numbers alone as among the others."""
    R.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_surrogate(reduction):
    """Equation 3 with every sg frozen: (z + (e − z)₀, c Σ (z₀ − e)² + β c Σ (z − e₀)²)."""
    z, E, beta = R.standard_normal((4, 5, 3)), R.standard_normal((6, 3)), 0.3
    c = {"mean": 1 / 60, "mean_of_sums": 1 / 20, "sum": 1.0}[reduction]

    def freeze(z0, E0):
        k = ((z0[:, :, None] - E0) ** 2).sum(-1).argmin(-1)
        z0, e0 = z0.copy(), E0[k]
        return lambda z, E: (z + (e0 - z0), c * ((z0 - E[k]) ** 2).sum() + beta * c * ((z - e0) ** 2).sum())

    def forward(z, E):
        z_q, codebook, commitment, k, cache = ops.quantize_forward(z, E, beta=beta, reduction=reduction)
        return z_q, codebook + commitment, k, cache

    surrogate_check(forward, ops.quantize_backward, freeze, z, E, rng=1).raise_if_failed()


def test_the_commitment_loss_is_beta_times_the_codebook_loss():
    z, E = R.standard_normal((4, 3)), R.standard_normal((6, 3))
    _, codebook, commitment, *_ = ops.quantize_forward(z, E, beta=0.3)
    assert codebook > 0 and commitment == pytest.approx(0.3 * codebook)
    assert ops.quantize_forward(z, E, codebook_loss=False)[1] == 0


def test_finite_scalar():
    """Straight through the rounding, not through tanh; L values a coordinate, the middle one around 0."""
    z, levels = R.standard_normal((40, 3)), (5, 4, 2)

    def freeze(z0):
        L = np.array(levels)
        h, o = (L - 1) * 0.999 / 2, np.array([0, 0.5, 0.5])
        y = lambda z: h * np.tanh(z + np.tan(o / h)) - o
        rounding = np.round(y(z0)) - y(z0)
        return lambda z: (y(z) + rounding) / (L // 2)

    forward = lambda z: ops.finite_scalar_forward(z, levels)
    surrogate_check(forward, ops.finite_scalar_backward, freeze, z, rng=1).raise_if_failed()
    ends = ops.finite_scalar_forward(np.array([[-9.0] * 3, [9.0] * 3]), levels)[:2]
    assert ends[0].tolist() == [[-1, -1, -1], [1, 0.5, 0]] and ends[1].tolist() == [0, 39]
    z_q, k, _ = ops.finite_scalar_forward(z, levels)
    np.testing.assert_array_equal(ops.finite_scalar_decode(k, levels, np.float64), z_q)


def test_rotation():
    """dz = λRᵀ dz_q: λRz = q, angles to q become angles to z; opposite vectors reflect, 0 copies."""
    z, q, g = R.standard_normal((3, 6, 3))
    _, cache = ops.rotate_forward(z, q)
    dz = ops.rotate_backward(g, cache)
    norm, dot = lambda x: np.linalg.norm(x, axis=1), lambda a, b: (a * b).sum(axis=1)
    np.testing.assert_allclose(norm(dz), norm(g) * norm(q) / norm(z), rtol=1e-9)
    np.testing.assert_allclose(dot(dz, z), dot(g, q), rtol=1e-9)  # ⟨λRᵀg, z⟩ = ⟨g, λRz⟩ = ⟨g, q⟩
    turned_q = (2 * dot(z, q)[:, None] * q - dot(q, q)[:, None] * z) / dot(z, z)[:, None]  # λRq
    np.testing.assert_allclose(dot(dz, q), dot(g, turned_q), rtol=1e-7)
    np.testing.assert_array_equal(ops.rotate_backward(g, ops.rotate_forward(0 * z, q)[1]), g)
    np.testing.assert_array_equal(ops.rotate_backward(g, ops.rotate_forward(z, 0 * q)[1]), g)
    along = dot(g, z)[:, None] / dot(z, z)[:, None] * z
    np.testing.assert_allclose(ops.rotate_backward(g, ops.rotate_forward(z, -z)[1]), g - 2 * along, rtol=1e-9)
    E = R.standard_normal((4, 3))
    z_q, *_, cache = ops.quantize_forward(z, E, beta=0.0, estimator="rotation")
    turned = ops.rotate_backward(g, ops.rotate_forward(z, z_q)[1])
    np.testing.assert_array_equal(ops.quantize_backward(g, 0.0, cache)[0], turned)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_cosine_codes():
    """The largest cosine; the gradients through both normalisations; averages that stay on the sphere."""
    z, E, beta = R.standard_normal((6, 3)), R.standard_normal((4, 3)), 0.3

    def forward(z, E):
        z_q, codebook, commitment, k, cache = ops.cosine_quantize_forward(z, E, beta=beta)
        return z_q, codebook + commitment, k, cache

    def freeze(z0, E0):
        z0, E0 = unit(z0), unit(E0)
        k = (z0 @ E0.T).argmax(-1)
        loss = lambda z, E: ((z0 - E[k]) ** 2).mean() + beta * ((z - E0[k]) ** 2).mean()
        return lambda z, E: (unit(z) + (E0[k] - z0), loss(unit(z), unit(E)))

    surrogate_check(forward, ops.cosine_quantize_backward, freeze, z, E, rng=1).raise_if_failed()
    k = (unit(z) @ unit(E).T).argmax(-1)
    state = ops.spherical_ema_update(ops.ema_initialize(unit(E)), z, k, 0.5)
    for j in range(4):
        m = unit(E)[j] + unit(z)[k == j].sum(axis=0)
        np.testing.assert_allclose(state.E[j], unit(m))


def test_simvq():
    """C has no gradient, W that of every code."""
    z, C, W = R.standard_normal((6, 3)), R.standard_normal((5, 2)), R.standard_normal((2, 3))
    z_q, *_, k, cache = ops.simvq_forward(z, C, W)
    np.testing.assert_array_equal(k, ((z[:, None] - C @ W) ** 2).sum(-1).argmin(-1))
    _, dE = ops.quantize_backward(0 * z, 1.0, ops.quantize_forward(z, C @ W)[-1])
    np.testing.assert_allclose(ops.simvq_backward(0 * z, 1.0, cache)[1], C.T @ dE, rtol=1e-12)


def test_product_codes():
    """The codes, the losses and the gradients of one quantizer whose codes are all the pairs."""
    z, E, g = R.standard_normal((6, 4)), R.standard_normal((2, 3, 2)), R.standard_normal((6, 4))
    pairs = np.stack([np.concatenate([a, b]) for a in E[0] for b in E[1]])
    for reduction in REDUCTIONS:
        z_q, *losses, k, cache = ops.product_quantize_forward(z, E, reduction=reduction)
        whole = ops.quantize_forward(z, pairs, reduction=reduction)
        np.testing.assert_array_equal(3 * k[:, 0] + k[:, 1], whole[3])
        np.testing.assert_allclose(losses, whole[1:3], rtol=1e-12)
        dz, dE = ops.product_quantize_backward(g, 1.5, cache)
        their_dz, their_dE = ops.quantize_backward(g, 1.5, whole[-1])
        np.testing.assert_allclose(dz, their_dz, rtol=1e-12)
        np.testing.assert_allclose(dE[0], their_dE.reshape(3, 3, 4).sum(axis=1)[:, :2], rtol=1e-9, atol=1e-14)


def test_gumbel_softmax():
    """Draws with the probabilities of the logits; the gradient of the soft form; KL from uniform codes."""
    n, p = 20_000, np.array([0.6, 0.3, 0.1])
    g = ops.gumbel_noise((n, 3), R)
    draws = ops.gumbel_softmax_forward(np.log(p) + np.zeros((n, 3)), g, 0.3, hard=True)[0]
    assert (np.abs(draws.mean(axis=0) - p) < 5 * np.sqrt(p * (1 - p) / n)).all()
    a, g = R.standard_normal((2, 4, 5))
    gradcheck(lambda a, g: ops.gumbel_softmax_forward(a, g, 0.5), ops.gumbel_softmax_backward, a, g, rng=1)\
        .raise_if_failed()  # fmt: skip
    KL, cache = ops.categorical_kl_forward(a)
    q = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    assert KL == pytest.approx((q * np.log(5 * q)).sum(axis=1).mean())
    gradcheck(ops.categorical_kl_forward, ops.categorical_kl_backward, a, rng=1).raise_if_failed()


def test_residual():
    """One straight-through step around the sum; a loss for each depth, the residual before it being fixed."""
    z, E, beta, n = R.standard_normal((6, 3)), R.standard_normal((3, 4, 3)), 0.3, 3

    def freeze(z0, E0):
        r, total, kept = z0.copy(), np.zeros_like(z0), []
        for e in E0:
            k = ((r[:, None] - e) ** 2).sum(-1).argmin(-1)
            kept.append((r, k, total + e[k]))
            r, total = r - e[k], total + e[k]
        codebook = lambda E: sum(((r - e[k]) ** 2).mean() for e, (r, k, _) in zip(E, kept, strict=True)) / n
        commitment = lambda z: beta * sum(((z - partial) ** 2).mean() for *_, partial in kept) / n
        return lambda z, E: (z + (total - z0), codebook(E) + commitment(z))

    def forward(z, E):
        z_q, codebook, commitment, k, cache = ops.residual_quantize_forward(z, E, n, beta=beta)
        return z_q, codebook + commitment, k, cache

    surrogate_check(forward, ops.residual_quantize_backward, freeze, z, E, rng=1).raise_if_failed()


@pytest.mark.parametrize("batch", ["exact", "bound"])
def test_lookup_free(batch):
    """Signs, straight through; certain choices are rewarded, and diverse ones; the encoder is held near."""
    z = R.standard_normal((6, 3))
    q = LookupFreeQuantizer(3, 0.7, 0.2, 0.9, 1.5, batch, dtype="float64")
    codes = q.decode(np.arange(8))

    def loss(z, z_q):
        p = np.exp(-((z[:, None] - codes) ** 2).sum(-1) / 1.5)
        p /= p.sum(axis=1, keepdims=True)
        entropy = lambda p: -(p * np.log(p)).sum()
        ones = p @ (codes > 0) if batch == "bound" else None
        whole = entropy(p.mean(0)) if batch == "exact" else entropy(ones.mean(0)) + entropy(1 - ones.mean(0))
        return 0.2 * (entropy(p) / len(z) - 0.9 * whole) + 0.7 * ((z - z_q) ** 2).mean()

    def freeze(z0):
        z_q = np.where(z0 > 0, 1.0, -1.0)
        return lambda z: (z + (z_q - z0), np.asarray(loss(z, z_q)))

    def forward(z):
        z_q, entropy, commitment, k, cache = q.forward(z)
        np.testing.assert_array_equal(k, (z > 0) @ [1, 2, 4])
        return z_q, entropy + commitment, cache

    backward = lambda dz_q, dL, cache: q.backward(dz_q, cache, dL)
    surrogate_check(forward, backward, freeze, z, rng=1).raise_if_failed()


def test_tiling_a_batch():
    z, E = R.standard_normal((4, 3)), R.standard_normal((6, 3))
    for reduction, factor in (("mean", 1), ("mean_of_sums", 1), ("sum", 4)):
        once = ops.quantize_forward(z, E, reduction=reduction)[1]
        tiled = ops.quantize_forward(np.tile(z, (4, 1)), E, reduction=reduction)[1]
        assert tiled == pytest.approx(factor * once)


def test_smoothing_keeps_the_mass():
    N = np.array([0.0, 1.0, 5.0])
    assert ops.laplace_smoothing(N, 0.1).sum() == pytest.approx(6.0)
    assert ops.laplace_smoothing(N, 0.1)[0] > 0


def test_ema_is_its_equations():
    z, E = R.standard_normal((20, 3)), R.standard_normal((5, 3))
    state = ops.ema_initialize(E)
    N, m = np.ones(5), E.copy()
    for _ in range(3):
        k = nearest_code(z, state.E)
        state = ops.ema_update(state, z, k, 0.9, 1e-3)
        N = 0.9 * N + 0.1 * np.array([(k == j).sum() for j in range(5)])
        m = 0.9 * m + 0.1 * np.array([z[k == j].sum(axis=0) for j in range(5)])
        np.testing.assert_allclose(state.N, N, rtol=1e-12)
        np.testing.assert_allclose(state.m, m, rtol=1e-12)
        smooth = (N + 1e-3) / (N.sum() + 5e-3) * N.sum()
        np.testing.assert_allclose(state.E, m / smooth[:, None], rtol=1e-12)


def test_unused_codes_stay():
    """A code that the first batch does not use keeps its place, to ε."""
    E = np.array([[0.0, 0.0], [5.0, 5.0]])
    state = ops.ema_update(ops.ema_initialize(E), np.zeros((128, 2)), np.zeros(128, int))
    np.testing.assert_allclose(state.E[1], E[1], rtol=1e-4)


def test_forward_uses_the_codes_from_before():
    vq = EMAVectorQuantizer(4, 2, codebook_init="normal", rng=0, dtype=np.float64)
    z = R.standard_normal((9, 2))
    z_q, _, _, k, _ = vq.forward(z)
    np.testing.assert_array_equal(z_q, vq.embeddings[k])


def test_a_kmeans_start_survives_its_updates():
    z = np.repeat(10.0 * np.eye(3), 50, axis=0) + 0.1 * R.standard_normal((150, 3))
    vq = EMAVectorQuantizer(3, 3, codebook_init="kmeans", rng=3, dtype=np.float64)
    vq.initialize(z, 1)
    before = vq.embeddings.copy()
    for _ in range(3):
        vq.update(z, vq.encode(z), 0)
    np.testing.assert_allclose(vq.embeddings, before, atol=0.5)


def test_a_restart_survives_its_updates():
    E = np.array([[0.0, 0.0], [100.0, 100.0]])
    state = ops.EMAState(E, np.array([50.0, 1e-3]), E * np.array([[50.0], [1e-3]]))
    z = 0.1 * R.standard_normal((100, 2))
    state, j = ops.ema_restart(state, z, 0.1, np.random.default_rng(0))
    assert list(j) == [1] and state.N[1] > 1
    place = state.E[1].copy()
    state = ops.ema_update(state, z[:0], np.empty(0, int))
    np.testing.assert_allclose(state.E[1], place, rtol=1e-3)


def test_nearest():
    for dtype in (np.float32, np.float64):
        z = (1000 + R.standard_normal((200, 8))).astype(dtype)
        E = (1000 + R.standard_normal((16, 8))).astype(dtype) * dtype(1.0000001)
        E = np.concatenate([E, E])  # every code twice: the first must win
        if dtype is np.float64:
            E[0, 0] += 1e-9
        distance = ((z[:, None].astype(float) - E.astype(float)) ** 2).sum(-1)
        np.testing.assert_array_equal(nearest_code(z, E), distance.argmin(1))
        np.testing.assert_array_equal(nearest_code(z, E), nearest_code_plain(z, E))
        E = R.standard_normal((16, 8)).astype(dtype)
        i, j = R.integers(0, 16, (2, 500))
        between = (0.5 * (E[i] + E[j]) + np.finfo(dtype).eps * R.standard_normal((500, 8))).astype(dtype)
        np.testing.assert_array_equal(nearest_code(between, E), nearest_code_plain(between, E))
    close = np.array([[1.0], [1.0 - 1e-9]])
    assert nearest_code(np.array([[0.0]]), close)[0] == 1


@pytest.mark.parametrize(
    ("pair", "args"),
    [
        ("linear", (R.standard_normal((4, 3)), R.standard_normal((3, 3)), R.standard_normal(3))),
        ("relu", (R.standard_normal((4, 3)),)),
        ("gelu", (R.standard_normal((4, 3)),)),
        ("tanh", (R.standard_normal((4, 3)),)),
        ("sigmoid", (R.standard_normal((4, 3)),)),
        ("mse", (R.standard_normal((4, 3)), R.standard_normal((4, 3)))),
        ("bce_logits", (R.standard_normal((4, 3)), R.random((4, 3)))),
        ("softmax_cross_entropy", (R.standard_normal((4, 3)), np.array([0, 2, 1, 1]))),
        ("silu", (R.standard_normal((4, 3)),)),
        ("leaky_relu", (R.standard_normal((4, 3)),)),
        ("conv", (R.standard_normal((2, 5, 6, 2)), R.standard_normal((3, 3, 2, 4)), np.ones(4), 2, 1)),
        ("conv", (R.standard_normal((2, 5, 9)), R.standard_normal((3, 9, 2)), np.ones(2), 1, 2, 2)),
        ("conv_transpose", (R.standard_normal((2, 3, 2)), R.standard_normal((3, 9, 2)), np.ones(9), 2, 1, 1)),
        ("upsample", (R.standard_normal((2, 3, 2, 2)), (2, 3))),
        ("pixel_shuffle", (R.standard_normal((2, 3, 2, 8)), 2)),
        ("layer_norm", (R.standard_normal((4, 3)), R.standard_normal(3), R.standard_normal(3))),
        ("group_norm", (R.standard_normal((2, 3, 4)), R.standard_normal(4), R.standard_normal(4), 2)),
        ("embedding", (R.standard_normal((4, 3)), np.array([[3, 0], [3, 3]]))),
        ("attention", tuple(R.standard_normal((3, 2, 4, 2, 3)))),
        ("dropout", (R.standard_normal((4, 3)), 0.4, 5)),
        ("gate", (R.standard_normal((4, 3)), R.standard_normal((4, 3)))),
        ("code_conv", (R.integers(0, 3, (2, 4)), R.standard_normal((2, 3, 2)), np.ones(2), [(-1,), (-2,)])),
        ("causal_conv", (R.standard_normal((2, 4, 2)), R.standard_normal((2, 2, 3)), np.ones(3), (3,), True)),
    ],
)
def test_gradients(pair, args):
    forward, backward = getattr(ops, f"{pair}_forward"), getattr(ops, f"{pair}_backward")
    gradcheck(forward, backward, *args, rng=0).raise_if_failed()


@pytest.mark.parametrize("channels", [2, 9])
def test_convolution(channels):
    """y_m = b + Σ_k x_{2 m + k − 1} W_k by loops; the transposed convolution leads back, as its adjoint."""
    x, W = R.standard_normal((2, 6, 5, channels)), R.standard_normal((3, 3, channels, 4))
    b = R.standard_normal(4)
    y, _ = ops.conv_forward(x, W, b, stride=2, padding=1)
    loops = np.zeros((2, 3, 3, 4)) + b
    for i, j, p, q in np.ndindex(3, 3, 3, 3):
        row, column = 2 * i + p - 1, 2 * j + q - 1
        if 0 <= row < 6 and 0 <= column < 5:
            loops[:, i, j] += x[:, row, column] @ W[p, q]
    np.testing.assert_allclose(y, loops, rtol=1e-12, atol=1e-12)
    g = R.standard_normal(y.shape)
    back, _ = ops.conv_transpose_forward(g, W, np.zeros(channels), 2, 1, output_padding=(1, 0))
    assert back.shape == x.shape
    assert ((y - b) * g).sum() == pytest.approx((x * back).sum(), rel=1e-12)


def test_pixel_shuffle():
    """The four channels of a block are neighbours, row by row."""
    y, _ = ops.pixel_shuffle_forward(np.arange(8.0).reshape(1, 1, 1, 8), 2)
    assert y[0].tolist() == [[[0, 4], [1, 5]], [[2, 6], [3, 7]]]


def test_residual_stack():
    """h + conv1x1(relu(conv3x3(relu(h)))), twice, with weights of their own, and a last relu; x stays."""
    stack = residual_stack(3, 2, 2, 0, np.float64)
    x = R.standard_normal((2, 4, 4, 3))
    h, relu, used = x.copy(), lambda a: np.maximum(a, 0), []
    for block in stack.layers[:2]:
        _, wide, _, narrow = block.inner.layers
        used += [wide.W, narrow.W]
        inner = conv_plain(relu(h), wide.W.value, wide.b.value, padding=1)
        h = h + conv_plain(relu(inner), narrow.W.value, narrow.b.value)
    before = x.copy()
    np.testing.assert_allclose(stack.forward(x)[0], relu(h), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(x, before)
    assert len({id(W) for W in used}) == 4


def test_attention_is_causal():
    """No query sees a later key, each sees all others; a chunk after a prefix gives the same rows."""
    q, k, v = R.standard_normal((3, 1, 5, 2, 3))
    o, cache = ops.attention_forward(q, k, v)
    for i in range(5):
        do = np.zeros_like(o)
        do[:, i] = R.standard_normal((2, 3))
        _, _, dv = ops.attention_backward(do, cache)
        assert [bool(dv[:, j].any()) for j in range(5)] == [j <= i for j in range(5)]
    for start in range(5):
        np.testing.assert_allclose(ops.attention_forward(q[:, start:], k, v)[0], o[:, start:], rtol=1e-12)


def test_causal_convolution():
    """Mask A sees the pixels before the centre in raster order, mask B the centre too, on 3 × 4."""
    for centre in (False, True):
        x, W = R.standard_normal((1, 3, 4, 2)), R.standard_normal((4 + centre, 2, 2))
        y, cache = ops.causal_conv_forward(x, W, np.zeros(2), (3, 3), centre)
        dy = np.zeros_like(y)
        dy[0, 1, 2] = 1
        sees = ops.causal_conv_backward(dy, cache)[0][0].any(axis=-1)
        assert np.argwhere(sees).tolist() == [[0, 1], [0, 2], [0, 3], [1, 1]] + centre * [[1, 2]]


def test_dropout():
    """The mean stays, and without a generator nothing is dropped."""
    x = np.ones(50_000)
    assert abs(ops.dropout_forward(x, 0.3, 1)[0].mean() - 1) < 0.02
    np.testing.assert_array_equal(ops.dropout_forward(x, 0.3, None)[0], x)


def small_prior(**options):
    prior = Transformer(5, (2, 3), channels=6, layers=2, heads=3, rng=1, dtype="float64", **options)
    for param in prior.parameters():
        param.value += 0.5 * R.standard_normal(param.value.shape)
    return prior


def test_a_prior_is_causal():
    """Logit i depends on every code before position i and on no other."""
    prior, codes = small_prior(), R.integers(0, 5, (1, 2, 3))
    a = prior.logits(codes).reshape(6, 5)
    for j in range(6):
        other = codes.copy().reshape(-1)
        other[j] = (other[j] + 1) % 5
        changed = prior.logits(other.reshape(codes.shape)).reshape(6, 5) != a
        assert changed.any(axis=1).tolist() == [i > j for i in range(6)]


def test_a_priors_start_is_no_code_and_its_null_class_is_no_class():
    prior, codes = small_prior(num_classes=3), R.integers(0, 5, (2, 2, 3))
    before = prior.logits(codes)
    prior.embedding.E.value[...] += R.standard_normal((5, 6))
    np.testing.assert_array_equal(prior.logits(codes)[:, 0, 0], before[:, 0, 0])
    before = prior.logits(codes)
    prior.classes.E.value[:3] += 1
    np.testing.assert_array_equal(prior.logits(codes), before)


def test_cached_logits_are_the_full_ones():
    """In one chunk, in chunks of two, one by one."""
    prior, codes = small_prior(num_classes=3), R.integers(0, 5, (2, 6))
    full = prior.logits(codes.reshape(2, 2, 3), 1).reshape(2, 6, 5)
    for size in (1, 2, 5):
        state, first = prior.begin(np.ones(2, int))
        parts = [first[:, None]]
        parts += [prior.extend(state, codes[:, i : min(i + size, 5)]) for i in range(0, 5, size)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-10, atol=1e-12)


def small_pixelcnn(stacks):
    prior = PixelCNN(5, (3, 4), 3, 2, first_kernel=3, stacks=stacks, num_classes=3, rng=1, dtype="float64")
    for param in prior.parameters():
        param.value += 0.5 * R.standard_normal(param.value.shape)
    return prior


def test_a_pixelcnn_is_causal():
    """With two stacks h_i depends on every code before position i and on no other; with one, on no other."""
    for stacks in (1, 2):
        prior, codes = small_pixelcnn(stacks), R.integers(0, 5, (1, 12))
        prior.head.layers[1].b.value += 50  # ReLU is then the identity, and hides nothing
        prior.blocks.layers[-1].out.b.value += 50
        a = prior.logits(codes.reshape(1, 3, 4)).reshape(12, 5)
        for j in range(12):
            other = codes.copy()
            other[0, j] = (other[0, j] + 1) % 5
            changed = (prior.logits(other.reshape(1, 3, 4)).reshape(12, 5) != a).any(axis=1)
            assert not changed[: j + 1].any()
            assert stacks == 1 or changed[j + 1 :].all()


def test_a_pixelcnns_cached_logits_are_the_full_ones():
    for stacks in (1, 2):
        prior, codes = small_pixelcnn(stacks), R.integers(0, 5, (2, 12))
        full = prior.logits(codes.reshape(2, 3, 4), 1).reshape(2, 12, 5)
        for size in (1, 3, 11):
            state, first = prior.begin(np.ones(2, int))
            parts = [first[:, None]]
            parts += [prior.extend(state, codes[:, i : min(i + size, 11)]) for i in range(0, 11, size)]
            np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-10, atol=1e-12)


def test_a_pixelcnns_gradients():
    for stacks in (1, 2):
        prior, batch, h = small_pixelcnn(stacks), (R.integers(0, 5, (2, 12)), np.array([0, 2])), 1e-6
        _, cache = prior.loss(batch)
        prior.backward(cache)
        for name, param in prior.named_parameters():
            v = R.standard_normal(param.value.shape)
            param.value += h * v
            up = prior.loss(batch)[0]["loss"]
            param.value -= 2 * h * v
            down = prior.loss(batch)[0]["loss"]
            param.value += h * v
            assert (param.grad * v).sum() == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-8), name


def test_a_prior_drops_only_in_training():
    prior, without, codes = small_prior(dropout=0.5), small_prior(dropout=0.0), R.integers(0, 5, (4, 2, 3))
    without.load_state_dict(prior.state_dict())
    batch, nats = prior.prepare(codes), without.nll(codes).mean()
    assert prior.nll(codes).mean() == pytest.approx(nats)
    assert float(prior.loss(batch)[0]["loss"]) == pytest.approx(nats)
    assert float(prior.loss(batch, np.random.default_rng(0))[0]["loss"]) != pytest.approx(nats)


def test_samples():
    """A sample does not depend on their number; top_p always keeps a code; guidance 1 is none, 0 no class."""
    prior = small_prior(num_classes=3)
    many = prior.sample(20, 7, 1)
    np.testing.assert_array_equal(prior.sample(3, 7, 1), many[:3])
    assert len(np.unique(many[:, 0, 0])) > 1
    likeliest = prior.sample(20, 7, 1, top_p=1e-9)
    np.testing.assert_array_equal(prior.sample(20, 8, 1, top_k=1), likeliest)
    a = np.log([[0.5, 0.3, 0.2]])
    assert probabilities(a, Choice(top_p=0.6))[0].round(3).tolist() == [0.625, 0.375, 0]
    assert probabilities(a, Choice(temperature=0.5, top_p=0.6))[0].round(3).tolist() == [1, 0, 0]
    np.testing.assert_array_equal(prior.sample(20, 7, 1, guidance=1), many)
    np.testing.assert_array_equal(prior.sample(20, 7, 1, guidance=0), prior.sample(20, 7))


def test_check_autoregressive():
    """The checker for other people's models of codes, turned on ours, finds nothing."""
    prior = small_prior(num_classes=3, dropout=0.5)

    def started(codes, first):
        start, rows = prior.start.value.copy(), []
        for k, code in zip(codes, first):
            prior.start.value[...] = prior.embedding.E.value[code]
            rows.append(prior.logits(k[None], 1))
        prior.start.value[...] = start
        return np.concatenate(rows)

    report = crosscheck.check_autoregressive(
        lambda codes: prior.logits(codes, 1), (2, 3), 5, probes=2, starting_with=started,
        cached=(lambda B: prior.begin(np.ones(B, int)), prior.extend),
        probabilities=lambda a: probabilities(a, Choice(0.7, 4, 0.9)), temperature=0.7, top_k=4, top_p=0.9,
    )  # fmt: skip
    assert report.fingerprint == {
        "repeat": "deterministic", "batch": "independent", "order": "causal", "field": "complete",
        "start": "own", "cache": "agrees", "sampling": "softmax",
    }, report  # fmt: skip


def test_a_tied_head_has_both_gradients():
    prior, k = small_prior(tied=True), R.integers(0, 5, (2, 6))
    _, cache = prior.loss((k,))
    prior.backward(cache)
    E, h = prior.embedding.E, 1e-6
    v = R.standard_normal(E.value.shape)
    E.value += h * v
    up = prior.loss((k,))[0]["loss"]
    E.value -= 2 * h * v
    down = prior.loss((k,))[0]["loss"]
    assert (E.grad * v).sum() == pytest.approx((up - down) / (2 * h), rel=1e-6)


def test_precision_is_of_samples_and_recall_of_images():
    """Points on a line: the ball of an image reaches its second neighbour, that of a sample too."""
    images, samples = np.array([[0.0], [1.0], [3.0], [20.0]]), np.array([[2.9], [3.0], [3.1], [3.2]])
    assert precision_recall(samples, images, k=1) == (1, 0.25)
    assert precision_recall(samples, images, k=2) == (1, 0.25)
    assert precision_recall(images, samples, k=2) == (0.25, 1)
    assert precision_recall(samples + 4, images[:3], k=1) == (0, 0)
    assert precision_recall(samples[:2] + 1.5, images[:3], k=1) == (1, 0)


def test_grey_levels_have_probabilities_that_add_up_to_one():
    levels = np.arange(256, dtype=np.uint8)[:, None]
    for x_hat in (0.0, 0.4, 1.0):
        assert np.exp(-grey_level_nats(np.full((256, 1), x_hat), levels, 7.0)).sum() == pytest.approx(1)


def test_weight_decay_is_for_matrices():
    W, b = Param(np.ones((2, 2))), Param(np.ones(2))
    Adam([("W", W), ("b", b)], 0.1, weight_decay=0.5).step()
    assert W.value.tolist() == [[0.95, 0.95], [0.95, 0.95]] and b.value.tolist() == [1, 1]


def test_clipping_keeps_the_direction():
    """One factor for all gradients; m after the first step is a tenth of what is left of them."""
    a, b = Param(np.zeros(1)), Param(np.zeros(1))
    a.grad[:], b.grad[:] = 3, 40
    adam = Adam([("a", a), ("b", b)], 0.1, clip=1.0)
    adam.step()
    norm = np.hypot(3, 40)
    np.testing.assert_allclose([adam.m["a"][0], adam.m["b"][0]], [0.3 / norm, 4 / norm], rtol=1e-12)


def test_gradients_accumulate():
    layer = Linear(3, 2, 0, np.float64)
    x, dy = R.standard_normal((4, 3)), R.standard_normal((4, 2))
    _, cache = layer.forward(x)
    layer.backward(dy, cache)
    once = layer.W.grad.copy()
    layer.backward(dy, cache)
    np.testing.assert_allclose(layer.W.grad, 2 * once)


def test_adam():
    """The first step is lr · sign(g), whatever the size of g: that is what bias correction is for."""
    param = Param(np.zeros(2))
    param.grad[:] = [1e-3, -50.0]
    Adam([("p", param)], 0.1).step()
    np.testing.assert_allclose(param.value, [-0.1, 0.1], rtol=1e-4)


def test_averages_are_never_subnormal():
    """Of a parameter whose gradient stays 0, and of a code that nothing chooses: 0, not 1e-45."""
    param = Param(np.zeros(1, np.float32))
    param.grad[:] = 1
    adam, state = Adam([("p", param)]), ops.ema_initialize(np.array([[1.0], [2.0]], np.float32))
    for _ in range(1100):
        adam.step()
        param.grad[:] = 0
        state = ops.ema_update(state, np.ones((1, 1), np.float32), np.zeros(1, int), 0.9)
    assert adam.m["p"][0] == 0 and state.N[1] == 0 and state.m[1] == 0


def test_perplexity():
    assert perplexity([1, 1, 1, 1]) == 4 and perplexity([7, 0]) == 1
    counts = [10**9, 1]
    p = np.array(counts) / sum(counts)
    assert perplexity(counts) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)


def test_moments():
    """Draws have the posterior's variance, and the KL is the mean of log q − log p over them."""
    n, eps = 40_000, R.standard_normal(40_000)
    mu, logvar = np.full(n, 1.5), np.full(n, np.log(0.25))
    z, _ = ops.reparameterise_forward(mu, logvar, eps)
    assert abs(z.mean() - 1.5) < 5 * 0.5 / np.sqrt(n) and abs(z.var() - 0.25) < 5 * 0.25 * np.sqrt(2 / n)
    ratio = -(eps**2 + np.log(0.25)) / 2 + (1.5 + 0.5 * eps) ** 2 / 2
    assert abs(ops.gaussian_kl_forward(mu, logvar, "mean")[0] - ratio.mean()) < 5 * ratio.std() / np.sqrt(n)


def test_state_is_complete():
    vq, other = (EMAVectorQuantizer(4, 2, codebook_init="normal", rng=0, dtype=np.float64) for _ in range(2))
    z = R.standard_normal((9, 2))
    vq.update(z, vq.encode(z), 0)
    other.load_state_dict(vq.state_dict())
    for one in (vq, other):
        one.update(z, one.encode(z), 0)
    np.testing.assert_array_equal(vq.embeddings, other.embeddings)
    assert set(VectorQuantizer(4, 2).state_dict()) == {"E", "N"}


ALWAYS = {"distance": "exact", "ties": "lowest", "straight_through": "copy", "leak": "no", "codes": "before"}
ALWAYS |= {"perplexity": "exact"}
CROSSCHECKED = [
    (VectorQuantizer, {}, {"beta_on": "commitment", "reduction": "mean", "codebook_init": "uniform"}),
    (VectorQuantizer, {"reduction": "mean_of_sums"}, {"reduction": "mean_of_sums"}),
    (EMAVectorQuantizer, {}, {"start": "consistent", "smoothing": "laplace", "write_back": "no"}),
    (EMAVectorQuantizer, {"restart_dead_codes": 0.3}, {"dead_codes": "restart"}),
    (EMAVectorQuantizer, {"codebook_init": "kmeans"}, {"kmeans_start": "stays"}),
    (VectorQuantizer, {"estimator": "rotation"}, {"straight_through": "rotation"}),
]


@pytest.mark.parametrize(("kind", "options", "expected"), CROSSCHECKED)
def test_crosscheck(kind, options, expected):
    """The checker for other people's layers, turned on ours, says of each behaviour what it should be."""
    allow = {d: v for d, v in expected.items() if d in ("reduction", "straight_through")}
    adapter = crosscheck.QuantizerAdapter(kind, commitment_cost=0.25, **options)
    report = crosscheck.assert_conforms(adapter, allow=allow, beta=0.25)
    expected = ALWAYS | expected
    assert expected == {d: report.fingerprint[d] for d in expected}


@pytest.mark.parametrize("gradient", ["straight_through", "stopped"])
def test_gradients_between_levels(gradient):
    """A hierarchy of linear parts, every sg frozen: q = z + (e − z)₀; if stopped, the condition's input."""
    r = np.random.default_rng(3)

    def linear(I, O):
        return Linear(I, O, r, np.float64)

    def quantizer():
        return EMAVectorQuantizer(4, 2, codebook_init="normal", rng=r, dtype=np.float64)

    levels = [
        Level(linear(5, 4), linear(4, 2), quantizer(), decoder=linear(2, 6)),
        Level(linear(6, 5), linear(8, 2), quantizer(), linear(2, 3), linear(2, 2)),
    ]
    model = HierarchicalVQVAE(levels, linear(4, 6), {"shape": (6,)}, gradient, 0.5)
    top, bottom = levels

    def freeze(x0, *_):
        x0, frozen = x0.copy(), []
        z = top.latents(model.features(x0)[0][0], None)[0]
        for z, level in ((z, top), (None, bottom)):
            if z is None:
                z = bottom.latents(model.features(x0)[0][1], frozen[0][1])[0]
            k = ((z[:, None] - level.quantizer.embeddings) ** 2).sum(-1).argmin(-1)
            frozen.append((z, level.quantizer.embeddings[k]))
        (z1, e1), (z2, e2) = frozen

        def loss(x, *params):
            for param, value in zip(model.parameters(), params, strict=True):
                param.value = value
            h1, h2 = model.features(x)[0]
            z = top.latents(h1, None)[0]
            q = z + (e1 - z1)
            y = bottom.latents(h2, e1 if gradient == "stopped" else q)[0]
            a = bottom.join(q, y + (e2 - z2))[0]
            commitment = 0.25 * (((z - e1) ** 2).mean() + ((y - e2) ** 2).mean())
            own = 0.5 * ((top.decoder.forward(q)[0] - x0) ** 2).mean()
            return (((model.decoder.forward(a)[0] - x0) ** 2).mean() + commitment + own,)

        return loss

    def forward(x):
        losses, cache = model.loss((x,))
        return losses["loss"], cache

    def backward(dL, cache):
        return model.backward(cache, dL, need_dx=True)

    x = R.standard_normal((5, 6))
    gradcheck_module(model, x, rng=1, forward=forward, backward=backward, freeze=freeze).raise_if_failed()


def test_what_a_level_carries_is_measured_with_another_images_codes():
    """A decoder of the upper level alone: exchanging its codes changes the error, the lower one's not."""
    def linear(*rows):
        layer = Linear(len(rows), len(rows[0]), dtype=np.float64)
        layer.W.value[...] = rows
        return layer

    def quantizer():
        vq = VectorQuantizer(2, 1, dtype=np.float64)
        vq.E.value[:, 0] = 0, 1
        return vq

    one = linear([1.0])
    levels = [Level(one, one, quantizer()), Level(one, linear([0.0], [1.0]), quantizer(), one, one)]
    model = HierarchicalVQVAE(levels, linear([1.0], [0.0]), {"shape": (1,)})
    top, bottom = model.evaluate(np.array([[0.0], [0.0], [1.0], [1.0]])).levels
    assert top.mse == 0 and top.swapped_mse == 1 and bottom.swapped_mse == 0 and bottom.carries_nothing


def prior_below_a_level(kind):
    """A prior of 2 × 4 codes below 1 × 2, with parameters that all matter, and codes of both levels."""
    options = {"layers": 2, "first_kernel": 3} if kind == "pixelcnn" else {"layers": 1, "heads": 2}
    options |= {"channels": 4, "dropout": 0.0, "num_classes": 2, "rng": 0, "dtype": "float64"}
    prior = HierarchicalPrior.of(kind, (3, 2), ((1, 2), (2, 4)), **options)
    for param in prior.parameters():
        param.value += 0.3 * R.standard_normal(param.value.shape)
    return prior, (R.integers(0, 3, (3, 1, 2)), R.integers(0, 2, (3, 2, 4)))


@pytest.mark.parametrize("kind", ["transformer", "pixelcnn"])
def test_a_prior_below_a_level_samples_as_it_was_trained(kind):
    """Logits from what is kept of earlier positions are those of the whole grid, given the codes above."""
    prior, (top, bottom) = prior_below_a_level(kind)
    level, labels, flat = prior.levels[1], np.array([0, 1, 2]), bottom.reshape(3, 8)
    state, first = level.begin(labels, (top,))
    parts = [first[:, None], *(level.extend(state, flat[:, m : m + 1]) for m in range(7))]
    full = level.logits_forward(flat, labels, None, (top,))[0]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-12, atol=1e-12)


def test_a_prior_below_a_levels_gradients():
    prior, codes = prior_below_a_level("transformer")
    batch = prior.prepare((codes, [0, 1, 1]))

    def forward(_):
        losses, cache = prior.loss(batch)
        return losses["loss"], cache

    def backward(dL, cache):
        prior.backward(cache, dL)
        return np.zeros(1)

    gradcheck_module(prior, np.zeros(1), rng=1, forward=forward, backward=backward).raise_if_failed()
