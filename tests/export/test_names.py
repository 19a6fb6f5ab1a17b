"""What goes to PyTorch's names comes back bit for bit; what does not fit is refused in one sentence."""

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st

import vqnp
from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, InputError, VectorQuantizer
from vqnp._check import NonFiniteError
from vqnp.data import DataSpec
from vqnp.export import from_torch, to_torch, torch_names
from vqnp.nn import Activation, Flatten, Linear, Module, Param, Reshape, Sequential, describe
from vqnp.nn.module import TorchName

TINY = {"image_shape": (3, 2), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}

models = st.fixed_dictionaries(
    {
        "image_shape": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "num_latents": st.integers(1, 4),
        "embedding_dim": st.integers(1, 4),
        "num_embeddings": st.integers(1, 8),
        "hidden": st.lists(st.integers(1, 9), max_size=3).map(tuple),
        "activation": st.sampled_from(["relu", "gelu", "tanh", "sigmoid", "silu", "leaky_relu"]),
        "codebook": st.sampled_from(["ema", "gradient"]),
        "dtype": st.sampled_from(["float32", "float64"]),
    }
)


def trained(config, seed=0, **options):
    """A model whose every array, statistics included, has moved from where it started."""
    r = np.random.default_rng(seed)
    model = VQVAE.mlp(**config, **options, rng=r)
    vqnp.fit(model, r.random((9, *model.data.shape)), epochs=2, batch_size=4, progress=False)
    for param in model.parameters():
        param.value += r.standard_normal(param.value.shape).astype(model.dtype)
    return model


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name


@given(models, st.integers(0, 2**32 - 1))
def test_there_and_back_is_the_same_model_bit_for_bit(config, seed):
    model, other = trained(config, seed), VQVAE.mlp(**config, rng=seed + 1)
    back = from_torch(to_torch(model), other)
    assert back is other
    same_bits(back.state_dict(), model.state_dict())
    assert describe(back) == describe(model) and back.fingerprint() == model.fingerprint()


@given(models, st.integers(0, 2**32 - 1))
def test_the_layout_is_pytorchs(config, seed):
    """y = x weightᵀ + bias, layer by layer under PyTorch's names, is what our encoder and decoder compute."""
    model = trained({**config, "activation": "tanh", "dtype": "float64"}, seed)
    arrays = to_torch(model)
    for part, module in (("encoder", model.encoder), ("decoder", model.decoder)):
        weights = [a for n, a in arrays.items() if n.startswith(part) and n.endswith(".weight")]
        assert all(a.flags.c_contiguous for a in weights)
        h = x = np.random.default_rng(seed).standard_normal((3, weights[0].shape[1]))
        for i in range(len(weights)):
            h, at = (h if i == 0 else np.tanh(h)), f"{part}.{2 * i + 1}"  # 0 is Flatten
            h = np.einsum("bi,oi->bo", h, arrays[f"{at}.weight"]) + arrays[f"{at}.bias"]
        y = module.forward(x)[0].reshape(h.shape)
        np.testing.assert_allclose(h, y, rtol=1e-12, atol=1e-12 * np.abs(h).max())
    assert arrays["quantizer.embedding.weight"].shape == (model.num_embeddings, model.embedding_dim)
    np.testing.assert_array_equal(arrays["quantizer.embedding.weight"], model.quantizer.embeddings)


def test_the_names_are_these():
    linear = {
        f"{part}.{i}.{what}" for part in ("encoder", "decoder") for i in (1, 3) for what in ("weight", "bias")
    }
    statistics = {"quantizer.cluster_size", "quantizer.embedding_sum", "quantizer.num_updates"}
    assert to_torch(VQVAE.mlp(**TINY)).keys() == linear | {"quantizer.embedding.weight"} | statistics
    by_gradient = to_torch(VQVAE.mlp(**TINY, codebook="gradient")).keys()
    assert by_gradient == linear | {"quantizer.embedding.weight", "quantizer.cluster_size"}
    for kind in (VAE, Autoencoder):
        assert to_torch(kind.mlp((3, 2), 4, (5,))).keys() == linear


def test_torch_names_are_of_every_array_by_our_name():
    model = VQVAE.mlp(**TINY)
    names = torch_names(model)
    assert names.keys() == model.state_dict().keys()
    assert names["encoder.1.W"] == TorchName("encoder.1.weight", axes=(1, 0))
    assert names["quantizer.E"] == TorchName("quantizer.embedding.weight")
    assert names["quantizer.t"] == TorchName("quantizer.num_updates", statistic=True)


def test_what_is_exported_and_imported_are_copies():
    model, other = VQVAE.mlp(**TINY), VQVAE.mlp(**TINY, rng=1)
    before = model.state_dict()
    arrays = to_torch(model)
    back = from_torch(arrays, other)
    for array in arrays.values():
        array[...] = 7
    same_bits(model.state_dict(), before)
    same_bits(back.state_dict(), before)


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_other_models_and_single_layers_go_there_and_back(kind, rng):
    for module, other in (
        (kind.mlp((3, 2), 4, (5,), rng=1), kind.mlp((3, 2), 4, (5,), rng=2)),
        (Linear(3, 2, 1), Linear(3, 2, 2)),
        (Sequential(Flatten(), Linear(6, 2, 1)), Sequential(Flatten(), Linear(6, 2, 2))),
    ):
        same_bits(from_torch(to_torch(module), other).state_dict(), module.state_dict())


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("zero_debias", [False, True])
def test_without_its_statistics_a_model_is_as_training_would_begin(codebook, zero_debias):
    quantizers = {
        "ema": lambda: EMAVectorQuantizer(4, 3, zero_debias=zero_debias, codebook_init="data"),
        "gradient": lambda: VectorQuantizer(4, 3, codebook_init="data"),
    }
    model = trained(TINY, quantizer=quantizers[codebook]())
    arrays = {n: a for n, a in to_torch(model).items() if n.endswith((".weight", ".bias"))}
    other = trained(TINY, 1, quantizer=quantizers[codebook]())  # whose own statistics must not stay
    back = from_torch(arrays, other)
    E = model.quantizer.embeddings
    np.testing.assert_array_equal(back.quantizer.embeddings, E)
    buffers = back.quantizer.buffers()
    if codebook == "gradient":
        np.testing.assert_array_equal(buffers["N"], np.ones(4))
        return
    assert buffers["t"] == 0
    np.testing.assert_array_equal(buffers["N"], np.full(4, 0.0 if zero_debias else 1.0))
    np.testing.assert_array_equal(buffers["m"], 0 if zero_debias else E)
    x = np.random.default_rng(1).random((6, 3, 2))
    np.testing.assert_array_equal(back.encode(x), model.encode(x))
    vqnp.fit(back, x, epochs=1, progress=False)  # and it can be trained on


# What is refused, and nothing is changed.


def test_a_name_missing_or_unknown():
    model = VQVAE.mlp(**TINY)
    before = model.state_dict()
    named = f"must be named {', '.join(sorted(to_torch(model)))}"
    for name in to_torch(model):
        arrays = to_torch(model)
        del arrays[name]
        with refused("arrays", named, f"missing {name}", where="from_torch"):
            from_torch(arrays, model)
    arrays = {f"module.{n}": a for n, a in to_torch(model).items()}
    with refused("arrays", named, "missing decoder.1.bias, decoder.1.weight, ", where="from_torch"):
        from_torch(arrays, model)
    with refused("arrays", named, "unknown encoder.4.weight", where="from_torch"):
        from_torch({**to_torch(model), "encoder.4.weight": np.zeros((2, 2), "f")}, model)
    by_gradient = VQVAE.mlp(**TINY, codebook="gradient")
    with refused("arrays", "must be named", "unknown quantizer.embedding_sum, quantizer.num_updates"):
        from_torch(to_torch(model), by_gradient)
    same_bits(model.state_dict(), before)


@pytest.mark.parametrize(
    ("name", "change", "needed", "got"),
    [
        ("encoder.1.weight", lambda a: a.T, "must have shape (5, 6), as the model's", "shape (6, 5), its transpose: PyTorch's weight is (out, in)"),  # noqa: E501
        ("encoder.1.weight", lambda a: a[:4], "must have shape (5, 6), as the model's", "shape (4, 6)"),
        ("decoder.3.bias", lambda a: a[None], "must have shape (6,), as the model's", "shape (1, 6)"),
        ("quantizer.embedding.weight", lambda a: a[:3], "must have shape (4, 3), as the model's", "shape (3, 3)"),  # noqa: E501
        ("quantizer.embedding.weight", lambda a: a.astype("d"), "must be float32, as the model's", "float64"),
        ("encoder.3.bias", lambda a: a.astype("e"), "must be float32, as the model's", "float16"),
        ("encoder.3.bias", lambda a: a * np.float32("nan"), "must be finite", "nan at index 0"),
        ("quantizer.embedding_sum", lambda a: a / np.float32("1e-45"), "must be finite", ""),
        ("quantizer.num_updates", lambda a: np.float32(3), "must be int64, as the model's", "float32"),
        ("quantizer.num_updates", lambda a: a[None], "must have shape (), as the model's", "shape (1,)"),
        ("encoder.1.bias", lambda a: [[1], [2, 3]], "must be an array in the CPU's memory, or a tensor's", ""),  # noqa: E501
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow", "ignore:divide by zero", "ignore:invalid value")
def test_an_array_that_does_not_fit(name, change, needed, got):
    model = VQVAE.mlp(**TINY)
    arrays, before = to_torch(model), model.state_dict()
    arrays[name] = change(arrays[name])
    error = NonFiniteError if "finite" in needed else InputError
    with refused(name, needed, got, where="from_torch", error=error) as caught:
        from_torch(arrays, model)
    assert "\n" not in str(caught.value)
    same_bits(model.state_dict(), before)


def test_statistics_that_cannot_be():
    model = VQVAE.mlp(**TINY)
    arrays, before = to_torch(model), model.state_dict()
    arrays["quantizer.cluster_size"] -= 2
    arrays["encoder.1.bias"] += 1
    with refused("N", "must not be negative", "-1.0"):
        from_torch(arrays, model)
    same_bits(model.state_dict(), before)


class Scale(Activation):
    """A layer with a buffer that has no name in PyTorch."""

    def buffers(self):
        return {"s": np.ones(1, "f")}


class Table(Module):
    """A layer that has one: its Param E is no quantizer's, and has no statistics."""

    def __init__(self):
        self.E = Param(np.ones((2, 3), np.float32))

    def forward(self, x):
        return x, None

    def torch_names(self):
        return {"E": TorchName("table", axes=(1, 0))}


def test_a_layer_without_a_name_in_pytorch_is_refused():
    """Better no file than one that lacks a layer's parameters."""
    model = VQVAE.mlp(**TINY)
    model.encoder.layers = (*model.encoder.layers, Scale("relu"))
    with refused("encoder.5", "must have names for PyTorch", "Scale", where="to_torch"):
        to_torch(model)


def test_a_layer_of_ones_own_that_knows_its_names_goes_there_and_back():
    model = Sequential(Linear(3, 3, 1), Table())
    model.layers[1].E.value += 4
    arrays = to_torch(model)
    assert list(arrays) == ["0.weight", "0.bias", "1.table"] and arrays["1.table"].shape == (3, 2)
    same_bits(from_torch(arrays, Sequential(Linear(3, 3, 2), Table())).state_dict(), model.state_dict())


def test_a_plane_of_latents_goes_there_and_back(rng):
    def model(seed):
        encoder = Sequential(Flatten(), Linear(6, 12, seed), Reshape(2, 2, 3))
        decoder = Sequential(Linear(3, 2, seed + 1), Flatten(), Linear(8, 6, seed + 2), Reshape(3, 2))
        return VQVAE(encoder, VectorQuantizer(4, 3, rng=seed), decoder, DataSpec((3, 2)))

    ours, other, x = model(1), model(5), rng.random((8, 3, 2))
    assert from_torch(to_torch(ours), other).reconstruct(x).tobytes() == ours.reconstruct(x).tobytes()
