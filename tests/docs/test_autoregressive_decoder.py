"""The decoder of the study decoder_strength: what its window sees, and every gradient."""

import _autoregressive as ar
import decoder_strength as study
import numpy as np
import pytest
from _study import Row

from vqnp.gradcheck import gradcheck

WINDOWS = (0, 1, 2, 3, 4, 7, 14)


def tiny(kind, window, **options):
    """float64, 6 × 6 pixels, no bias at 0, where a ReLU has its kink."""
    model = ar.build(kind, window, M=2, D=3, K=5, hidden=4, pixel_hidden=5, warmup=0, side=6, seed=0,
                     dtype=np.float64)  # fmt: skip
    rng = np.random.default_rng(1)
    for param in model.parameters():
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    return model


def grey(rng, n, side=6):
    return rng.integers(ar.LEVELS, size=(n, side, side)) / (ar.LEVELS - 1)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_is_the_means_of_its_bins(window, rng):
    """From the definition, with plain loops; a farther pixel than 4 is in a mean."""
    side = 9
    x = grey(rng, 1, side)
    got, bins = ar.window_means(x, window)[0], ar.bins_of(window)
    assert got.shape == (side, side, ar.window_size(window))
    columns = [(-b, -a) for a, b in bins] + [(0, 0)] + bins

    def pixel(r, c):
        return x[0, r, c] if 0 <= r < side and 0 <= c < side else 0.0

    for r, c in ((0, 0), (5, 4), (8, 8), (3, 0)):
        wanted = []
        for a, b in columns:
            rows = ([(0, 0)] if b < 0 else []) + bins
            wanted += [np.mean([pixel(r - d, c + e) for d in range(near, far + 1) for e in range(a, b + 1)])
                       for near, far in rows]  # fmt: skip
        assert np.abs(got[r, c] / 255 - wanted).max(initial=0) <= 0.5 / 255 + 1e-12


@pytest.mark.parametrize("window", WINDOWS)
def test_a_pixel_sees_the_earlier_pixels_of_its_window_and_no_others(window):
    side, at = 12, (7, 5)
    changed = np.eye(side * side).reshape(-1, side, side)  # one bright pixel in each
    seen = ar.window_means(changed, window)[:, *at].any(axis=1).reshape(side, side)
    for r, c in np.ndindex(side, side):
        near = 0 <= at[0] - r <= window and abs(c - at[1]) <= window
        assert seen[r, c] == ((r, c) < at and near), (r, c)


@pytest.mark.parametrize(("kind", "part"), [("none", ""), ("VAE", ""), ("VQ-VAE", "decoder pixels"),
                                            ("VQ-VAE-frozen", "decoder pixels")])  # fmt: skip
@pytest.mark.parametrize("window", [0, 2])
def test_every_gradient(kind, part, window, rng):
    """With the same draws each time: ε, and the pixels that are computed. Straight-through: see below."""
    model, x = tiny(kind, window), grey(rng, 3)
    c = ar.window_means(x, window)
    model.initialize((x, c), rng)
    named = [(name, p) for name, p in model.named_parameters() if name.split(".")[0] in part or not part]
    named = [(name, p) for name, p in named if kind != "none" or not name.startswith("encoder")]
    start = [p.value.copy() for _, p in named]

    def forward(*values):
        for (_, p), value in zip(named, values, strict=True):
            p.value[...] = value
        losses, cache = model.loss((x, c), np.random.default_rng(7))
        return losses["loss"], cache

    def backward(dL, cache):
        for p in model.parameters():
            p.zero_grad()
        model.backward(cache, dL)
        return tuple(p.grad.copy() for _, p in named)

    gradcheck(forward, backward, *start, rng=rng, draws=1).raise_if_failed()


def test_codes_pass_the_gradient_straight_through_with_the_commitment_in_nats(rng):
    latent = tiny("VQ-VAE", 0).latent
    h = rng.standard_normal((4, 6))
    latent.quantizer.initialize(h.reshape(4, 2, 3), rng)
    h += 0.1 * rng.standard_normal(h.shape)
    z, penalty, cache = latent.forward(h)
    assert np.isclose(penalty, 36 * 0.25 * ((h - z) ** 2).mean())
    dz = rng.standard_normal(h.shape)
    assert np.allclose(latent.backward(dz, cache, 2.0), dz + 2 * 36 * 0.25 * 2 * (h - z) / h.size)


def test_a_frozen_encoder_receives_nothing_and_its_decoder_does(rng):
    model, x = tiny("VQ-VAE-frozen", 1), grey(rng, 3)
    c = ar.window_means(x, 1)
    model.initialize((x, c), rng)
    _, cache = model.loss((x, c), rng)
    model.backward(cache)
    assert not any(p.grad.any() for p in model.encoder.parameters())
    assert any(p.grad.any() for p in model.decoder.parameters())


def test_some_pixels_estimate_all_of_them(rng):
    """The mean over the four places of the lattice is the loss of all pixels, and that is what nats gives."""
    model, x = tiny("none", 2), grey(rng, 2)
    c = ar.window_means(x, 2)

    class Place:
        def __init__(self, *at):
            self.at = iter(at)

        def integers(self, n):
            return next(self.at)

    parts = [model.loss((x, c), Place(i, j))[0]["loss"] for i in range(2) for j in range(2)]
    whole = model.loss((x, c))[0]["loss"]
    assert np.isclose(np.mean(parts), whole) and np.std(parts) > 0
    z, price = model.latents(x, rng)
    assert np.isclose(model.nats(x, c, z).mean(), whole) and price == 0


def test_the_probabilities_of_the_levels_add_up_to_one(rng):
    """Σ over all values of the last pixel, which nobody sees: p(x with it)/p(the others) adds up to 1."""
    model, x = tiny("VAE", 2), np.repeat(grey(rng, 1), ar.LEVELS, axis=0)
    z = np.repeat(rng.standard_normal((1, 6)), ar.LEVELS, axis=0)
    x[:, -1, -1] = np.arange(ar.LEVELS) / (ar.LEVELS - 1)
    nats = model.nats(x, ar.window_means(x, 2), z)
    logits = model.pixels.forward(
        model.decoder.forward(z[:1])[0].reshape(1, 6, 6, -1), ar.window_means(x[:1], 2)
    )[0][0, -1, -1]
    p = np.exp(logits - np.logaddexp.reduce(logits))
    others = nats + np.log(p)
    assert np.allclose(others, others[0]) and np.isclose(np.exp(others[0] - nats).sum(), 1)


def test_use_is_zero_if_nothing_is_exchanged_or_nothing_listened_to(rng, monkeypatch):
    model, x = tiny("VAE", 1), grey(rng, 20)
    c = ar.window_means(x, 1)
    assert study.nats(model, x, c, rng)["use"] != 0
    deaf = tiny("VAE", 1)
    deaf.decoder.layers[0].W.value[...] = 0
    assert abs(study.nats(deaf, x, c, rng)["use"]) < 1e-9
    monkeypatch.setattr(study, "permuted", lambda n, rng: np.arange(n))
    assert study.nats(model, x, c, rng)["use"] == 0


def test_another_image_is_never_the_same(rng):
    for n in (2, 3, 50):
        other = study.permuted(n, rng)
        assert sorted(other) == list(range(n)) and (other != np.arange(n)).all()


def test_the_gain_is_against_no_latent_with_the_same_window_and_seed():
    def row(model, window, nll, total):
        setting = {"model": model, "bits": 0, "window": window, "epochs": 1}
        return Row(setting, [{"nll": nll, "total": total}, {"nll": nll + 1, "total": total + 1}])

    rows = [row("none", 0, 9.0, 9.0), row("none", 2, 7.0, 7.0), row("VAE", 2, 4.0, 6.5)]
    study.compare(rows)
    assert rows[2]["gain"].tolist() == [3, 3] and rows[2]["net"].tolist() == [0.5, 0.5]
    assert "gain" not in rows[0].runs[0]
