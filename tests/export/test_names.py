"""What goes to PyTorch's names comes back bit for bit; what does not fit is refused in one sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vqnp
from vqnp import VQVAE, InputError
from vqnp.export import from_torch, to_torch
from vqnp.nn import Activation

TINY = {"image_shape": (3, 2), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}

models = st.fixed_dictionaries(
    {
        "image_shape": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "num_latents": st.integers(1, 4),
        "embedding_dim": st.integers(1, 4),
        "num_embeddings": st.integers(1, 8),
        "hidden": st.lists(st.integers(1, 9), max_size=3).map(tuple),
        "activation": st.sampled_from(["relu", "gelu", "tanh", "sigmoid"]),
        "codebook": st.sampled_from(["ema", "gradient"]),
        "dtype": st.sampled_from(["float32", "float64"]),
    }
)


def trained(config, seed=0):
    """A model whose every array, statistics included, has moved from where it started."""
    r = np.random.default_rng(seed)
    model = VQVAE(**config, rng=r)
    vqnp.fit(model, r.random((9, *model.image_shape)), epochs=2, batch_size=4, progress=False)
    for _, param in model.named_params():
        param.value += r.standard_normal(param.value.shape).astype(model.dtype)
    return model


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name


@given(models, st.integers(0, 2**32 - 1))
def test_there_and_back_is_the_same_model_bit_for_bit(config, seed):
    model = trained(config, seed)
    back = from_torch(to_torch(model), model.config)
    same_bits(back.state(), model.state())
    assert back.config == model.config and back.fingerprint() == model.fingerprint()


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
            h = h if i == 0 else np.tanh(h)
            h = np.einsum("bi,oi->bo", h, arrays[f"{part}.{2 * i}.weight"]) + arrays[f"{part}.{2 * i}.bias"]
        np.testing.assert_allclose(h, module.forward(x)[0], rtol=1e-12, atol=1e-12 * np.abs(h).max())
    assert arrays["quantizer.embedding.weight"].shape == (model.num_embeddings, model.embedding_dim)
    np.testing.assert_array_equal(arrays["quantizer.embedding.weight"], model.quantizer.embeddings)


def test_the_names_are_these():
    linear = {
        f"{part}.{i}.{what}" for part in ("encoder", "decoder") for i in (0, 2) for what in ("weight", "bias")
    }
    statistics = {"quantizer.cluster_size", "quantizer.embedding_sum", "quantizer.num_updates"}
    assert to_torch(VQVAE(**TINY)).keys() == linear | {"quantizer.embedding.weight"} | statistics
    by_gradient = to_torch(VQVAE(**TINY, codebook="gradient")).keys()
    assert by_gradient == linear | {"quantizer.embedding.weight", "quantizer.cluster_size"}


def test_what_is_exported_and_imported_are_copies():
    model = VQVAE(**TINY)
    before = model.state()
    arrays = to_torch(model)
    back = from_torch(arrays, model.config)
    for array in arrays.values():
        array[...] = 7
    same_bits(model.state(), before)
    same_bits(back.state(), before)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("start", ["consistent", "zero_counts", "independent", "zero"])
def test_without_its_statistics_a_model_is_as_training_would_begin(codebook, start):
    options = {"start": start} if codebook == "ema" else {}
    model = trained({**TINY, "codebook": codebook, "quantizer_options": options})
    arrays = {n: a for n, a in to_torch(model).items() if n.endswith((".weight", ".bias"))}
    back = from_torch(arrays, model.config)
    E = model.quantizer.embeddings
    np.testing.assert_array_equal(back.quantizer.embeddings, E)
    buffers = back.quantizer.buffers()
    if codebook == "gradient":
        np.testing.assert_array_equal(buffers["N"], np.ones(4))
        return
    assert buffers["t"] == 0
    np.testing.assert_array_equal(buffers["N"], np.full(4, float(start == "consistent")))
    if start in ("consistent", "zero_counts"):
        np.testing.assert_array_equal(buffers["m"], E)
    elif start == "zero":
        assert not buffers["m"].any()
    x = np.random.default_rng(1).random((6, 3, 2))
    np.testing.assert_array_equal(back.encode(x), model.encode(x))
    vqnp.fit(back, x, epochs=1, progress=False)  # and it can be trained on


def refused(arrays, config):
    with pytest.raises(InputError) as caught:
        from_torch(arrays, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_missing_or_unknown():
    model = VQVAE(**TINY)
    for name in to_torch(model):
        arrays = to_torch(model)
        del arrays[name]
        assert refused(arrays, model.config).endswith(f"got missing {name}")
    arrays = {f"module.{n}": a for n, a in to_torch(model).items()}
    assert "got missing decoder.0.bias, decoder.0.weight, " in refused(arrays, model.config)
    arrays = {**to_torch(model), "encoder.4.weight": np.zeros((2, 2), "f")}
    sentence = refused(arrays, model.config)
    assert sentence.startswith("from_torch: arrays must be named decoder.0.bias, ")
    assert sentence.endswith("got unknown encoder.4.weight")
    assert refused(to_torch(model), {**model.config, "codebook": "gradient"}).endswith(
        "got unknown quantizer.embedding_sum, quantizer.num_updates"
    )


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("encoder.0.weight", lambda a: a.T, "must have shape (5, 6), as config says; got shape (6, 5), its transpose: PyTorch's weight is (out, in)"),  # noqa: E501
        ("encoder.0.weight", lambda a: a[:4], "must have shape (5, 6), as config says; got shape (4, 6)"),
        ("decoder.2.bias", lambda a: a[None], "must have shape (6,), as config says; got shape (1, 6)"),
        ("quantizer.embedding.weight", lambda a: a[:3], "must have shape (4, 3), as config says; got shape (3, 3)"),  # noqa: E501
        ("quantizer.embedding.weight", lambda a: a.astype("d"), "must be float32, as config says; got float64"),  # noqa: E501
        ("encoder.2.bias", lambda a: a.astype("e"), "must be float32, as config says; got float16"),
        ("encoder.2.bias", lambda a: a * np.float32("nan"), "must be finite; got nan at index 0"),
        ("quantizer.embedding_sum", lambda a: a / np.float32("1e-45"), "must be finite; got "),
        ("quantizer.num_updates", lambda a: np.float32(3), "must be int64, as config says; got float32"),
        ("quantizer.num_updates", lambda a: a[None], "must have shape (), as config says; got shape (1,)"),
        ("encoder.0.bias", lambda a: [[1], [2, 3]], "must be an array in the CPU's memory, or a tensor's"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow", "ignore:divide by zero", "ignore:invalid value")
def test_an_array_that_does_not_fit(name, change, sentence):
    model = VQVAE(**TINY)
    arrays = to_torch(model)
    arrays[name] = change(arrays[name])
    assert f"from_torch: {name} {sentence}" in refused(arrays, model.config)


def test_statistics_that_cannot_be():
    model = VQVAE(**TINY)
    arrays = to_torch(model)
    arrays["quantizer.cluster_size"] -= 2
    assert "N must not be negative; got -1.0" in refused(arrays, model.config)


def test_a_configuration_of_no_model():
    model = VQVAE(**TINY)
    arrays = to_torch(model)
    assert "must be a mapping of VQVAE's arguments" in refused(arrays, None)
    assert "unexpected keyword argument 'no_such'" in refused(arrays, {**model.config, "no_such": 1})
    assert "num_embeddings must be an integer of at least 1" in refused(
        arrays, {**model.config, "num_embeddings": 0}
    )


def test_a_layer_without_a_name_in_pytorch_is_refused():
    """Better no file than one that lacks a layer's parameters."""

    class Scale(Activation):
        def buffers(self):
            return {"s": np.ones(1, "f")}

    model = VQVAE(**TINY)
    model.encoder.layers = (*model.encoder.layers, Scale("relu"))
    with pytest.raises(InputError, match="^to_torch: encoder.3 must be a Linear or a quantizer; got Scale$"):
        to_torch(model)
