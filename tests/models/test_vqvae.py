"""The whole model: every parameter's gradient, codes and images bit for bit, and what it refuses."""

import tracemalloc

import numpy as np
import oracles
import pytest
from helpers import ACTIVATIONS, gradcheck_loss, network, refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import VQVAE, EMAVectorQuantizer, InputError, VectorQuantizer, nn, ops
from vqnp._check import NonFiniteError
from vqnp.data.spec import DataSpec
from vqnp.kernels.jit import JIT
from vqnp.models import base
from vqnp.models.base import CHUNK_EXAMPLES
from vqnp.nn import build, describe

TINY = {"image_shape": (2, 3), "num_latents": 3, "embedding_dim": 2, "num_embeddings": 5, "hidden": (7,)}
each_codebook = pytest.mark.parametrize("codebook", ["ema", "gradient"])


def tiny(**options):
    return VQVAE.mlp(**{**TINY, "codebook_init": "normal", "dtype": "float64", "rng": 1, **options})


@each_codebook
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("options", [
    {}, {"hidden": ()}, {"hidden": (6, 5)}, {"num_latents": 1, "embedding_dim": 1, "num_embeddings": 1},
    {"commitment_cost": 1.5},
])  # fmt: skip
def test_every_gradient_is_the_surrogates(codebook, activation, reduction, options, rng):
    """L with the target and every sg frozen, written out from equation 3; worst relative error 1e-7."""
    model = tiny(codebook=codebook, activation=activation, **options)
    model.quantizer.reduction = reduction
    for param in model.parameters():  # a bias of 0 may leave a ReLU exactly at its kink
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    names = [name for name, _ in model.named_parameters()]
    M, D, beta = model.num_latents, model.embedding_dim, model.quantizer.commitment_cost
    assert beta == options.get("commitment_cost", 0.25)
    codebook_weight = 1.0 if codebook == "gradient" else 0.0

    def parts(values):
        values = dict(zip(names, values, strict=True))
        return tuple([v for n, v in values.items() if n.startswith(p)] for p in ("encoder", "decoder"))

    def freeze(x0, *params):
        encoder, _ = parts(params)
        x0, z0 = x0.copy(), network(x0.reshape(len(x0), -1), encoder, activation).reshape(len(x0), M, D)
        k = oracles.nearest(z0.reshape(-1, D), model.quantizer.embeddings).reshape(len(x0), M)
        e0 = model.quantizer.embeddings[k]
        size = oracles.count(z0.shape, reduction)

        def surrogate(x, *params):
            encoder, decoder = parts(params)
            z = network(x.reshape(len(x), -1), encoder, activation).reshape(z0.shape)
            z_q = z + (e0 - z0)
            x_hat = network(z_q.reshape(len(x), M * D), decoder, activation).reshape(x0.shape)
            e = params[names.index("quantizer.E")][k] if "quantizer.E" in names else e0
            L_vq = beta * np.sum((z - e0) ** 2) + codebook_weight * np.sum((z0 - e) ** 2)
            return (np.asarray(np.mean((x_hat - x0) ** 2) + L_vq / size),)

        return surrogate

    report = gradcheck_loss(model, rng.random((4, 2, 3)), freeze, rng)
    assert len(report.rows) == 1 + len(names) and ("quantizer.E" in names) == (codebook == "gradient")
    report.raise_if_failed()


@each_codebook
def test_the_losses_are_the_parts_of_the_total(codebook, rng):
    """Of the model's own encoder, quantizer and decoder in a row; of EMA the codebook loss is 0."""
    model, x = tiny(codebook=codebook), rng.random((4, 2, 3))
    losses, cache = model.loss((x,))
    names = ["loss", "reconstruction_loss", "codebook_loss", "commitment_loss"]
    assert list(losses) == names and {np.shape(L) for L in losses.values()} == {()}
    total, reconstruction, codebook_loss, commitment = losses.values()
    assert total == reconstruction + codebook_loss + commitment
    z = model.encoder.forward(x)[0]
    z_q, their_codebook, their_commitment, k, _ = model.quantizer.forward(z)
    assert (codebook_loss, commitment) == (their_codebook, their_commitment)
    assert (codebook_loss == 0) == (codebook == "ema")
    oracles.close(commitment, 0.25 * np.mean((z - z_q) ** 2))
    x_hat = model.decoder.forward(z_q)[0]
    np.testing.assert_allclose(reconstruction, np.mean((x_hat - x) ** 2), rtol=1e-13)
    assert z.shape == (4, 3, 2) and k.shape == (4, 3) and x_hat.shape == x.shape
    counts = model.statistics(cache)["quantizer"]
    np.testing.assert_array_equal(counts, np.bincount(k.ravel(), minlength=5))


@each_codebook
def test_the_loss_draws_nothing_and_does_not_depend_on_the_step(codebook, rng):
    model, x, r = tiny(codebook=codebook), rng.random((4, 2, 3)), np.random.default_rng(3)
    before = r.bit_generator.state
    assert model.loss((x,), r, 17)[0] == model.loss((x,))[0]
    assert r.bit_generator.state == before


@each_codebook
def test_no_reconstruction_gradient_reaches_the_codebook(codebook, rng):
    """dE is the codebook loss's alone, whatever the decoder's gradient: ten times it changes nothing."""
    model, x = tiny(codebook=codebook), rng.random((4, 2, 3))
    z, encoder_cache = model.encoder.forward(x)
    z_q, *_, cache = model.quantizer.forward(z)
    x_hat, decoder_cache = model.decoder.forward(z_q)
    dz_q = model.decoder.backward(rng.standard_normal(x_hat.shape), decoder_cache)
    dz = model.quantizer.backward(dz_q, cache, dL=0.0)
    np.testing.assert_array_equal(dz, dz_q)  # straight through
    model.encoder.backward(dz, encoder_cache)
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert not grads.pop("quantizer.E", np.zeros(1)).any()
    assert all(g.any() for g in grads.values())


@each_codebook
def test_after_a_step_the_quantizer_follows_with_the_batchs_own_codes(codebook, rng):
    """after_step gives the quantizer the z and k of the loss, though the encoder has moved since."""
    model, twin = (tiny(codebook=codebook, decay=0.0, restart_dead_codes=0.9) for _ in range(2))
    x = rng.random((9, 2, 3))
    _, cache = model.loss((x,))
    z = twin.encoder.forward(x)[0]
    for param in model.encoder.parameters():
        param.value += 1
    restarted = model.after_step(cache, np.random.default_rng(4))
    wanted = twin.quantizer.update(z, twin.quantizer.encode(z), np.random.default_rng(4))
    assert list(restarted) == ["quantizer.E"] and wanted.size
    np.testing.assert_array_equal(restarted["quantizer.E"], wanted)
    for name, array in twin.quantizer.state_dict().items():
        np.testing.assert_array_equal(model.quantizer.state_dict()[name], array)


def test_a_row_of_the_history_says_how_many_codes_were_used():
    model = tiny()
    row = model.row({"quantizer": np.array([4, 4, 0, 0, 0])}, 3)
    assert row == {"perplexity": pytest.approx(2.0, rel=1e-14), "codes_used": 2}


# Codes and images.


@each_codebook
@given(seed=seeds, n=st.integers(0, 2 * CHUNK_EXAMPLES + 3), dtype=st.sampled_from(["float32", "float64"]))
@at_most(15)
def test_decode_of_encode_is_reconstruct_bit_for_bit(codebook, seed, n, dtype):
    """Also in any batch, and of codes and not of images."""
    r = np.random.default_rng(seed)
    options = {"image_shape": (5, 7), "hidden": (33,), "codebook": codebook, "rng": seed, "dtype": dtype}
    model, images = VQVAE.mlp(**{**TINY, **options}), r.random((n, 5, 7)).astype(dtype)
    if n:
        model.initialize((images,), seed)
    whole, codes = model.reconstruct(images), model.encode(images)
    assert codes.shape == (n, 3) and codes.dtype == np.int64
    assert whole.shape == images.shape and whole.dtype == np.dtype(dtype)
    assert n == 0 or (whole.min() >= 0 and whole.max() <= 1)
    assert model.decode(codes).tobytes() == whole.tobytes()
    if JIT:  # NumPy's products may round a row in another batch otherwise
        start, stop = sorted(r.integers(0, n + 1, 2))
        assert model.encode(images[start:stop]).tobytes() == codes[start:stop].tobytes()
        assert model.reconstruct(images[start:stop]).tobytes() == whole[start:stop].tobytes()


def test_encode_has_one_part_of_a_memory_mapped_array_in_memory(tmp_path, monkeypatch):
    """Whatever the number of images; and the codes are those of all at once."""
    monkeypatch.setattr(base, "PART_EXAMPLES", 2 * CHUNK_EXAMPLES)
    model = VQVAE.mlp((64,), 1, 2, 8, hidden=(256,))
    x = np.random.default_rng(0).random((8 * CHUNK_EXAMPLES + 5, 64), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    codes = model.encode(mapped)
    np.testing.assert_array_equal(codes, model.quantizer.encode(model.latents(x)))
    peaks = []
    for n in (2 * CHUNK_EXAMPLES, len(x)):
        tracemalloc.start()
        model.encode(mapped[:n])
        peaks.append(tracemalloc.get_traced_memory()[1] - 8 * n)
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_encode_names_a_bad_image_by_its_place_among_all(monkeypatch):
    monkeypatch.setattr(base, "PART_EXAMPLES", CHUNK_EXAMPLES)
    model = VQVAE.mlp((2,), 1, 2, 8, hidden=(4,))
    x = np.zeros((3 * CHUNK_EXAMPLES, 2))
    x[2 * CHUNK_EXAMPLES + 1, 1] = 2
    at = f"2.0 at index ({2 * CHUNK_EXAMPLES + 1}, 1)"
    with refused("images", "must be in [0, 1]", at, where="VQVAE.encode"):
        model.encode(x)


def test_encode_with_progress_draws_a_bar_on_standard_error(capsys):
    model = VQVAE.mlp((2,), 1, 2, 8, hidden=(4,))
    model.encode(np.zeros((10, 2)), progress=True)
    out, err = capsys.readouterr()
    assert "10.0/10.0" in err and not out
    model.encode(np.zeros((10, 2)))
    assert capsys.readouterr() == ("", "")


@given(seed=seeds, n=st.integers(1, 40))
@at_most(15)
def test_any_other_batching_differs_by_rounding_alone(seed, n):
    r = np.random.default_rng(seed)
    model, images = tiny(dtype="float32", rng=seed), r.random((n, 2, 3)).astype(np.float32)
    order = r.permutation(n)
    z = model.latents(images)
    oracles.close(model.latents(images[order]), z[order], 1.0)
    codes = model.encode(images)
    oracles.close(model.decode(codes[order]), model.decode(codes)[order], 1.0)


@each_codebook
def test_no_images(codebook):
    model = tiny(codebook=codebook)
    none = np.zeros((0, 2, 3))
    assert model.encode(none).shape == (0, 3) and model.decode(np.zeros((0, 3), int)).shape == (0, 2, 3)
    losses, cache = model.loss((none,))
    assert not any(losses.values()) and model.latents(none).shape == (0, 3, 2)
    assert model.backward(cache, need_dx=True).shape == (0, 2, 3)
    assert not any(p.grad.any() for p in model.parameters())


def test_images_come_flat_or_not_and_as_bytes_or_not(rng):
    model = tiny(dtype="float32")
    images = rng.integers(0, 256, (9, 2, 3), dtype=np.uint8)
    codes = model.encode(images)
    np.testing.assert_array_equal(model.encode(images.reshape(9, 6)), codes)
    np.testing.assert_array_equal(model.encode(np.divide(images, 255, dtype=np.float32)), codes)
    np.testing.assert_array_equal(model.encode(np.asfortranarray(images)), codes)


def test_decode_is_the_decoder_clipped(rng):
    model = tiny()
    codes = rng.integers(0, 5, (20, 3))
    raw = model.decoder.forward(model.quantizer.embeddings[codes])[0]
    assert raw.min() < 0 and raw.max() > 1  # or this shows nothing
    oracles.close(model.decode(codes), np.clip(raw, 0, 1).reshape(20, 2, 3))
    z_q = model.quantizer.embeddings[codes]
    np.testing.assert_array_equal(model.decode_latents(z_q), model.decode(codes))
    np.testing.assert_array_equal(model.decode(codes.astype(np.uint8)), model.decode(codes))


@pytest.mark.parametrize(("M", "K", "bits"), [(16, 128, 112.0), (49, 512, 441.0), (3, 1, 0.0), (2, 3, 3.169925001442312)])  # noqa: E501
def test_bits_per_image(M, K, bits):
    assert tiny(num_latents=M, num_embeddings=K).bits_per_image == pytest.approx(bits, rel=1e-15)


def test_the_fingerprint_is_of_what_gives_codes_their_meaning():
    """The codebook and the decoder; not the encoder, nor the counts of an EMA."""
    model, same = tiny(), tiny()
    first = model.fingerprint()
    assert first == same.fingerprint() and len(first) == 64 and int(first, 16)
    prints = {first}
    model.encoder.layers[1].W.value[0, 0] += 1
    model.quantizer.ema.N[0] += 1
    assert model.fingerprint() == first
    for array in (model.quantizer.embeddings, *(p.value for p in model.decoder.parameters())):
        array.reshape(-1)[-1] = np.nextafter(array.reshape(-1)[-1], 9)
        prints.add(model.fingerprint())
    prints.add(tiny(image_shape=(3, 2)).fingerprint())
    prints.add(tiny(rng=2).fingerprint())
    assert len(prints) == 1 + 5 + 2


@each_codebook
@pytest.mark.parametrize("init", ["data", "kmeans", "uniform"])
def test_the_codebook_starts_at_the_latents_of_images(codebook, init, rng):
    model, images = tiny(codebook=codebook, codebook_init=init), rng.random((30, 2, 3))
    before = model.quantizer.embeddings.copy()
    model.initialize((images,), 4)
    z = model.latents(images)
    E = model.quantizer.embeddings
    if init == "data":
        assert {e.tobytes() for e in E} <= {v.tobytes() for v in z.reshape(-1, 2)}
    elif init == "kmeans":
        np.testing.assert_array_equal(E, ops.kmeans(z, 5, np.random.default_rng(4))[0])
    else:
        np.testing.assert_array_equal(E, before)


def test_a_description_makes_the_same_model_again(rng):
    """A checkpoint holds nn.describe(model) and state_dict(), and no more."""
    quantizer = EMAVectorQuantizer(
        5, 2, 0.5, 0.8, 1e-3, zero_debias=True, smoothing="additive", reduction="sum", dtype="float64"
    )
    model = tiny(activation="gelu", quantizer=quantizer)
    again = build(describe(model))
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    images = rng.random((5, 2, 3))
    assert again.reconstruct(images).tobytes() == model.reconstruct(images).tobytes()
    assert again.fingerprint() == model.fingerprint()
    assert isinstance(again.quantizer, EMAVectorQuantizer)
    for name, value in quantizer.config().items():
        assert again.quantizer.config()[name] == value


def test_the_default_model():
    model = VQVAE.mlp()
    assert isinstance(model.quantizer, EMAVectorQuantizer) and model.bits_per_image == 112
    options = (model.quantizer.codebook_init, model.quantizer.restart_dead_codes, model.quantizer.decay)
    assert options == ("data", 0.05, 0.99)
    assert type(VQVAE.mlp(**TINY, codebook="gradient").quantizer) is VectorQuantizer
    state = model.state_dict()
    assert state["encoder.1.W"].shape == (784, 512) and state["quantizer.E"].shape == (128, 16)
    hidden = tiny(hidden=(6, 5)).state_dict()
    assert hidden["decoder.1.W"].shape == (6, 5)  # the hidden layers in reverse


def test_the_arguments_of_mlp_reach_the_quantizer():
    options = {"decay": 0.5, "codebook_init": "kmeans", "restart_dead_codes": 0.2, "commitment_cost": 2.0}
    for codebook in ("ema", "gradient"):
        model = tiny(codebook=codebook, **options)
        assert {name: getattr(model.quantizer, name) for name in options} == options
    assert tiny(epsilon=0.5).quantizer.epsilon == 0.5


# What is refused.


@pytest.mark.parametrize(
    ("options", "where", "argument", "needed", "got"),
    [
        ({"image_shape": (28, 0)}, "VQVAE", "image_shape[1]", "must be an integer of at least 1", "0"),
        ({"image_shape": 28}, "VQVAE", "image_shape", "must be a sequence of integers", "28"),
        ({"num_latents": 0}, "VQVAE", "num_latents", "must be an integer of at least 1", "0"),
        ({"num_latents": True}, "VQVAE", "num_latents", "must be an integer of at least 1", "True"),
        ({"embedding_dim": -3}, "VQVAE", "embedding_dim", "must be an integer of at least 1", "-3"),
        ({"num_embeddings": 0}, "VQVAE", "num_embeddings", "must be an integer of at least 1", "0"),
        ({"num_embeddings": "many"}, "VQVAE", "num_embeddings", "must be an integer of at least 1", "'many'"),
        ({"hidden": (5, 0)}, "VQVAE", "hidden[1]", "must be an integer of at least 1", "0"),
        ({"hidden": 512}, "VQVAE", "hidden", "must be a sequence of integers", "512"),
        ({"hidden": "512"}, "VQVAE", "hidden", "must be a sequence of integers", "'512'"),
        ({"activation": "swish"}, "VQVAE", "activation", "must be one of 'relu', 'gelu', 'tanh', 'sigmoid'", "'swish'"),  # noqa: E501
        ({"codebook": "adam"}, "VQVAE", "codebook", "must be one of 'ema', 'gradient'", "'adam'"),
        ({"commitment_cost": -1}, "EMAVectorQuantizer", "commitment_cost", "must be in [0, inf)", "-1.0"),
        ({"commitment_cost": "a lot"}, "EMAVectorQuantizer", "commitment_cost", "must be a number in [0, inf)", "'a lot'"),  # noqa: E501
        ({"commitment_cost": np.nan, "codebook": "gradient"}, "VectorQuantizer", "commitment_cost", "must be in [0, inf)", "nan"),  # noqa: E501
        ({"decay": 1.0}, "EMAVectorQuantizer", "decay", "must be in [0, 1)", "1.0"),
        ({"decay": None}, "EMAVectorQuantizer", "decay", "must be a number in [0, 1)", "None"),
        ({"epsilon": -1}, None, "epsilon", "must be in [0, inf)", "-1.0"),
        ({"epsilon": -1, "codebook": "gradient"}, "VQVAE", "epsilon", "must be in [0, inf)", "-1.0"),
        ({"restart_dead_codes": 1}, "EMAVectorQuantizer", "restart_dead_codes", "must be in [0, 1)", "1.0"),
        ({"codebook_init": "zeros"}, "EMAVectorQuantizer", "codebook_init", "must be one of 'uniform', 'normal', 'scaled_uniform', 'data', 'kmeans'", "'zeros'"),  # noqa: E501
        ({"dtype": "float16"}, "VQVAE", "dtype", "must be 'float32' or 'float64'", "'float16'"),
        ({"dtype": "double precision"}, "VQVAE", "dtype", "must be 'float32' or 'float64'", "'double precision'"),  # noqa: E501
        ({"rng": -1}, "VQVAE", "rng", "must be a numpy.random.Generator or an integer", "-1"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(options, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        VQVAE.mlp(**{**TINY, **options})


X = np.zeros((2, 2, 3))


def pixel(value):
    x = np.zeros((2, 2, 3))
    x[1, 0, 2] = value
    return x


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda m: m.loss((X[:, :1],)), "linear_forward", "x", "must have shape (..., 6)", "shape (2, 3)"),
        (lambda m: m.loss((X.tolist(),)), "Flatten.forward", "x", "must be a NumPy array", "list"),
        (lambda m: m.loss((X.astype("f"),)), "linear_forward", "x", "must be float64", "float32"),
        (lambda m: m.loss((X + np.nan,)), "nearest_code", "z", "must be finite", "nan at index (0, 0, 0)"),
        (lambda m: m.encode(np.zeros((2, 3, 2))), "VQVAE.encode", "images", "must have shape (n, 2, 3) or (n, 6)", "shape (2, 3, 2)"),  # noqa: E501
        (lambda m: m.encode(np.zeros((2, 3))), "VQVAE.encode", "images", "must have shape (n, 2, 3) or (n, 6)", "shape (2, 3)"),  # noqa: E501
        (lambda m: m.encode(np.array(0.5)), "VQVAE.encode", "images", "must have shape (n, 2, 3) or (n, 6)", "shape ()"),  # noqa: E501
        (lambda m: m.encode(pixel(np.nan)), "VQVAE.encode", "images", "must be finite", "nan at index (1, 0, 2)"),  # noqa: E501
        (lambda m: m.reconstruct(pixel(np.inf)), "VQVAE.encode", "images", "must be finite", "inf at index (1, 0, 2)"),  # noqa: E501
        (lambda m: m.encode(pixel(255.0)), "VQVAE.encode", "images", "must be in [0, 1] if they are not uint8", "255.0 at index (1, 0, 2)"),  # noqa: E501
        (lambda m: m.encode(X.astype(int)), "VQVAE.encode", "images", "must be uint8, or float32 or float64 in [0, 1]", "int64"),  # noqa: E501
        (lambda m: m.encode(X.tolist()), "VQVAE.encode", "images", "must be a NumPy array", "list"),
        (lambda m: m.decode(np.zeros((2, 4), int)), "VQVAE.decode", "codes", "must have shape (n, 3)", "shape (2, 4)"),  # noqa: E501
        (lambda m: m.decode(np.zeros(3, int)), "VQVAE.decode", "codes", "must have shape (n, 3)", "shape (3,)"),  # noqa: E501
        (lambda m: m.decode(np.array([[0, 1, 5]])), "VQVAE.decode", "codes", "must be in [0, 5)", "5 at index (0, 2)"),  # noqa: E501
        (lambda m: m.decode(np.array([[0, -1, 5]])), "VQVAE.decode", "codes", "must be in [0, 5)", "-1 at index (0, 1)"),  # noqa: E501
        (lambda m: m.decode(np.zeros((2, 3))), "VQVAE.decode", "codes", "must be integers", "float64"),
        (lambda m: m.decode(np.zeros((2, 3), bool)), "VQVAE.decode", "codes", "must be integers", "bool"),
        (lambda m: m.decode_latents(np.zeros((2, 3, 3))), "VQVAE.decode_latents", "z", "must have shape (2, 3, 2)", "shape (2, 3, 3)"),  # noqa: E501
        (lambda m: m.decode_latents(np.zeros((2, 3, 2), "f")), "VQVAE.decode_latents", "z", "must be float64", "float32"),  # noqa: E501
        (lambda m: m.decode_latents(np.full((2, 3, 2), np.nan)), "VQVAE.decode_latents", "z", "must be finite", "nan at index (0, 0, 0)"),  # noqa: E501
        (lambda m: m.initialize((X[:0],), 0), "EMAVectorQuantizer.initialize", "z", "must hold at least one vector", "shape (0, 3, 2)"),  # noqa: E501
        (lambda m: m.prepare(X[:0]), "fit", "data", "must hold at least one image", "shape (0, 2, 3)"),
        (lambda m: m.prepare(np.zeros((2, 5))), "fit", "data", "must have shape (n, 2, 3) or (n, 6)", "shape (2, 5)"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, where, argument, needed, got):
    error = NonFiniteError if "finite" in needed else InputError
    with refused(argument, needed, got, where=where, error=error):
        call(tiny(codebook_init="data"))


def test_a_state_is_a_copy_so_that_the_best_epoch_can_be_kept():
    model = VQVAE.mlp(image_shape=(3,), num_latents=1, embedding_dim=2, num_embeddings=3, hidden=(4,))
    kept, x = model.state_dict(), np.random.default_rng(0).random((9, 3), np.float32)
    _, cache = model.loss((x,))
    for param in model.parameters():
        param.value += 1
    model.after_step(cache, np.random.default_rng(0))
    assert all(not np.array_equal(array, kept[name]) for name, array in model.state_dict().items())
    model.load_state_dict(kept)
    assert all(np.array_equal(array, kept[name]) for name, array in model.state_dict().items())


def test_the_fingerprint_knows_the_activation():
    models = (VQVAE.mlp(image_shape=(3,), hidden=(4,), activation=f, rng=0) for f in ("relu", "gelu"))
    assert len({model.fingerprint() for model in models}) == 2


def test_a_history_of_losses_in_nats_is_no_history_of_squared_errors(rng):
    """−log p of a density may be negative; the diagnosis then rests on the perplexities alone."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Reshape(2, 2))
    decoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Reshape(2, 2, 2))
    model = VQVAE(encoder, nn.VectorQuantizer(3, 2), decoder, DataSpec((2, 2)), "logit_laplace")
    history = [{"epoch": i, "perplexity": 2.0, "reconstruction_loss": -1.0 / i} for i in range(1, 5)]
    x = rng.random((200, 2, 2))
    assert str(model.evaluate(x, history).diagnosis)
    squared = VQVAE(encoder, nn.VectorQuantizer(3, 2), nn.Sequential(*encoder.layers), DataSpec((2, 2)))
    with refused("history's mse in epoch 1", "[0, inf)"):
        squared.evaluate(x, history)
