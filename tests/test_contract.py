"""Every layer keeps the protocol: forward pure, caches re-entrant, gradients accumulate, dtype kept."""

import numpy as np
import oracles
import pytest
from strategies import LAYOUTS, lay_out

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, InputError, VectorQuantizer
from vqnp._check import NonFiniteError
from vqnp.nn import ACTIVATIONS, Activation, Linear, Sequential, mlp

TINY = {"image_shape": (2, 3), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}

# name -> (make(seed, dtype), shape of x without the batch)
LAYERS = {
    "Linear": (lambda rng, dtype: Linear(3, 4, rng, dtype), (3,)),
    **{name: (lambda rng, dtype, name=name: Activation(name), (3,)) for name in ACTIVATIONS},
    "Sequential": (lambda rng, dtype: mlp((3, 5, 4), "gelu", rng, dtype), (3,)),
    "Sequential of nothing": (lambda rng, dtype: Sequential(), (3,)),
    "Sequential of Sequentials": (
        lambda rng, dtype: Sequential(mlp((3, 4), "tanh", rng, dtype), Sequential(Activation("relu"))),
        (3,),
    ),
    "VectorQuantizer": (lambda rng, dtype: VectorQuantizer(5, 3, rng=rng, dtype=dtype), (2, 3)),
    "EMAVectorQuantizer": (lambda rng, dtype: EMAVectorQuantizer(5, 3, rng=rng, dtype=dtype), (2, 3)),
    "EMAVectorQuantizer, variants": (
        lambda rng, dtype: EMAVectorQuantizer(
            5, 3, start="zero", zero_debias=True, smoothing="additive", codes="after", rng=rng, dtype=dtype
        ),
        (3,),
    ),
    "VQVAE, gradient": (
        lambda rng, dtype: VQVAE(**TINY, codebook="gradient", codebook_init="normal", rng=rng, dtype=dtype),
        (6,),
    ),
    "VQVAE, ema": (lambda rng, dtype: VQVAE(**TINY, codebook="ema", rng=rng, dtype=dtype), (6,)),
    "Autoencoder": (lambda rng, dtype: Autoencoder((2, 3), 4, (5,), rng=rng, dtype=dtype), (6,)),
    "VAE, bernoulli": (lambda rng, dtype: VAE((2, 3), 4, (5,), rng=rng, dtype=dtype), (6,)),
    "VAE, gaussian": (
        lambda rng, dtype: VAE((2, 3), 4, (5,), likelihood="gaussian", rng=rng, dtype=dtype),
        (6,),
    ),
}

each_layer = pytest.mark.parametrize("name", LAYERS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make(name, dtype=np.float64, seed=1):
    return LAYERS[name][0](seed, dtype)


def batch(name, rng, dtype=np.float64, n=4):
    return rng.standard_normal((n, *LAYERS[name][1])).astype(dtype)


def bits(module):
    """Everything that a module holds, and its gradients."""
    held = {name: (a.dtype, a.shape, a.tobytes()) for name, a in module.state().items()}
    return held | {f"d{name}": p.grad.tobytes() for name, p in module.named_params()}


def outputs(results):
    return [np.asarray(out).tobytes() for out in results[:-1]]


def gradients(module, dy, cache):
    """dx and every parameter's gradient, from zero."""
    module.zero_grad()
    dx = module.backward(dy, cache)
    return [dx.copy()] + [p.grad.copy() for _, p in module.named_params()]


@each_layer
@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_changes_nothing_and_answers_the_same_twice(name, dtype, layout, rng):
    module, x = make(name, dtype), lay_out(batch(name, rng, dtype), layout)
    before, given = bits(module), x.tobytes()
    first = outputs(module.forward(x))
    assert outputs(module.forward(x)) == first
    assert bits(module) == before and x.tobytes() == given


@each_layer
def test_the_layout_of_the_input_does_not_matter(name, rng):
    module, x = make(name), batch(name, rng)
    plain = module.forward(x)[0]
    for layout in LAYOUTS:
        oracles.close(module.forward(lay_out(x, layout))[0], plain)


@each_layer
def test_caches_are_reentrant(name, rng):
    """Two forwards, then the backward of the first: what it gives alone."""
    module, x, other = make(name), batch(name, rng), batch(name, rng, n=7)
    y, *_, cache = module.forward(x)
    dy = rng.standard_normal(y.shape)
    alone = gradients(module, dy, cache)
    y, *_, cache = module.forward(x)
    y2, *_, cache2 = module.forward(other)
    for ours, theirs in zip(gradients(module, dy, cache), alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    gradients(module, rng.standard_normal(y2.shape), cache2)
    for ours, theirs in zip(gradients(module, dy, cache), alone, strict=True):  # a cache is not used up
        np.testing.assert_array_equal(ours, theirs)


@each_layer
def test_gradients_accumulate_as_the_chain_rule_at_a_fork(name, rng):
    """A module used on two inputs has the sum of both gradients; backward moves no value."""
    module, x, other = make(name), batch(name, rng), batch(name, rng)
    (y, *_, cache), (y2, *_, cache2) = module.forward(x), module.forward(other)
    dy, dy2 = rng.standard_normal(y.shape), rng.standard_normal(y2.shape)
    given = dy.tobytes(), {n: a.tobytes() for n, a in module.state().items()}
    first, second = gradients(module, dy, cache), gradients(module, dy2, cache2)
    module.zero_grad()
    module.backward(dy, cache)
    module.backward(dy2, cache2)
    for (_, param), a, b in zip(module.named_params(), first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(param.grad, a + b)
        assert a.any() and param.grad.shape == param.value.shape
    assert (dy.tobytes(), {n: a.tobytes() for n, a in module.state().items()}) == given


@each_layer
def test_zero_grad(name, rng):
    module, x = make(name), batch(name, rng)
    assert not any(p.grad.any() for _, p in module.named_params())
    y, *_, cache = module.forward(x)
    module.backward(rng.standard_normal(y.shape), cache)
    kept = [(p.grad, p.grad.copy()) for _, p in module.named_params()]
    assert all(a.any() for a, _ in kept)
    module.zero_grad()
    for (_, p), (before, values) in zip(module.named_params(), kept, strict=True):
        assert p.grad.shape == p.value.shape and p.grad.dtype == p.value.dtype and not p.grad.any()
        np.testing.assert_array_equal(before, values)  # what somebody kept of it stays


@each_layer
def test_backward_params_is_backward_without_dx(name, rng):
    """Bit for bit, and after other gradients too."""
    module, x = make(name), batch(name, rng)
    y, *_, cache = module.forward(x)
    dy = rng.standard_normal(y.shape)
    once = gradients(module, dy, cache)[1:]
    module.zero_grad()
    assert module.backward_params(dy, cache) is None
    for (_, p), grad in zip(module.named_params(), once, strict=True):
        np.testing.assert_array_equal(p.grad, grad)
    module.backward_params(dy, cache)
    for (_, p), grad in zip(module.named_params(), once, strict=True):
        np.testing.assert_array_equal(p.grad, 2 * grad)


@each_layer
@each_dtype
def test_dtype_in_dtype_out(name, dtype, rng):
    module, x = make(name, dtype), batch(name, rng, dtype)
    *outs, cache = module.forward(x)
    assert {np.asarray(out).dtype for out in outs} <= {np.dtype(dtype), np.dtype(np.int64)}
    assert np.asarray(outs[0]).dtype == dtype
    assert {g.dtype for g in gradients(module, np.ones_like(outs[0]), cache)} == {np.dtype(dtype)}
    assert {a.dtype for a in module.state().values()} <= {np.dtype(dtype), np.dtype(np.int64)}


@each_layer
@each_dtype
def test_an_empty_batch(name, dtype, rng):
    module, x = make(name, dtype), batch(name, rng, dtype, n=0)
    y, *_, cache = module.forward(x)
    dx, *grads = gradients(module, np.zeros_like(y), cache)
    assert len(y) == 0 and dx.shape == x.shape and not any(g.any() for g in grads)


@each_layer
def test_rows_are_independent(name, rng):
    module, x = make(name), batch(name, rng, n=6)
    oracles.close(module.forward(x[2:5])[0], module.forward(x)[0][2:5], 1.0)


@each_layer
def test_names_are_unique_and_counted(name):
    module = make(name)
    names = [n for n, _ in module.named_params()]
    assert len(set(names)) == len(names) and set(names) <= module.state().keys()
    assert module.num_parameters() == sum(module.state()[n].size for n in names)


@each_layer
@each_dtype
def test_state_makes_the_round_trip(name, dtype, rng):
    """Into a module of another seed; afterwards they share no memory."""
    module, other, x = make(name, dtype), make(name, dtype, seed=2), batch(name, rng, dtype)
    state = {n: a.copy() for n, a in module.state().items()}
    if state:
        assert bits(other) != bits(module)
    held = [p.value for _, p in other.named_params()]
    other.load_state(state)
    assert bits(other) == bits(module)
    assert outputs(other.forward(x)) == outputs(module.forward(x))
    assert all(a is p.value for a, (_, p) in zip(held, other.named_params(), strict=True))  # in place
    for array in state.values():
        array[...] = 77
    assert bits(other) == bits(module)


def broken(state):
    """(what was done, arrays, the sentence's end) for every way that arrays can be wrong."""
    names = sorted(state)
    some = next(n for n in names if state[n].dtype.kind == "f")
    shape, dtype = state[some].shape, state[some].dtype
    nan = state[some].copy()
    nan.reshape(-1)[0] = np.nan
    at = (0,) * len(shape) if len(shape) > 1 else 0
    listed = ", ".join(names)
    yield {n: state[n] for n in names[1:]}, f"arrays must be named {listed}; got missing {names[0]}"
    yield state | {"zzz": nan}, f"arrays must be named {listed}; got unknown zzz"
    short = state[some][:-1]
    yield state | {some: short}, f"{some} must have shape {shape}; got shape {short.shape}"
    half = state[some].astype(np.float16)
    yield state | {some: half}, f"{some} must be float32 or float64; got float16"
    single = state[some].astype(np.float32)
    yield state | {some: single}, f"{some} must be {dtype}, like the other arrays; got float32"
    yield state | {some: nan}, f"{some} must be finite; got nan at index {at}"
    for name in names:
        own = name.rpartition(".")[2]
        if own == "t":
            needed = f"{name} must be int64 of shape ()"
            yield state | {name: np.zeros(2, int)}, f"{needed}; got int64 of shape (2,)"
            yield state | {name: np.array(0.0)}, f"{needed}; got float64 of shape ()"
        if own in ("N", "t"):
            low = state[name] - 2
            yield state | {name: low}, f"{own} must not be negative; got {low.min()}"


@each_layer
def test_load_state_refuses_what_does_not_fit_and_changes_nothing(name):
    module, other = make(name), make(name, seed=2)
    state, before = {n: a.copy() for n, a in other.state().items()}, bits(module)
    if not state:
        with pytest.raises(InputError) as error:
            module.load_state({"W": np.zeros(1)})
        assert str(error.value) == f"{type(module).__name__}.load_state: arrays must be named ; got unknown W"
        return
    for arrays, sentence in broken(state):
        with pytest.raises(InputError) as error:
            module.load_state(arrays)
        assert str(error.value) == f"{type(module).__name__}.load_state: {sentence}"
        assert isinstance(error.value, NonFiniteError) == ("finite" in sentence)
        assert bits(module) == before
    module.load_state(state)
    assert bits(module) != before
