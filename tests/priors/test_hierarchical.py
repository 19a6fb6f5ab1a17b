"""HierarchicalPrior: gradients, what a level sees, cached = full logits, likelihood, samples, training."""

import numpy as np
import pytest
from helpers import refused, same

import vqnp
from vqnp import HierarchicalVQVAE, generate
from vqnp.gradcheck import gradcheck_module
from vqnp.nn import build, describe
from vqnp.priors import HierarchicalPrior, Markov, PixelCNN, Transformer, likelihood_bound
from vqnp.training import Schedule, Trainer

K, SHAPES = (5, 4), ((2, 3), (4, 6))
OPTIONS = {
    "transformer": {"channels": 6, "layers": 1, "heads": 2}, "pixelcnn": {"channels": 4, "layers": 2},
    "one stack": {"channels": 6, "layers": 2, "stacks": 1},
}  # fmt: skip
each_kind = pytest.mark.parametrize("kind", OPTIONS)
each_classes = pytest.mark.parametrize("classes", [0, 3])


def make(kind, classes=0, K=K, shapes=SHAPES, shaken=True, **options):
    kind, own = "pixelcnn" if kind == "one stack" else kind, OPTIONS[kind]
    options = {"dropout": 0.0, "num_classes": classes, "rng": 1, "dtype": "float64", **own, **options}
    prior = HierarchicalPrior.of(kind, K, shapes, **options)
    for param in prior.parameters() if shaken else ():
        param.value += 0.3 * np.random.default_rng(0).standard_normal(param.value.shape)
    return prior


def codes_of(rng, n=3, K=K, shapes=SHAPES):
    return tuple(rng.integers(0, count, (n, *shape)) for count, shape in zip(K, shapes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "classes"),
    [("transformer", 3), ("pixelcnn", 3), *(pytest.param(k, 0, marks=pytest.mark.slow) for k in OPTIONS)],
)
def test_every_gradient(kind, classes, rng):
    small = {"channels": 4}
    if kind != "transformer":
        small = {"channels": 2, "layers": 1, "first_kernel": 3, "kernel": 5}
    prior = make(kind, classes, K=(3, 2), shapes=((1, 2), (2, 4)), **small)
    k = codes_of(rng, 2, (3, 2), ((1, 2), (2, 4)))
    batch = prior.prepare((k, [0, 2]) if classes else k)

    def forward(_):
        losses, cache = prior.loss(batch)
        return losses["loss"], cache

    def backward(dL, cache):
        prior.backward(cache, dL)
        return np.zeros(1)

    report = gradcheck_module(prior, np.zeros(1), rng=rng, forward=forward, backward=backward)
    assert len(report.rows) == 1 + len(list(prior.parameters()))
    report.raise_if_failed()


@each_kind
@each_classes
def test_every_code_above_acts_and_the_level_stays_causal(kind, classes, rng):
    level = make(kind, classes).levels[1]
    top, bottom = codes_of(rng, 1)
    a = level.logits(bottom, None, (top,)).reshape(24, 4)
    reached = np.zeros((6, 24), bool)
    for i in range(6):
        other = top.copy()
        other.reshape(-1)[i] = (other.reshape(-1)[i] + 1) % 5
        reached[i] = (level.logits(bottom, None, (other,)).reshape(24, 4) != a).any(axis=1)
    if kind == "transformer":
        assert reached.all()  # a prefix is seen from every position
    assert reached.any(axis=1).all() and reached.any(axis=0).all()
    assert reached[:, 0].any()  # the first position has no earlier code: it sees those above alone
    for m in range(24):
        other = bottom.copy()
        other.reshape(-1)[m] = (other.reshape(-1)[m] + 1) % 4
        change = (level.logits(other, None, (top,)).reshape(24, 4) != a).any(axis=1)
        assert not change[: m + 1].any()


@each_kind
@each_classes
def test_cached_logits_are_the_full_ones(kind, classes, rng):
    """However the codes come in parts, to the last bit of a float64."""
    prior = make(kind, classes)
    top, bottom = codes_of(rng)
    level, labels = prior.levels[1], np.array([0, 1, classes])[:3] % (classes + 1)
    flat = bottom.reshape(3, 24)
    full = level.logits_forward(flat, labels, None, (top,))[0]
    for cuts in ([1] * 23, [23], [5, 1, 12, 5], [6, 6, 6, 5]):
        state, first = level.begin(labels, (top,))
        parts, m = [first[:, None]], 0
        for t in cuts:
            parts.append(level.extend(state, flat[:, m : m + t]))
            m += t
        np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-12, atol=1e-12)


@each_kind
def test_the_probabilities_of_all_codes_add_up_to_one(kind):
    """Of a level of 1 code above one of 2 × 1."""
    prior = make(kind, K=(3, 2), shapes=((1, 1), (2, 1)))
    grids = [(a, b, c) for a in range(3) for b in range(2) for c in range(2)]
    top = np.array([[[a]] for a, _, _ in grids])
    bottom = np.array([[[b], [c]] for _, b, c in grids])
    nats = prior.nll((top, bottom))
    total = sum(each.reshape(12, -1).sum(axis=1) for each in nats)
    assert np.exp(-total).sum() == pytest.approx(1, abs=1e-12)
    losses, _ = prior.loss((top, bottom))
    assert float(losses["loss"]) == pytest.approx(total.mean() / 3, rel=1e-12)
    assert losses["bits_per_image"] == pytest.approx(losses["bits_1"] + losses["bits_2"], rel=1e-12)
    report = prior.evaluate((top, bottom))
    assert report.bits_per_image == pytest.approx(total.mean() / np.log(2))
    assert "bits of level 2" in str(report) and report.as_dict()["levels"][0]["num_embeddings"] == 3


@pytest.mark.slow
@each_kind
def test_samples_have_the_priors_frequencies_and_do_not_depend_on_their_number(kind):
    prior = make(kind, K=(3, 2), shapes=((1, 1), (2, 1)))
    top, bottom = prior.sample(4000, 0)
    assert top.shape == (4000, 1, 1) and bottom.shape == (4000, 2, 1)
    for (a, b, c), count in zip(*np.unique(np.c_[top.reshape(-1, 1), bottom.reshape(-1, 2)], axis=0,
                                           return_counts=True), strict=True):  # fmt: skip
        p = np.exp(-sum(float(x.sum()) for x in prior.nll((np.full((1, 1, 1), a), np.array([[[b], [c]]])))))
        assert abs(count / 4000 - p) < 5 * np.sqrt(p / 4000)
    for few, many in zip(prior.sample(7, 0), (top, bottom), strict=True):
        np.testing.assert_array_equal(few, many[:7])
    guided = make(kind, 3).sample(2, 0, [0, 2], guidance=2.0, temperature=0.5, top_k=2)
    assert [k.shape for k in guided] == [(2, 2, 3), (2, 4, 6)]


@pytest.mark.slow
@each_kind
def test_training_learns_that_a_level_repeats_the_one_above_and_resumes(kind, tmp_path, rng):
    """k_2 is k_1, enlarged: given the level above it needs few bits, which no prior of it alone can know."""
    top = rng.integers(0, 2, (96, 2, 2))
    k = top, top.repeat(2, axis=1).repeat(2, axis=2)
    own = {"channels": 8, "rng": 0, "shaken": False, "dtype": "float32"}
    own |= {} if kind == "transformer" else {"layers": 2, "first_kernel": 3}
    options = {"epochs": 8, "batch_size": 16, "lr": 0.03, "lr_schedule": "constant"}
    shapes = {"K": (2, 2), "shapes": ((2, 2), (4, 4))}
    prior = make(kind, **shapes, **own)
    history = vqnp.fit(prior, k, k, checkpoint=tmp_path / "whole.npz", progress=False, **options)
    bits = prior.evaluate(k).levels[1].bits_per_image
    assert bits < 0.5 * Markov(k[1], 2).code_length(k[1])
    assert history[-1].keys() >= {"bits_1", "bits_2", "bits_per_image", "test_bits_2"}
    trainer = Trainer(make(kind, **shapes, **own), k, Schedule(**options))
    trainer.initialize()
    for _ in range(9):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(k)
    trainer.save(tmp_path / "part.npz")
    resumed, rows = vqnp.resume(tmp_path / "part.npz", k, k, progress=False)
    assert same(resumed, prior) and rows == history


@each_kind
def test_a_description_and_images(kind, rng):
    prior = make(kind, 2)
    again = build(describe(prior))
    assert describe(again) == describe(prior)
    again.load_state_dict(prior.state_dict())
    k = codes_of(rng)
    assert all(np.array_equal(a, b) for a, b in zip(again.nll(k, 1), prior.nll(k, 1), strict=True))
    model = HierarchicalVQVAE.conv((8, 12), 3, 2, 0, (2, 1), 2, K, codebook_init="normal")
    images = generate(model, prior, 5, 0, [0, 1, 0, 1, 1], guidance=1.5)
    assert images.shape == (5, 8, 12)
    x = rng.integers(0, 256, (4, 8, 12)).astype(np.uint8)
    bound = likelihood_bound(model, prior, x, x)
    nats = sum(each.sum() for each in prior.nll(model.encode(x))) / 4
    assert bound.prior_nats == pytest.approx(nats)
    needed, got = "2 × 3 codes of 5 above 4 × 6 codes of 4", "2 × 3 codes of 4 above 4 × 6 codes of 5"
    with refused("prior", needed, got):
        generate(model, make(kind, K=(4, 5)), 1, 0)


def test_what_does_not_fit_is_refused(rng):
    top, bottom = Transformer(5, (2, 3), 4, 1, 2), Transformer(4, (4, 6), 4, 1, 2, above=((5, (2, 3)),))
    HierarchicalPrior([top, bottom])
    where = "HierarchicalPrior"
    with refused("levels", "at least one prior", "none", where=where):
        HierarchicalPrior([])
    with refused("levels[1]", "must have above=((5, (2, 3)),), the levels before it", "()", where=where):
        HierarchicalPrior([top, Transformer(4, (4, 6), 4, 1, 2)])
    with refused("levels[0]", "must be a Transformer or a PixelCNN", "int", where=where):
        HierarchicalPrior([3])
    with refused("levels[1]", "must have 0 classes, as levels[0]", "2", where=where):
        HierarchicalPrior([top, Transformer(4, (4, 6), 4, 1, 2, above=((5, (2, 3)),), num_classes=2)])
    with refused("above", "must have grids that divide the grid of 4 × 6 codes", "3 × 3", where="PixelCNN"):
        PixelCNN(4, (4, 6), 4, 2, above=((5, (3, 3)),))
    with refused("above", "must have (num_embeddings, latent_shape) for each level above", "(5,)"):
        PixelCNN(4, (4, 6), 4, 2, above=(5,))
    k1, k2 = codes_of(rng)
    prior = HierarchicalPrior([top, bottom])
    with refused("codes of level 1", "must have shape (3, 2, 3)", "shape (3, 4, 6)"):
        prior.nll((k2 % 4, k1 % 4))
    with refused("codes", "must be a tuple of 2 arrays, one for each level, the top first", "ndarray"):
        prior.nll(k1)
    with refused("above", "must be the codes of 1 levels, an array for each", "0"):
        bottom.nll(k2)
    with refused("above[0]", "must have shape (3, 2, 3)", "shape (2, 2, 3)"):
        bottom.nll(k2, None, (k1[:2],))
    with refused("model", "must be a HierarchicalPrior", "Transformer with levels above"):
        vqnp.fit(bottom, k2, progress=False)
    with refused("data", "must be codes alone: the prior has no classes"):
        prior.prepare(((k1, k2), [0, 1, 2]))
