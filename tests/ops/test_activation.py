"""Activations against math's functions one number at a time, against differences, and at their ends."""

import math
from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds, shapes

from vqnp import ops
from vqnp.gradcheck import gradcheck

OPS = {
    "relu": (ops.relu_forward, ops.relu_backward),
    "tanh": (ops.tanh_forward, ops.tanh_backward),
    "sigmoid": (ops.sigmoid_forward, ops.sigmoid_backward),
    "gelu": (ops.gelu_forward, ops.gelu_backward),
    "silu": (ops.silu_forward, ops.silu_backward),
    "leaky_relu": (ops.leaky_relu_forward, ops.leaky_relu_backward),
    "gelu_tanh": (partial(ops.gelu_forward, approximate="tanh"), ops.gelu_backward),
}
each_op = pytest.mark.parametrize("name", OPS)


@each_op
@given(seed=seeds, dtype=dtypes, shape=shapes, scale=st.sampled_from([1e-6, 1e-2, 1.0, 10.0]), layout=layouts)
@at_most(40)
def test_it_is_the_oracle(name, seed, dtype, shape, scale, layout):
    """To rtol of x and of a slope of 1: where f or f' is a small difference, as 1 + erf, so is the error."""
    r = np.random.default_rng(seed)
    x, dy = ((s * r.standard_normal(shape)).astype(dtype) for s in (scale, 1.0))
    x, dy = lay_out(x, layout), lay_out(dy, layout)
    before = x.tobytes(), dy.tobytes()
    forward, backward = OPS[name]
    f, slope = oracles.ACTIVATIONS[name]
    y, cache = forward(x)
    dx = backward(dy, cache)
    assert y.dtype == dx.dtype == dtype
    oracles.close(y, oracles.each(f, x), np.abs(x).max(initial=0))
    oracles.close(dx, dy.astype(np.float64) * oracles.each(slope, x), np.abs(dy).max(initial=0))
    assert (x.tobytes(), dy.tobytes()) == before


@each_op
@given(seed=seeds, shape=shapes, scale=st.sampled_from([0.1, 1.0, 3.0]))
@at_most(30)
def test_gradcheck(name, seed, shape, scale):
    r = np.random.default_rng(seed)
    x = np.clip(scale * r.standard_normal(shape), -5, 5)  # at −9, the slope of GELU is 1e-17
    if name in ("relu", "leaky_relu"):  # away from the kink by more than any difference reaches
        x = x + 0.01 * np.sign(x)
    gradcheck(*OPS[name], x, rng=r).raise_if_failed()


@each_op
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_it_is_flat_and_nothing_overflows(name, dtype):
    """Values and slopes at ±1e30 are the limits; warnings are errors here."""
    far = np.array([-1e30, -1e20, -1e5, -60, 60, 1e5, 1e20, 1e30], dtype)
    y, cache = OPS[name][0](far)
    dx = OPS[name][1](np.ones_like(far), cache)
    rises, leak = name not in ("tanh", "sigmoid"), dtype(0.01) * (name == "leaky_relu")
    low = -1 if name == "tanh" else leak * far[:4]
    np.testing.assert_allclose(y[:4], low, atol=1e-24)
    np.testing.assert_array_equal(y[4:], far[4:] if rises else 1)
    np.testing.assert_allclose(dx[:4], leak, atol=1e-24)
    np.testing.assert_array_equal(dx[4:], 1 if rises else 0)


@each_op
def test_nan_stays_nan(name):
    y, cache = OPS[name][0](np.array([np.nan, 1.0]))
    assert np.isnan(y[0]) and np.isfinite(y[1])


@given(seeds, dtypes)
def test_laws(seed, dtype):
    x = (3 * np.random.default_rng(seed).standard_normal(20)).astype(dtype)
    relu, gelu = ops.relu_forward(x)[0], ops.gelu_forward(x)[0]
    np.testing.assert_array_equal(ops.relu_forward(relu)[0], relu)
    np.testing.assert_array_equal(relu - ops.relu_forward(-x)[0], x)
    np.testing.assert_array_equal(ops.tanh_forward(-x)[0], -ops.tanh_forward(x)[0])
    oracles.close(ops.sigmoid_forward(x)[0] + ops.sigmoid_forward(-x)[0], np.ones(20))
    oracles.close(ops.sigmoid_forward(x)[0], (1 + np.tanh(x.astype(np.float64) / 2)) / 2)
    oracles.close(gelu - ops.gelu_forward(-x)[0], x)  # Φ(x) + Φ(−x) = 1
    assert np.abs(gelu - ops.gelu_forward(x, "tanh")[0]).max() < 5e-4  # the paper's approximation


def test_at_the_kink_the_slope_is_taken_as_0():
    x = np.array([-0.0, 0.0, np.nextafter(0, 1)])
    y, cache = ops.relu_forward(x)
    np.testing.assert_array_equal(ops.relu_backward(np.ones(3), cache), [0, 0, 1])
    for slope in (0.0, 0.01, 0.5):
        y, cache = ops.leaky_relu_forward(x, slope)
        np.testing.assert_array_equal(ops.leaky_relu_backward(np.ones(3), cache), [slope, slope, 1])


@given(seeds, st.floats(0, 1, exclude_max=True))
def test_a_leaky_relu_is_two_relus(seed, slope):
    """relu(x) − slope · relu(−x): with a slope of 0 it is ReLU, and x has the sign of y."""
    x = np.random.default_rng(seed).standard_normal(20)
    y, _ = ops.leaky_relu_forward(x, slope)
    oracles.close(y, ops.relu_forward(x)[0] - slope * ops.relu_forward(-x)[0])


@pytest.mark.parametrize("slope", [-0.1, 1.0, np.nan, "0.1"])
def test_the_slope_is_in_0_to_1(slope):
    with refused("slope", "in [0, 1)", where="leaky_relu_forward"):
        ops.leaky_relu_forward(np.zeros(1), slope)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu"])
@pytest.mark.parametrize(
    ("x", "needed", "got"),
    [
        (np.zeros(2, int), "must be float32 or float64", "int64"),
        ([1.0], "must be a NumPy array of float32 or float64", "list"),
    ],
)
def test_bad_input_is_refused(name, x, needed, got):
    forward, backward = OPS[name]
    with refused("x", needed, got, where=f"{name}_forward"):
        forward(x)
    with refused("dy", needed, got, where=f"{name}_backward"):
        backward(x, forward(np.zeros(1))[1])


@each_op
def test_a_cotangent_of_another_shape_or_dtype_is_refused(name):
    cache = OPS[name][0](np.zeros((2, 3)))[1]
    where = f"{name.removesuffix('_tanh')}_backward"
    with refused("dy", "must have shape (2, 3)", "shape (3,)", where=where):
        OPS[name][1](np.zeros(3), cache)
    with refused("dy", "must be float64", "float32", where=where):
        OPS[name][1](np.zeros((2, 3), np.float32), cache)


@pytest.mark.parametrize("value", ["exact", None, True])
def test_gelus_two_forms(value):
    with refused("approximate", "must be one of 'none', 'tanh'", repr(value), where="gelu_forward"):
        ops.gelu_forward(np.zeros(1), value)


@pytest.mark.parametrize(("dtype", "rtol"), [("f4", 2e-5), ("f8", 1e-12)])
def test_gelus_lower_tail_does_not_cancel(dtype, rtol):
    """Relative to the tiny value itself, where ½ (1 + erf) and ½ (1 + tanh) have no digit right."""
    x = np.linspace(-9, -1, 33).astype(dtype)
    exact = np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.astype(float)])
    np.testing.assert_allclose(ops.gelu_forward(x)[0], exact, rtol=rtol)
    u = [math.sqrt(2 / math.pi) * (v + 0.044715 * v**3) for v in x.astype(float)]
    tanh_form = np.array([v / (1 + math.exp(-2 * w)) for v, w in zip(x.astype(float), u, strict=True)])
    np.testing.assert_allclose(ops.gelu_forward(x, "tanh")[0], tanh_form, rtol=rtol)


@given(seeds, dtypes, shapes, st.sampled_from([1e-3, 1.0, 30.0]), layouts)
def test_the_gate_is_the_oracle(seed, dtype, shape, scale, layout):
    r = np.random.default_rng(seed)
    a, b = (lay_out((scale * r.standard_normal(shape)).astype(dtype), layout) for _ in range(2))
    y, cache = ops.gate_forward(a, b)
    assert y.dtype == dtype and {g.dtype for g in ops.gate_backward(y, cache)} == {np.dtype(dtype)}
    oracles.close(y, oracles.gate(a, b), size=scale)


@given(seeds, shapes)
def test_the_gates_gradients(seed, shape):
    r = np.random.default_rng(seed)
    args = r.standard_normal(shape), r.standard_normal(shape)
    gradcheck(ops.gate_forward, ops.gate_backward, *args, rng=r).raise_if_failed()


def test_the_gate_refuses_two_shapes():
    with refused("b", "must have shape (3,)", "shape (2,)", where="gate_forward"):
        ops.gate_forward(np.zeros(3), np.zeros(2))
