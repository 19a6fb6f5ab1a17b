"""The quantizer of a discrete VAE: schedules, gradients, two modes; the whole model with its likelihood."""

import math

import numpy as np
import pytest
from helpers import gradcheck_loss, refused

from vqnp import VQVAE, fit, load, load_dataset, ops, save
from vqnp.data import DataSpec
from vqnp.gradcheck import gradcheck_module
from vqnp.nn import Flatten, GumbelQuantizer, Linear, Reshape, Sequential


def discrete_vae(likelihood="logit_laplace", rng=0, dtype="float64", **options):
    rng = np.random.default_rng(rng)
    two = 2 if likelihood == "logit_laplace" else 1
    shape = (2, 3, 2) if two == 2 else (2, 3)
    return VQVAE(
        Sequential(Flatten(), Linear(6, 8, rng, dtype), Reshape(2, 4)),
        GumbelQuantizer(5, 4, kl_weight=0.3, kl_warmup=0, **options, rng=rng, dtype=dtype),
        Sequential(Flatten(), Linear(8, 6 * two, rng, dtype), Reshape(*shape)), DataSpec((2, 3)), likelihood,
    )  # fmt: skip


def test_the_schedules():
    q = GumbelQuantizer(5, 4, temperature=2.0, final_temperature=0.5, temperature_steps=10, kl_weight=0.3,
                        kl_warmup=4)  # fmt: skip
    assert [q.temperature(t) for t in (0, 10, 99)] == [2.0, 0.5, 0.5]
    assert q.temperature(5) == pytest.approx(1.25)
    assert [q.weight(t) for t in (0, 4, 99)] == [0, 0.3, 0.3] and q.weight(2) == pytest.approx(0.15)
    falling = [q.temperature(t) for t in range(11)]
    assert falling == sorted(falling, reverse=True)
    assert q.row(5) == {"temperature": q.temperature(5), "kl_weight": 0.3}
    assert GumbelQuantizer(5, 4, temperature_steps=0).temperature(0) == 0.5


def test_without_noise_it_is_the_likeliest_code_and_with_it_a_mixture(rng):
    q, z = GumbelQuantizer(5, 4, rng=1, dtype="float64", kl_warmup=0), rng.standard_normal((3, 2, 4))
    a = z @ q.logits.W.value + q.logits.b.value
    z_q, kl, k, _ = q.forward(z)
    np.testing.assert_array_equal(k, a.argmax(-1))
    np.testing.assert_array_equal(z_q, q.decode(q.encode(z)))
    g = rng.standard_normal(a.shape)
    y = np.exp((a + g) / q.temperature(7))
    mixture, same_kl, same_k, _ = q.forward(z, g, 7)
    np.testing.assert_allclose(mixture, y / y.sum(-1, keepdims=True) @ q.embeddings, rtol=1e-12)
    np.testing.assert_array_equal(same_k, k)
    assert kl == same_kl == pytest.approx(q.kl_weight * ops.categorical_kl_forward(a)[0])
    hard = GumbelQuantizer(5, 4, rng=1, dtype="float64", draw="hard").forward(z, g, 7)[0]
    np.testing.assert_allclose(hard, q.embeddings[(a + g).argmax(-1)], rtol=1e-15)


def test_the_gradient_of_the_layer(rng):
    """True derivatives, of z, E and the logits' parameters, for fixed noise."""
    q, z = GumbelQuantizer(5, 4, rng=1, dtype="float64", kl_warmup=0), rng.standard_normal((3, 2, 4))
    g = rng.standard_normal((3, 2, 5))

    def forward(z):
        z_q, kl, _, cache = q.forward(z, g, 3)
        return z_q, kl, cache

    backward = lambda dz_q, dL, cache: q.backward(dz_q, cache, dL)
    report = gradcheck_module(q, z, rng=rng, forward=forward, backward=backward)
    assert {row.argument for row in report.rows} == {"x", "E", "logits.W", "logits.b"}
    report.raise_if_failed()


@pytest.mark.parametrize("likelihood", ["squared_error", "logit_laplace"])
def test_the_gradient_of_a_discrete_vae(likelihood, rng):
    """Of the whole loss, for fixed noise, by x through the encoder alone and by every parameter."""
    model, x, g = discrete_vae(likelihood), rng.random((4, 2, 3)), rng.standard_normal((4, 2, 5))

    def freeze(x0, *_):
        held = x0.copy()

        def surrogate(x, *parameters):
            for param, value in zip(model.parameters(), parameters, strict=True):
                param.value[...] = value
            z = model.encoder.forward(x)[0]
            z_q, kl, _, _ = model.quantizer.forward(z, g)
            out = model.decoder.forward(z_q)[0]
            if likelihood == "squared_error":
                return (np.asarray(((out - held) ** 2).mean() + kl),)
            p = 0.8 * held + 0.1
            b = np.exp(out[..., 1])
            nats = np.abs(np.log(p / (1 - p)) - out[..., 0]) / b + np.log(2 * b * p * (1 - p))
            return (np.asarray(nats.mean() + kl),)

        return surrogate

    gradcheck_loss(model, x, freeze, rng, g).raise_if_failed()


def test_a_discrete_vae_trains_and_is_saved(tmp_path):
    """With its published likelihood: the bits of its reconstructions survive a checkpoint."""
    images = load_dataset("digits").images[:200, ::4, ::4]
    P = images[0].size
    rng = np.random.default_rng(0)
    model = VQVAE(
        Sequential(Flatten(), Linear(P, 32, rng), Reshape(4, 8)), GumbelQuantizer(16, 8, rng=rng),
        Sequential(Flatten(), Linear(32, 2 * P, rng), Reshape(7, 7, 2)), DataSpec((7, 7)), "logit_laplace",
    )  # fmt: skip
    history = fit(model, images, images, epochs=6, batch_size=16, lr=3e-3, progress=False)
    assert history[-1]["reconstruction_loss"] < history[0]["reconstruction_loss"] - 0.1
    assert history[-1]["test_mse"] < history[0]["test_mse"]
    assert history[-1]["temperature"] < history[0]["temperature"] and history[0]["kl_loss"] >= 0
    x_hat = model.reconstruct(images)
    assert x_hat.shape == images.shape and 0 <= x_hat.min() and x_hat.max() <= 1
    save(tmp_path / "m.npz", model)
    again = load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.reconstruct(images), x_hat)
    assert again.likelihood == "logit_laplace" and again.fingerprint() == model.fingerprint()
    assert math.isfinite(model.evaluate(images).mse)


def test_what_does_not_fit_is_refused():
    for options, argument, needed in (
        ({"temperature": 0}, "temperature", "(0, inf)"),
        ({"final_temperature": -1}, "final_temperature", "(0, inf)"),
        ({"kl_weight": -1}, "kl_weight", "[0, inf)"),
        ({"kl_warmup": 0.5}, "kl_warmup", "an integer of at least 0"),
        ({"draw": "some"}, "draw", "must be one of 'soft', 'hard'"),
    ):
        with refused(argument, needed, where="GumbelQuantizer"):
            GumbelQuantizer(5, 4, **options)
    good = discrete_vae()
    with refused("decoder", "must give arrays of the data's shape, (2, 3)", "shape (2, 3, 2)", where="VQVAE"):
        VQVAE(good.encoder, good.quantizer, good.decoder, good.data)
    with refused("data", "must be in [0, 1] for a logit-Laplace", "[-1, 1]", where="VQVAE"):
        VQVAE(good.encoder, good.quantizer, good.decoder, DataSpec((2, 3), -1, 1), "logit_laplace")
    plain = discrete_vae("squared_error")
    with refused("decoder", "must give arrays of shape (2, 3, 2)", "shape (2, 3)", where="VQVAE"):
        VQVAE(plain.encoder, plain.quantizer, plain.decoder, plain.data, "logit_laplace")
    with refused("likelihood", "must be one of 'squared_error', 'logit_laplace'", where="VQVAE"):
        VQVAE(good.encoder, good.quantizer, good.decoder, good.data, "gaussian")
