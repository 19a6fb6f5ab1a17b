"""Adam against its algorithm one number at a time; the cosine; what a checkpoint takes along."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, seeds

from vqnp import InputError
from vqnp._check import NonFiniteError
from vqnp.nn import Linear, Param, mlp
from vqnp.optim import Adam, cosine

rates = st.floats(1e-5, 1.0)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(seeds, dtypes, shapes, rates, st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.0, 0.9, 0.999]))
@at_most(60)
def test_twelve_steps_are_the_oracles(seed, dtype, shape, lr, beta1, beta2):
    r = np.random.default_rng(seed)
    value = r.standard_normal(shape).astype(dtype)
    param = Param(value.copy())
    optimizer = Adam([("p", param)], lr, beta1, beta2, 1e-6)
    gradients = [r.standard_normal(param.value.shape).astype(dtype) for _ in range(12)]
    factors = r.random(12)
    for gradient, factor in zip(gradients, factors, strict=True):
        param.grad[...] = gradient
        optimizer.step(lr * factor)
        np.testing.assert_array_equal(param.grad, gradient)
    theirs = oracles.adam(value.reshape(param.value.shape), gradients, lr * factors, beta1, beta2, 1e-6)
    assert param.value.dtype == dtype and optimizer.t == 12
    oracles.close(param.value, theirs, size=1 + lr)


@given(seeds, st.floats(1e-4, 1e3))
def test_the_first_step_is_the_learning_rate_whatever_the_gradients_size(seed, size):
    r = np.random.default_rng(seed)
    gradient = size * (0.1 + r.random(5)) * r.choice([-1, 1], 5)
    param = Param(np.zeros(5))
    param.grad[...] = gradient
    Adam([("p", param)], 0.01).step()
    np.testing.assert_allclose(param.value, -0.01 * np.sign(gradient), rtol=2e-3)


def test_the_default_rate_is_lr_and_no_gradient_moves_nothing(rng):
    a, b, still = Param(np.ones(3)), Param(np.ones(3)), Param(np.ones(3))
    a.grad[...] = b.grad[...] = [1.0, -2.0, 3.0]
    Adam([("a", a), ("still", still)], 0.1).step()
    Adam([("b", b)], 5.0).step(0.1)
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(still.value, 1)


def test_it_finds_the_minimum_of_a_parabola():
    param = Param(np.array([5.0, -3.0]))
    optimizer = Adam([("p", param)], 0.1)
    for step in range(500):
        param.grad[...] = 2 * (param.value - [1.0, 2.0])
        optimizer.step(cosine(step, 500, 0.1))
    np.testing.assert_allclose(param.value, [1, 2], atol=1e-3)


def test_parameters_move_in_place_and_independently(rng):
    layer, alone = Linear(3, 4, 0, np.float64), Linear(3, 4, 0, np.float64)
    W, b = layer.W.value, layer.b.value
    for module, names in ((layer, ["W", "b"]), (alone, ["W"])):
        for name, p in module.named_parameters():
            p.grad[...] = np.random.default_rng(len(name)).standard_normal(p.value.shape)
        Adam([(n, p) for n, p in module.named_parameters() if n in names]).step()
    assert layer.W.value is W and layer.b.value is b
    np.testing.assert_array_equal(layer.W.value, alone.W.value)
    assert layer.b.value.all() and not alone.b.value.any()


def test_reset_sets_the_moments_of_some_rows_of_one_parameter_to_0(rng):
    E, W = Param(rng.standard_normal((5, 3))), Param(rng.standard_normal((5, 3)))
    optimizer = Adam([("E", E), ("W", W)])
    E.grad[...] = W.grad[...] = rng.standard_normal((5, 3))
    optimizer.step()
    before = {name: a.copy() for name, a in optimizer.state_dict().items()}
    optimizer.reset("E", np.array([1, 4]))
    for which in ("m", "v"):
        assert not optimizer.state_dict()[f"{which}.E"][[1, 4]].any()
        after, others = optimizer.state_dict(), [0, 2, 3]
        np.testing.assert_array_equal(after[f"{which}.E"][others], before[f"{which}.E"][others])
        np.testing.assert_array_equal(after[f"{which}.W"], before[f"{which}.W"])
    optimizer.reset("E", np.empty(0, np.int64))
    E.grad[...] = 0
    kept = E.value.copy()
    optimizer.step()
    np.testing.assert_array_equal(E.value[[1, 4]], kept[[1, 4]])  # no momentum is left
    assert (E.value[[0, 2, 3]] != kept[[0, 2, 3]]).all()


def test_reset_is_as_if_those_rows_had_had_no_gradient_yet(rng):
    """But for t: a code that starts again is moved by its new gradients alone."""
    gradients = rng.standard_normal((3, 4, 2))
    param, fresh = Param(np.zeros((4, 2))), Param(np.zeros((4, 2)))
    optimizer, other = Adam([("E", param)], 0.1), Adam([("E", fresh)], 0.1)
    for i, gradient in enumerate(gradients):
        param.grad[...] = gradient
        optimizer.step()
        if i < 2:
            fresh.grad[...] = 0
            other.step()
        if i == 1:
            optimizer.reset("E", np.array([2]))
            param.value[2] = 0
    fresh.grad[...] = gradients[2]
    other.step()
    np.testing.assert_array_equal(param.value[2], fresh.value[2])
    assert (param.value[[0, 1, 3]] != fresh.value[[0, 1, 3]]).all()
    with pytest.raises(KeyError):
        optimizer.reset("no such", np.array([0]))


def test_the_state_is_named_as_the_parameters_are():
    net = mlp((2, 3, 1), "relu")
    optimizer = Adam(net.named_parameters())
    names = ["0.W", "0.b", "2.W", "2.b"]
    assert list(optimizer.parameters) == names
    assert list(optimizer.state_dict()) == ["t", *(f"m.{n}" for n in names), *(f"v.{n}" for n in names)]


def test_a_resumed_optimizer_takes_the_same_steps_bit_for_bit(rng):
    def run(param, optimizer, steps):
        for t in steps:
            param.grad[...] = np.random.default_rng(t).standard_normal(4)
            optimizer.step()

    whole, first = Param(np.ones(4, np.float32)), Param(np.ones(4, np.float32))
    run(whole, Adam([("p", whole)]), range(9))
    optimizer = Adam([("p", first)])
    run(first, optimizer, range(4))
    saved = {name: a.copy() for name, a in optimizer.state_dict().items()}
    assert saved["t"] == 4 and saved["t"].dtype == np.int64
    second = Param(first.value.copy())
    resumed = Adam([("p", second)])
    resumed.load_state_dict(saved)
    for a in saved.values():
        a[...] = 1  # not shared
    run(second, resumed, range(4, 9))
    assert second.value.tobytes() == whole.value.tobytes()


def test_load_state_dict_refuses_what_does_not_fit_and_changes_nothing(rng):
    param = Param(np.ones((2, 3)))
    optimizer = Adam([("p", param)])
    param.grad[...] = 1
    optimizer.step()
    before = {name: a.copy() for name, a in optimizer.state_dict().items()}
    good = {"t": np.array(9), "m.p": np.zeros((2, 3)), "v.p": np.zeros((2, 3))}
    nan = np.zeros((2, 3))
    nan[1, 2] = np.nan
    for arrays, argument, needed, got in [
        ({}, "arrays", "must have the names of state_dict()", "none"),
        ({"t": np.array(9), "m.p": nan}, "arrays", "must have the names of state_dict()", "m.p, t"),
        (good | {"m.q": nan}, "arrays", "must have the names of state_dict()", "m.p, m.q, t, v.p"),
        (good | {"v.p": np.zeros((3, 2))}, "v.p", "must have shape (2, 3)", "shape (3, 2)"),
        (good | {"v.p": nan}, "v.p", "must be finite", "nan at index (1, 2)"),
        (good | {"m.p": nan.astype(np.float32)}, "m.p", "must be float64", "float32"),
        (good | {"t": np.array(-1)}, "t", "must be an integer of at least 0", "-1"),
        (good | {"t": np.array(1.5)}, "t", "must be an integer of at least 0", "1.5"),
        (good | {"t": np.array([1])}, "t", "must be an integer of at least 0", "[1]"),
    ]:
        error = NonFiniteError if "finite" in needed else InputError
        with refused(argument, needed, got, where="Adam.load_state_dict", error=error):
            optimizer.load_state_dict(arrays)
        for name, a in optimizer.state_dict().items():
            np.testing.assert_array_equal(a, before[name])


@pytest.mark.parametrize(
    ("options", "argument", "needed", "got"),
    [
        ({"lr": 0}, "lr", "must be in (0, inf)", "0.0"),
        ({"lr": np.nan}, "lr", "must be in (0, inf)", "nan"),
        ({"lr": "fast"}, "lr", "must be a number in (0, inf)", "'fast'"),
        ({"beta1": 1}, "beta1", "must be in [0, 1)", "1.0"),
        ({"beta2": -0.1}, "beta2", "must be in [0, 1)", "-0.1"),
        ({"epsilon": 0}, "epsilon", "must be in (0, inf)", "0.0"),
        ({"weight_decay": -1e-3}, "weight_decay", "must be in [0, inf)", "-0.001"),
        ({"clip": 0}, "clip", "must be in (0, inf)", "0.0"),
    ],
)
def test_bad_settings_are_refused(options, argument, needed, got):
    with refused(argument, needed, got, where="Adam"):
        Adam([], **options)


@given(st.integers(1, 10_000), st.data(), rates)
def test_the_cosine(steps, data, lr):
    """From lr to 0, falling all the way, half at half, the same seen from both ends."""
    step = data.draw(st.integers(0, steps))
    rate = cosine(step, steps, lr)
    oracles.close(rate, oracles.cosine(step, steps, lr), lr)
    np.testing.assert_allclose(rate + cosine(steps - step, steps, lr), lr, rtol=1e-12)
    assert cosine(0, steps, lr) == lr and cosine(steps, steps, lr) == 0
    assert step == 0 or rate < cosine(step - 1, steps, lr)


def test_an_epsilon_that_vanishes_in_the_parameters_dtype_is_refused():
    with refused("epsilon", "must be above 0 in p's dtype, float32", "1e-50", where="Adam"):
        Adam([("p", Param(np.zeros(2, np.float32)))], epsilon=1e-50)


# Weight decay and clipping.


@given(seeds, st.floats(0.01, 0.5), st.floats(0.01, 1.0))
def test_weight_decay_shrinks_what_has_two_axes_and_nothing_else(seed, lr, decay):
    """Decoupled: θ ← (1 − αλ) θ and the step that Adam takes without it."""
    r = np.random.default_rng(seed)
    values, gradients = [[r.standard_normal(shape) for shape in ((3, 4), (4,), (2, 3, 2))] for _ in range(2)]
    decayed, plain = ([(str(i), Param(value)) for i, value in enumerate(values)] for _ in range(2))
    optimizers = Adam(decayed, lr, weight_decay=decay), Adam(plain, lr)
    for optimizer in optimizers:
        for param, gradient in zip(optimizer.parameters.values(), gradients, strict=True):
            param.grad[...] = gradient
        optimizer.step()
    for (_, ours), (_, theirs), value in zip(decayed, plain, values, strict=True):
        rate = lr * decay if value.ndim >= 2 else 0
        oracles.close(ours.value - theirs.value, -rate * value, size=10)


@given(seeds, st.floats(1e-3, 1e3))
def test_clipping_scales_all_gradients_by_one_factor_down_to_the_norm(seed, clip):
    r = np.random.default_rng(seed)
    values, gradients = [[r.standard_normal(shape) for shape in ((3, 4), (4,))] for _ in range(2)]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    factor = min(1.0, clip / norm)
    clipped, scaled = ([(str(i), Param(value)) for i, value in enumerate(values)] for _ in range(2))
    for named, by in ((clipped, 1.0), (scaled, factor)):
        for (_, param), gradient in zip(named, gradients, strict=True):
            param.grad[...] = by * gradient
    optimizer, other = Adam(clipped, 0.1, clip=clip), Adam(scaled, 0.1)
    optimizer.step()
    other.step()
    for (name, ours), (_, theirs), gradient in zip(clipped, scaled, gradients, strict=True):
        oracles.close(ours.value, theirs.value, size=1)
        oracles.close(optimizer.m[name], other.m[name])
        np.testing.assert_array_equal(ours.grad, gradient)


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"clip": 0.1}, {"weight_decay": 1, "clip": 1}])
def test_a_gradient_that_is_a_product_is_treated_alike(options, rng):
    """Multiplied out to be clipped, and still multiplied in Adam's pass if it is only decayed."""
    x, dy = rng.standard_normal((5, 3)).astype("f4"), rng.standard_normal((5, 4)).astype("f4")
    lazy, ready = (Param(np.ones((3, 4), np.float32)) for _ in range(2))
    lazy.add_product(x, dy)
    ready.add_product(x, dy)
    assert ready.grad is not None  # read
    for param in (lazy, ready):
        Adam([("p", param)], 0.1, **options).step()
    np.testing.assert_array_equal(lazy.value, ready.value)


def test_by_default_neither_changes_a_bit(rng):
    gradient = rng.standard_normal((3, 4))
    default, off = Param(np.ones((3, 4))), Param(np.ones((3, 4)))
    for param, options in ((default, {}), (off, {"weight_decay": 0.0, "clip": 1e9})):
        param.grad[...] = gradient
        Adam([("p", param)], 0.1, **options).step()
    np.testing.assert_array_equal(default.value, off.value)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", ["Fortran", "read-only", "every second"])
def test_a_value_that_the_caller_has_assigned_takes_its_step_whatever_its_memory(kind, fused):
    """The step was made on the copy that reshape(-1) of a Fortran array is, and lost; memory that may not be
    written was written."""
    r = np.random.default_rng(0)
    start, x, dy = (r.standard_normal(s).astype(np.float32) for s in ((5, 3), (8, 5), (8, 3)))
    value = np.asfortranarray(start) if kind == "Fortran" else np.repeat(start, 2, axis=1)[:, ::2]
    if kind == "read-only":
        value = start.copy()
        value.flags.writeable = False
    params = Param(start), Param(start)
    params[1].value = value
    for param in params:
        param.add_product(x, dy)
        if not fused:
            param.grad
        Adam([("W", param)], lr=0.1).step()
    np.testing.assert_array_equal(params[1].value, params[0].value)
    np.testing.assert_array_equal(value, start)
