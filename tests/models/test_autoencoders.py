"""Autoencoder and VAE: every gradient, latents bit for bit, the weight on the KL, what is refused."""

import math

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from vqnp import VAE, VQVAE, Autoencoder, InputError, gradcheck_module, ops
from vqnp.models.base import CHUNK

TINY = {"image_shape": (2, 3), "latent_dim": 3, "hidden": (7,), "dtype": "float64", "rng": 1}
MAKE = {
    "autoencoder": lambda **options: Autoencoder(**{**TINY, **options}),
    "bernoulli": lambda **options: VAE(**{**TINY, "likelihood": "bernoulli", **options}),
    "gaussian": lambda **options: VAE(**{**TINY, "likelihood": "gaussian", **options}),
}
each_model = pytest.mark.parametrize("name", MAKE)
each_vae = pytest.mark.parametrize("name", ["bernoulli", "gaussian"])
ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "gelu": lambda x: ops.gelu_forward(x)[0],
               "sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2}  # fmt: skip


class Checked:
    """A model as gradcheck_module takes it: its loss alone, the noise fixed."""

    def __init__(self, model, eps=None):
        self.model, self.eps = model, eps

    def named_params(self):
        return self.model.named_params()

    def forward(self, x):
        arguments = (x,) if self.eps is None else (x, self.eps)
        losses, *_, cache = self.model.loss_forward(*arguments)
        return losses.total, cache

    def backward(self, dL, cache):
        return self.model.loss_backward(dL, cache)


def network(x, arrays, activation):
    """A multilayer perceptron from W, b, W, b, …"""
    for i in range(0, len(arrays), 2):
        x = (ACTIVATIONS[activation](x) if i else x) @ arrays[i] + arrays[i + 1]
    return x


def loss(model, a, x, mu, logvar):
    """L from its definition, a term at a time."""
    if not isinstance(model, VAE):
        return np.mean((a - x) ** 2)
    if model.likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-a))
        nll = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
    else:
        s = model.noise_std
        nll = ((a - x) ** 2 / (2 * s * s) + math.log(s) + math.log(2 * math.pi) / 2).sum()
    kl = (np.exp(logvar) + mu**2 - 1 - logvar).sum() / 2
    return (nll + model.kl_weight * kl) / len(x)


@each_model
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "options", [{}, {"hidden": ()}, {"hidden": (6, 5)}, {"latent_dim": 1}, {"kl_weight": 2.5}]
)
def test_every_gradient(name, activation, options, rng):
    """Of the loss written out, the target frozen; worst relative error 1e-7."""
    if name == "autoencoder" and "kl_weight" in options:
        options = {"image_shape": (6,)}
    model = MAKE[name](activation=activation, **options)
    names, D = [n for n, _ in model.named_params()], model.latent_dim
    eps = rng.standard_normal((4, D)) if isinstance(model, VAE) else None

    def freeze(x0, *_):
        x0 = x0.copy()

        def surrogate(x, *params):
            encoder, decoder = (
                [p for n, p in zip(names, params, strict=True) if n.startswith(part)]
                for part in ("encoder", "decoder")
            )
            h = network(x, encoder, activation)
            mu, logvar = h[:, :D], h[:, D:]
            z = h if eps is None else mu + np.sqrt(np.exp(logvar)) * eps
            return (np.asarray(loss(model, network(z, decoder, activation), x0, mu, logvar)),)

        return surrogate

    report = gradcheck_module(Checked(model, eps), rng.random((4, 6)), rng=rng, freeze=freeze)
    assert len(report.rows) == 1 + len(names)
    report.raise_if_failed()


@each_vae
def test_the_losses_are_the_parts_of_the_total(name, rng):
    model, x, eps = MAKE[name](kl_weight=0.5), rng.random((4, 6)), rng.standard_normal((4, 3))
    losses, mu, logvar, _ = model.loss_forward(x, eps)
    assert losses.total == pytest.approx(float(losses.reconstruction + 0.5 * losses.kl), rel=1e-15)
    assert losses.kl == pytest.approx(oracles.gaussian_kl(mu, logvar, "mean_of_sums")[0], rel=1e-12)
    again, *_ = model.loss_forward(x, eps, kl_weight=2.0)
    assert again.total == pytest.approx(float(losses.reconstruction + 2 * losses.kl), rel=1e-15)
    assert (again.kl, again.reconstruction) == (losses.kl, losses.reconstruction)


@pytest.mark.parametrize(("noise_std", "sigma"), [(0.1, 0.1), (0.03, 0.03), (2.0, 1.0)])
def test_a_gaussian_posterior_starts_as_narrow_as_a_pixels_noise(noise_std, sigma):
    options = {"image_shape": (6,), "latent_dim": 3, "hidden": (4,), "rng": 1, "dtype": "float64"}
    model, wide = VAE(likelihood="gaussian", noise_std=noise_std, **options), VAE(**options)
    x = np.random.default_rng(0).random((5, 6))
    for (mu, logvar), (mu_wide, logvar_wide) in [(model.posterior(x), wide.posterior(x))]:
        np.testing.assert_array_equal(mu, mu_wide)
        np.testing.assert_allclose(logvar - logvar_wide, 2 * np.log(sigma), rtol=1e-12, atol=1e-12)


@each_vae
def test_without_noise_z_is_the_mean(name, rng):
    model, x = MAKE[name](), rng.random((4, 6))
    a, mu, *_ = model.forward(x)
    np.testing.assert_array_equal(a, model.decoder.forward(mu.copy())[0])
    assert (model.forward(x, rng.standard_normal((4, 3)))[0] != a).all()


@each_vae
def test_the_noise_has_the_posteriors_moments(name, rng):
    """What the decoder is given for one image, many times: mean μ, variance exp ℓ."""
    n, model = 20_000, MAKE[name]()
    x = np.repeat(rng.random((1, 6)), n, axis=0)
    seen = []
    model.decoder.forward = lambda z, forward=model.decoder.forward: seen.append(z) or forward(z)
    _, mu, _, _ = model.train_forward(x, rng, 0)
    logvar = model.posterior(x[:1])[1][0]
    z, variance = seen[0], np.exp(logvar)
    assert (np.abs(z.mean(0) - mu[0]) < 5 * np.sqrt(variance / n)).all()
    assert (np.abs(z.var(0) - variance) < 5 * variance * math.sqrt(2 / n)).all()


def test_the_weight_grows_in_a_line():
    model = MAKE["bernoulli"](kl_weight=2.0, kl_warmup=4)
    assert [model.weight(t) for t in range(7)] == [0, 0.5, 1, 1.5, 2, 2, 2]
    assert MAKE["bernoulli"](kl_weight=2.0).weight(0) == 2
    x = np.full((3, 6), 0.5)
    for step in (0, 1, 9):
        losses = model.train_forward(x, np.random.default_rng(0), step)[0]
        expected = float(losses.reconstruction + model.weight(step) * losses.kl)
        assert losses.total == pytest.approx(expected, rel=1e-14)


def test_at_weight_zero_the_kl_pulls_at_nothing(rng):
    model, x, eps = MAKE["gaussian"](kl_weight=0.0), rng.random((4, 6)), rng.standard_normal((4, 3))
    losses, *_, cache = model.loss_forward(x, eps)
    model.loss_backward(1.0, cache)
    grads = {n: p.grad.copy() for n, p in model.named_params()}
    model.zero_grad()
    a, *_, forward_cache = model.forward(x, eps)
    _, nll_cache = ops.gaussian_nll_forward(a, x, model.noise_std)
    model.backward(ops.gaussian_nll_backward(1.0, nll_cache)[0], forward_cache, 0.0)
    for n, p in model.named_params():
        np.testing.assert_array_equal(p.grad, grads[n])


# Latents and images.


@each_model
@given(seed=seeds, n=st.integers(0, 2 * CHUNK + 3), dtype=st.sampled_from(["float32", "float64"]))
@settings(max_examples=15)
def test_decode_of_encode_is_reconstruct_bit_for_bit(name, seed, n, dtype):
    r = np.random.default_rng(seed)
    model = MAKE[name](image_shape=(5, 7), hidden=(33,), dtype=dtype, rng=seed)
    images = r.random((n, 5, 7)).astype(dtype)
    whole, z = model.reconstruct(images), model.encode(images)
    assert z.shape == (n, 3) and z.dtype == whole.dtype == np.dtype(dtype) and whole.shape == images.shape
    assert n == 0 or (whole.min() >= 0 and whole.max() <= 1)
    assert model.decode(z).tobytes() == whole.tobytes()
    for start in range(0, n, CHUNK):
        part = images[start : start + CHUNK]
        assert model.encode(part).tobytes() == z[start : start + CHUNK].tobytes()


@each_vae
def test_encode_is_the_mean_and_decode_the_mean_of_a_pixel(name, rng):
    model, x = MAKE[name](), rng.random((9, 6))
    a, mu, logvar, *_ = model.forward(x)
    oracles.close(model.encode(x), mu)
    oracles.close(model.posterior(x)[1], logvar)
    expected = 1 / (1 + np.exp(-a)) if name == "bernoulli" else np.clip(a, 0, 1)
    oracles.close(model.reconstruct(x), expected.reshape(9, 2, 3))


@each_vae
def test_samples_are_decoded_draws_from_the_prior(name):
    model = MAKE[name]()
    z = np.random.default_rng(4).standard_normal((5, 3))
    np.testing.assert_array_equal(model.sample(5, 4), model.decode(z))
    assert model.sample(0, 4).shape == (0, 2, 3)


@each_model
def test_configuration_makes_the_same_model_again(name, rng):
    model = MAKE[name](activation="gelu", hidden=(5, 4))
    again = type(model)(**model.config, rng=9)
    assert again.config == model.config and again.fingerprint() != model.fingerprint()
    again.load_state(model.state())
    assert again.fingerprint() == model.fingerprint()
    images = rng.random((5, 2, 3))
    assert again.reconstruct(images).tobytes() == model.reconstruct(images).tobytes()


def test_the_fingerprint_is_of_what_gives_latents_their_meaning():
    """Of the decoder, not of the encoder; and of the likelihood: logits are no pixels."""
    prints = {MAKE[name]().fingerprint() for name in MAKE}
    assert len(prints) == 3
    model = MAKE["bernoulli"]()
    model.encoder.layers[0].W.value[0, 0] += 1
    assert model.fingerprint() in prints
    model.decoder.layers[0].W.value[0, 0] += 1
    assert model.fingerprint() not in prints


def test_the_sizes_are_the_default_vq_vaes():
    """The same decoder, and the same encoder but for the VAE's second half of the last layer."""
    vq, vae, plain = VQVAE(), VAE(), Autoencoder()
    shapes = [
        {n: p.value.shape for n, p in m.named_params() if "quantizer" not in n} for m in (vq, vae, plain)
    ]
    assert shapes[0] == shapes[2]
    assert {n for n in shapes[0] if shapes[0][n] != shapes[1][n]} == {"encoder.2.W", "encoder.2.b"}
    assert shapes[1]["encoder.2.W"] == (512, 2 * 256)


# What is refused.


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: VAE(latent_dim=0), "VAE: latent_dim must be an integer of at least 1; got 0"),
        (lambda: Autoencoder(latent_dim=0), "Autoencoder: latent_dim must be an integer of at least 1; got 0"),  # noqa: E501
        (lambda: Autoencoder(hidden=3), "Autoencoder: hidden must be a sequence of integers; got 3"),
        (lambda: VAE(likelihood="poisson"), "VAE: likelihood must be one of 'bernoulli', 'gaussian'; got 'poisson'"),  # noqa: E501
        (lambda: VAE(noise_std=0), "VAE: noise_std must be in (0, inf); got 0.0"),
        (lambda: VAE(kl_weight=-1), "VAE: kl_weight must be in [0, inf); got -1.0"),
        (lambda: VAE(kl_warmup=-1), "VAE: kl_warmup must be an integer of at least 0; got -1"),
        (lambda: VAE(dtype="float16"), "VAE: dtype must be 'float32' or 'float64'; got 'float16'"),
        (lambda: MAKE["gaussian"]().decode(np.zeros((2, 4))), "VAE.decode: z must have shape (2, 3); got shape (2, 4)"),  # noqa: E501
        (lambda: MAKE["gaussian"]().decode(np.zeros((2, 3), int)), "VAE.decode: z must be float32 or float64; got int64"),  # noqa: E501
        (lambda: MAKE["autoencoder"]().decode(np.full((2, 3), np.nan)), "Autoencoder.decode: z must be finite; got nan at index (0, 0)"),  # noqa: E501
        (lambda: MAKE["autoencoder"]().encode(np.zeros((2, 5))), "Autoencoder.encode: images must have shape (n, 2, 3) or (n, 6); got shape (2, 5)"),  # noqa: E501
        (lambda: MAKE["gaussian"]().forward(np.zeros((2, 6)), np.zeros((1, 3))), "reparameterise_forward: eps must have shape (2, 3); got shape (1, 3)"),  # noqa: E501
    ],
)  # fmt: skip
def test_mistakes(call, sentence):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == sentence
