"""Every layer and model keeps the protocol: forward pure, caches re-entrant, gradients add up, dtype kept."""

import numpy as np
import oracles
import pytest
from helpers import refused
from strategies import LAYOUTS, lay_out

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, HierarchicalVQVAE, InputError, VectorQuantizer
from vqnp._check import NonFiniteError
from vqnp.data import DataSpec
from vqnp.models import Model, SoundVQVAE
from vqnp.nn import (
    ACTIVATIONS, Activation, CausalConv, CausalSelfAttention, Conv, ConvTranspose, CosineVectorQuantizer,
    EMACosineVectorQuantizer, FiniteScalarQuantizer, Flatten, GroupNorm, GumbelQuantizer, LayerNorm, Linear,
    LookupFreeQuantizer, PixelShuffle, ProductVectorQuantizer, Reshape, Residual, ResidualVectorQuantizer,
    Sequential, SimVQ, TransformerBlock, Upsample, mlp, residual_stack,
)

TINY = {"image_shape": (2, 3), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}


def parts(rng, dtype, out):
    """An encoder whose latents have two axes, (2, 1, out), and a decoder that takes (2, 1, 3)."""
    rng = np.random.default_rng(rng)
    encoder = Sequential(Flatten(), Linear(6, 2 * out, rng, dtype), Reshape(2, 1, out), Activation("tanh"))
    decoder = Sequential(Linear(3, 3, rng, dtype), Reshape(2, 3))
    return encoder, decoder


def vqvae_of_parts(rng, dtype):
    encoder, decoder = parts(rng, dtype, 3)
    quantizer = VectorQuantizer(4, 3, codebook_init="normal", rng=rng, dtype=dtype)
    return VQVAE(encoder, quantizer, decoder, DataSpec((2, 3)))


def shaken(module, rng):
    """With parameters that depend on the seed, for a module whose own start does not."""
    for param in module.parameters():
        param.value += np.random.default_rng(rng).standard_normal(param.value.shape).astype(param.value.dtype)
    return module


# name -> (make(seed, dtype), shape of x without the batch)
LAYERS = {
    "Linear": (lambda rng, dtype: Linear(3, 4, rng, dtype), (3,)),
    "Conv": (lambda rng, dtype: Conv(2, 9, 3, 2, ((1, 0), 1), rng=rng, dtype=dtype), (5, 4, 2)),
    "Conv, one axis": (lambda rng, dtype: Conv(9, 3, 2, 1, 1, 2, ndim=1, rng=rng, dtype=dtype), (4, 9)),
    "ConvTranspose": (lambda rng, dtype: ConvTranspose(2, 9, 4, 2, 1, 1, rng=rng, dtype=dtype), (3, 2, 2)),
    "ConvTranspose, one axis": (
        lambda rng, dtype: ConvTranspose(2, 3, 2, 3, ((0, 1),), ndim=1, rng=rng, dtype=dtype), (4, 2),
    ),
    "Upsample": (lambda rng, dtype: Upsample((2, 3)), (2, 3, 2)),
    "PixelShuffle": (lambda rng, dtype: PixelShuffle(2), (2, 3, 8)),
    "LayerNorm": (lambda rng, dtype: shaken(LayerNorm(4, dtype=dtype), rng), (3, 4)),
    "GroupNorm": (lambda rng, dtype: shaken(GroupNorm(2, 6, dtype=dtype), rng), (3, 2, 6)),
    "Residual": (lambda rng, dtype: Residual(mlp((4, 5, 4), "silu", rng, dtype)), (3, 4)),
    "CausalConv": (lambda rng, dtype: CausalConv(2, 9, (3, 5), False, rng=rng, dtype=dtype), (4, 3, 2)),
    "CausalConv, one axis": (lambda rng, dtype: CausalConv(3, 4, 3, True, 1, rng, dtype), (4, 3)),
    "CausalSelfAttention": (lambda rng, dtype: CausalSelfAttention(4, 2, rng, dtype), (3, 4)),
    "TransformerBlock": (lambda rng, dtype: TransformerBlock(4, 2, 0.5, rng, dtype), (3, 4)),
    "residual_stack": (lambda rng, dtype: residual_stack(3, 9, 2, rng, dtype), (4, 3, 3)),
    **{name: (lambda rng, dtype, name=name: Activation(name), (3,)) for name in ACTIVATIONS},
    "Flatten": (lambda rng, dtype: Flatten(), (2, 3)),
    "Reshape": (lambda rng, dtype: Reshape(3, 2), (2, 3)),
    "Sequential": (lambda rng, dtype: mlp((3, 5, 4), "gelu", rng, dtype), (3,)),
    "Sequential of nothing": (lambda rng, dtype: Sequential(), (3,)),
    "Sequential of Sequentials": (
        lambda rng, dtype: Sequential(
            Activation("tanh"),
            Flatten(),
            mlp((6, 4), "tanh", rng, dtype),
            Sequential(Activation("relu"), Reshape(2, 2)),
        ),
        (2, 3),
    ),
    "VectorQuantizer": (lambda rng, dtype: VectorQuantizer(5, 3, rng=rng, dtype=dtype), (2, 3)),
    "EMAVectorQuantizer": (lambda rng, dtype: EMAVectorQuantizer(5, 3, rng=rng, dtype=dtype), (2, 3)),
    "EMAVectorQuantizer, variants": (
        lambda rng, dtype: EMAVectorQuantizer(
            5, 3, zero_debias=True, smoothing="additive", rng=rng, dtype=dtype
        ),
        (3,),
    ),
    "VectorQuantizer, rotation": (
        lambda rng, dtype: VectorQuantizer(5, 3, estimator="rotation", rng=rng, dtype=dtype), (2, 3),
    ),
    "CosineVectorQuantizer": (
        lambda rng, dtype: CosineVectorQuantizer(5, 3, codebook_init="normal", rng=rng, dtype=dtype), (2, 3),
    ),
    "EMACosineVectorQuantizer": (
        lambda rng, dtype: EMACosineVectorQuantizer(5, 3, codebook_init="normal", rng=rng, dtype=dtype),
        (2, 3),
    ),
    "SimVQ": (lambda rng, dtype: shaken(SimVQ(5, 3, rng=rng, dtype=dtype), rng), (2, 3)),
    "ProductVectorQuantizer": (
        lambda rng, dtype: ProductVectorQuantizer(
            5, 4, codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype
        ), (2, 4),
    ),
    "ProductVectorQuantizer, EMA": (
        lambda rng, dtype: ProductVectorQuantizer(5, 4, codebook_init="normal", rng=rng, dtype=dtype), (2, 4),
    ),
    "GumbelQuantizer": (lambda rng, dtype: GumbelQuantizer(5, 3, kl_warmup=0, rng=rng, dtype=dtype), (2, 3)),
    "LookupFreeQuantizer": (lambda rng, dtype: LookupFreeQuantizer(3, 0.3, 0.2, 0.5, dtype=dtype), (2, 3)),
    "LookupFreeQuantizer, spherical": (
        lambda rng, dtype: LookupFreeQuantizer(3, spherical=True, batch_entropy="bound", dtype=dtype), (2, 3)
    ),
    "ResidualVectorQuantizer": (
        lambda rng, dtype: ResidualVectorQuantizer(3, 5, 3, codebook="gradient", rng=rng, dtype=dtype), (2, 3)
    ),
    "ResidualVectorQuantizer, ema": (
        lambda rng, dtype: ResidualVectorQuantizer(3, 5, 3, shared_codebook=True, rng=rng, dtype=dtype),
        (2, 3),
    ),
    "FiniteScalarQuantizer": (lambda rng, dtype: FiniteScalarQuantizer((5, 4, 2), dtype), (2, 3)),
}
MODELS = {
    "VQVAE, gradient": lambda rng, dtype: VQVAE.mlp(
        **TINY, codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype
    ),
    "VQVAE, ema": lambda rng, dtype: VQVAE.mlp(**TINY, codebook="ema", rng=rng, dtype=dtype),
    "VQVAE, parts": vqvae_of_parts,
    "VQVAE, conv": lambda rng, dtype: VQVAE.conv(
        (2, 4), 4, 3, 1, 1, 3, 4, codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype
    ),
    "VQVAE, lookup-free": lambda rng, dtype: VQVAE.mlp(
        (2, 3), 2, hidden=(5,), quantizer=LookupFreeQuantizer(3, dtype=dtype), rng=rng, dtype=dtype
    ),
    "VQVAE, residual": lambda rng, dtype: VQVAE.mlp(
        (2, 3), 2, hidden=(5,), rng=rng, dtype=dtype,
        quantizer=ResidualVectorQuantizer(
            2, 4, 3, codebook="gradient", codebook_init="normal", quantizer_dropout=0.5, rng=rng, dtype=dtype
        ),
    ),
    "VQVAE, finite scalar": lambda rng, dtype: VQVAE.mlp(
        (2, 3), 2, hidden=(5,), quantizer=FiniteScalarQuantizer((5, 4), dtype), rng=rng, dtype=dtype
    ),
    "HierarchicalVQVAE": lambda rng, dtype: HierarchicalVQVAE.conv(
        (4, 8), 6, 5, 1, (2, 1), 3, (4, 3), codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype
    ),
    "HierarchicalVQVAE, stopped": lambda rng, dtype: HierarchicalVQVAE.conv(
        (4, 4), 4, 3, 0, (2, 1), 3, 4, "stopped", 0.5, codebook="gradient", codebook_init="normal", rng=rng,
        dtype=dtype,
    ),
    "VQVAE, product": lambda rng, dtype: VQVAE.mlp(
        (2, 3), 2, hidden=(5,), rng=rng, dtype=dtype,
        quantizer=ProductVectorQuantizer(
            4, 4, codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype
        ),
    ),
    "VQVAE, gumbel": lambda rng, dtype: VQVAE.mlp(
        (2, 3), 2, hidden=(5,), rng=rng, dtype=dtype,
        quantizer=GumbelQuantizer(4, 3, kl_warmup=0, rng=rng, dtype=dtype),
    ),
    "SoundVQVAE": lambda rng, dtype: SoundVQVAE.conv(
        (16, 1), hops=(4, 2), channels=3, residual_blocks=1, embedding_dim=2, num_embeddings=4, segment=8,
        codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype,
    ),
    "Autoencoder": lambda rng, dtype: Autoencoder.mlp((2, 3), 4, (5,), rng=rng, dtype=dtype),
    "Autoencoder, parts": lambda rng, dtype: Autoencoder(*parts(rng, dtype, 3), DataSpec((2, 3))),
    "VAE, bernoulli": lambda rng, dtype: VAE.mlp((2, 3), 4, (5,), rng=rng, dtype=dtype),
    "VAE, gaussian": lambda rng, dtype: VAE.mlp((2, 3), 4, (5,), likelihood="gaussian", rng=rng, dtype=dtype),
    "Autoencoder, conv": lambda rng, dtype: Autoencoder.conv((2, 4), 4, 3, 1, 1, 3, rng=rng, dtype=dtype),
    "VAE, conv": lambda rng, dtype: VAE.conv((2, 4), 4, 3, 1, 1, 3, rng=rng, dtype=dtype),
    "VAE, parts": lambda rng, dtype: VAE(*parts(rng, dtype, 6), DataSpec((2, 3))),
}
ALL = LAYERS | {name: (make, make(0, np.float32).data.shape) for name, make in MODELS.items()}

each_layer = pytest.mark.parametrize("name", ALL)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make(name, dtype=np.float64, seed=1):
    return ALL[name][0](seed, dtype)


def batch(name, rng, dtype=np.float64, n=4):
    return rng.standard_normal((n, *ALL[name][1])).astype(dtype)


def forward(module, x):
    """(outputs…, cache); of a model its losses, "loss" first, a VAE's noise being the same at each call."""
    if isinstance(module, Model):
        losses, cache = module.loss((x,), np.random.default_rng(5))
        assert next(iter(losses)) == "loss"
        return (*losses.values(), cache)
    return module.forward(x)


def backward(module, dy, cache, need_dx=True):
    if isinstance(module, Model):
        return module.backward(cache, dy, need_dx)
    return module.backward(dy, cache, need_dx=need_dx)


def bits(module):
    """Everything that a module holds, and its gradients."""
    held = {name: (a.dtype, a.shape, a.tobytes()) for name, a in module.state_dict().items()}
    return held | {f"d{name}": p.grad.tobytes() for name, p in module.named_parameters()}


def outputs(results):
    return [np.asarray(out).tobytes() for out in results[:-1]]


def gradients(module, dy, cache):
    """dx and every parameter's gradient, from zero."""
    module.zero_grad()
    dx = backward(module, dy, cache)
    return [dx.copy()] + [p.grad.copy() for p in module.parameters()]


@each_layer
@each_dtype
def test_forward_changes_nothing_and_answers_the_same_twice(name, dtype, rng):
    module, plain = make(name, dtype), batch(name, rng, dtype)
    before = bits(module)
    for layout in LAYOUTS:
        x = lay_out(plain, layout)
        given = x.tobytes()
        first = outputs(forward(module, x))
        assert outputs(forward(module, x)) == first, layout
        assert bits(module) == before and x.tobytes() == given, layout


@each_layer
def test_the_layout_of_the_input_does_not_matter(name, rng):
    module, x = make(name), batch(name, rng)
    plain = forward(module, x)[0]
    for layout in LAYOUTS:
        oracles.close(forward(module, lay_out(x, layout))[0], plain)


@each_layer
def test_caches_are_reentrant(name, rng):
    """Two forwards, then the backward of the first: what it gives alone."""
    module, x, other = make(name), batch(name, rng), batch(name, rng, n=7)
    y, *_, cache = forward(module, x)
    dy = rng.standard_normal(np.shape(y))
    alone = gradients(module, dy, cache)
    y, *_, cache = forward(module, x)
    y2, *_, cache2 = forward(module, other)
    for ours, theirs in zip(gradients(module, dy, cache), alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    gradients(module, rng.standard_normal(np.shape(y2)), cache2)
    for ours, theirs in zip(gradients(module, dy, cache), alone, strict=True):  # a cache is not used up
        np.testing.assert_array_equal(ours, theirs)


@each_layer
def test_gradients_accumulate_as_the_chain_rule_at_a_fork(name, rng):
    """A module used on two inputs has the sum of both gradients; backward moves no value."""
    module, x, other = make(name), batch(name, rng), batch(name, rng)
    (y, *_, cache), (y2, *_, cache2) = forward(module, x), forward(module, other)
    dy, dy2 = np.asarray(rng.standard_normal(np.shape(y))), rng.standard_normal(np.shape(y2))
    given = dy.tobytes(), {n: a.tobytes() for n, a in module.state_dict().items()}
    first, second = gradients(module, dy, cache), gradients(module, dy2, cache2)
    module.zero_grad()
    backward(module, dy, cache)
    backward(module, dy2, cache2)
    for param, a, b in zip(module.parameters(), first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(param.grad, a + b)
        assert a.any() and param.grad.shape == param.value.shape
    assert (dy.tobytes(), {n: a.tobytes() for n, a in module.state_dict().items()}) == given


@each_layer
def test_zero_grad(name, rng):
    module, x = make(name), batch(name, rng)
    assert not any(p.grad.any() for p in module.parameters())
    y, *_, cache = forward(module, x)
    backward(module, rng.standard_normal(np.shape(y)), cache)
    kept = [(p.grad, p.grad.copy()) for p in module.parameters()]
    assert all(a.any() for a, _ in kept)
    module.zero_grad()
    for p, (before, values) in zip(module.parameters(), kept, strict=True):
        assert p.grad.shape == p.value.shape and p.grad.dtype == p.value.dtype and not p.grad.any()
        np.testing.assert_array_equal(before, values)  # what somebody kept of it stays


@each_layer
@each_dtype
def test_without_need_dx_there_is_no_dx_and_the_parameters_gradients_are_the_same(name, dtype, rng):
    """Bit for bit, and after other gradients too."""
    module, x = make(name, dtype), batch(name, rng, dtype)
    y, *_, cache = forward(module, x)
    dy = rng.standard_normal(np.shape(y), dtype)
    dx, *once = gradients(module, dy, cache)
    assert dx.shape == x.shape
    module.zero_grad()
    assert backward(module, dy, cache, need_dx=False) is None
    for p, grad in zip(module.parameters(), once, strict=True):
        np.testing.assert_array_equal(p.grad, grad)
    backward(module, dy, cache, need_dx=False)
    for p, grad in zip(module.parameters(), once, strict=True):
        np.testing.assert_array_equal(p.grad, 2 * grad)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_no_dx_unless_it_is_asked_for(name, rng):
    """A trainer calls backward(cache): dL is 1, and nobody wants the gradient of the data."""
    module, x = make(name), batch(name, rng)
    *_, cache = forward(module, x)
    _, *grads = gradients(module, 1.0, cache)
    module.zero_grad()
    assert module.backward(cache) is None
    for p, grad in zip(module.parameters(), grads, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


@each_layer
@each_dtype
def test_dtype_in_dtype_out(name, dtype, rng):
    module, x = make(name, dtype), batch(name, rng, dtype)
    *outs, cache = forward(module, x)
    assert {np.asarray(out).dtype for out in outs} <= {np.dtype(dtype), np.dtype(np.int64)}
    assert np.asarray(outs[0]).dtype == dtype
    assert {g.dtype for g in gradients(module, np.ones_like(outs[0]), cache)} == {np.dtype(dtype)}
    assert {a.dtype for a in module.state_dict().values()} <= {np.dtype(dtype), np.dtype(np.int64)}


@each_layer
@each_dtype
def test_an_empty_batch(name, dtype, rng):
    module, x = make(name, dtype), batch(name, rng, dtype, n=0)
    y, *_, cache = forward(module, x)
    dx, *grads = gradients(module, np.zeros_like(y), cache)
    assert y == 0 if name in MODELS else len(y) == 0
    assert dx.shape == x.shape and not any(g.any() for g in grads)


@each_layer
def test_rows_are_independent(name, rng):
    module, x = make(name), batch(name, rng, n=6)
    if name in MODELS:
        module = module.encoder
    oracles.close(module.forward(x[2:5])[0], module.forward(x)[0][2:5], 1.0)


@each_layer
def test_names_are_unique_and_counted(name):
    module = make(name)
    names, state = [n for n, _ in module.named_parameters()], module.state_dict()
    assert len(set(names)) == len(names) and set(names) <= state.keys()
    assert module.num_parameters() == sum(state[n].size for n in names)


@each_layer
@each_dtype
def test_a_state_makes_the_round_trip(name, dtype, rng):
    """Into a module of another seed; afterwards they share no memory."""
    module, other, x = make(name, dtype), make(name, dtype, seed=2), batch(name, rng, dtype)
    state = module.state_dict()
    if state:
        assert bits(other) != bits(module)
    held = [p.value for p in other.parameters()]
    other.load_state_dict(state)
    assert bits(other) == bits(module)
    assert outputs(forward(other, x)) == outputs(forward(module, x))
    assert all(a is p.value for a, p in zip(held, other.parameters(), strict=True))  # in place
    kept = bits(module)
    for array in state.values():
        array[...] = 77
    assert bits(other) == bits(module) == kept


def broken(state):
    """(arrays, argument, needed, got) for every way that arrays can be wrong."""
    names = sorted(state)
    some = next(n for n in names if state[n].dtype.kind == "f")
    shape, dtype = state[some].shape, state[some].dtype
    nan = state[some].copy()
    nan.reshape(-1)[0] = np.nan
    at = (0,) * len(shape) if len(shape) > 1 else 0
    named = f"must be named {', '.join(names)}"
    yield {n: state[n] for n in names[1:]}, "arrays", named, f"missing {names[0]}"
    yield state | {"zzz": nan}, "arrays", named, "unknown zzz"
    short = state[some][:-1]
    yield state | {some: short}, some, f"must have shape {shape}", f"shape {short.shape}"
    yield state | {some: state[some].astype(np.float16)}, some, "must be float32 or float64", "float16"
    yield state | {some: state[some].astype(np.float32)}, some, f"must be {dtype}", "float32"
    yield state | {some: nan}, some, "must be finite", f"nan at index {at}"
    for name in names:
        own = name.rpartition(".")[2]
        if own == "t":
            needed = "must be int64 of shape ()"
            yield state | {name: np.zeros(2, int)}, name, needed, "int64 of shape (2,)"
            yield state | {name: np.array(0.0)}, name, needed, "float64 of shape ()"
        if own in ("N", "t"):
            low = state[name] - 2
            yield state | {name: low}, own, "must not be negative", str(low.min())


@each_layer
def test_load_state_dict_refuses_what_does_not_fit_and_changes_nothing(name):
    module, other = make(name), make(name, seed=2)
    state, before = other.state_dict(), bits(module)
    where = f"{type(module).__name__}.load_state_dict"
    if not state:
        with refused("arrays", "must be named ", "unknown W", where=where):
            module.load_state_dict({"W": np.zeros(1)})
        return
    for arrays, argument, needed, got in broken(state):
        error = NonFiniteError if "finite" in needed else InputError
        with refused(argument, needed, got, where=where, error=error):
            module.load_state_dict(arrays)
        assert bits(module) == before
    module.load_state_dict(state)
    assert bits(module) != before
