"""What random changes of the source once survived: each kind of gap, over all that are of the kind."""

import hashlib
import inspect
import json
import math
import os

import numpy as np
import pytest
from helpers import refused
from test_contract import MODELS

from vqnp import VAE, VQVAE, Autoencoder, diagnose, metrics, ops
from vqnp._files import atomic
from vqnp.metrics.diagnosis import _falls, _peak
from vqnp.nn import describe
from vqnp.priors import PixelCNN, Transformer

# A file's content is on the disk before the file has its name.


def test_all_content_reaches_the_disk_before_the_name_does(tmp_path, monkeypatch):
    """Python's own buffer is empty when fsync is called, and the rename comes after it."""
    events, fsync, replace = [], os.fsync, os.replace

    def noted(file):
        stat = os.fstat(file)
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{file}") else stat.st_size)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("named"), replace(*paths)))
    with atomic(tmp_path / "f") as file:
        file.write(b"x" * 10)
    assert events[:2] == [10, "named"]


# A diagnosis at its bounds.


@pytest.mark.parametrize(
    ("perplexity", "K", "level"),
    [
        (20.0, 100, "partial collapse"), (np.nextafter(20.0, 0), 100, "severe collapse"),
        (50.0, 100, "uneven use"), (np.nextafter(50.0, 0), 100, "partial collapse"),
        (80.0, 100, "healthy"), (np.nextafter(80.0, 0), 100, "uneven use"),
        (1.5, 2, "uneven use"), (np.nextafter(1.5, 0), 2, "severe collapse"), (1.0, 1, "no choice"),
    ],
)  # fmt: skip
def test_a_bound_belongs_to_the_better_level(perplexity, K, level):
    assert diagnose(perplexity, K).level == level == diagnose(perplexity, K, [perplexity] * 3).level


def test_what_has_dropped_and_what_has_not():
    """Below 70 % of the peak for two epochs, or below 50 % at once; from a quarter of K."""
    fell = "collapse during training"
    assert diagnose(27.9, 100, [40.0, 40.0, 40.0, 27.9, 27.9]).level == fell
    assert diagnose(28.0, 100, [40.0, 40.0, 40.0, 28.0, 28.0]).level == "partial collapse"
    assert diagnose(27.9, 100, [40.0, 40.0, 40.0, 40.0, 27.9]).level == "partial collapse"
    assert diagnose(19.9, 100, [40.0, 40.0, 40.0, 40.0, 19.9]).level == fell
    assert diagnose(20.0, 100, [40.0, 40.0, 40.0, 40.0, 20.0]).level == "partial collapse"
    assert diagnose(9.0, 100, [25.0, 25.0, 25.0, 9.0, 9.0]).level == fell
    assert diagnose(9.0, 100, [24.9, 24.9, 24.9, 9.0, 9.0]).level == "severe collapse"
    assert diagnose(45.0, 100, [100.0, 100.0, 100.0, 45.0, 45.0]).level == fell


def test_one_epoch_is_enough_and_none_is_too():
    assert diagnose(30.0, 100, []).level == "partial collapse"
    for history in ([30.0], [{"perplexity": 30.0, "reconstruction_loss": 1.0}], {"perplexity": [30.0]}):
        assert diagnose(30.0, 100, history).level == "too early"
    assert diagnose(10.0, 100, [30.0] * 3).level == "collapse during training"


def test_the_peak_is_that_of_medians():
    assert _peak(np.array([])) == _peak(np.array([5.0])) == 0
    assert _peak(np.array([1.0, 2.0])) == 1 and _peak(np.array([2.0, 1.0])) == 0
    assert _peak(np.array([1.0, 9.0, 2.0, 3.0, 3.5, 2.0])) == 3  # the 9 is alone: 3 is the largest median
    assert _peak(np.array([8.0, 1.0, 2.0, 2.0])) == 0  # the first epoch is its own median
    assert _peak(np.array([1.0, 2.0, 3.0, 4.0])) in (2, 3)
    assert _peak(np.array([0.0, 0.0, 0.0, 0.0, 6.0, 5.0, 7.0, 0.0, 0.0])) == 4  # the median at 5 is epoch 4's


def test_an_error_falls_by_a_percent_in_the_median_of_three():
    assert not _falls(np.array([]), 0) and not _falls(np.array([1.0]), 0)
    assert _falls(np.array([1.0, 0.98]), 0) and not _falls(np.array([1.0, 0.995]), 0)
    assert _falls(np.array([1.0, 1.0, 0.9, 5.0, 0.9]), 0) and not _falls(np.array([1.0, 0.9, 5.0, 5.0]), 0)
    assert _falls(np.array([3.0, 2.0, 1.0]), 2)  # a peak in the last epoch is compared with the one before


# The bias of an estimate counts what is used.


def test_the_bias_counts_codes_and_classes_that_occur():
    codes = np.array([[0, 7], [4, 7], [9, 3], [0, 7], [4, 3]])
    labels = np.array([0, 5, 5, 0, 0])  # two classes of six
    found = metrics.class_information(codes, labels, 10)
    np.testing.assert_allclose(found.bias, [(2 - 1) * (U - 1) / (2 * 5 * math.log(2)) for U in (3, 2)])


# Defaults that several constructors share.

WAYS = ("mlp", "conv")
CONSTRUCTORS = {f"{m.__name__}.{w}": getattr(m, w) for m in (VQVAE, VAE, Autoencoder) for w in WAYS}
SHARED = {
    "image_shape": (28, 28), "hidden": (512,), "activation": "relu", "rng": 0, "dtype": "float32",
    "channels": 64, "residual_channels": 32, "residual_blocks": 2, "downsampling": 2, "ndim": None,
    "num_embeddings": 128,
    "codebook": "ema", "commitment_cost": 0.25, "decay": 0.99, "epsilon": 1e-5, "codebook_init": "data",
    "estimator": "straight_through",
    "quantizer": None, "likelihood": "bernoulli", "noise_std": 0.1, "kl_weight": 1.0, "kl_warmup": 0,
}  # fmt: skip
OWN = {
    "embedding_dim": {"VQVAE.mlp": 16, "VQVAE.conv": 8}, "num_latents": {"VQVAE.mlp": 16},
    "restart_dead_codes": {"VQVAE.mlp": 0.05, "VQVAE.conv": 0.2},
    "latent_dim": {"VAE.mlp": 256, "VAE.conv": 8, "Autoencoder.mlp": 256, "Autoencoder.conv": 8},
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_defaults_are_those_of_all(name):
    for argument, parameter in inspect.signature(CONSTRUCTORS[name]).parameters.items():
        expected = SHARED[argument] if argument in SHARED else OWN[argument][name]
        assert parameter.default == expected, argument


def test_a_models_networks_are_the_same_whatever_the_model():
    small = {"image_shape": (4, 4)}
    for way in ("mlp", "conv"):
        vqvae, autoencoder = (getattr(m, way)(**small) for m in (VQVAE, Autoencoder))
        if way == "conv":
            assert describe(vqvae.encoder) == describe(autoencoder.encoder)
        assert {p.value.dtype for m in (vqvae, autoencoder) for p in m.parameters()} == {np.dtype("float32")}
        assert {p.value.dtype for p in getattr(VAE, way)(**small).parameters()} == {np.dtype("float32")}


# A fingerprint has the names and the values of all that it is of.


@pytest.mark.parametrize("name", ["VQVAE, ema", "VQVAE, conv", "Autoencoder", "VAE, gaussian"])
def test_a_fingerprint_is_of_names_and_values(name):
    model = MODELS[name](3, np.float32)
    digest = hashlib.sha256()
    for array in model.defining_arrays():
        digest.update(array.tobytes())
    digest.update(json.dumps(model.defining_values(), sort_keys=True).encode())
    for key, param in model.decoder.named_parameters():
        digest.update(key.encode() + param.value.tobytes())
    assert model.fingerprint() == digest.hexdigest()
    assert describe(model.decoder) in model.defining_values()
    assert model.data.as_dict() in model.defining_values()
    for changed in (*(p.value for p in model.decoder.parameters()), *model.defining_arrays()):
        before = changed.flat[0].copy()
        changed.flat[0] += 1
        assert model.fingerprint() != digest.hexdigest()
        changed.flat[0] = before
    assert model.fingerprint() == digest.hexdigest()


# Every op refuses numbers of half precision.


@pytest.mark.parametrize("name", [name for name in ops.__all__ if name.endswith("_forward")])
def test_an_op_refuses_float16(name):
    """As its first array, whatever the others are."""
    half = np.zeros((2, 4), np.float16)
    first = next(iter(inspect.signature(getattr(ops, name)).parameters))
    others = [np.zeros((2, 4), np.float32) for _ in range(9)]
    parameters = inspect.signature(getattr(ops, name)).parameters.values()
    needed = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    with pytest.raises(ValueError, match=r"must (be|have)"):
        getattr(ops, name)(half, *others[: needed - 1])
    assert first


def test_softmax_cross_entropy_takes_float32_and_float64_only():
    k = np.array([0, 1])
    for dtype in (np.float16, np.int64, np.longdouble, np.complex64):
        with refused("a", "must be float32 or float64", np.dtype(dtype).name):
            ops.softmax_cross_entropy_forward(np.zeros((2, 3), dtype), k)


# The backward pass of a training adds what backward adds.


PRIORS = {
    "Transformer": lambda rng, dtype: Transformer(
        5, (2, 3), channels=6, layers=2, heads=3, num_classes=4, rng=rng, dtype=dtype
    ),
    "PixelCNN": lambda rng, dtype: PixelCNN(
        5, (2, 3), channels=6, layers=2, num_classes=4, rng=rng, dtype=dtype
    ),
}


def prepared(name, model, rng):
    if name in PRIORS:
        return model.prepare((rng.integers(0, 5, (4, 2, 3)), np.arange(4) % 4))
    return (rng.standard_normal((4, *model.data.shape)).astype(model.dtype),)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*MODELS, *PRIORS])
def test_the_trainers_backward_adds_what_backward_adds(name, dtype, rng):
    """Deferred products and no gradient of the data, as in training: the same bits, and they add up."""
    model = (MODELS | PRIORS)[name](1, dtype)
    _, cache = model.loss(prepared(name, model, rng), np.random.default_rng(5))
    model.zero_grad()
    model.backward(cache) if name in PRIORS else model.backward(cache, 1.0, need_dx=True)
    plain = {key: p.grad.copy() for key, p in model.named_parameters()}
    assert all(g.any() for key, g in plain.items() if not key.startswith("quantizer"))
    for p in model.parameters():
        p.zero_grad(defer=True)
    model.backward(cache)
    for key, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad, plain[key], err_msg=key)
    model.backward(cache)
    model.backward(cache)
    for key, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, 3 * plain[key], rtol=1e-5 if dtype == np.float32 else 1e-13)
