"""The transformer prior: its formula, causality, gradients, incremental logits, training, checkpoints."""

from itertools import combinations, pairwise

import numpy as np
import oracles
import pytest
from helpers import gradcheck_prior, refused, same

from vqnp import fit, load, ops, resume, save
from vqnp.nn import build, describe
from vqnp.priors import Transformer
from vqnp.training import Schedule, Trainer

SMALL = {"num_embeddings": 5, "latent_shape": (2, 3), "channels": 6, "layers": 2, "heads": 3}
KINDS = {
    "plain": {},
    "tied": {"tied": True},
    "classes": {"num_classes": 4},
    "all": {"num_classes": 4, "tied": True, "dropout": 0.3, "condition_dropout": 0.4},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def prior(kind="plain", dtype="float64", rng=1):
    """With larger parameters than at the start, so that everything acts on everything."""
    model = Transformer(**SMALL, **KINDS[kind], rng=rng, dtype=dtype)
    r = np.random.default_rng(rng)
    for param in model.parameters():
        param.value += 0.5 * r.standard_normal(param.value.shape).astype(dtype)
    return model


def data(model, rng, n=4):
    """Codes and, if there are classes, labels: what prepare takes."""
    codes = rng.integers(0, model.num_embeddings, (n, *model.latent_shape))
    return (codes, rng.integers(0, model.num_classes, n)) if model.num_classes else codes


def split(batch):
    return batch if isinstance(batch, tuple) else (batch, None)


@each_kind
def test_it_is_its_formula(kind, rng):
    """Written out with the ops, for one grid at a time."""
    model = prior(kind)
    codes, labels = split(data(model, rng))
    a = model.logits(codes, labels)
    p = {name: param.value for name, param in model.named_parameters()}
    for n, k in enumerate(codes.reshape(len(codes), -1)):
        x = [p["start"], *p["embedding.E"][k[:-1]]]
        if labels is not None:
            x.insert(0, p["classes.E"][labels[n]])
        x = np.array(x) + p["positions"]
        for i in range(2):
            b = f"blocks.{i}."
            h, _ = ops.layer_norm_forward(x, p[b + "attention_norm.gamma"], p[b + "attention_norm.beta"])
            qkv = h @ p[b + "attention.qkv.W"] + p[b + "attention.qkv.b"]
            q, key, v = (part.reshape(1, -1, 3, 2) for part in np.split(qkv, 3, axis=-1))
            o = oracles.attention(q, key, v).reshape(len(x), 6)
            x = x + o @ p[b + "attention.out.W"] + p[b + "attention.out.b"]
            h, _ = ops.layer_norm_forward(x, p[b + "mlp_norm.gamma"], p[b + "mlp_norm.beta"])
            h, _ = ops.gelu_forward(h @ p[b + "mlp.0.W"] + p[b + "mlp.0.b"])
            x = x + h @ p[b + "mlp.2.W"] + p[b + "mlp.2.b"]
        h, _ = ops.layer_norm_forward(x, p["norm.gamma"], p["norm.beta"])
        out = h @ p["embedding.E"].T if model.tied else h @ p["head.W"] + p["head.b"]
        oracles.close(a[n].reshape(6, 5), out[-6:], size=10)
    L, _ = model.loss(model.prepare(codes if labels is None else (codes, labels)))
    log_p = a - np.log(np.exp(a).sum(-1, keepdims=True))
    nats = -np.take_along_axis(log_p, codes[..., None], -1)[..., 0]
    oracles.close(model.nll(codes, labels), nats, size=10)
    assert L["loss"] == pytest.approx(nats.mean()) and L["bits_per_image"] == pytest.approx(
        nats.sum(axis=(1, 2)).mean() / np.log(2)
    )


@each_kind
def test_a_logit_depends_on_all_codes_before_and_on_no_other(kind, rng):
    """∂logit_i/∂x_j by the backward pass of the embedded codes, and by changing one code."""
    model = prior(kind)
    codes, labels = split(data(model, rng, n=1))
    a = model.logits(codes, labels).reshape(6, 5)
    for j in range(6):
        other = codes.copy().reshape(-1)
        other[j] = (other[j] + 1) % 5
        changed = model.logits(other.reshape(codes.shape), labels).reshape(6, 5) != a
        assert changed.any(axis=1).tolist() == [i > j for i in range(6)]
    k = np.arange(5)[None] % 5  # each code once, so that the rows of dE are positions
    k = np.concatenate([k, [[0]]], axis=1)
    for i in range(6):
        y = np.zeros(1, int) if labels is None else labels
        out, cache = model.logits_forward(k, y)
        da = np.zeros_like(out)
        da[:, i] = rng.standard_normal(5)
        model.zero_grad()
        model.logits_backward(da, cache)
        if not model.tied:
            reached = model.embedding.E.grad.any(axis=1)
            assert reached.tolist() == [j < i for j in range(5)]
        assert model.start.grad.any()


@each_kind
def test_gradcheck_of_the_whole_prior(kind, rng):
    """With the mask and the classes that a seed draws."""
    model = prior(kind)
    gradcheck_prior(model, model.prepare(data(model, rng)), rng)


def test_gradients_add_up_and_loss_changes_nothing(rng):
    model = prior("all")
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


def cuts(M):
    """Every way to cut M codes into chunks."""
    for n in range(M):
        for at in combinations(range(1, M), n):
            yield (0, *at, M)


@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cached_logits_are_the_full_ones_for_every_chunking(kind, dtype, rng):
    model = prior(kind, dtype)
    codes, labels = split(data(model, rng))
    full = model.logits(codes, labels).reshape(4, 6, 5)
    k, y = codes.reshape(4, 6), np.zeros(4, int) if labels is None else labels
    for chunks in cuts(5):
        state, first = model.begin(y)
        parts = [first[:, None]]
        parts += [model.extend(state, k[:, start:stop]) for start, stop in pairwise(chunks)]
        oracles.close(np.concatenate(parts, axis=1), full)
    with refused("codes", "t at most 0: the last code predicts nothing", where="Transformer.extend"):
        model.extend(state, k[:, :1])


def naive_samples(model, n, seed, condition=None):
    """Drawn with the full logits at each step, from the streams of the seed."""
    u = np.array([g.random(6) for g in np.random.default_rng(seed).spawn(n)])
    k = np.zeros((n, 6), int)
    for m in range(6):
        a = model.logits(k.reshape(n, 2, 3), condition).reshape(n, 6, 5)[:, m].astype(float)
        p = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
        k[:, m] = (np.cumsum(p, axis=-1) <= u[:, m : m + 1]).sum(-1)
    return k.reshape(n, 2, 3)


@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_draws_are_those_with_the_full_logits(kind, dtype):
    model = prior(kind, dtype)
    condition = 2 if model.num_classes else None
    samples = model.sample(300, 7, condition)
    np.testing.assert_array_equal(samples, naive_samples(model, 300, 7, condition))


@each_kind
def test_a_sample_does_not_depend_on_how_many_are_drawn(kind):
    model = prior(kind, "float32")
    many = model.sample(300, 7)
    assert many.shape == (300, 2, 3) and many.dtype == np.int64 and len(np.unique(many, axis=0)) > 100
    for n in (0, 1, 5, 129):
        np.testing.assert_array_equal(model.sample(n, 7), many[:n])
    assert (model.sample(300, 8) != many).any()
    rng = np.random.default_rng(7)
    np.testing.assert_array_equal(model.sample(5, rng), many[:5])
    assert (model.sample(5, rng) != many[:5]).any()


@pytest.mark.slow
def test_samples_have_the_priors_probabilities():
    """The first two codes of 20,000 samples against the product of both conditionals."""
    model = prior("classes")
    n, k = 20_000, np.zeros((25, 2, 3), int)
    k[:, 0, :2] = np.array(list(np.ndindex(5, 5)))
    p = np.exp(-model.nll(k, 1)[:, 0, :2].sum(axis=1))
    assert p.sum() == pytest.approx(1)
    samples = model.sample(n, 0, 1)[:, 0]
    counts = np.bincount(samples[:, 0] * 5 + samples[:, 1], minlength=25)
    assert (np.abs(counts - n * p) < 5 * np.sqrt(n * p * (1 - p)) + 1).all()


def test_nll_of_all_grids_sums_to_1():
    model = Transformer(3, (2, 2), channels=4, layers=1, heads=2, num_classes=2, rng=3, dtype="float64")
    grids = np.array(list(np.ndindex(3, 3, 3, 3))).reshape(81, 2, 2)
    for condition in (None, 0, np.ones(81, int)):
        assert np.exp(-model.nll(grids, condition).sum(axis=(1, 2))).sum() == pytest.approx(1, rel=1e-12)


def test_the_start_token_and_no_class_are_neither_codes_nor_classes(rng):
    model = prior("classes")
    codes, _ = data(model, rng)
    before = model.logits(codes)
    model.embedding.E.value[0] += 1
    changed = model.logits(codes)
    np.testing.assert_array_equal(changed[:, 0, 0], before[:, 0, 0])  # nothing has been read there
    model.classes.E.value[:4] += 1
    np.testing.assert_array_equal(model.logits(codes), changed)


@pytest.mark.slow
def test_guidance(rng):
    """1 is the conditional distribution, 0 the one without a class, and 2 goes as far again beyond."""
    model = prior("classes")
    np.testing.assert_array_equal(model.sample(40, 3, 2, guidance=1), model.sample(40, 3, 2))
    np.testing.assert_array_equal(model.sample(40, 3, 2, guidance=0), model.sample(40, 3))
    assert (model.sample(40, 3, 2, guidance=2) != model.sample(40, 3, 2)).any()
    (_, cond), (_, null) = model.begin(np.array([2])), model.begin(np.array([4]))
    p = np.exp(null + 3 * (cond - null))
    first = model.sample(5000, 1, 2, guidance=3)[:, 0, 0]
    p = (p / p.sum())[0]
    assert (np.abs(np.bincount(first, minlength=5) - 5000 * p) < 5 * np.sqrt(5000 * p * (1 - p)) + 1).all()


def test_the_likeliest_codes_only():
    model = prior("classes")
    likeliest = model.sample(20, 0, 1, top_k=1)
    assert (likeliest == likeliest[0]).all()
    np.testing.assert_array_equal(model.sample(20, 5, 1, top_p=1e-9), likeliest)
    np.testing.assert_array_equal(model.sample(20, 5, 1, temperature=1e-6), likeliest)
    np.testing.assert_array_equal(model.sample(20, 5, 1, top_k=5, top_p=1.0), model.sample(20, 5, 1))


def test_dropout_and_classes_are_dropped_only_with_a_generator(rng):
    model = prior("all")
    batch = model.prepare(data(model, rng, 200))
    losses = [float(model.loss(batch)[0]["loss"]) for _ in range(2)]
    report = model.evaluate((batch[0].reshape(-1, 2, 3), batch[1]))
    assert losses[0] == losses[1] == pytest.approx(report.nats_per_code)
    assert float(model.loss(batch, np.random.default_rng(0))[0]["loss"]) != losses[0]
    never = Transformer(**SMALL, num_classes=4, dropout=0.0, condition_dropout=0.0, rng=1)
    always = Transformer(**SMALL, num_classes=4, dropout=0.0, condition_dropout=1.0, rng=1)
    r = np.random.default_rng(0)
    for model, labels in ((never, batch[1]), (always, np.full(200, 4))):
        assert model.loss(batch, r)[0]["loss"] == model.loss((batch[0], labels))[0]["loss"]


def test_the_start():
    """N(0, 0.02²); the last layer of each branch is 1/√(2L) of that; the loss is that of uniform codes."""
    model = Transformer(32, (4, 4), channels=64, layers=8, heads=4, num_classes=3, rng=0)
    for name, param in model.named_parameters():
        if param.value.ndim == 1 and name != "start":
            assert (param.value == ("gamma" in name)).all()
        else:
            std = 0.02 / (4 if name.endswith(("out.W", "mlp.2.W")) else 1)
            assert abs(param.value.std() / std - 1) < 5 / np.sqrt(2 * param.value.size), name
    grids = np.random.default_rng(0).integers(0, 32, (20, 4, 4))
    assert model.nll(grids).mean() == pytest.approx(np.log(32), rel=0.01)


# Training.

RULE = np.random.default_rng(0)
FIRST = RULE.integers(0, 5, (200, 1))
CODES = ((FIRST + np.arange(6)) % 5).reshape(200, 2, 3)  # the first code says all the others
LABELS = FIRST[:, 0] % 4
SHORT = {"epochs": 3, "batch_size": 32, "seed": 5, "progress": False, "weight_decay": 0.01, "clip": 1.0}


@pytest.mark.slow
def test_it_learns_a_rule():
    model = Transformer(5, (2, 3), channels=16, layers=2, heads=2, dropout=0.0, rng=0)
    history = fit(model, CODES[:150], CODES[150:], epochs=40, lr=5e-3, progress=False)
    both = ["loss", "bits_per_image", "test_loss", "test_bits_per_image"]
    assert list(history[0]) == ["epoch", "step", "lr", *both]
    nats = model.nll(CODES[150:]).mean(axis=0).reshape(-1)
    assert nats[0] == pytest.approx(np.log(5), rel=0.1) and nats[1:].max() < 0.05
    samples = model.sample(50, 0).reshape(50, 6)
    assert ((np.diff(samples, axis=1) % 5 == 1).mean()) > 0.98
    report = model.evaluate(CODES[150:])
    assert report.nats_per_code == pytest.approx(nats.mean())
    assert report.bits_per_image == pytest.approx(nats.sum() / np.log(2))
    assert history[-1]["test_bits_per_image"] == report.row()["test_bits_per_image"]
    assert report.as_dict()["grids"] == 50 and "bits per image" in str(report)


@pytest.mark.slow
def test_it_learns_what_the_class_says_and_guidance_exaggerates_it():
    model = Transformer(5, (2, 3), channels=16, layers=2, heads=2, num_classes=4, dropout=0.0, rng=0)
    fit(model, (CODES, LABELS), epochs=40, lr=5e-3, progress=False)
    assert (model.sample(100, 0, 2)[:, 0, 0] % 4 == 2).mean() > 0.9
    assert len(np.unique(model.sample(100, 0)[:, 0, 0])) == 5  # without a class
    assert model.nll(CODES, LABELS).mean() < model.nll(CODES).mean()


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [0, 1, 7, 14, 20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stopped_and_resumed_it_ends_in_the_same_bits(stop_at, dtype, tmp_path):
    make = lambda: Transformer(**SMALL, num_classes=4, dtype=dtype)
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
    assert type(model) is Transformer and same(whole, model) and again == history


@each_kind
def test_a_checkpoint_makes_the_round_trip(kind, tmp_path, rng):
    model = prior(kind)
    again = build(describe(model))
    assert describe(again) == describe(model) and again.latent_shape == (2, 3)
    save(tmp_path / "prior.npz", model)
    loaded = load(tmp_path / "prior.npz")
    assert same(loaded, model)
    np.testing.assert_array_equal(loaded.sample(5, 1), model.sample(5, 1))


@pytest.mark.parametrize(
    ("options", "argument", "needed"),
    [
        ({"num_embeddings": 0}, "num_embeddings", "at least 1"),
        ({"latent_shape": ()}, "latent_shape", "at least one axis"),
        ({"latent_shape": 7}, "latent_shape", "sequence of integers"),
        ({"num_classes": -1}, "num_classes", "at least 0"),
        ({"condition_dropout": 2}, "condition_dropout", "[0, 1]"),
        ({"dropout": 1}, "dropout", "[0, 1)"),
        ({"dtype": "float16"}, "dtype", "'float32' or 'float64'"),
        ({"layers": 0}, "layers", "[1, 1000]"),
    ],
)
def test_bad_settings_are_refused(options, argument, needed):
    with refused(argument, needed, where="Transformer"):
        Transformer(**SMALL | options)


def test_bad_codes_and_conditions_are_refused():
    plain, classes, k = prior(), prior("classes"), np.zeros((3, 2, 3), int)
    for call, argument, needed, got in [
        (lambda: plain.nll(k + 5), "codes", "[0, 5)", "5 at index (0, 0, 0)"),
        (lambda: plain.nll(k[:, 0]), "codes", "must have shape (3, 2, 3)", "shape (3, 3)"),
        (lambda: plain.nll(k, 0), "condition", "must be None: the prior has no classes", "0"),
        (lambda: classes.nll(k, 4), "condition", "[0, 4)", "4"),
        (lambda: classes.nll(k, [0, 1]), "condition", "one class or have shape (3,)", "shape (2,)"),
        (lambda: classes.prepare(k), "data", "must be (codes, labels)", "codes alone"),
        (lambda: plain.prepare((k, [0, 0, 0])), "data", "must be codes alone", "(codes, labels)"),
        (lambda: classes.prepare((k, [0, 0])), "labels", "must have shape (3,)", "shape (2,)"),
        (lambda: plain.prepare(k[:0]), "codes", "at least one grid", "(0, 2, 3)"),
        (lambda: plain.sample(-1, 0), "n", "at least 0", "-1"),
        (lambda: plain.sample(2, 0, guidance=2), "guidance", "must be 1 without a condition", "2"),
        (lambda: plain.sample(2, 0, temperature=0), "temperature", "(0, inf)", "0"),
        (lambda: plain.sample(2, 0, top_k=0), "top_k", "at least 1", "0"),
        (lambda: plain.sample(2, 0, top_p=0), "top_p", "(0, 1]", "0"),
    ]:
        with refused(argument, needed, got):
            call()
