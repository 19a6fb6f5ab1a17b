"""The whole model: every parameter's gradient, codes and images bit for bit, and what it refuses."""

import tracemalloc

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from vqnp import VQVAE, EMAVectorQuantizer, InputError, VectorQuantizer, gradcheck_module, ops
from vqnp.evaluation.codes import BATCH
from vqnp.models import base
from vqnp.models.base import CHUNK

TINY = {"image_shape": (2, 3), "num_latents": 3, "embedding_dim": 2, "num_embeddings": 5, "hidden": (7,)}
each_codebook = pytest.mark.parametrize("codebook", ["ema", "gradient"])


def tiny(**options):
    return VQVAE(**{**TINY, "codebook_init": "normal", "dtype": "float64", "rng": 1, **options})


class Checked:
    """A VQVAE as gradcheck_module takes it: its loss alone."""

    def __init__(self, model):
        self.model = model

    def named_params(self):
        return self.model.named_params()

    def forward(self, x):
        losses, _, _, cache = self.model.loss_forward(x)
        return losses.total, cache

    def backward(self, dL, cache):
        return self.model.loss_backward(dL, cache)


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "gelu": lambda x: ops.gelu_forward(x)[0],
               "sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2}  # fmt: skip


def network(x, arrays, activation):
    """A multilayer perceptron from W, b, W, b, …"""
    for i in range(0, len(arrays), 2):
        x = (ACTIVATIONS[activation](x) if i else x) @ arrays[i] + arrays[i + 1]
    return x


@each_codebook
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", [
    {}, {"hidden": ()}, {"hidden": (6, 5)}, {"num_latents": 1, "embedding_dim": 1, "num_embeddings": 1},
    {"commitment_cost": 1.5, "quantizer_options": {"beta_on": "complement", "reduction": "sum"}},
])  # fmt: skip
def test_every_gradient_is_the_surrogates(codebook, activation, options, rng):
    """L with the target and every sg frozen, written out from equation 3; worst relative error 1e-7."""
    model = tiny(codebook=codebook, activation=activation, **options)
    names = [name for name, _ in model.named_params()]
    M, D, beta = model.num_latents, model.embedding_dim, model.quantizer.commitment_cost
    commitment, codebook_weight = oracles.beta_weights(beta, model.quantizer.beta_on)
    if codebook == "ema":
        codebook_weight = 0.0

    def parts(values):
        values = dict(zip(names, values, strict=True))
        return tuple([v for n, v in values.items() if n.startswith(p)] for p in ("encoder", "decoder"))

    def freeze(x0, *params):
        encoder, _ = parts(params)
        x0, z0 = x0.copy(), network(x0, encoder, activation).reshape(len(x0), M, D)
        k = oracles.nearest(z0.reshape(-1, D), model.quantizer.embeddings).reshape(len(x0), M)
        e0 = model.quantizer.embeddings[k]
        size = oracles.count(z0.shape, model.quantizer.reduction)

        def surrogate(x, *params):
            encoder, decoder = parts(params)
            z = network(x, encoder, activation).reshape(z0.shape)
            z_q = z + (e0 - z0)
            x_hat = network(z_q.reshape(len(x), M * D), decoder, activation)
            e = params[names.index("quantizer.E")][k] if "quantizer.E" in names else e0
            L_vq = commitment * np.sum((z - e0) ** 2) + codebook_weight * np.sum((z0 - e) ** 2)
            return (np.asarray(np.mean((x_hat - x0) ** 2) + L_vq / size),)

        return surrogate

    report = gradcheck_module(Checked(model), rng.random((4, 6)), rng=rng, freeze=freeze)
    assert len(report.rows) == 1 + len(names) and ("quantizer.E" in names) == (codebook == "gradient")
    report.raise_if_failed()


@each_codebook
def test_the_losses_are_the_parts_of_the_total(codebook, rng):
    model, x = tiny(codebook=codebook), rng.random((4, 6))
    losses, z, k, _ = model.loss_forward(x)
    x_hat, z2, k2, L_vq, _ = model.forward(x)
    assert losses.total == losses.reconstruction + losses.quantization and losses.quantization == L_vq
    np.testing.assert_allclose(losses.reconstruction, np.mean((x_hat - x) ** 2), rtol=1e-13)
    np.testing.assert_array_equal(z, z2)
    np.testing.assert_array_equal(k, k2)
    assert z.shape == (4, 3, 2) and k.shape == (4, 3) and x_hat.shape == x.shape


@each_codebook
def test_no_reconstruction_gradient_reaches_the_codebook(codebook, rng):
    model, x = tiny(codebook=codebook), rng.random((4, 6))
    x_hat, *_, cache = model.forward(x)
    model.backward(rng.standard_normal(x_hat.shape), cache, 0.0)
    grads = {name: p.grad for name, p in model.named_params()}
    assert not grads.pop("quantizer.E", np.zeros(1)).any()
    assert all(g.any() for g in grads.values())  # but the encoder gets it, straight through


def test_lookahead_reaches_the_quantizer(rng):
    model, x = tiny(decay=0.0, quantizer_options={"codes": "after"}), rng.random((4, 6))
    before, after = model.loss_forward(x)[0], model.loss_forward(x, lookahead=True)[0]
    assert after.quantization < before.quantization


# Codes and images.


@each_codebook
@given(seed=seeds, n=st.integers(0, 2 * CHUNK + 3), dtype=st.sampled_from(["float32", "float64"]))
@settings(max_examples=15)
def test_decode_of_encode_is_reconstruct_bit_for_bit(codebook, seed, n, dtype):
    """Also in batches of CHUNK, or of BATCH as the command line's, or of codes and not of images."""
    r = np.random.default_rng(seed)
    options = {"image_shape": (5, 7), "hidden": (33,), "codebook": codebook, "rng": seed, "dtype": dtype}
    model, images = VQVAE(**{**TINY, **options}), r.random((n, 5, 7)).astype(dtype)
    if n:
        model.start_codebook(images, seed)
    whole, codes = model.reconstruct(images), model.encode(images)
    assert codes.shape == (n, 3) and codes.dtype == np.int64
    assert whole.shape == images.shape and whole.dtype == np.dtype(dtype)
    assert n == 0 or (whole.min() >= 0 and whole.max() <= 1)
    assert model.decode(codes).tobytes() == whole.tobytes()
    for start in range(0, n, CHUNK):
        part = images[start : start + CHUNK]
        assert model.encode(part).tobytes() == codes[start : start + CHUNK].tobytes()
        assert model.reconstruct(part).tobytes() == whole[start : start + CHUNK].tobytes()
    padded = np.concatenate([images, r.random((3, 5, 7)).astype(dtype)])  # what comes after does not show
    assert model.reconstruct(padded)[:n].tobytes() == whole.tobytes()
    assert BATCH % CHUNK == 0


def test_encode_has_one_part_of_a_memory_mapped_array_in_memory(tmp_path, monkeypatch):
    """Whatever the number of images; and the codes are those of all at once."""
    monkeypatch.setattr(base, "PART", 2 * CHUNK)
    model = VQVAE((64,), 1, 2, 8, hidden=(4,))
    x = np.random.default_rng(0).random((8 * CHUNK + 5, 64), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    codes = model.encode(mapped)
    np.testing.assert_array_equal(codes, model.quantizer.encode(model.latents(x)))
    peaks = []
    for n in (2 * CHUNK, len(x)):
        tracemalloc.start()
        model.encode(mapped[:n])
        peaks.append(tracemalloc.get_traced_memory()[1] - 8 * n)
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_encode_names_a_bad_image_by_its_place_among_all(monkeypatch):
    monkeypatch.setattr(base, "PART", CHUNK)
    model = VQVAE((2,), 1, 2, 8, hidden=(4,))
    x = np.zeros((3 * CHUNK, 2))
    x[2 * CHUNK + 1, 1] = 2
    with pytest.raises(InputError) as error:
        model.encode(x)
    assert str(error.value).startswith("VQVAE.encode: images must be in [0, 1]")
    assert str(error.value).endswith(f"got 2.0 at index ({2 * CHUNK + 1}, 1)")


def test_encode_with_progress_draws_a_bar_on_standard_error(capsys):
    model = VQVAE((2,), 1, 2, 8, hidden=(4,))
    model.encode(np.zeros((10, 2)), progress=True)
    out, err = capsys.readouterr()
    assert "10.0/10.0" in err and not out
    model.encode(np.zeros((10, 2)))
    assert capsys.readouterr() == ("", "")


@given(seed=seeds, n=st.integers(1, 40))
@settings(max_examples=15)
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
    losses, z, k, cache = model.loss_forward(np.zeros((0, 6)))
    assert losses.total == 0 and z.shape == (0, 3, 2) and k.shape == (0, 3)
    assert model.loss_backward(1.0, cache).shape == (0, 6)
    assert not any(p.grad.any() for _, p in model.named_params())


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
    raw = model.decoder.forward(model.quantizer.embeddings[codes].reshape(20, 6))[0]
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
    model.encoder.layers[0].W.value[0, 0] += 1
    model.quantizer.ema.N[0] += 1
    assert model.fingerprint() == first
    for array in (model.quantizer.embeddings, *(p.value for _, p in model.decoder.named_params())):
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
    model.start_codebook(images, 4)
    z = model.latents(images)
    E = model.quantizer.embeddings
    if init == "data":
        assert {e.tobytes() for e in E} <= {v.tobytes() for v in z.reshape(-1, 2)}
    elif init == "kmeans":
        np.testing.assert_array_equal(E, ops.kmeans(z, 5, np.random.default_rng(4))[0])
    else:
        np.testing.assert_array_equal(E, before)


def test_configuration_makes_the_same_model_again(rng):
    """A checkpoint holds config and state(), and no more."""
    options = {"start": "zero", "zero_debias": True, "smoothing": "additive", "codes": "after"}
    model = tiny(activation="gelu", decay=0.8, epsilon=1e-3, commitment_cost=0.5, quantizer_options=options)
    again = VQVAE(**model.config, rng=9)
    assert again.config == model.config
    again.load_state(model.state())
    images = rng.random((5, 2, 3))
    assert again.reconstruct(images).tobytes() == model.reconstruct(images).tobytes()
    assert again.fingerprint() == model.fingerprint()
    for a, b in ((model.quantizer, again.quantizer),):
        assert isinstance(a, EMAVectorQuantizer)
        for name in ("decay", "epsilon", "commitment_cost", "start", "zero_debias", "smoothing", "codes"):
            assert getattr(a, name) == getattr(b, name) == {**model.config, **options}[name]


def test_the_default_model():
    model = VQVAE()
    assert isinstance(model.quantizer, EMAVectorQuantizer) and model.bits_per_image == 112
    assert isinstance(VQVAE(**TINY, codebook="gradient").quantizer, VectorQuantizer)
    assert model.state()["encoder.0.W"].shape == (784, 512) and model.state()["quantizer.E"].shape == (128, 16)  # noqa: E501
    assert tiny(hidden=(6, 5)).state()["decoder.0.W"].shape == (6, 5)  # the hidden layers in reverse


# What is refused.

PLACES = "'commitment', 'codebook', 'complement', 'both'"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_shape": (28, 0)}, "VQVAE: image_shape[1] must be an integer of at least 1; got 0"),
        ({"image_shape": 28}, "VQVAE: image_shape must be a sequence of integers; got 28"),
        ({"num_latents": 0}, "VQVAE: num_latents must be an integer of at least 1; got 0"),
        ({"num_latents": True}, "VQVAE: num_latents must be an integer of at least 1; got True"),
        ({"embedding_dim": -3}, "VQVAE: embedding_dim must be an integer of at least 1; got -3"),
        ({"num_embeddings": 0}, "VQVAE: num_embeddings must be an integer of at least 1; got 0"),
        ({"num_embeddings": "many"}, "VQVAE: num_embeddings must be an integer of at least 1; got 'many'"),
        ({"hidden": (5, 0)}, "VQVAE: hidden[1] must be an integer of at least 1; got 0"),
        ({"hidden": 512}, "VQVAE: hidden must be a sequence of integers; got 512"),
        ({"hidden": "512"}, "VQVAE: hidden must be a sequence of integers; got '512'"),
        ({"activation": "swish"}, "VQVAE: activation must be one of 'relu', 'gelu', 'tanh', 'sigmoid'; got 'swish'"),  # noqa: E501
        ({"codebook": "adam"}, "VQVAE: codebook must be one of 'ema', 'gradient'; got 'adam'"),
        ({"commitment_cost": -1}, "EMAVectorQuantizer: commitment_cost must be in [0, inf); got -1.0"),
        ({"commitment_cost": "a lot"}, "EMAVectorQuantizer: commitment_cost must be a number in [0, inf); got 'a lot'"),  # noqa: E501
        ({"commitment_cost": np.nan, "codebook": "gradient"}, "VectorQuantizer: commitment_cost must be in [0, inf); got nan"),  # noqa: E501
        ({"decay": 1.0}, "EMAVectorQuantizer: decay must be in [0, 1); got 1.0"),
        ({"decay": None}, "EMAVectorQuantizer: decay must be a number in [0, 1); got None"),
        ({"epsilon": -1}, "EMAVectorQuantizer: epsilon must be in [0, inf); got -1.0"),
        ({"epsilon": -1, "codebook": "gradient"}, "VQVAE: epsilon must be in [0, inf); got -1.0"),
        ({"codebook_init": "zeros"}, "EMAVectorQuantizer: codebook_init must be one of 'uniform', 'normal', 'scaled_uniform', 'data', 'kmeans'; got 'zeros'"),  # noqa: E501
        ({"dtype": "float16"}, "VQVAE: dtype must be 'float32' or 'float64'; got 'float16'"),
        ({"dtype": "double precision"}, "VQVAE: dtype must be 'float32' or 'float64'; got 'double precision'"),  # noqa: E501
        ({"quantizer_options": "beta_on"}, "VQVAE: quantizer_options must be a mapping; got str"),
        ({"quantizer_options": {"beta_on": "encoder"}}, f"EMAVectorQuantizer: beta_on must be one of {PLACES}; got 'encoder'"),  # noqa: E501
        ({"quantizer_options": {"decay": 0.5}}, "VQVAE: quantizer_options must not repeat VQVAE's own arguments; got decay"),  # noqa: E501
        ({"quantizer_options": {"rng": 0, "epsilon": 1}}, "VQVAE: quantizer_options must not repeat VQVAE's own arguments; got epsilon, rng"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_settings_are_refused(options, sentence):
    with pytest.raises(InputError) as error:
        VQVAE(**{**TINY, **options})
    assert str(error.value) == sentence


@pytest.mark.parametrize(("codebook", "name"), [("ema", "gamma"), ("gradient", "smoothing"), ("gradient", "epsilon")])  # noqa: E501
def test_options_of_the_other_quantizer_are_refused(codebook, name):
    kind = {"ema": "EMAVectorQuantizer", "gradient": "VectorQuantizer"}[codebook]
    with pytest.raises(InputError) as error:
        VQVAE(**TINY, codebook=codebook, quantizer_options={name: 1})
    text = str(error.value)
    assert text.startswith(f"VQVAE: quantizer_options must be keywords of {kind}; got ")
    assert text.endswith(f"got an unexpected keyword argument '{name}'")


X = np.zeros((2, 6))


def pixel(value):
    x = np.zeros((2, 2, 3))
    x[1, 0, 2] = value
    return x


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: m.forward(X[:, :5]), "VQVAE.forward: x must have last axis 6; got shape (2, 5)"),
        (lambda m: m.forward(X.reshape(2, 2, 3)), "VQVAE.forward: x must have 2 axes; got shape (2, 2, 3)"),  # noqa: E501
        (lambda m: m.forward(X[0]), "VQVAE.forward: x must have 2 axes; got shape (6,)"),
        (lambda m: m.loss_forward(X.astype(np.float32)), "VQVAE.forward: x must be float64, like the other arrays; got float32"),  # noqa: E501
        (lambda m: m.forward(X + np.nan), "EMAVectorQuantizer.encode: z must be finite; got nan at index (0, 0, 0)"),  # noqa: E501
        (lambda m: m.encode(np.zeros((2, 3, 2))), "VQVAE.encode: images must have shape (n, 2, 3) or (n, 6); got shape (2, 3, 2)"),  # noqa: E501
        (lambda m: m.encode(np.zeros((2, 3))), "VQVAE.encode: images must have shape (n, 2, 3) or (n, 6); got shape (2, 3)"),  # noqa: E501
        (lambda m: m.encode(np.array(0.5)), "VQVAE.encode: images must have shape (n, 2, 3) or (n, 6); got shape ()"),  # noqa: E501
        (lambda m: m.encode(pixel(np.nan)), "VQVAE.encode: images must be finite; got nan at index (1, 0, 2)"),  # noqa: E501
        (lambda m: m.reconstruct(pixel(np.inf)), "VQVAE.encode: images must be finite; got inf at index (1, 0, 2)"),  # noqa: E501
        (lambda m: m.encode(pixel(255.0)), "VQVAE.encode: images must be in [0, 1] if they are not uint8; got 255.0 at index (1, 0, 2)"),  # noqa: E501
        (lambda m: m.encode(X.astype(int)), "VQVAE.encode: images must be uint8, or float32 or float64 in [0, 1]; got int64"),  # noqa: E501
        (lambda m: m.encode(X.tolist()), "VQVAE.encode: images must be a NumPy array; got list"),
        (lambda m: m.decode(np.zeros((2, 4), int)), "VQVAE.decode: codes must have shape (n, 3); got shape (2, 4)"),  # noqa: E501
        (lambda m: m.decode(np.zeros(3, int)), "VQVAE.decode: codes must have shape (n, 3); got shape (3,)"),
        (lambda m: m.decode(np.array([[0, 1, 5]])), "VQVAE.decode: codes must be in [0, 5); got 5 at index (0, 2)"),  # noqa: E501
        (lambda m: m.decode(np.array([[0, -1, 5]])), "VQVAE.decode: codes must be in [0, 5); got -1 at index (0, 1)"),  # noqa: E501
        (lambda m: m.decode(np.zeros((2, 3))), "VQVAE.decode: codes must be integers; got float64"),
        (lambda m: m.decode(np.zeros((2, 3), bool)), "VQVAE.decode: codes must be integers; got bool"),
        (lambda m: m.decode_latents(np.zeros((2, 3, 3))), "VQVAE.decode_latents: z_q must have shape (2, 3, 2); got shape (2, 3, 3)"),  # noqa: E501
        (lambda m: m.decode_latents(np.zeros((2, 3, 2), np.float32)), "VQVAE.decode_latents: z_q must be float64, like the other arrays; got float32"),  # noqa: E501
        (lambda m: m.start_codebook(np.zeros((0, 2, 3)), 0), "EMAVectorQuantizer.start_from: z must hold at least one vector; got shape (0, 3, 2)"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(InputError) as error:
        call(tiny(codebook_init="data"))
    assert str(error.value) == sentence


def test_state_is_a_copy_so_that_the_best_epoch_can_be_kept():
    model = VQVAE(image_shape=(3,), num_latents=1, embedding_dim=2, num_embeddings=3, hidden=(4,))
    kept, x = model.state(), np.random.default_rng(0).random((9, 3), np.float32)
    _, z, k, _ = model.loss_forward(x)
    for _, param in model.named_params():
        param.value += 1
    model.quantizer.update(z, k, 0)
    assert all(not np.array_equal(array, kept[name]) for name, array in model.state().items())
    model.load_state(kept)
    assert all(np.array_equal(array, kept[name]) for name, array in model.state().items())


def test_the_fingerprint_knows_the_activation():
    models = (VQVAE(image_shape=(3,), hidden=(4,), activation=f, rng=0) for f in ("relu", "gelu"))
    assert len({model.fingerprint() for model in models}) == 2
