"""PixelCNN: what each position sees, its formula, gradients, incremental logits, samples, checkpoints."""

from itertools import combinations, pairwise

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from helpers import gradcheck_prior, refused, same
from hypothesis import given
from strategies import at_most, seeds

from vqnp import fit, load, ops, resume, save
from vqnp.nn import Sequential, build, describe
from vqnp.priors import PixelCNN
from vqnp.training import Schedule, Trainer

SMALL = {"num_embeddings": 5, "latent_shape": (3, 4), "channels": 3, "layers": 2, "first_kernel": 3}
KINDS = {
    "two stacks": {},
    "one stack": {"stacks": 1},
    "classes": {"num_classes": 4},
    "all": {"num_classes": 4, "dropout": 0.3, "condition_dropout": 0.4, "kernel": 5, "layers": 1},
    "one stack, all": {"num_classes": 4, "dropout": 0.3, "stacks": 1, "kernel": 5},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def enlarged(model, rng=1):
    """With larger parameters than at the start, so that everything acts on everything."""
    r = np.random.default_rng(rng)
    for param in model.parameters():
        param.value += 0.5 * r.standard_normal(param.value.shape).astype(param.value.dtype)
    return model


def prior(kind="two stacks", dtype="float64", rng=1):
    return enlarged(PixelCNN(**SMALL | KINDS[kind], rng=rng, dtype=dtype), rng)


def data(model, rng, n=4):
    codes = rng.integers(0, model.num_embeddings, (n, *model.latent_shape))
    return (codes, rng.integers(0, model.num_classes, n)) if model.num_classes else codes


def split(batch):
    return batch if isinstance(batch, tuple) else (batch, None)


def measured_field(model, codes):
    """Which logits change with each code, one at a time: row i for position i."""
    M = model.num_latents
    a = model.logits(codes).reshape(M, -1)
    field = np.zeros((M, M), bool)
    for j in range(M):
        other = codes.copy()
        other.reshape(-1)[j] = (other.reshape(-1)[j] + 1) % model.num_embeddings
        field[:, j] = (model.logits(other).reshape(M, -1) != a).any(axis=1)
    return field


@pytest.mark.slow
@given(
    st.integers(1, 5), st.integers(1, 6), st.sampled_from([3, 5]), st.sampled_from([3, 5, 7]),
    st.integers(1, 3), st.sampled_from([1, 2]), seeds,
)  # fmt: skip
@at_most(30)
def test_the_receptive_field_is_what_is_measured(H, W, kernel, first, layers, stacks, seed):
    """No position sees itself or a later code; with two stacks each sees all before."""
    rng = np.random.default_rng(seed)
    options = {"kernel": kernel, "first_kernel": first, "stacks": stacks, "dtype": "float64", "rng": seed}
    needed = PixelCNN.layers_for((H, W), kernel, first)
    if stacks == 2 and layers < needed:
        with refused("layers", f"must be at least {needed} with kernel {kernel}", str(layers)):
            PixelCNN(3, (H, W), 2, layers, **options)
        layers = needed
    model = enlarged(PixelCNN(3, (H, W), 3, layers, **options), seed)
    model.head = Sequential()  # h_L itself: a ReLU would hide what it sets to 0
    field = model.receptive_field()
    seen = [measured_field(model, rng.integers(0, 3, (1, H, W))) for _ in range(2)]
    np.testing.assert_array_equal(seen[0] | seen[1], field)
    causal = np.tril(np.ones(field.shape, bool), -1)
    assert not (field & ~causal).any()
    if stacks == 2:
        assert (field == causal).all() and model.blind_spot == 0
    elif H * W > 1:
        assert model.blind_spot == pytest.approx(1 - field.sum() / causal.sum())


@pytest.mark.parametrize(("shape", "kernel", "first"), [((4, 7), 3, 3), ((9, 2), 5, 3), ((8, 8), 3, 7)])
def test_as_many_layers_as_are_asked_for_are_needed(shape, kernel, first, monkeypatch):
    """With one layer less there is a blind spot; so there is with a kernel narrower than is said."""
    needed = PixelCNN.layers_for(shape, kernel, first)
    options = {"channels": 1, "first_kernel": first}
    assert PixelCNN(2, shape, layers=needed, kernel=kernel, **options).blind_spot == 0
    with pytest.raises(ValueError) as caught:
        PixelCNN(2, shape, layers=1, kernel=3, **options)
    wider = int(str(caught.value).split("or kernel at least ")[1].split(" ")[0])
    assert PixelCNN(2, shape, layers=1, kernel=wider, **options).blind_spot == 0
    monkeypatch.setattr(PixelCNN, "_check_reach", lambda *args: None)
    if needed > 1:
        assert PixelCNN(2, shape, layers=needed - 1, kernel=kernel, **options).blind_spot > 0
    if wider > 3:
        assert PixelCNN(2, shape, layers=1, kernel=wider - 2, **options).blind_spot > 0


@pytest.mark.parametrize(
    ("first", "kernel", "layers", "small", "large"),
    [(7, 3, 2, 0.116, 0.621), (7, 7, 5, 0.031, 0.061), (7, 3, 14, 0.047, 0.124), (3, 3, 7, 0.149, 0.415)],
)
def test_blind_spots_of_published_networks(first, kernel, layers, small, large):
    """On 7 × 7 and 14 × 14: the first is keras.io's, the second that of a course."""
    for n, part in ((7, small), (14, large)):
        net = PixelCNN(2, (n, n), 1, layers, kernel, first, stacks=1)
        assert net.blind_spot == pytest.approx(part, abs=5e-4)


@each_kind
def test_it_is_its_formula(kind, rng):
    """Written out with convolutions of one-hot codes and of features, whole kernels times masks."""
    model = prior(kind)
    codes, labels = split(data(model, rng))
    y = np.full(len(codes), model.num_classes) if labels is None else labels
    p = {name: param.value for name, param in model.named_parameters()}
    v = h = np.eye(5)[codes]
    blocks = model.config()["layers"] + 1

    def conv(x, name, taps, kernel):
        """Taps given as offsets in an odd kernel, all others 0; of codes, after their embedding."""
        own = name + (".U" if name + ".U" in p else ".W")
        x = x @ p[name + ".E"] if own.endswith("U") else x
        whole, r = np.zeros((kernel, kernel, 3, 6)), kernel // 2
        rows = p[own].reshape(-1, *whole.shape[2:])
        assert len(rows) == len(taps)
        for (i, j), row in zip(taps, rows, strict=True):
            whole[i + r, j + r] = row
        return ops.conv_forward(x, whole, p[name + ".b"], padding=r)[0]

    def gate(x):
        return np.tanh(x[..., :3]) / (1 + np.exp(-x[..., 3:]))

    for l in range(blocks):
        b, n = f"blocks.{l}.", 3 if l == 0 else model.kernel
        r, own = n // 2, int(l > 0)
        c = p[b + "classes.E"][y][:, None, None] if model.num_classes else np.zeros(12)
        if model.stacks == 1:
            taps = [(i, j) for i in range(-r, 1) for j in range(-r, r + 1) if i < 0 or j < own]
            H = conv(h, b + "before", taps, n)
        else:
            V = conv(v, b + "above", [(i, j) for i in range(-r, own) for j in range(-r, r + 1)], n)
            H = conv(h, b + "left", [(0, j) for j in range(-r, own)], n)
            H = H + V @ p[b + "link.W"] + p[b + "link.b"]
            if l < blocks - 1:
                v = gate(V + c[..., 6:]) + (v if l else 0)
        out = gate(H + c[..., :6]) @ p[b + "out.W"] + p[b + "out.b"]
        h = h + out if l else out
    a = np.maximum(np.maximum(h, 0) @ p["head.1.W"] + p["head.1.b"], 0) @ p["head.3.W"] + p["head.3.b"]
    oracles.close(model.logits(codes, labels), a, size=10)
    log_p = a - np.log(np.exp(a).sum(-1, keepdims=True))
    oracles.close(model.nll(codes, labels), -np.take_along_axis(log_p, codes[..., None], -1)[..., 0], size=10)


@pytest.mark.slow
@each_kind
def test_gradcheck_of_the_whole_prior(kind, rng):
    model = prior(kind)
    gradcheck_prior(model, model.prepare(data(model, rng)), rng)


@each_kind
def test_gradients_add_up_and_loss_changes_nothing(kind, rng):
    model = prior(kind)
    batch = model.prepare(data(model, rng))
    before = {name: a.tobytes() for name, a in model.state_dict().items()}
    _, cache = model.loss(batch, np.random.default_rng(3))
    model.backward(cache)
    once = [p.grad.copy() for p in model.parameters()]
    assert all(g.any() for g in once)
    model.backward(cache)
    for p, g in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(p.grad, 2 * g, rtol=1e-12, atol=1e-15)
    assert {name: a.tobytes() for name, a in model.state_dict().items()} == before


def chunkings(M):
    """Every way to cut M codes into at most 3 chunks, and one by one."""
    yield tuple(range(M + 1))
    for n in range(3):
        for at in combinations(range(1, M), n):
            yield (0, *at, M)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cached_logits_are_the_full_ones_for_every_chunking(kind, dtype, rng):
    model = prior(kind, dtype)
    codes, labels = split(data(model, rng))
    full = model.logits(codes, labels).reshape(4, 12, 5)
    k, y = codes.reshape(4, 12), np.zeros(4, int) if labels is None else labels
    for chunks in chunkings(11):
        state, first = model.begin(y)
        parts = [first[:, None]]
        parts += [model.extend(state, k[:, start:stop]) for start, stop in pairwise(chunks)]
        oracles.close(np.concatenate(parts, axis=1), full)
    assert model.extend(state, k[:, :0]).shape == (4, 0, 5)
    with refused("codes", "t at most 0: the last code predicts nothing", where="PixelCNN.extend"):
        model.extend(state, k[:, :1])


def test_a_position_is_computed_once(monkeypatch, rng):
    """Each row of the vertical stack, and each position of the other one, in all of a sample."""
    model, rows, places = prior(), [], []
    for block in model.blocks.layers:
        row, extend = block.row, block.extend
        monkeypatch.setattr(block, "row", lambda r, v, i, f=row: rows.append(i) or f(r, v, i))
        monkeypatch.setattr(
            block, "extend", lambda r, h, i, j, t, f=extend: places.append((i, j, t)) or f(r, h, i, j, t)
        )
    model.sample(2, 0)
    assert sorted(rows) == sorted(list(range(3)) * 3)
    assert sorted(places) == sorted([(i, j, 1) for i in range(3) for j in range(4)] * 3)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_draws_are_those_with_the_full_logits(kind, dtype):
    model, n = prior(kind, dtype), 150
    condition = 2 if model.num_classes else None
    u = np.array([g.random(12) for g in np.random.default_rng(7).spawn(n)])
    k = np.zeros((n, 12), int)
    for m in range(12):
        a = model.logits(k.reshape(n, 3, 4), condition).reshape(n, 12, 5)[:, m].astype(float)
        p = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
        k[:, m] = (np.cumsum(p, axis=-1) <= u[:, m : m + 1]).sum(-1)
    samples = model.sample(n, 7, condition)
    np.testing.assert_array_equal(samples.reshape(n, 12), k)
    for few in (0, 1, 5, 129):
        np.testing.assert_array_equal(model.sample(few, 7, condition), samples[:few])


@pytest.mark.parametrize("stacks", [1, 2])
def test_nll_of_all_grids_sums_to_1(stacks):
    model = PixelCNN(3, (2, 2), 4, 1, num_classes=2, stacks=stacks, rng=3, dtype="float64")
    grids = np.array(list(np.ndindex(3, 3, 3, 3))).reshape(81, 2, 2)
    for condition in (None, 0, np.ones(81, int)):
        assert np.exp(-model.nll(grids, condition).sum(axis=(1, 2))).sum() == pytest.approx(1, rel=1e-12)


def test_classes_guidance_and_dropout(rng):
    model = prior("all")
    codes, labels = data(model, rng)
    assert (model.logits(codes, labels) != model.logits(codes)).any()
    for block in model.blocks.layers:
        block.classes.E.value[:4] += 1  # "no class" has a row of its own
    np.testing.assert_array_equal(model.logits(codes), prior("all").logits(codes))
    np.testing.assert_array_equal(model.sample(20, 3, 2, guidance=1), model.sample(20, 3, 2))
    np.testing.assert_array_equal(model.sample(20, 3, 2, guidance=0), model.sample(20, 3))
    assert (model.sample(20, 3, 2, guidance=2) != model.sample(20, 3, 2)).any()
    batch = model.prepare((codes, labels))
    nats = model.nll(codes, labels).mean()
    assert float(model.loss(batch)[0]["loss"]) == pytest.approx(nats)
    assert float(model.loss(batch, np.random.default_rng(0))[0]["loss"]) != pytest.approx(nats)


def test_the_start():
    """The loss of a new prior is not far above that of uniform codes, for any number of layers."""
    grids = np.random.default_rng(0).integers(0, 32, (20, 7, 7))
    for layers in (3, 12):
        for stacks in (1, 2):
            model = PixelCNN(32, (7, 7), 16, layers, stacks=stacks, rng=0)
            assert np.log(32) < model.nll(grids).mean() < 1.3 * np.log(32)


# Training.

RULE = np.random.default_rng(0)
FIRST = RULE.integers(0, 5, (200, 1))
CODES = ((FIRST + np.arange(12)) % 5).reshape(200, 3, 4)  # the first code says all the others
LABELS = FIRST[:, 0] % 4
SHORT = {"epochs": 3, "batch_size": 32, "seed": 5, "progress": False, "weight_decay": 0.01, "clip": 1.0}


@pytest.mark.slow
def test_only_two_stacks_learn_what_is_above_on_the_right():
    """A code in the last column is that of the first column one row down; the rest is random."""
    r = np.random.default_rng(0)
    codes = r.integers(0, 3, (1200, 3, 3))
    codes[:, 1:, 0] = codes[:, :-1, -1]
    bits = {}
    for stacks in (1, 2):
        model = PixelCNN(3, (3, 3), 16, 1, first_kernel=3, stacks=stacks, dropout=0.0, rng=0)
        fit(model, codes[:1000], epochs=15, lr=5e-3, progress=False)
        bits[stacks] = model.nll(codes[1000:])[:, 1:, 0].mean() / np.log(2)
    assert bits[2] < 0.1 and bits[1] > np.log2(3) - 0.05


@pytest.mark.slow
def test_it_learns_a_rule_and_what_the_class_says():
    model = PixelCNN(5, (3, 4), 16, 2, num_classes=4, dropout=0.0, rng=0)
    history = fit(model, (CODES, LABELS), (CODES, LABELS), epochs=40, lr=5e-3, progress=False)
    nats = model.nll(CODES).mean(axis=0).reshape(-1)
    assert nats[0] == pytest.approx(np.log(5), rel=0.1) and nats[1:].max() < 0.05
    assert (model.sample(100, 0, 2)[:, 0, 0] % 4 == 2).mean() > 0.9
    assert history[-1]["test_bits_per_image"] == model.evaluate((CODES, LABELS)).bits_per_image


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [0, 7, 20])
@pytest.mark.parametrize("stacks", [1, 2])
def test_stopped_and_resumed_it_ends_in_the_same_bits(stop_at, stacks, tmp_path):
    make = lambda: PixelCNN(**SMALL, num_classes=4, stacks=stacks, dropout=0.2)
    pair, test = (CODES, LABELS), (CODES[:20], LABELS[:20])
    whole = make()
    history = fit(whole, pair, test, **SHORT)
    schedule = {name: value for name, value in SHORT.items() if name != "progress"}
    trainer = Trainer(make(), pair, Schedule(**schedule))
    trainer.initialize()
    for _ in range(stop_at):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(test)
    trainer.save(tmp_path / "c.npz")
    model, again = resume(tmp_path / "c.npz", pair, test, progress=False)
    assert type(model) is PixelCNN and same(whole, model) and again == history


@each_kind
def test_a_checkpoint_makes_the_round_trip(kind, tmp_path):
    model = prior(kind)
    again = build(describe(model))
    assert describe(again) == describe(model) and again.latent_shape == (3, 4)
    save(tmp_path / "prior.npz", model)
    loaded = load(tmp_path / "prior.npz")
    assert same(loaded, model)
    np.testing.assert_array_equal(loaded.sample(5, 1), model.sample(5, 1))


@pytest.mark.parametrize(
    ("options", "argument", "needed"),
    [
        ({"num_embeddings": 0}, "num_embeddings", "at least 1"),
        ({"latent_shape": (12,)}, "latent_shape", "must have two axes, rows and columns"),
        ({"latent_shape": (2, 2, 2)}, "latent_shape", "must have two axes"),
        ({"latent_shape": (14, 14)}, "layers", "must be at least 12 with kernel 3, or kernel at least 13"),
        ({"kernel": 4}, "kernel", "must be odd"),
        ({"first_kernel": 1}, "first_kernel", "at least 3"),
        ({"stacks": 3}, "stacks", "[1, 2]"),
        ({"dropout": 1}, "dropout", "[0, 1)"),
        ({"layers": 0}, "layers", "[1, 1000]"),
        ({"channels": 0}, "channels", "at least 1"),
        ({"dtype": "float16"}, "dtype", "'float32' or 'float64'"),
    ],
)
def test_bad_settings_are_refused(options, argument, needed):
    with refused(argument, needed, where="PixelCNN"):
        PixelCNN(**SMALL | options)
