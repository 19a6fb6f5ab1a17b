"""Models from parts: what does not fit and which part gave it; latents with a shape; a layer of one's own."""

import numpy as np
import pytest
from helpers import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

import vqnp
from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, VectorQuantizer
from vqnp.data import DataSpec
from vqnp.inspection import code_anatomy, interpolate, position_influence, swap_agreement, swap_interaction
from vqnp.nn import Activation, Flatten, Linear, Module, Param, Reshape, Sequential, build, describe

IMAGE, D, K = (6, 5), 3, 7
each_quantizer = pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])


def vqvae(latent_shape, kind=EMAVectorQuantizer, dtype="float64", **options):
    """Networks that are the same, weight for weight, whatever shape sixteen latents have."""
    M = int(np.prod(latent_shape))
    encoder = Sequential(
        Flatten(), Linear(30, 11, 1, dtype), Activation("tanh"), Linear(11, M * D, 2, dtype),
        Reshape(*latent_shape, D),
    )  # fmt: skip
    decoder = Sequential(Flatten(), Linear(M * D, 30, 3, dtype), Reshape(*IMAGE))
    quantizer = kind(K, D, codebook_init="normal", rng=4, dtype=dtype, **options)
    return VQVAE(encoder, quantizer, decoder, DataSpec(IMAGE))


# Latents with a shape.


@each_quantizer
@given(seed=seeds, n=st.integers(0, 140), dtype=st.sampled_from(["float32", "float64"]))
@settings(max_examples=10)
def test_codes_have_the_latents_shape_and_decode_to_the_reconstruction(kind, seed, n, dtype):
    model = vqvae((4, 4), kind, dtype)
    x = np.random.default_rng(seed).random((n, *IMAGE)).astype(dtype)
    codes = model.encode(x)
    assert (model.latent_shape, model.num_latents) == ((4, 4), 16)
    assert codes.shape == (n, 4, 4) and codes.dtype == np.int64 and model.encoding.shape == (4, 4)
    assert model.latents(x).shape == (n, 4, 4, D)
    np.testing.assert_array_equal(codes, model.quantize(model.latents(x)))
    images = model.decode(codes)
    assert images.shape == (n, *IMAGE) and images.dtype == np.dtype(dtype)
    assert images.tobytes() == model.reconstruct(x).tobytes()
    np.testing.assert_array_equal(model.decode_latents(model.quantizer.decode(codes)), images)


@each_quantizer
def test_the_same_networks_with_latents_in_a_plane_or_in_a_row_are_the_same_model(kind, rng):
    """Losses, gradients, the quantizer's step and every function of inspection, bit for bit."""
    plane, row = vqvae((4, 4), kind, restart_dead_codes=0.3), vqvae((16,), kind, restart_dead_codes=0.3)
    x = rng.random((20, *IMAGE))
    np.testing.assert_array_equal(plane.encode(x), row.encode(x).reshape(20, 4, 4))
    assert plane.bits_per_image == row.bits_per_image == 16 * np.log2(K)
    (losses, cache), (their_losses, their_cache) = plane.loss((x,)), row.loss((x,))
    assert losses == their_losses
    np.testing.assert_array_equal(
        plane.backward(cache, need_dx=True), row.backward(their_cache, need_dx=True)
    )
    for (name, ours), (_, theirs) in zip(plane.named_parameters(), row.named_parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad, theirs.grad, err_msg=name)
    counts, their_counts = plane.statistics(cache), row.statistics(their_cache)
    np.testing.assert_array_equal(counts["quantizer"], their_counts["quantizer"])
    for model, kept in ((plane, cache), (row, their_cache)):
        model.after_step(kept, np.random.default_rng(2))
    for (name, ours), (_, theirs) in zip(plane.state_dict().items(), row.state_dict().items(), strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    a = position_influence(plane, x, 5)
    assert a.shape == (4, 4, *IMAGE)
    np.testing.assert_array_equal(a.reshape(16, *IMAGE), position_influence(row, x, 5))
    for ours, theirs in zip(code_anatomy(plane, x), code_anatomy(row, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert swap_agreement(plane, x, 6) == swap_agreement(row, x, 6)
    assert swap_interaction(plane, x, 3, 7) == swap_interaction(row, x, 3, 7)
    path, their_path = (interpolate(model, x[0], x[1], 9) for model in (plane, row))
    assert path.codes.shape == (9, 4, 4)
    np.testing.assert_array_equal(path.codes.reshape(9, 16), their_path.codes)
    np.testing.assert_array_equal(path.images, their_path.images)


def test_position_influence_of_a_plane_says_where_each_position_is_seen():
    """A decoder that copies each position's first number to its own pixel: influence is the identity."""
    decoder = Sequential(Flatten(), Linear(4 * D, 4, dtype="float64"), Reshape(2, 2))
    W = decoder.layers[1].W.value
    W[...] = 0
    W[np.arange(4) * D, np.arange(4)] = 1
    encoder = Sequential(Flatten(), Linear(4, 4 * D, 1, "float64"), Reshape(2, 2, D))
    quantizer = VectorQuantizer(K, D, dtype="float64")
    quantizer.embeddings[...] = np.linspace(0.1, 0.9, K)[:, None]
    model = VQVAE(encoder, quantizer, decoder, DataSpec((2, 2)))
    model.encode = lambda images: np.random.default_rng(0).integers(0, K, (len(images), 2, 2))
    a = position_influence(model, np.zeros((30, 2, 2)), 1)
    assert a.shape == (2, 2, 2, 2)
    for i, j in np.ndindex(2, 2):
        reached = np.argwhere(a[i, j] > 0)
        assert reached.tolist() == [[i, j]]


def test_a_latent_shape_of_no_axes_is_one_code_an_example(rng):
    model = vqvae(())
    x = rng.random((9, *IMAGE))
    codes = model.encode(x)
    assert (model.latent_shape, model.num_latents, codes.shape) == ((), 1, (9,))
    assert model.decode(codes).tobytes() == model.reconstruct(x).tobytes()
    assert position_influence(model, x, 0).shape == IMAGE
    assert code_anatomy(model, x).context.shape == (K, *IMAGE)
    with refused("codes", "must have shape (n,)", "shape (9, 1)", where="VQVAE.decode"):
        model.decode(codes[:, None])


@each_quantizer
def test_a_plane_of_latents_makes_the_round_trip(kind, tmp_path, rng):
    """state_dict into a model built from the description; a checkpoint; and a trained one of either."""
    model, x = vqvae((4, 4), kind), rng.random((40, *IMAGE))
    vqnp.fit(model, x, epochs=2, batch_size=8, progress=False)
    again = build(describe(model))
    again.load_state_dict(model.state_dict())
    vqnp.save(tmp_path / "m.npz", model)
    for other in (again, vqnp.load(tmp_path / "m.npz")):
        assert other.latent_shape == (4, 4) and other.fingerprint() == model.fingerprint()
        np.testing.assert_array_equal(other.encode(x), model.encode(x))
        assert other.reconstruct(x).tobytes() == model.reconstruct(x).tobytes()


def test_codes_of_another_shape_are_refused():
    model = vqvae((4, 4))
    for codes, got in ((np.zeros((2, 16), int), "shape (2, 16)"), (np.zeros((4, 4), int), "shape (4, 4)")):
        with refused("codes", "must have shape (n, 4, 4)", got, where="VQVAE.decode"):
            model.decode(codes)
    with refused("codes", "must be in [0, 7)", "7 at index (1, 0, 3)", where="VQVAE.decode"):
        bad = np.zeros((2, 4, 4), int)
        bad[1, 0, 3] = 7
        model.decode(bad)
    with refused("z", f"must have shape (2, 4, 4, {D})", "shape (2, 16, 3)", where="VQVAE.decode_latents"):
        model.decode_latents(np.zeros((2, 16, D)))


# Parts that do not fit: which part gave what.


def enc(*layers):
    return Sequential(Flatten(), Linear(30, 12), *layers)


def dec(*layers):
    return Sequential(Flatten(), Linear(12, 30), *layers)


GOOD = {
    "encoder": enc(Reshape(2, 2, 3)),
    "quantizer": EMAVectorQuantizer(K, 3),
    "decoder": dec(Reshape(*IMAGE)),
}


class Rows(Module):
    """Gives a fixed array, whatever it is given."""

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        return np.zeros(self.shape, np.float32), None


@pytest.mark.parametrize(
    ("change", "argument", "needed", "got"),
    [
        ({"encoder": None}, "encoder", "must be a vqnp.nn.Module", "NoneType"),
        ({"encoder": Linear}, "encoder", "must be a vqnp.nn.Module", "type"),
        ({"decoder": [Linear(3, 3)]}, "decoder", "must be a vqnp.nn.Module", "list"),
        ({"quantizer": None}, "quantizer", "must be a quantizer of vqnp.nn", "NoneType"),
        ({"quantizer": Linear(3, 3)}, "quantizer", "must be a quantizer of vqnp.nn", "Linear"),
        ({"data": DataSpec((28, 28))}, "encoder", "must take arrays of shape (B, 28, 28)", "linear_forward: x must have shape (..., 30); got shape (1, 784)"),  # noqa: E501
        ({"encoder": Linear(30, 12)}, "encoder", "must take arrays of shape (B, 6, 5)", "shape (1, 6, 5)"),
        ({"encoder": enc(Reshape(2, 2, 4))}, "encoder", "must take arrays of shape (B, 6, 5)", "Reshape.forward: x must have 16 numbers per example"),  # noqa: E501
        ({"encoder": enc(Reshape(3, 4))}, "encoder", "must give arrays (B, ..., 3), like the quantizer's codes", "shape (3, 4) an example"),  # noqa: E501
        ({"quantizer": EMAVectorQuantizer(K, 4)}, "encoder", "must give arrays (B, ..., 4)", "shape (2, 2, 3)"),  # noqa: E501
        ({"encoder": Rows((1,))}, "encoder", "must give an array of shape (B, ..., D)", "shape (1,)"),
        ({"encoder": Rows((2, 3))}, "encoder", "must give an array of shape (B, ..., D)", "shape (2, 3)"),
        ({"decoder": Sequential(Flatten(), Linear(16, 30), Reshape(*IMAGE))}, "decoder", "must take arrays of shape (B, 2, 2, 3)", "linear_forward: x must have shape (..., 16); got shape (1, 12)"),  # noqa: E501
        ({"decoder": dec()}, "decoder", "must give arrays of the data's shape, (6, 5)", "shape (30,)"),
        ({"decoder": dec(Reshape(5, 6))}, "decoder", "must give arrays of the data's shape, (6, 5)", "shape (5, 6)"),  # noqa: E501
        ({"decoder": Rows((4, *IMAGE))}, "decoder", "must give an array of shape (B, ..., D)", "shape (4, 6, 5)"),  # noqa: E501
        ({"decoder": Sequential(Flatten(), Linear(12, 30, dtype="f8"), Reshape(*IMAGE))}, "encoder and decoder", "must have one dtype", "float32, float64"),  # noqa: E501
        ({"quantizer": VectorQuantizer(K, 3, dtype="f8")}, "quantizer", "must be float32, as the encoder", "float64"),  # noqa: E501
    ],
)  # fmt: skip
def test_the_part_that_does_not_fit_is_named(change, argument, needed, got):
    VQVAE(**{"data": DataSpec(IMAGE), **GOOD})
    with refused(argument, needed, got, where="VQVAE"):
        VQVAE(**{"data": DataSpec(IMAGE), **GOOD, **change})


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_the_part_of_another_model_that_does_not_fit_is_named(kind):
    wide = enc(Reshape(2, 2, 3) if kind is Autoencoder else Reshape(2, 6))
    decoder = dec(Reshape(*IMAGE)) if kind is Autoencoder else Sequential(
        Flatten(), Linear(6, 30), Reshape(*IMAGE)
    )
    assert kind(wide, decoder, DataSpec(IMAGE)).latent_shape == ((2, 2) if kind is Autoencoder else (2,))
    with refused("encoder", "must take arrays of shape (B, 28, 28)", "(1, 784)", where=kind.__name__):
        kind(wide, decoder)
    with refused("decoder", "must take arrays of shape", "linear_forward", where=kind.__name__):
        kind(wide, Sequential(Flatten(), Linear(31, 30), Reshape(*IMAGE)), DataSpec(IMAGE))
    with refused("decoder", "must give arrays of the data's shape", "shape (30,)", where=kind.__name__):
        kind(wide, Sequential(*decoder.layers[:-1]), DataSpec(IMAGE))


def test_a_vaes_encoder_gives_an_even_number():
    with refused("encoder", "must give arrays (B, ..., 2 D)", "last axis 3", where="VAE"):
        VAE(GOOD["encoder"], GOOD["decoder"], DataSpec(IMAGE))


def test_data_is_a_dataspec_or_its_description():
    parts = list(GOOD.values())
    assert VQVAE(*parts, {"shape": [6, 5], "low": -1, "high": 1}).data == DataSpec(IMAGE, -1, 1)
    for data in (IMAGE, 30, "mnist", {"shape": IMAGE, "max": 1}):
        with refused("data", "must be a DataSpec, or a mapping of shape, low, high", repr(data)):
            VQVAE(*parts, data)


def test_putting_parts_together_changes_none_of_them():
    """They are tried on zeros: nothing is trained; the model holds the parts themselves."""
    before = {name: part.state_dict() for name, part in GOOD.items()}
    model = VQVAE(**GOOD, data=DataSpec(IMAGE))
    for name, part in GOOD.items():
        assert getattr(model, name) is part
        assert not any(p.grad.any() for p in part.parameters())
        for key, array in part.state_dict().items():
            np.testing.assert_array_equal(array, before[name][key])
            np.testing.assert_array_equal(model.state_dict()[f"{name}.{key}"], array)


def test_a_module_may_be_part_of_two_models(rng):
    """A decoder that is shared is trained by both."""
    decoder = dec(Reshape(*IMAGE))
    one = VQVAE(enc(Reshape(2, 2, 3)), VectorQuantizer(K, 3), decoder, DataSpec(IMAGE))
    other = Autoencoder(enc(), decoder, DataSpec(IMAGE))
    x = rng.random((4, *IMAGE), np.float32)
    for model in (one, other):
        model.backward(model.loss((x,))[1])
    separate = decoder.layers[1].W.grad.copy()
    one.zero_grad()
    assert not other.decoder.layers[1].W.grad.any() and separate.any()


# A layer of one's own.


class Softplus(Module):
    """y = s log(1 + exp x), with a trained s: what somebody tries in a notebook, with no thought of files."""

    def __init__(self):
        self.s = Param(np.ones(1))

    def forward(self, x):
        return self.s.value * np.logaddexp(0, x), x

    def backward(self, dy, cache, need_dx=True):
        self.s.add_grad((dy * np.logaddexp(0, cache)).sum(keepdims=True).reshape(1))
        return dy * self.s.value / (1 + np.exp(-cache)) if need_dx else None


def with_softplus():
    encoder = Sequential(Flatten(), Linear(30, 8, 1, "f8"), Softplus(), Linear(8, 6, 2, "f8"), Reshape(2, 3))
    decoder = Sequential(Flatten(), Linear(6, 30, 3, "f8"), Softplus(), Reshape(*IMAGE))
    quantizer = EMAVectorQuantizer(K, 3, codebook_init="data", dtype="f8")
    return VQVAE(encoder, quantizer, decoder, DataSpec(IMAGE))


def test_a_layer_of_ones_own_trains_within_a_model(rng):
    model, x = with_softplus(), rng.random((60, *IMAGE))
    names = [name for name, _ in model.named_parameters()]
    assert "encoder.2.s" in names and "decoder.2.s" in names
    history = vqnp.fit(model, x, epochs=5, batch_size=10, lr=1e-2, progress=False)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert model.encoder.layers[2].s.value != 1 and model.decoder.layers[2].s.value != 1
    assert model.decode(model.encode(x)).tobytes() == model.reconstruct(x).tobytes()
    model.load_state_dict(model.state_dict())


def test_but_it_cannot_be_saved_and_says_what_is_missing(tmp_path, rng):
    """Nor by fit with a checkpoint; and no file is left behind."""
    model, x = with_softplus(), rng.random((20, *IMAGE))
    for save in (
        lambda: vqnp.save(tmp_path / "m.npz", model),
        lambda: vqnp.fit(model, x, epochs=1, checkpoint=tmp_path / "c.npz", progress=False),
        lambda: vqnp.export.save_torch(tmp_path / "w.npz", Sequential(Linear(2, 2), Softplus())),
    ):
        with pytest.raises(vqnp.InputError) as caught:
            save()
        assert "Softplus" in str(caught.value) or "1 must have names" in str(caught.value)
    with refused("Softplus", "must be registered with vqnp.nn.register", where="describe"):
        describe(model)
    assert list(tmp_path.iterdir()) == []
