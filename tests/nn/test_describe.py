"""A module as plain data and back: every registered class, unusual arrangements, a user's own class."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import refused

import vqnp
from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, HierarchicalVQVAE, InputError, VectorQuantizer
from vqnp.data import DataSpec
from vqnp.models import Level, SoundVQVAE
from vqnp.nn import (
    Activation, CausalConv, CausalSelfAttention, CodeConv, Conv, ConvTranspose, CosineVectorQuantizer,
    EMACosineVectorQuantizer, Embedding, FiniteScalarQuantizer, Flatten, GroupNorm, GumbelQuantizer,
    LayerNorm, Linear, LookupFreeQuantizer, Module, Param, PixelShuffle, ProductVectorQuantizer, Reshape,
    Residual, ResidualVectorQuantizer, Sequential, SimVQ, TransformerBlock, Upsample, build, describe,
    register,
)
from vqnp.nn.description import MODULES, SHARED
from vqnp.nn.module import limited
from vqnp.priors import HierarchicalPrior, PixelCNN, TextTransformer, Transformer, Upsampler


@register
class Scale(Module):
    """y = s x: a layer of a user's own."""

    def __init__(self, features, dtype="float64"):
        self.s = Param(np.ones(features, dtype))

    def config(self):
        return {"features": len(self.s.value), "dtype": self.s.value.dtype.name}

    def forward(self, x):
        return x * self.s.value, x

    def backward(self, dy, cache, need_dx=True):
        self.s.add_grad((dy * cache).sum(axis=tuple(range(cache.ndim - 1))))
        return dy * self.s.value if need_dx else None


def encoder(out, dtype="float64"):
    return Sequential(Flatten(), Linear(6, 5, 1, dtype), Activation("gelu"), Linear(5, out, 2, dtype))


# A module of every registered class, with no argument at its default where another is possible.
EXAMPLES = {
    "Linear": lambda: Linear(3, 4, 5, np.float64),
    "Conv": lambda: Conv(3, 4, (2, 3), (1, 2), ((1, 0), 2), (2, 1), rng=5, dtype=np.float64),
    "ConvTranspose": lambda: ConvTranspose(3, 4, 4, 2, ((1, 0),), 1, 3, ndim=1, rng=5, dtype=np.float64),
    "Upsample": lambda: Upsample((2, 3)),
    "PixelShuffle": lambda: PixelShuffle(3),
    "LayerNorm": lambda: LayerNorm(3, 1e-3, np.float64),
    "GroupNorm": lambda: GroupNorm(2, 6, 1e-3, np.float64),
    "Residual": lambda: Residual(Linear(3, 3, 1, np.float64)),
    "Embedding": lambda: Embedding(5, 3, 0.1, 5, np.float64),
    "CausalConv": lambda: CausalConv(2, 3, 5, True, 1, 5, np.float64),
    "CausalSelfAttention": lambda: CausalSelfAttention(6, 3, 5, np.float64),
    "TransformerBlock": lambda: TransformerBlock(6, 3, 0.2, 5, np.float64),
    "Activation": lambda: Activation("tanh"),
    "Flatten": lambda: Flatten(),
    "Reshape": lambda: Reshape(2, 3, 1),
    "Sequential": lambda: Sequential(Sequential(), Sequential(Linear(2, 2), Activation("relu")), Flatten()),
    "VectorQuantizer": lambda: VectorQuantizer(
        5, 3, 0.5, reduction="sum", codebook_init="kmeans", decay=0.9, restart_dead_codes=0.1,
        estimator="rotation", dtype="float64",
    ),
    "EMAVectorQuantizer": lambda: EMAVectorQuantizer(
        5, 3, 0.5, 0.9, 1e-3, smoothing="additive", zero_debias=True, reduction="mean_of_sums",
        codebook_init="data", restart_dead_codes=0.1, estimator="rotation", dtype="float64",
    ),
    "LookupFreeQuantizer": lambda: LookupFreeQuantizer(
        3, 0.5, 0.2, 0.7, 0.3, "bound", True, "sum", "float64"
    ),
    "ResidualVectorQuantizer": lambda: ResidualVectorQuantizer(
        3, 5, 2, 0.5, "gradient", 0.9, 1e-3, "kmeans", 0.1, True, 0.5, "sum", dtype="float64"
    ),
    "FiniteScalarQuantizer": lambda: FiniteScalarQuantizer((5, 4, 2), "float64"),
    "CosineVectorQuantizer": lambda: CosineVectorQuantizer(
        5, 3, 0.5, reduction="sum", codebook_init="kmeans", decay=0.9, restart_dead_codes=0.1,
        estimator="rotation", dtype="float64",
    ),
    "EMACosineVectorQuantizer": lambda: EMACosineVectorQuantizer(
        5, 3, 0.5, 0.9, reduction="sum", codebook_init="kmeans", restart_dead_codes=0.1, estimator="rotation",
        dtype="float64",
    ),
    "SimVQ": lambda: SimVQ(5, 3, 0.5, reduction="sum", estimator="rotation", dtype="float64"),
    "ProductVectorQuantizer": lambda: ProductVectorQuantizer(
        5, 6, 3, 0.5, codebook="ema", decay=0.9, epsilon=1e-3, reduction="sum", codebook_init="data",
        restart_dead_codes=0.1, estimator="rotation", dtype="float64",
    ),
    "GumbelQuantizer": lambda: GumbelQuantizer(
        5, 3, temperature=2.0, final_temperature=0.5, temperature_steps=7, kl_weight=0.1, kl_warmup=3,
        draw="hard", dtype="float64",
    ),
    "Autoencoder": lambda: Autoencoder(
        encoder(4), Sequential(Linear(4, 6, dtype="float64"), Reshape(2, 3)), DataSpec((2, 3), -1, 2)
    ),
    "VAE": lambda: VAE(
        encoder(8), Sequential(Linear(4, 6, dtype="float64"), Reshape(2, 3)), DataSpec((2, 3), -1, 2),
        "gaussian", 0.3, 2.0, 7,
    ),
    "VQVAE": lambda: VQVAE(
        Sequential(encoder(12), Reshape(2, 2, 3)),
        VectorQuantizer(5, 3, dtype="float64"),
        Sequential(Scale(3), Flatten(), Activation("sigmoid"), Linear(12, 6, dtype="float64"), Reshape(2, 3)),
        DataSpec((2, 3), -1, 2), "squared_error",
    ),
    "Level": lambda: Level(
        Linear(4, 3, dtype="float64"), Linear(5, 2, dtype="float64"), VectorQuantizer(5, 2, dtype="float64"),
        Linear(3, 2, dtype="float64"), Linear(3, 3, dtype="float64"), Linear(5, 6, dtype="float64"),
    ),
    "HierarchicalVQVAE": lambda: HierarchicalVQVAE.conv(
        (4, 8, 3), 4, 3, 1, (2, 1), (3, 2), (5, 4), "stopped", 0.5, dtype="float64"
    ),
    "Transformer": lambda: Transformer(5, (2, 3), 6, 2, 3, 0.2, 4, 0.3, True, 5, "float64"),
    "SoundVQVAE": lambda: SoundVQVAE.conv(
        (64, 1), 44100, (8, 4), 3, 1, 2, 5, spectral_weight=0.5, segment=32, rng=4
    ),
    "Upsampler": lambda: Upsampler(4, (6,), 4, 1, 1, 0.2, 3, 0.3, True, 5, above=((3, (2,)),)),
    "TextTransformer": lambda: TextTransformer(
        5, (2, 3), ("a", "red", "one"), 4, 6, 2, 3, 0.2, 0.3, 0.4, 0.5, True, 5, "float64"
    ),
    "PixelCNN": lambda: PixelCNN(5, (2, 3), 4, 2, 5, 3, 1, 0.2, 4, 0.3, 5, "float64"),
    "HierarchicalPrior": lambda: HierarchicalPrior([
        Transformer(5, (1, 2), 6, 1, 3, dtype="float64"),
        PixelCNN(4, (2, 4), 4, 2, dtype="float64", above=((5, (1, 2)),)),
    ]),
    "CodeConv": lambda: CodeConv(4, 2, 3, [(0, -1), (-1, 2)], 5, np.float64),
    "Scale": lambda: Scale(3),
}  # fmt: skip


def test_every_class_that_is_registered_has_an_example_here():
    assert {cls for cls in MODULES if MODULES[cls].__module__.startswith("vqnp.")} <= EXAMPLES.keys()


def forms(module):
    return {name: (a.dtype, a.shape) for name, a in module.state_dict().items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_build_of_describe_is_a_module_like_it(name):
    """Through JSON, as a checkpoint keeps it: the same classes, arguments, names and shapes."""
    module = EXAMPLES[name]()
    text = json.dumps(describe(module), allow_nan=False)
    again = build(json.loads(text))
    assert type(again) is type(module) and json.dumps(describe(again)) == text
    assert json.loads(text)["module"] == name
    kinds = [(prefix, type(m)) for prefix, m in module.named_modules()]
    assert [(prefix, type(m)) for prefix, m in again.named_modules()] == kinds
    assert forms(again) == forms(module)
    again.load_state_dict(module.state_dict())
    for array, ours in zip(again.state_dict().values(), module.state_dict().values(), strict=True):
        np.testing.assert_array_equal(array, ours)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_more_is_drawn_than_a_file_has_arrays_for(name):
    """What a description claims is checked before memory is allocated, in whichever module it stands."""
    module = EXAMPLES[name]()
    with limited(sum(array.size for array in module.state_dict().values())):
        build(describe(module))
    if name != "Scale" and (n := module.num_parameters()):
        with refused("parameters", "no larger than the arrays that are there", "shape"), limited(n // 2):
            build(describe(module))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_description_says_every_argument_of_the_constructor(name):
    """Each but rng, which decides only where parameters start; so that no setting is lost in a checkpoint."""
    arguments = inspect.signature(MODULES[name]).parameters.keys() - {"rng"}
    assert set(describe(EXAMPLES[name]())) == {"module", *arguments}


def test_a_checkpoint_of_an_unusual_arrangement_with_a_class_of_ones_own(tmp_path, rng):
    """Saved and loaded, it gives the same bits."""
    model = EXAMPLES["VQVAE"]()
    for param in model.parameters():
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    vqnp.save(tmp_path / "m.npz", model)
    again = vqnp.load(tmp_path / "m.npz")
    x = rng.uniform(-1, 2, (7, 2, 3))
    assert isinstance(again.decoder.layers[0], Scale)
    np.testing.assert_array_equal(again.encode(x), model.encode(x))
    assert again.reconstruct(x).tobytes() == model.reconstruct(x).tobytes()
    assert again.fingerprint() == model.fingerprint()


def test_a_description_holds_plain_values_only():
    module = Reshape(np.int64(2), np.int32(3))
    assert describe(module) == {"module": "Reshape", "shape": [2, 3]}
    assert {type(n) for n in describe(module)["shape"]} == {int}
    assert type(describe(VectorQuantizer(4, 2, np.float32(0.5)))["commitment_cost"]) is float


# What is refused.


class Unregistered(Activation):
    """A subclass is another class: it may do anything."""


class Unnamed(Module):
    """What a quick experiment writes: no config."""

    def __init__(self):
        self.W = Param(np.ones((2, 2)))


def test_a_class_that_is_not_registered_is_refused_by_name_wherever_it_stands():
    for module in (Unregistered("relu"), Sequential(Flatten(), Unregistered("relu"))):
        with refused("Unregistered", "must be registered with vqnp.nn.register", where="describe"):
            describe(module)


def test_another_class_of_a_registered_name_is_refused():
    class Linear(Module):
        pass

    with refused("Linear", "must be registered", where="describe"):
        describe(Linear())


def test_a_registered_class_without_config_says_that_it_cannot_be_saved():
    register(Unnamed)
    try:
        with refused("Unnamed", "must have a method config, without which", where="describe"):
            describe(Unnamed())
    finally:
        del MODULES["Unnamed"]


@pytest.mark.parametrize(
    ("description", "argument", "needed", "got"),
    [
        (None, "a module's description", "must be a mapping with 'module' in it", "None"),
        ([], "a module's description", "must be a mapping with 'module' in it", "[]"),
        ({"name": "relu"}, "a module's description", "must be a mapping with 'module' in it", "{'name'"),
        ({"module": "Convolution"}, "module", "must be one of", "'Convolution'"),
        ({"module": 3}, "module", "must be one of", "3"),
        ({"module": "Linear"}, "the description of Linear", "must match its arguments", "in_features"),
        ({"module": "Flatten", "axis": 1}, "the description of Flatten", "must match its arguments", "no arguments"),  # noqa: E501
        ({"module": "Sequential"}, "the description of Sequential", "must match its arguments", "layers"),
        ({"module": "Sequential", "layers": 3}, "the description of Sequential", "must match its arguments", "int"),  # noqa: E501
        ({"module": "Reshape"}, "the description of Reshape", "must match its arguments", "shape"),
        ({"module": "Reshape", "shape": [2], "order": "F"}, "the description of Reshape", "must match its arguments", "order"),  # noqa: E501
        ({"module": "Sequential", "layers": [{"module": "Linear", "in_features": 2}]}, "the description of Linear", "must match its arguments", "out_features"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_description_of_nothing_is_refused(description, argument, needed, got):
    with refused(argument, needed, got, where="build"):
        build(description)


@pytest.mark.parametrize(
    ("description", "where", "argument"),
    [
        ({"module": "Linear", "in_features": 0, "out_features": 2}, "Linear", "in_features"),
        ({"module": "Activation", "name": "swish"}, "Activation", "name"),
        ({"module": "Sequential", "layers": [{"module": "Reshape", "shape": [0]}]}, "Reshape", "shape[0]"),
        ({"module": "Sequential", "layers": [{"no": "module"}]}, "Sequential", "layers[0]"),
    ],
)
def test_an_argument_out_of_range_is_refused_as_by_the_class_itself(description, where, argument):
    with refused(argument, where=where):
        build(description)


@pytest.mark.slow
def test_a_class_is_known_to_another_process_once_its_module_is_imported(tmp_path):
    vqnp.save(tmp_path / "m.npz", EXAMPLES["VQVAE"]())
    script = "import sys, vqnp; vqnp.load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "m.npz"], capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "module must be one of " in last and "got 'Scale'" in last
    with pytest.raises(InputError):
        build({"module": "Scale"})


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_a_shared_module_is_that_of_one_before(count):
    """Any other, the next one included, is a sentence: a description may be from a damaged file."""
    layers = [describe(Linear(2, 2, i)) for i in range(count)]
    described = describe(Sequential())
    (key,) = described.keys() - {"module"}
    for number in range(-2, count + 3):
        described[key] = [*layers, {"module": SHARED, "number": number}]
        if 0 <= number < count:
            built = build(described)
            assert built.layers[-1] is built.layers[number]
        else:
            with refused("number", f"[0, {count - 1}]", str(number), where="build"):
                build(described)
