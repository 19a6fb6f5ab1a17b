"""VQVAE.conv, VAE.conv, Autoencoder.conv: layers, shapes, every gradient, sizes, colour, signals, files."""

import numpy as np
import oracles
import pytest
from helpers import gradcheck_loss, refused, same

import vqnp
from vqnp import VAE, VQVAE, Autoencoder, load
from vqnp._check import InputError
from vqnp.data import DataSpec
from vqnp.inspection import code_anatomy, interpolate, position_influence, swap_agreement
from vqnp.kernels.jit import JIT
from vqnp.nn import Conv, ConvTranspose, build, describe
from vqnp.priors import Markov
from vqnp.training import Schedule, Trainer

SMALL = {"channels": 4, "residual_channels": 3, "rng": 1, "dtype": "float64"}
MAKE = {
    "ema": lambda **o: VQVAE.conv(**{**SMALL, "num_embeddings": 5, "codebook_init": "normal", **o}),
    "gradient": lambda **o: MAKE["ema"](codebook="gradient", **o),
    "autoencoder": lambda **o: Autoencoder.conv(**{**SMALL, **o}),
    "bernoulli": lambda **o: VAE.conv(**{**SMALL, **o}),
    "gaussian": lambda **o: VAE.conv(**{**SMALL, "likelihood": "gaussian", **o}),
}
each_model = pytest.mark.parametrize("name", MAKE)
SHAPES = {
    "grey": ({"image_shape": (8, 4)}, (2, 1)),
    "colour": ({"image_shape": (4, 8, 3)}, (1, 2)),
    "signal": ({"image_shape": (8,)}, (2,)),
    "signal of two channels": ({"image_shape": (8, 2), "ndim": 1}, (2,)),
    "one halving, no block": ({"image_shape": (4, 2), "downsampling": 1, "residual_blocks": 0}, (2, 1)),
    "three halvings": ({"image_shape": (8, 8), "downsampling": 3, "residual_blocks": 1}, (1, 1)),
}
SLOW = [pytest.mark.slow]
each_shape = pytest.mark.parametrize("form", SHAPES)


def layers(module):
    """(class, channels in and out, kernel, stride) of the convolutions, in the order in which they run."""
    found = [m for _, m in module.named_modules() if isinstance(m, (Conv, ConvTranspose))]
    configs = [(type(m).__name__, m.config()) for m in found]
    return [(n, c["in_channels"], c["out_channels"], c["kernel_size"][0], c["stride"][0]) for n, c in configs]


def test_the_layers_are_the_published_ones():
    """Sonnet's example of a VQ-VAE with H = 128, R = 32, D = 64, on colour images."""
    model = VQVAE.conv((32, 32, 3), 128, 32, embedding_dim=64, num_embeddings=512)
    stack = [("Conv", 128, 32, 3, 1), ("Conv", 32, 128, 1, 1)] * 2
    assert layers(model.encoder) == [
        ("Conv", 3, 64, 4, 2), ("Conv", 64, 128, 4, 2), ("Conv", 128, 128, 3, 1), *stack,
        ("Conv", 128, 64, 1, 1),
    ]  # fmt: skip
    assert layers(model.decoder) == [
        ("Conv", 64, 128, 3, 1), *stack, ("ConvTranspose", 128, 64, 4, 2), ("ConvTranspose", 64, 3, 4, 2),
    ]  # fmt: skip
    assert model.latent_shape == (8, 8) and model.bits_per_image == 64 * 9
    three = VQVAE.conv((32, 32), 12, 5, 1, 3)
    assert [row[1:3] for row in layers(three.encoder)[:4]] == [(1, 6), (6, 12), (12, 12), (12, 12)]
    assert [row[1:3] for row in layers(three.decoder)[-3:]] == [(12, 12), (12, 6), (6, 1)]


def test_defaults_are_a_plane_of_49_codes():
    model = VQVAE.conv()
    assert (model.data, model.latent_shape, model.bits_per_image) == (DataSpec(), (7, 7), 343)
    assert Autoencoder.conv().encoding.shape == VAE.conv().encoding.shape == (7, 7, 8)


@pytest.mark.slow
def test_the_networks_of_the_three_models_start_alike():
    """A baseline differs by its latent alone."""
    code, plain, vae = (MAKE[n](image_shape=(4, 4)) for n in ("ema", "autoencoder", "bernoulli"))
    assert same(code.encoder, plain.encoder) and same(code.decoder, plain.decoder)
    assert layers(vae.decoder) == layers(plain.decoder)
    assert layers(vae.encoder)[-1] == ("Conv", 4, 16, 1, 1)


@each_model
@each_shape
def test_shapes_of_latents_codes_and_images(name, form, rng):
    options, latent_shape = SHAPES[form]
    model = MAKE[name](**options)
    x = rng.random((5, *options["image_shape"]))
    assert model.data.shape == options["image_shape"] and model.latent_shape == latent_shape
    z = model.latents(x)
    assert z.shape == (5, *latent_shape, 8)
    codes = model.encode(x)
    assert codes.shape == ((5, *latent_shape) if model.num_embeddings else z.shape)
    assert model.decode(codes).shape == x.shape
    assert model.decode(codes).tobytes() == model.reconstruct(x).tobytes()
    flat = model.encode(x.reshape(5, -1))
    np.testing.assert_array_equal(flat, codes)


@each_model
@pytest.mark.parametrize("form", [pytest.param(f, marks=SLOW * (f != "grey")) for f in SHAPES])
def test_every_gradient(name, form, rng):
    """Of the whole model, with the target and every stop-gradient frozen; worst relative error 1e-7."""
    dim = "embedding_dim" if name in ("ema", "gradient") else "latent_dim"
    model = MAKE[name](**{dim: 2}, **SHAPES[form][0])
    for param in model.parameters():  # a bias of 0 may leave a ReLU exactly at its kink
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    names = [n for n, _ in model.named_parameters()]
    eps = rng.standard_normal((2, *model.latent_shape, 2)) if isinstance(model, VAE) else None

    def freeze(x0, *_):
        x0 = x0.copy()
        if eps is None and model.num_embeddings:
            z0 = model.encoder.forward(x0)[0].copy()
            k = oracles.nearest(z0.reshape(-1, 2), model.quantizer.embeddings).reshape(z0.shape[:-1])
            e0 = model.quantizer.embeddings[k].copy()

        def surrogate(x, *params):
            for param, value in zip(model.parameters(), params, strict=True):
                param.value = value
            h = model.encoder.forward(x)[0]
            if eps is not None:
                mu, logvar = h[..., :2], h[..., 2:]
                a = model.decoder.forward(mu + np.exp(logvar / 2) * eps)[0]
                kl = (np.exp(logvar) + mu**2 - 1 - logvar).sum() / 2 / len(x)
                return (np.asarray(model.nll_forward(a, x0)[0] + kl),)
            if not model.num_embeddings:
                return (np.asarray(np.mean((model.decoder.forward(h)[0] - x0) ** 2)),)
            x_hat = model.decoder.forward(h + (e0 - z0))[0]
            e = model.quantizer.embeddings[k] if "quantizer.E" in names else e0
            codebook = np.mean((z0 - e) ** 2) if "quantizer.E" in names else 0
            return (np.asarray(np.mean((x_hat - x0) ** 2) + codebook + 0.25 * np.mean((h - e0) ** 2)),)

        return surrogate

    report = gradcheck_loss(model, rng.random((2, *model.data.shape)), freeze, rng, eps)
    assert len(report.rows) == 1 + len(names)
    report.raise_if_failed()


@pytest.mark.parametrize("n", [1, 2])
def test_a_latent_of_a_patch_depends_on_that_patch_alone(n, rng):
    """∂z_ij/∂x is 0 outside patch (i, j), and equal patches have equal latents; with "wide" neither holds."""
    side = 2**n
    for field, alone in (("patch", True), ("wide", False)):
        sizes = {"image_shape": (4 * side, 2 * side, 3), "channels": 8, "downsampling": n}
        model = MAKE["ema"](**sizes, receptive_field=field)
        x = rng.random((1, 4 * side, 2 * side, 3))
        x[:, side : 2 * side, :side] = x[:, :side, :side]  # the patch below the first is equal to it
        dz = np.zeros((1, 4, 2, 8))
        dz[0, 2, 1] = rng.standard_normal(8)
        z, cache = model.encoder.forward(x)
        dx = model.encoder.backward(dz, cache)
        inside = np.zeros(x.shape, bool)
        inside[:, 2 * side : 3 * side, side:] = True
        assert dx[inside].any() and dx[~inside].any() != alone
        assert np.array_equal(z[0, 0, 0], z[0, 1, 0]) == alone
    with refused("receptive_field", "must be one of 'wide', 'patch'", "'narrow'"):
        MAKE["ema"](receptive_field="narrow")


def test_every_gradient_with_patches(rng):
    model = MAKE["autoencoder"](image_shape=(4, 8), latent_dim=2)
    model.encoder = MAKE["ema"](image_shape=(4, 8), embedding_dim=2, receptive_field="patch").encoder
    for param in model.parameters():
        param.value += 0.1 * rng.standard_normal(param.value.shape)

    def freeze(x0, *_):
        x0 = x0.copy()

        def surrogate(x, *params):
            for param, value in zip(model.parameters(), params, strict=True):
                param.value = value
            return (np.asarray(np.mean((model.decoder.forward(model.encoder.forward(x)[0])[0] - x0) ** 2)),)

        return surrogate

    gradcheck_loss(model, rng.random((2, 4, 8)), freeze, rng).raise_if_failed()


# Sizes.


@pytest.mark.parametrize(
    ("options", "needed", "got"),
    [
        ({"downsampling": 3}, "a multiple of 8 along each axis, to be halved 3 times (nearest: 24 × 24 or 32 × 32)", "28 × 28, which can be halved twice"),  # noqa: E501
        ({"image_shape": (27, 28, 3)}, "a multiple of 4 along each axis, to be halved twice (nearest: 24 × 28 or 28 × 28)", "27 × 28, which cannot be halved"),  # noqa: E501
        ({"image_shape": (3,)}, "(nearest: 4)", "3, which cannot be halved"),
        ({"image_shape": (30,)}, "(nearest: 28 or 32)", "30, which can be halved once"),
        ({"image_shape": (2, 2, 2, 2)}, "must be (H, W) or (H, W, C) for ndim=2", "(2, 2, 2, 2)"),
        ({"image_shape": (8, 8, 3), "ndim": 1}, "must be (T,) or (T, C) for ndim=1", "(8, 8, 3)"),
        ({"image_shape": (3, 32, 32)}, "must be (32, 32, 3): np.moveaxis(images, 1, -1) puts the channels last", "(3, 32, 32)"),  # noqa: E501
    ],
)  # fmt: skip
@each_model
def test_an_image_of_a_size_that_does_not_fit_is_refused(name, options, needed, got):
    where = type(MAKE[name](image_shape=(4, 4))).__name__
    with refused("image_shape", needed, got, where=where) as caught:
        MAKE[name](**options)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("options", "argument", "needed"),
    [
        ({"channels": 0}, "channels", "at least 1"),
        ({"residual_channels": 0}, "residual_channels", "at least 1"),
        ({"residual_blocks": -1}, "residual_blocks", "[0, 1000]"),
        ({"downsampling": 0}, "downsampling", "at least 1"),
        ({"ndim": 3}, "ndim", "1"),
        ({"dtype": "float16"}, "dtype", "must be 'float32' or 'float64'"),
    ],
)
@each_model
def test_arguments_out_of_range_are_named(name, options, argument, needed):
    with refused(argument, needed):
        MAKE[name](**options)


# What else is done with a model.


@each_model
def test_a_description_and_a_file_make_the_same_model_again(name, rng, tmp_path):
    model = MAKE[name](image_shape=(8, 4, 3))
    x = rng.random((4, 8, 4, 3))
    again = build(describe(model))
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    vqnp.save(tmp_path / "m.npz", model)
    for other in (again, load(tmp_path / "m.npz")):
        assert other.fingerprint() == model.fingerprint() and same(other, model)
        assert other.reconstruct(x).tobytes() == model.reconstruct(x).tobytes()


@pytest.mark.slow
@each_model
def test_training_learns_and_a_resumed_run_ends_in_the_same_bits(name, tmp_path):
    images = vqnp.load_dataset("digits").images[:160]
    options = {"epochs": 3, "batch_size": 32, "lr": 1e-2, "progress": False}
    make = {"dtype": "float32", "channels": 8}
    whole = MAKE[name](**make)
    history = vqnp.fit(whole, images, checkpoint=tmp_path / "whole.npz", **options)
    assert history[-1]["reconstruction_loss"] < 0.9 * history[0]["reconstruction_loss"]
    trainer = Trainer(MAKE[name](**make), images, Schedule(3, 32, 1e-2))
    trainer.initialize()
    for _ in range(7):  # in the middle of an epoch, with an epoch's row written
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
    trainer.save(tmp_path / "part.npz")
    resumed, rows = vqnp.resume(tmp_path / "part.npz", images, progress=False)
    assert same(resumed, whole) and rows == history
    assert (tmp_path / "part.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_inspection_and_a_prior_take_codes_in_a_plane(rng):
    model, x = MAKE["ema"](image_shape=(16, 16)), rng.random((20, 16, 16))
    k = model.encode(x)
    assert k.shape == (20, 4, 4)
    anatomy = code_anatomy(model, x)
    assert anatomy.counts.sum() == 320 and anatomy.effect.shape == (5, 16, 16)
    influence = position_influence(model, x, rng)
    assert influence.shape == (4, 4, 16, 16)
    assert interpolate(model, x[0], x[1], 3).codes.shape == (3, 4, 4)
    assert np.isfinite(swap_agreement(model, x, rng)) or k.max() == k.min()
    chain = Markov(k, 5)
    assert chain.code_length(k) < model.bits_per_image
    assert model.decode(chain.sample(3, rng).reshape(3, *model.latent_shape)).shape == (3, 16, 16)


def test_a_code_reaches_only_its_surroundings(rng):
    """Nothing of the image beyond the decoder's receptive field depends on a position's code."""
    model = MAKE["autoencoder"](image_shape=(64, 64), residual_blocks=0)
    z = rng.standard_normal((1, 16, 16, 8))
    other = z.copy()
    other[0, 8, 8] += 1
    reached = model.decoder.forward(z)[0][0] != model.decoder.forward(other)[0][0]
    # position 8 -> 7…9 by Conv 3; each doubling takes m to 2m − 1 … 2m + 2
    assert reached.any()
    for axis in (0, 1):
        at = np.flatnonzero(reached.any(axis=axis))
        assert at.min() >= 2 * (2 * 7 - 1) - 1 and at.max() <= 2 * (2 * 9 + 2) + 2


def test_images_with_their_channels_first_are_refused_with_the_remedy(rng):
    needed = "must have shape (n, 16, 8, 3) or (n, 384); np.moveaxis(images, 1, -1) puts the channels last"
    x = rng.random((2, 3, 16, 8))
    for model in (MAKE["ema"](image_shape=(16, 8, 3)), VQVAE.mlp((16, 8, 3), 2, dtype="float64")):
        with refused("images", needed, "shape (2, 3, 16, 8)"):
            model.encode(x)
        assert len(model.encode(np.moveaxis(x, 1, -1))) == 2
    for make in (VQVAE.mlp, VAE.mlp, Autoencoder.mlp, DataSpec):
        with refused("shape" if make is DataSpec else "image_shape", "must be (28, 28, 3): np.moveaxis"):
            make((3, 28, 28))


@pytest.mark.skipif(not JIT, reason="NumPy's products may round a row in another batch otherwise")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_examples_codes_and_images_do_not_depend_on_its_batch(dtype, rng):
    """Bit for bit: alone, in a few, in all."""
    model = VQVAE.conv(channels=16, residual_channels=8, rng=2, dtype=dtype)
    x = vqnp.load_dataset("digits", "test").images[:150]
    codes, z = model.encode(x), model.latents(x)
    images = model.decode(codes)
    for some in (slice(0, 1), slice(7, 12), slice(149, 150), slice(30, 140)):
        np.testing.assert_array_equal(model.encode(x[some]), codes[some])
        assert model.latents(x[some]).tobytes() == z[some].tobytes()
        assert model.decode(codes[some]).tobytes() == images[some].tobytes()


@pytest.mark.parametrize(
    ("shape", "hinted"), [((30, 3), True), ((5, 4), True), ((3, 2), False), ((30, 5), False)]
)
def test_a_long_array_of_few_columns_may_be_signals(shape, hinted):
    """(T, C) given as an image is told how signals are given; a small image is not taken for one."""
    with pytest.raises(InputError) as caught:
        VQVAE.conv(shape)
    assert (f"signals of {shape[1]} channels" in str(caught.value)) is hinted
