"""What random changes of the source once survived: each kind of gap, over all that are of the kind."""

import hashlib
import inspect
import json
import math
import os

import numpy as np
import pytest
from helpers import refused, same
from test_contract import MODELS

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, VectorQuantizer, diagnose, metrics, ops
from vqnp._check import InputError, NonFiniteError
from vqnp._files import atomic
from vqnp.data import DataSpec
from vqnp.kernels import memory
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.metrics.diagnosis import _falls, _peak
from vqnp.models import Encoding, format1
from vqnp.nn import (
    Activation, CausalConv, CosineVectorQuantizer, EMACosineVectorQuantizer, FiniteScalarQuantizer, Flatten,
    GumbelQuantizer, LayerNorm, Linear, LookupFreeQuantizer, ProductVectorQuantizer, Reshape,
    ResidualVectorQuantizer, Sequential, SimVQ, build, describe,
)
from vqnp.optim import Adam, Param
from vqnp.priors import PixelCNN, Transformer
from vqnp.training import Schedule, Trainer, TrainingDiverged

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


# What several constructors share; their defaults: test_defaults.py.


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


def test_a_fingerprint_is_of_the_likelihood_too():
    model = MODELS["VQVAE, gumbel"](3, np.float32)
    plain, digest = model.defining_values(), model.fingerprint()
    model.likelihood = "logit_laplace"
    assert model.defining_values() == [*plain, "logit_laplace"] and model.fingerprint() != digest


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


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.sphere.largest_cosine(x, x), lambda x: ops.gaussian.gaussian_kl_terms(x, x),
        ops.ema_initialize, lambda x: nearest_code(x, x), lambda x: code_statistics(x, np.zeros(2, int), 4),
        lambda x: ops.ema_update(ops.ema_initialize(x.astype(np.float32)), x, np.zeros(2, int)),
    ],
)  # fmt: skip
def test_so_does_what_else_is_given_arrays(function):
    function(np.ones((2, 4), np.float32))
    with pytest.raises(InputError, match=r"must (be|have)"):
        function(np.ones((2, 4), np.float16))


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


# What only slow tests ran: a model's and a quantizer's state, and what is derived from it.

QUANTIZERS = {
    "vector": lambda dtype: VectorQuantizer(6, 2, codebook_init="normal", dtype=dtype),
    "ema": lambda dtype: EMAVectorQuantizer(6, 2, dtype=dtype),
    "finite scalar": lambda dtype: FiniteScalarQuantizer((3, 2), dtype),
    "cosine": lambda dtype: CosineVectorQuantizer(6, 2, dtype=dtype),
    "cosine, ema": lambda dtype: EMACosineVectorQuantizer(6, 2, codebook_init="data", dtype=dtype),
    "simvq": lambda dtype: SimVQ(6, 2, dtype=dtype),
    "product": lambda dtype: ProductVectorQuantizer(3, 2, dtype=dtype),
    "gumbel": lambda dtype: GumbelQuantizer(6, 2, dtype=dtype),
    "lookup-free": lambda dtype: LookupFreeQuantizer(2, dtype=dtype),
    "residual": lambda dtype: ResidualVectorQuantizer(3, 5, 2, dtype=dtype),
}
WITH_CODES = [name for name in MODELS if "VQVAE" in name]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_made_again_from_its_description(name, rng):
    model = MODELS[name](3, np.float64)
    again = build(json.loads(json.dumps(describe(model))))
    again.load_state_dict(model.state_dict())
    assert describe(again) == describe(model) and again.fingerprint() == model.fingerprint()
    (x,) = prepared(name, model, rng)
    ours, theirs = (each.loss((x,), np.random.default_rng(1))[0] for each in (model, again))
    assert ours == theirs


def test_a_module_that_is_used_twice_is_described_once():
    first, second = Linear(2, 2, 1), Linear(2, 2, 2)
    description = describe(Sequential(first, second, Activation("tanh"), second, first))
    references = [layer.get("number") for layer in description["layers"]]
    assert references == [None, None, None, 1, 0] and description["layers"][3]["module"] == "the same as"
    layers = build(description).layers
    assert layers[4] is layers[0] and layers[3] is layers[1] and layers[0] is not layers[1]


@pytest.mark.parametrize("steps", [1, 2])
def test_divergence_names_the_step_in_which_it_is(steps, monkeypatch):
    model = MODELS["VQVAE, ema"](3, np.float32)
    trainer = Trainer(model, np.zeros((6, *model.data.shape), np.float32), Schedule(1, 2))
    for _ in range(steps):
        trainer.train_step()
    for loss in (lambda *_: ({"loss": np.nan}, None), lambda *_: fail_non_finite()):
        monkeypatch.setattr(model, "loss", loss)
        with pytest.raises(TrainingDiverged, match=f"step {steps + 1} of 3"):
            trainer.train_step()


def fail_non_finite(*_):
    raise NonFiniteError("evaluate", "x", "must be finite", "inf")


def test_an_evaluation_that_overflows_is_divergence(monkeypatch):
    model = MODELS["VQVAE, ema"](3, np.float32)
    trainer = Trainer(model, np.zeros((4, *model.data.shape), np.float32), Schedule(1, 2))
    trainer.train_step()
    monkeypatch.setattr(model, "evaluate", fail_non_finite)
    with pytest.raises(TrainingDiverged, match="step 1 of 2"):
        trainer.end_epoch(np.zeros((4, *model.data.shape), np.float32))


@pytest.mark.parametrize("name", WITH_CODES)
def test_the_arrays_of_a_batch_are_what_its_cache_tells_of_the_step(name, rng):
    """A cache made of them gives the same statistics, and the same update."""
    one, other = (MODELS[name](3, np.float64) for _ in range(2))
    batch = prepared(name, one, rng)
    _, cache = one.loss(batch, np.random.default_rng(5))
    arrays = one.batch_arrays(cache)
    assert all(len(array) == len(batch[0]) for array in arrays)
    found, wanted = one.statistics(one.cache_of(arrays)), one.statistics(cache)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], n) and n.any() for key, n in wanted.items())
    restarted = (one.after_step(cache, rng), other.after_step(other.cache_of(arrays), rng))
    assert restarted[0].keys() == restarted[1].keys() and same(one, other)
    assert restarted[0].keys() <= one.state_dict().keys()


@pytest.mark.parametrize("name", ["HierarchicalVQVAE", "HierarchicalVQVAE, stopped", "SoundVQVAE"])
def test_levels_have_the_latents_codes_and_sizes_that_they_say(name, rng):
    model = MODELS[name](3, np.float64)
    x = np.clip(rng.standard_normal((3, *model.data.shape)), model.data.low, model.data.high)
    z, k = model.latents(x), model.encode(x)
    assert model.latent_bytes == sum(array.nbytes for array in z) // 3
    assert all(np.array_equal(a, b) for a, b in zip(model.quantize(z), k, strict=True))
    q = [level.quantizer.decode(each) for level, each in zip(model.levels, k, strict=True)]
    np.testing.assert_array_equal(model.decode_latents(q), model.decode(k))
    assert model.encoding.shape == tuple(each.shape[1:] for each in k) == model.latent_shape
    bits = [each[0].size * np.log2(K) for each, K in zip(k, model.num_embeddings, strict=True)]
    assert model.encoding.size == f"{sum(bits):g} bits"
    if name == "SoundVQVAE":
        np.testing.assert_array_equal(model.decode_latents(q[:1]), model.decode(k[:1]))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_what_defines_a_quantizer_and_which_of_its_arrays_are_statistics(name, rng):
    """Every change of what decode gives changes what defines it; averages and counts do not matter to it."""
    quantizer = QUANTIZERS[name](np.float64)
    quantizer.initialize(rng.standard_normal((9, 2)), 0)
    k = quantizer.encode(rng.standard_normal((5, 2)))
    defining = lambda: [*(a.copy() for a in quantizer.defining_arrays()), quantizer.defining_values()]
    before, decoded = defining(), quantizer.decode(k)
    for key, array in quantizer.state_dict().items():
        quantizer.load_state_dict({**quantizer.state_dict(), key: array + 1})
        moved = not np.array_equal(quantizer.decode(k), decoded)
        told = any(not np.array_equal(a, b) for a, b in zip(before, defining(), strict=True))
        assert told or not moved, key
        quantizer.load_state_dict({**quantizer.state_dict(), key: array})
    for prefix, module in quantizer.named_modules():
        for own, torch_name in module.torch_names().items():
            assert torch_name.statistic == (own in {"N", "m", "t"}), prefix + own
    if hasattr(quantizer, "first_buffers"):
        E = quantizer.embeddings
        first = quantizer.first_buffers(E)
        assert first.keys() == quantizer.buffers().keys() and (first["N"] == 1).all()


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_parts_are_quantizers_of_their_own(codebook, rng):
    """Whose codes, updates and restarts are those that each would have alone."""
    options = {"codebook_init": "data", "restart_dead_codes": 0.5, "dtype": np.float64}
    one = ProductVectorQuantizer(5, 4, codebook=codebook, **options)
    part = EMAVectorQuantizer if codebook == "ema" else VectorQuantizer
    alone = [part(5, 2, **options) for _ in range(2)]
    z, more = rng.standard_normal((2, 7, 4))
    assert not one.initialized
    for method, data in (("initialize", z), ("reinitialize", more)):
        ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
        getattr(one, method)(data, ours)
        for g, each in enumerate(alone):
            getattr(each, method)(np.ascontiguousarray(data[:, 2 * g : 2 * g + 2]), theirs)
        np.testing.assert_array_equal(one.embeddings, [each.embeddings for each in alone])
    assert one.initialized
    k, ours, theirs = one.encode(z), np.random.default_rng(2), np.random.default_rng(2)
    restarted = one.after_step(z, k, ours)
    for g, each in enumerate(alone):
        rows = each.update(np.ascontiguousarray(z[:, 2 * g : 2 * g + 2]), k[:, g], theirs)
        np.testing.assert_array_equal(restarted[f"parts.{g}.E"], rows)
    np.testing.assert_array_equal(one.embeddings, [each.embeddings for each in alone])
    assert one.defining_values() == [] and np.array_equal(one.defining_arrays(), [one.embeddings])
    with refused("groups", "must divide the number of dimensions, 4", "3"):
        ProductVectorQuantizer(5, 4, 3)
    with refused("z", "must have last axis 4", "shape (7, 2)"):
        one.encode(z[:, :2])


def test_a_code_on_the_sphere_moves_along_the_mean_direction_and_restarts_on_the_sphere(rng):
    options = {"codebook_init": "data", "restart_dead_codes": 0.5, "dtype": np.float64}
    quantizer = EMACosineVectorQuantizer(3, 2, **options)
    z = 5 * rng.standard_normal((20, 2))
    quantizer.initialize(z, 0)
    k = np.minimum(quantizer.encode(z), 1)  # the third code is used no more
    wanted = ops.spherical_ema_update(quantizer.ema, z / np.linalg.norm(z, axis=1, keepdims=True), k, 0.99)
    assert quantizer.update(z, k, 0).size == 0
    np.testing.assert_allclose(quantizer.embeddings, wanted.E, rtol=1e-13)
    while not quantizer.update(z, k, 0).size:
        pass
    np.testing.assert_allclose(np.linalg.norm(quantizer.embeddings, axis=1), 1, rtol=1e-13)
    with refused("z", "must have last axis 2", where="EMACosineVectorQuantizer.update"):
        quantizer.update(z[:, :1], k, 0)


def test_only_networks_of_version_1_have_its_fingerprint():
    plain = [Flatten(), Linear(4, 6), Activation("tanh"), Linear(6, 6), Reshape(2, 3)]
    other = [*plain[:2], LayerNorm(6), *plain[3:]]
    for layers, told in ((plain, True), (other, False), (plain[1:], False), (plain[:-1], False)):
        model = Autoencoder(Sequential(Flatten(), Linear(6, 4)), Sequential(*plain), DataSpec((2, 3)))
        model.decoder = Sequential(*layers)
        assert (format1.fingerprint_of(model) is not None) == told


def test_a_pitch_needs_samples_and_a_range():
    assert metrics.pitch(np.zeros((1, 137)), 8000).shape == (1,)  # ⌈8000/60⌉ + 3
    for options in ({}, {"low": 1000.0, "high": 1000.0}):
        with refused("x", "must have more than", where="pitch"):
            metrics.pitch(np.zeros((1, 136)), 8000, **options)
    period = np.tile([1.0, 0.0, -1.0, 0.0], 50)[None]  # of 4 samples; at 2 samples there is no peak
    np.testing.assert_allclose(metrics.pitch(period, 8000, 100, 4000), [2000], rtol=1e-3)
    with refused("x", "must have more than", where="pitch"):
        metrics.pitch(period, 8000, 1000, 1000)


def test_an_optimizer_before_its_first_step_is_restored_too():
    optimizer = Adam([("a", Param(np.zeros(2)))])
    optimizer.load_state_dict(optimizer.state_dict())
    with refused("t", "at least 0", "-1"):
        optimizer.load_state_dict(optimizer.state_dict() | {"t": np.array(-1)})
    assert optimizer.t == 0


def test_samples_need_room_for_the_latents_and_for_the_images(monkeypatch):
    model, rows = MODELS["VAE, bernoulli"](3, np.float32), []
    monkeypatch.setattr(memory, "check_memory", lambda where, name, n, each, *_: rows.append(n * each))
    model.sample(3, 0)
    assert rows[0] == 3 * 4 * (4 + 2 * 6)  # float32: 4 latents; 6 pixels in a chunk and in the result


def test_examples_of_one_vector_lose_codes_too(rng):
    quantizer = ResidualVectorQuantizer(3, 4, 2, codebook_init="normal", quantizer_dropout=1.0)
    z = rng.standard_normal((60, 2)).astype(np.float32)
    k = quantizer.forward(z, np.random.default_rng(0))[3]
    assert (k[:, 0] >= 0).all() and 0 < (k[:, 2] < 0).sum() < 60
    assert (quantizer.forward(z[0], np.random.default_rng(0))[3] >= 0).all()


def test_the_variance_of_a_causal_kernel_is_that_of_one_tap():
    W = CausalConv(1, 400, (1, 1), True, dtype=np.float64).W.value
    assert W.var() == pytest.approx(1, rel=0.2) and 1.5 < np.abs(W).max() <= math.sqrt(3)


def test_the_perplexity_of_several_codebooks_is_their_geometric_mean():
    counts = np.array([[1, 1, 0, 0], [2, 2, 2, 2]])
    assert metrics.codebook.mean_perplexity(counts) == pytest.approx(math.sqrt(2 * 4))
    assert metrics.codebook.mean_perplexity(counts[1]) == 4
    assert metrics.codebook.mean_perplexity(counts[1:]) == 4
    assert math.isnan(metrics.signal_to_noise(np.zeros((1, 9)), np.zeros((1, 9))))


@pytest.mark.parametrize(("name", "shape"), [("VQVAE, conv", (1, 2)), ("VQVAE, product", (2 * 2,))])
def test_the_grid_of_a_prior_has_all_codes_of_a_latent_beside_each_other(name, shape):
    model = MODELS[name](3, np.float32)
    assert model.grid_shape == shape and model.num_codes == math.prod(shape) == math.prod(model.code_shape)


@pytest.mark.parametrize(("K", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16")])
def test_codes_are_stored_in_the_narrowest_dtype(K, dtype):
    assert Encoding("codes", (1,), np.dtype(np.int64), "", K).stored_dtype == dtype
    assert Encoding("latents", (1,), np.dtype(np.float32), "").stored_dtype == np.float32
