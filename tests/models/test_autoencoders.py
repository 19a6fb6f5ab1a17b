"""Autoencoder and VAE: every gradient, latents bit for bit, the weight on the KL, what is refused."""

import math

import numpy as np
import oracles
import pytest
from helpers import ACTIVATIONS, gradcheck_loss, network, refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import VAE, VQVAE, Autoencoder, InputError, ops
from vqnp._check import NonFiniteError
from vqnp.data import DataSpec
from vqnp.kernels.jit import JIT
from vqnp.models.base import CHUNK_EXAMPLES
from vqnp.nn import Activation, Flatten, Linear, Reshape, Sequential, build, describe

TINY = {"image_shape": (2, 3), "latent_dim": 3, "hidden": (7,), "dtype": "float64", "rng": 1}
MAKE = {
    "autoencoder": lambda **options: Autoencoder.mlp(**{**TINY, **options}),
    "bernoulli": lambda **options: VAE.mlp(**{**TINY, "likelihood": "bernoulli", **options}),
    "gaussian": lambda **options: VAE.mlp(**{**TINY, "likelihood": "gaussian", **options}),
}
each_model = pytest.mark.parametrize("name", MAKE)
each_vae = pytest.mark.parametrize("name", ["bernoulli", "gaussian"])


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
    for param in model.parameters():  # a bias of 0 may leave a ReLU exactly at its kink
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    names, D = [n for n, _ in model.named_parameters()], model.latent_dim
    eps = rng.standard_normal((4, D)) if isinstance(model, VAE) else None

    def freeze(x0, *_):
        x0 = x0.reshape(len(x0), -1).copy()

        def surrogate(x, *params):
            encoder, decoder = (
                [p for n, p in zip(names, params, strict=True) if n.startswith(part)]
                for part in ("encoder", "decoder")
            )
            h = network(x.reshape(len(x), -1), encoder, activation)
            mu, logvar = h[:, :D], h[:, D:]
            z = h if eps is None else mu + np.sqrt(np.exp(logvar)) * eps
            return (np.asarray(loss(model, network(z, decoder, activation), x0, mu, logvar)),)

        return surrogate

    report = gradcheck_loss(model, rng.random((4, *model.data.shape)), freeze, rng, eps)
    assert len(report.rows) == 1 + len(names)
    report.raise_if_failed()


@each_vae
def test_the_losses_are_the_parts_of_the_total(name, rng):
    model, x, eps = MAKE[name](kl_weight=0.5), rng.random((4, 2, 3)), rng.standard_normal((4, 3))
    losses, _ = model.loss((x,), eps)
    assert list(losses) == ["loss", "reconstruction_loss", "kl"]
    total, reconstruction, kl = losses.values()
    assert total == pytest.approx(float(reconstruction + 0.5 * kl), rel=1e-15)
    mu, logvar = model.posterior(x)
    assert kl == pytest.approx(oracles.gaussian_kl(mu, logvar, "mean_of_sums")[0], rel=1e-12)
    model.kl_weight = 2.0
    again, _ = model.loss((x,), eps)
    assert again["loss"] == pytest.approx(float(reconstruction + 2 * kl), rel=1e-15)
    assert (again["kl"], again["reconstruction_loss"]) == (kl, reconstruction)


def test_an_autoencoders_loss_is_its_reconstruction_loss(rng):
    model, x = MAKE["autoencoder"](), rng.random((4, 2, 3))
    losses, _ = model.loss((x,), rng)
    x_hat = model.decoder.forward(model.encoder.forward(x)[0])[0]
    assert losses == {"loss": losses["loss"], "reconstruction_loss": losses["loss"]}
    np.testing.assert_allclose(losses["loss"], np.mean((x_hat - x) ** 2), rtol=1e-13)
    assert model.after_step(None, rng) == model.statistics(None) == model.row({}, 3) == {}


@pytest.mark.parametrize(("noise_std", "sigma"), [(0.1, 0.1), (0.03, 0.03), (2.0, 1.0)])
def test_a_gaussian_posterior_starts_as_narrow_as_a_pixels_noise(noise_std, sigma):
    options = {"image_shape": (6,), "latent_dim": 3, "hidden": (4,), "rng": 1, "dtype": "float64"}
    model, wide = VAE.mlp(likelihood="gaussian", noise_std=noise_std, **options), VAE.mlp(**options)
    x = np.random.default_rng(0).random((5, 6))
    for (mu, logvar), (mu_wide, logvar_wide) in [(model.posterior(x), wide.posterior(x))]:
        np.testing.assert_array_equal(mu, mu_wide)
        np.testing.assert_allclose(logvar - logvar_wide, 2 * np.log(sigma), rtol=1e-12, atol=1e-12)


@each_vae
def test_without_noise_z_is_the_mean(name, rng):
    model, x = MAKE[name](), rng.random((4, 2, 3))
    a = model.decoder.forward(model.posterior(x)[0])[0]
    still = model.loss((x,))[0]["reconstruction_loss"]
    oracles.close(still, model.nll_forward(a, x)[0], rtol=1e-13)
    assert model.loss((x,), rng)[0]["reconstruction_loss"] != still
    assert model.loss((x,), np.zeros((4, 3)))[0]["reconstruction_loss"] == still


@each_vae
def test_the_noise_has_the_posteriors_moments(name, rng):
    """What the decoder is given for one image, many times: mean μ, variance exp ℓ."""
    n, model = 20_000, MAKE[name]()
    x = np.repeat(rng.random((1, 2, 3)), n, axis=0)
    seen = []
    model.decoder.forward = lambda z, forward=model.decoder.forward: seen.append(z) or forward(z)
    model.loss((x,), rng)
    mu, logvar = (a[0] for a in model.posterior(x[:1]))
    z, variance = seen[0], np.exp(logvar)
    assert (np.abs(z.mean(0) - mu) < 5 * np.sqrt(variance / n)).all()
    assert (np.abs(z.var(0) - variance) < 5 * variance * math.sqrt(2 / n)).all()


@each_vae
def test_a_generator_gives_the_noise_that_it_draws(name, rng):
    """One normal number for each latent, in the model's dtype: so that a resumed training draws the same."""
    model, x = MAKE[name](dtype="float32"), rng.random((4, 2, 3), np.float32)
    eps = np.random.default_rng(8).standard_normal((4, 3), np.float32)
    r = np.random.default_rng(8)
    assert model.loss((x,), r)[0] == model.loss((x,), eps)[0]
    expected = np.random.default_rng(8)
    expected.standard_normal((4, 3), np.float32)
    assert r.bit_generator.state == expected.bit_generator.state


def test_the_weight_grows_in_a_line():
    model = MAKE["bernoulli"](kl_weight=2.0, kl_warmup=4)
    assert [model.weight(t) for t in range(7)] == [0, 0.5, 1, 1.5, 2, 2, 2]
    assert MAKE["bernoulli"](kl_weight=2.0).weight(0) == 2
    assert model.row({}, 3) == {"kl_weight": 1.5}
    x = np.full((3, 2, 3), 0.5)
    for step in (0, 1, 9):
        total, reconstruction, kl = model.loss((x,), np.random.default_rng(0), step)[0].values()
        assert total == pytest.approx(float(reconstruction + model.weight(step) * kl), rel=1e-14)


def test_at_weight_zero_the_kl_pulls_at_nothing(rng):
    """The gradients are those of the reconstruction alone, part by part."""
    model, x, eps = MAKE["gaussian"](kl_weight=0.0), rng.random((4, 2, 3)), rng.standard_normal((4, 3))
    model.backward(model.loss((x,), eps)[1])
    grads = {n: p.grad.copy() for n, p in model.named_parameters()}
    model.zero_grad()
    h, encoder_cache = model.encoder.forward(x)
    z, draw_cache = ops.reparameterise_forward(h[:, :3], h[:, 3:], eps)
    a, decoder_cache = model.decoder.forward(z)
    da = ops.gaussian_nll_backward(1.0, ops.gaussian_nll_forward(a.reshape(4, 6), x.reshape(4, 6), 0.1)[1])[0]
    dz = model.decoder.backward(da.reshape(x.shape), decoder_cache)
    dmu, dlogvar, _ = ops.reparameterise_backward(dz, draw_cache)
    model.encoder.backward(np.concatenate([dmu, dlogvar], axis=1), encoder_cache)
    for n, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad, grads[n])


# A latent with a shape: each example's loss is a sum over all of it.


def vae_of_parts(likelihood, latent_shape, D=3, kl_weight=1.5):
    """An example of six numbers, latents of latent_shape × D."""
    M = int(np.prod(latent_shape))
    encoder = Sequential(
        Flatten(), Linear(6, 5, 1, "f8"), Activation("tanh"), Linear(5, 2 * M * D, 2, "f8"),
        Reshape(*latent_shape, 2 * D),
    )  # fmt: skip
    decoder = Sequential(Flatten(), Linear(M * D, 6, 3, "f8"), Reshape(2, 3))
    return VAE(encoder, decoder, DataSpec((2, 3)), likelihood, 0.3, kl_weight)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("latent_shape", [(), (4,), (2, 2)])
def test_kl_and_likelihood_are_sums_over_an_example_and_means_over_the_batch(likelihood, latent_shape, rng):
    """Entry by entry; and for a batch of one example four times the same as for that one."""
    model, x = vae_of_parts(likelihood, latent_shape), rng.random((3, 2, 3))
    assert model.latent_shape == latent_shape and model.encoding.shape == (*latent_shape, 3)
    eps = rng.standard_normal((3, *latent_shape, 3))
    losses, _ = model.loss((x,), eps)
    mu, logvar = model.posterior(x)
    assert mu.shape == logvar.shape == eps.shape
    assert losses["kl"] == pytest.approx(oracles.gaussian_kl(mu, logvar, "sum")[0] / 3, rel=1e-12)
    a = model.decoder.forward(mu + np.exp(logvar / 2) * eps)[0]
    if likelihood == "bernoulli":
        nll = oracles.bce(a, x, "sum")[0] / 3
    else:
        nll = oracles.gaussian_nll(a, x, 0.3, "sum")[0] / 3
    assert losses["reconstruction_loss"] == pytest.approx(nll, rel=1e-12)
    one = model.loss((x[:1],), eps[:1])[0]
    four = model.loss((np.repeat(x[:1], 4, axis=0),), np.repeat(eps[:1], 4, axis=0))[0]
    for term in one:
        assert four[term] == pytest.approx(float(one[term]), rel=1e-12)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_latents_of_two_axes_are_the_same_model_as_flat_ones(likelihood, rng):
    """Losses and gradients: (2, 2, 3) latents are 12 in another order of μ and ℓ alone."""
    plane, x = vae_of_parts(likelihood, (2, 2)), rng.random((5, 2, 3))
    flat = vae_of_parts(likelihood, (), D=12)
    order = np.arange(24).reshape(2, 2, 2, 3).transpose(2, 0, 1, 3).ravel()  # all μ, then all ℓ
    for theirs, ours in zip(flat.parameters(), plane.parameters(), strict=True):
        theirs.value[...] = ours.value
    last = flat.encoder.layers[3]
    last.W.value[...], last.b.value[...] = last.W.value[:, order], last.b.value[order]
    eps = rng.standard_normal((5, 2, 2, 3))
    losses, cache = plane.loss((x,), eps)
    their_losses, their_cache = flat.loss((x,), eps.reshape(5, 12))
    for name in losses:
        assert losses[name] == pytest.approx(float(their_losses[name]), rel=1e-12)
    dx, their_dx = plane.backward(cache, need_dx=True), flat.backward(their_cache, need_dx=True)
    oracles.close(dx, their_dx)
    oracles.close(plane.encoder.layers[3].W.grad[:, order], last.W.grad)
    for ours, theirs in zip(plane.decoder.parameters(), flat.decoder.parameters(), strict=True):
        oracles.close(ours.grad, theirs.grad)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_every_gradient_of_a_vae_with_latents_of_two_axes(likelihood, rng):
    model = vae_of_parts(likelihood, (2, 2))
    names, eps = [n for n, _ in model.named_parameters()], rng.standard_normal((4, 2, 2, 3))

    def freeze(x0, *_):
        x0 = x0.reshape(4, 6).copy()

        def surrogate(x, *params):
            h = network(x.reshape(4, 6), params[:4], "tanh").reshape(4, 2, 2, 6)
            mu, logvar = h[..., :3], h[..., 3:]
            z = mu + np.exp(logvar / 2) * eps
            a = network(z.reshape(4, 12), params[4:], "tanh")
            return (np.asarray(loss(model, a, x0, mu, logvar)),)

        return surrogate

    report = gradcheck_loss(model, rng.random((4, 2, 3)), freeze, rng, eps)
    assert len(report.rows) == 1 + len(names) == 7
    report.raise_if_failed()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_latents_of_two_axes_are_encoded_decoded_and_drawn(likelihood, rng):
    model, x = vae_of_parts(likelihood, (2, 2)), rng.random((5, 2, 3))
    z = model.encode(x)
    np.testing.assert_array_equal(z, model.posterior(x)[0])
    assert z.shape == (5, 2, 2, 3) and model.num_latents == 4
    assert model.reconstruct(x).tobytes() == model.decode(z).tobytes()
    draws = np.random.default_rng(4).standard_normal((6, 2, 2, 3))
    np.testing.assert_array_equal(model.sample(6, 4), model.decode(draws))
    with refused("z", "must have shape (5, 2, 2, 3)", "shape (5, 12)", where="VAE.decode"):
        model.decode(z.reshape(5, 12))


# Latents and images.


@each_model
@given(seed=seeds, n=st.integers(0, 2 * CHUNK_EXAMPLES + 3), dtype=st.sampled_from(["float32", "float64"]))
@at_most(15)
def test_decode_of_encode_is_reconstruct_bit_for_bit(name, seed, n, dtype):
    r = np.random.default_rng(seed)
    model = MAKE[name](image_shape=(5, 7), hidden=(33,), dtype=dtype, rng=seed)
    images = r.random((n, 5, 7)).astype(dtype)
    whole, z = model.reconstruct(images), model.encode(images)
    assert z.shape == (n, 3) and z.dtype == whole.dtype == np.dtype(dtype) and whole.shape == images.shape
    assert n == 0 or (whole.min() >= 0 and whole.max() <= 1)
    assert model.decode(z).tobytes() == whole.tobytes()
    if JIT:  # NumPy's products may round a row in another batch otherwise
        start, stop = sorted(r.integers(0, n + 1, 2))
        assert model.encode(images[start:stop]).tobytes() == z[start:stop].tobytes()


@each_vae
def test_encode_is_the_mean_and_decode_the_mean_of_a_pixel(name, rng):
    model, x = MAKE[name](), rng.random((9, 2, 3))
    h = model.encoder.forward(x)[0]
    oracles.close(model.encode(x), h[:, :3])
    oracles.close(model.posterior(x)[1], h[:, 3:])
    a = model.decoder.forward(h[:, :3])[0]
    expected = 1 / (1 + np.exp(-a)) if name == "bernoulli" else np.clip(a, 0, 1)
    oracles.close(model.reconstruct(x), expected)


@each_vae
def test_samples_are_decoded_draws_from_the_prior(name):
    model = MAKE[name]()
    z = np.random.default_rng(4).standard_normal((5, 3))
    np.testing.assert_array_equal(model.sample(5, 4), model.decode(z))
    assert model.sample(0, 4).shape == (0, 2, 3)


@each_model
def test_a_description_makes_the_same_model_again(name, rng):
    model = MAKE[name](activation="gelu", hidden=(5, 4))
    again = build(describe(model))
    assert describe(again) == describe(model) and again.fingerprint() != model.fingerprint()
    again.load_state_dict(model.state_dict())
    assert again.fingerprint() == model.fingerprint()
    images = rng.random((5, 2, 3))
    assert again.reconstruct(images).tobytes() == model.reconstruct(images).tobytes()


def test_the_fingerprint_is_of_what_gives_latents_their_meaning():
    """Of the decoder, not of the encoder; and of the likelihood: logits are no pixels."""
    prints = {MAKE[name]().fingerprint() for name in MAKE}
    assert len(prints) == 3
    model = MAKE["bernoulli"]()
    model.encoder.layers[1].W.value[0, 0] += 1
    assert model.fingerprint() in prints
    model.decoder.layers[1].W.value[0, 0] += 1
    assert model.fingerprint() not in prints


def test_the_sizes_are_the_default_vq_vaes():
    """The same decoder, and the same encoder but for the VAE's second half of the last layer."""
    vq, vae, plain = VQVAE.mlp(), VAE.mlp(), Autoencoder.mlp()
    shapes = [
        {n: p.value.shape for n, p in m.named_parameters() if "quantizer" not in n} for m in (vq, vae, plain)
    ]
    assert shapes[0] == shapes[2]
    assert {n for n in shapes[0] if shapes[0][n] != shapes[1][n]} == {"encoder.3.W", "encoder.3.b"}
    assert shapes[1]["encoder.3.W"] == (512, 2 * 256)
    for n, p in vq.decoder.named_parameters():
        np.testing.assert_array_equal(dict(plain.decoder.named_parameters())[n].value, p.value)


# What is refused.


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: VAE.mlp(latent_dim=0), "VAE", "latent_dim", "must be an integer of at least 1", "0"),
        (lambda: Autoencoder.mlp(latent_dim=0), "Autoencoder", "latent_dim", "must be an integer of at least 1", "0"),  # noqa: E501
        (lambda: Autoencoder.mlp(hidden=3), "Autoencoder", "hidden", "must be a sequence of integers", "3"),
        (lambda: Autoencoder.mlp(activation="swish"), "Autoencoder", "activation", "must be one of 'relu'", "'swish'"),  # noqa: E501
        (lambda: VAE.mlp(image_shape=(0,)), "VAE", "image_shape[0]", "must be an integer of at least 1", "0"),
        (lambda: VAE.mlp(likelihood="poisson"), "VAE", "likelihood", "must be one of 'bernoulli', 'gaussian'", "'poisson'"),  # noqa: E501
        (lambda: VAE.mlp(noise_std=0), "VAE", "noise_std", "must be in (0, inf)", "0.0"),
        (lambda: VAE.mlp(kl_weight=-1), "VAE", "kl_weight", "must be in [0, inf)", "-1.0"),
        (lambda: VAE.mlp(kl_warmup=-1), "VAE", "kl_warmup", "must be an integer of at least 0", "-1"),
        (lambda: VAE.mlp(dtype="float16"), "VAE", "dtype", "must be 'float32' or 'float64'", "'float16'"),
        (lambda: MAKE["gaussian"]().decode(np.zeros((2, 4))), "VAE.decode", "z", "must have shape (2, 3)", "shape (2, 4)"),  # noqa: E501
        (lambda: MAKE["gaussian"]().decode(np.zeros((2, 3), int)), "VAE.decode", "z", "must be float32 or float64", "int64"),  # noqa: E501
        (lambda: MAKE["gaussian"]().decode(np.zeros((2, 3), "f")), "VAE.decode", "z", "must be float64", "float32"),  # noqa: E501
        (lambda: MAKE["autoencoder"]().decode(np.full((2, 3), np.nan)), "Autoencoder.decode", "z", "must be finite", "nan at index (0, 0)"),  # noqa: E501
        (lambda: MAKE["autoencoder"]().encode(np.zeros((2, 5))), "Autoencoder.encode", "images", "must have shape (n, 2, 3) or (n, 6)", "shape (2, 5)"),  # noqa: E501
        (lambda: MAKE["gaussian"]().loss((np.zeros((2, 2, 3)),), np.zeros((1, 3))), "reparameterise_forward", "eps", "must have shape (2, 3)", "shape (1, 3)"),  # noqa: E501
        (lambda: MAKE["gaussian"]().sample(-1, 0), "VAE.sample", "n", "must be an integer of at least 0", "-1"),  # noqa: E501
    ],
)  # fmt: skip
def test_mistakes(call, where, argument, needed, got):
    error = NonFiniteError if "finite" in needed else InputError
    with refused(argument, needed, got, where=where, error=error):
        call()
