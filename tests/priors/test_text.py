"""Text and codes as one sequence: formula, causality, gradients, cached logits, guidance, re-ranking."""

from itertools import combinations, pairwise

import numpy as np
import oracles
import pytest
from helpers import gradcheck_prior, refused, same

from vqnp import VQVAE, fit, generate, load, ops, save
from vqnp.nn import build, describe
from vqnp.priors import TextTransformer, Transformer, best_of, conditionals, evidence

WORDS = ("a", "blue", "red", "seven", "six")
SMALL = {"num_embeddings": 5, "latent_shape": (2, 3), "words": WORDS, "text_length": 3, "channels": 6,
         "layers": 2, "heads": 3}  # fmt: skip
TEXTS = ("a red seven", "six", "blue six", "a blue")
K, M, T, V = 5, 6, 3, 5


def prior(dtype="float64", rng=1, **options):
    """With larger parameters than at the start, so that everything acts on everything."""
    model = TextTransformer(**SMALL, **options, rng=rng, dtype=dtype)
    r = np.random.default_rng(rng)
    for param in model.parameters():
        param.value += 0.5 * r.standard_normal(param.value.shape).astype(dtype)
    return model


def codes(rng, n=4):
    return rng.integers(0, K, (n, 2, 3))


def test_it_is_its_formula(rng):
    """One sequence, one softmax over words and codes, of which the other kind is masked; written out."""
    model, k = prior(), codes(rng)
    p = {name: param.value for name, param in model.named_parameters()}
    t = [[0, 2, 3], [4, 5, 5], [1, 4, 5], [0, 1, 5]]  # 5: end
    words, total = 0.0, 0.0
    for n in range(4):
        x = np.concatenate([p["text_start"][None], p["text.E"][t[n]], p["start"][None],
                            p["embedding.E"][k[n].ravel()[:-1]]]) + p["positions"]  # fmt: skip
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
        heads = [h @ p[f"{name}.W"] + p[f"{name}.b"] for name in ("text_head", "head")]
        joint = np.concatenate(heads, axis=1)
        joint[: T + 1, V + 1 :] = -np.inf  # text positions predict words
        joint[T + 1 :, : V + 1] = -np.inf  # image positions predict codes
        nats = np.log(np.exp(joint).sum(axis=1, keepdims=True)) - joint
        length = t[n].index(5) + 1 if 5 in t[n] else 3
        own = nats[range(length), t[n][:length]]
        words += own.sum()
        image = nats[T + 1 + np.arange(M), V + 1 + k[n].ravel()]
        oracles.close(model.nll(k[n : n + 1], TEXTS[n]).ravel(), image, size=10)
        assert model.text_nll([TEXTS[n]])[0] == pytest.approx(own.sum(), rel=1e-12)
        total += image.sum()
    losses, _ = model.loss(model.prepare((k, TEXTS)))
    assert losses["text_loss"] == pytest.approx(words / 11)
    assert losses["image_loss"] == pytest.approx(total / 24)
    assert losses["loss"] == pytest.approx(words / 11 / 8 + total / 24 * 7 / 8)
    assert losses["bits_per_image"] == pytest.approx(total / 4 / np.log(2)) and next(iter(losses)) == "loss"


def test_codes_see_the_whole_text_and_words_see_no_code(rng):
    model, k = prior(), codes(rng, 1)
    ids = np.array([[0, 2, 3]])
    a, before = model.logits_forward(k.reshape(1, 6), ids)[0], model.text_nll(["a red seven"])
    for i in range(T):
        other = ids.copy()
        other[0, i] = 4
        assert (model.logits_forward(k.reshape(1, 6), other)[0] != a).any(axis=(0, 2)).all()
    for j in range(M):
        flat = k.reshape(1, 6).copy()
        flat[0, j] = (flat[0, j] + 1) % K
        changed = (model.logits_forward(flat, ids)[0] != a).any(axis=(0, 2))
        assert changed.tolist() == [i > j for i in range(M)]
    losses = [model.loss((flat, ids))[0]["text_loss"] for flat in (k.reshape(1, 6), 4 - k.reshape(1, 6))]
    assert losses[0] == losses[1] == pytest.approx(before[0] / 3)
    model.text_head.W.value += 1  # the words' head does not act on codes
    np.testing.assert_array_equal(model.logits_forward(k.reshape(1, 6), ids)[0], a)


def test_gradcheck_of_both_losses(rng):
    """With the texts and the mask of dropout that a seed draws: some are dropped, some are not."""
    model = prior(dropout=0.3, condition_dropout=0.4, text_weight=0.7, image_weight=0.5)
    batch = model.prepare((codes(rng), TEXTS))
    dropped = model.dropped(batch[1], np.random.default_rng(3))
    assert {(row == V + 1).all() for row in dropped} == {True, False}
    gradcheck_prior(model, batch, rng)


def test_the_null_text_changes_nothing(rng):
    """The caller's captions and integers are what they were; a dropped text has no loss of its own."""
    model = prior(condition_dropout=1.0, dropout=0.0)
    batch = model.prepare((codes(rng), TEXTS))
    before = batch[1].copy()
    losses, cache = model.loss(batch, np.random.default_rng(0))
    model.backward(cache)
    np.testing.assert_array_equal(batch[1], before)
    assert losses["text_loss"] == 0 and not model.text_head.W.grad.any()
    assert losses["image_loss"] == pytest.approx(model.nll(batch[0].reshape(-1, 2, 3)).mean())
    assert not model.text.E.grad[: V + 1].any() and model.text.E.grad[V + 1].any()
    captions = list(TEXTS)
    model.sample(4, 0, captions, guidance=3.0)
    assert captions == list(TEXTS)
    assert model.loss(batch)[0]["text_loss"] > 0  # without a generator nothing is dropped


def cuts(n):
    for r in range(n):
        for at in combinations(range(1, n), r):
            yield (0, *at, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cached_logits_are_the_full_ones_for_every_chunking(dtype, rng):
    model, k = prior(dtype), codes(rng)
    for text in (TEXTS, None):
        full = model.logits(k, text).reshape(4, 6, 5)
        ids = model.null(4) if text is None else model.vocabulary.encode(text)
        for chunks in cuts(5):
            state, first = model.begin(ids)
            parts = [first[:, None]]
            parts += [model.extend(state, k.reshape(4, 6)[:, i:j]) for i, j in pairwise(chunks)]
            oracles.close(np.concatenate(parts, axis=1), full)


def naive_samples(model, n, seed, text, guidance):
    """Drawn with the full logits at each step, from the streams of the seed."""
    u = np.array([g.random(6) for g in np.random.default_rng(seed).spawn(n)])
    k = np.zeros((n, 6), int)
    for m in range(6):
        cond, null = (model.logits(k.reshape(n, 2, 3), c).reshape(n, 6, 5)[:, m] for c in (text, None))
        a = (null + guidance * (cond - null)).astype(float)
        p = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
        k[:, m] = (np.cumsum(p, axis=-1) <= u[:, m : m + 1]).sum(-1)
    return k.reshape(n, 2, 3)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_draws_are_those_with_the_full_logits_at_any_number(guidance):
    model = prior()
    samples = model.sample(150, 7, "blue six", guidance=guidance)
    np.testing.assert_array_equal(samples, naive_samples(model, 150, 7, "blue six", guidance))
    for n in (0, 1, 5):
        np.testing.assert_array_equal(model.sample(n, 7, "blue six", guidance=guidance), samples[:n])
    texts = ["blue six", "a red seven"] * 3
    np.testing.assert_array_equal(model.sample(6, 7, texts, guidance=guidance)[::2], samples[:6:2])
    assert (model.sample(150, 7, "a red seven", guidance=guidance) != samples).any()


def test_evidence_is_bayes_rule(rng):
    """Over all texts of a tiny vocabulary, with the mixture as p(k): the order is that of p(t | k)."""
    model, k = prior(), codes(rng, 30)
    texts = ["a", "blue", "red"]
    found = np.stack([evidence(model, k, text) for text in texts])
    given = np.stack([model.nll(k, text).sum(axis=(1, 2)) for text in texts])
    np.testing.assert_allclose(found, model.nll(k).sum(axis=(1, 2)) - given, rtol=1e-12)
    posterior = np.exp(-given) / np.exp(-given).sum(axis=0)
    np.testing.assert_array_equal(found.argmax(axis=0), posterior.argmax(axis=0))
    several = evidence(model, k[:3], texts)
    np.testing.assert_allclose(several, [found[i, i] for i in range(3)], rtol=1e-12)


def test_reranking_keeps_the_best_of_each_group():
    model = prior("float32")
    kept = best_of(model, 5, 3, "a red seven", 4, guidance=2.0)
    drawn = model.sample(20, 3, "a red seven", guidance=2.0)
    score = evidence(model, drawn, "a red seven").reshape(5, 4)
    np.testing.assert_array_equal(kept, drawn.reshape(5, 4, 2, 3)[np.arange(5), score.argmax(axis=1)])
    np.testing.assert_array_equal(best_of(model, 2, 3, "a red seven", 4, guidance=2.0), kept[:2])
    np.testing.assert_array_equal(best_of(model, 5, 3, "six", 1), model.sample(5, 3, "six"))
    texts = ["six", "a red seven"]
    each = best_of(model, 2, 3, texts, 4)
    drawn = model.sample(8, 3, [t for t in texts for _ in range(4)])
    assert any((each[1] == k).all() for k in drawn[4:])
    assert best_of(model, 0, 3, texts[:0], 4).shape == (0, 2, 3)
    with refused("candidates", "must be 1 without a condition", "4", where="best_of"):
        best_of(model, 2, 3, None, 4)
    classes = Transformer(5, (2, 3), channels=6, layers=1, heads=2, num_classes=3)
    for condition in (2, np.array([0, 1, 2])):
        assert best_of(classes, 3, 0, condition, 2).shape == (3, 2, 3)


def test_what_is_refused(rng):
    model, k = prior(), codes(rng)
    with refused("data", "must be (codes, captions) for a prior with a condition", where="fit"):
        model.prepare(k)
    for captions, got in ((TEXTS[:3], "3 of them"), ("six", "str"), (7, "int")):
        with refused("captions", "must be a sequence of 4 str", got):
            model.prepare((k, captions))
    with refused("captions", "must have shape (4, 3)"):
        model.prepare((k, np.zeros((4, 2), int)))
    with refused("caption", "(nearest: seven)", "'sevn' in 'a sevn'", where="TextTransformer.sample"):
        model.sample(2, 0, "a sevn")
    with refused("caption", "must have at most 3 words", where="TextTransformer.nll"):
        model.nll(k, "a red seven six")
    with refused("guidance", "must be 1 without a condition"):
        model.sample(2, 0, guidance=2.0)
    with refused("image_weight", "must be in (0, inf)"):
        prior(image_weight=0)


def test_a_checkpoint_an_image_and_a_coder(tmp_path, rng):
    model = prior(text_weight=0.25)
    again = build(describe(model))
    assert describe(again) == describe(model) and again.vocabulary.words == WORDS
    assert again.text_weight == 0.25
    save(tmp_path / "prior.npz", model)
    read = load(tmp_path / "prior.npz")
    assert type(read) is TextTransformer and same(read, model)
    np.testing.assert_array_equal(read.sample(3, 0, "a red seven"), model.sample(3, 0, "a red seven"))
    vqvae = VQVAE.mlp((4, 4), num_latents=6, embedding_dim=2, num_embeddings=5, hidden=(5,))
    flat = TextTransformer(**SMALL | {"latent_shape": (6,)})
    one, more = (generate(vqvae, flat, 2, 0, "six", rerank=n) for n in (1, 3))
    assert one.shape == more.shape == (2, 4, 4)
    np.testing.assert_array_equal(more, vqvae.decode(best_of(flat, 2, 0, "six", 3)))
    p = next(conditionals(model, 2))
    a = model.begin(model.null(2))[1]
    np.testing.assert_allclose(p, np.exp(a) / np.exp(a).sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.slow
def test_it_learns_what_the_words_say():
    """The first code is the colour and the others the number: also of the combination that is held out."""
    r = np.random.default_rng(0)
    colour, number = r.integers(0, 2, 400), r.integers(0, 2, 400)
    k = np.concatenate([colour[:, None], np.repeat(2 + number[:, None], 5, axis=1)], axis=1).reshape(-1, 2, 3)
    texts = [f"a {('blue', 'red')[c]} {('six', 'seven')[n]}" for c, n in zip(colour, number, strict=True)]
    kept = ~((colour == 1) & (number == 1))
    model = TextTransformer(**SMALL | {"channels": 16, "heads": 2}, dropout=0.0, rng=0)
    history = fit(model, (k[kept], [t for t, c in zip(texts, kept, strict=True) if c]), (k, texts), epochs=40,
                  lr=5e-3, progress=False)  # fmt: skip
    columns = ["loss", "text_loss", "image_loss", "bits_per_image", "test_loss", "test_bits_per_image"]
    assert list(history[0]) == ["epoch", "step", "lr", *columns]
    for c, n, text in ((0, 0, "a blue six"), (1, 0, "a red six"), (0, 1, "a blue seven")):
        samples = model.sample(50, 0, text).reshape(50, 6)
        assert (samples == [c, *[2 + n] * 5]).mean() > 0.95
    assert (model.sample(50, 0, "a red seven")[:, 0, 0] == 1).mean() > 0.5
    assert len(np.unique(model.sample(50, 0), axis=0)) >= 3  # without a text
    assert model.text_nll(["a blue six"])[0] == pytest.approx(np.log(3), rel=0.2)
