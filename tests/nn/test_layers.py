"""Linear, Activation, Flatten, Reshape, Sequential, mlp, Param: gradients, the start, what is refused."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import ops
from vqnp.gradcheck import gradcheck_module
from vqnp.kernels.product import linear_dW
from vqnp.nn import (
    ACTIVATIONS, Activation, Conv, ConvTranspose, Flatten, Linear, Module, Param, Reshape, Sequential, mlp,
)
from vqnp.optim import Adam

widths = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@given(seeds, st.lists(st.integers(1, 4), max_size=2).map(tuple), st.integers(1, 4), st.integers(1, 4))
@at_most(20)
def test_gradcheck_of_linear(seed, batch, I, O):
    r = np.random.default_rng(seed)
    report = gradcheck_module(Linear(I, O, r, np.float64), r.standard_normal((*batch, I)), rng=r)
    assert [row.argument for row in report.rows] == ["x", "W", "b"]
    report.raise_if_failed()


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"relu", "leaky_relu"}))
@given(seed=seeds, sizes=widths, n=st.integers(1, 4))
@settings(max_examples=8)
def test_gradcheck_of_a_whole_mlp(activation, seed, sizes, n):
    r = np.random.default_rng(seed)
    net = mlp(sizes, activation, r, np.float64)
    report = gradcheck_module(net, r.standard_normal((n, sizes[0])), rng=r)
    assert len(report.rows) == 1 + 2 * (len(sizes) - 1)
    report.raise_if_failed()


def test_gradcheck_of_an_mlp_with_relu(rng):
    net = mlp((4, 6, 3), "relu", rng, np.float64)
    gradcheck_module(net, rng.standard_normal((5, 4)), rng=rng).raise_if_failed()


@given(seeds, widths)
@at_most(20)
def test_an_mlp_is_its_ops_in_a_row(seed, sizes):
    """With f between layers and none after the last; the same layer twice is a recurrence."""
    r = np.random.default_rng(seed)
    net, x = mlp(sizes, "tanh", r, np.float64), r.standard_normal((3, sizes[0]))
    linears = [layer for layer in net.layers if isinstance(layer, Linear)]
    assert [layer.W.value.shape for layer in linears] == list(zip(sizes, sizes[1:], strict=False))
    y = x
    for i, layer in enumerate(linears):
        if i:
            y = np.tanh(y)
        y = oracles.linear(y, layer.W.value, layer.b.value)
    oracles.close(net.forward(x)[0], y, 10.0)


def test_one_layer_used_twice_gets_both_gradients(rng):
    """Tied weights: what returning the cache is for."""
    layer = Linear(3, 3, rng, np.float64)
    tied = Sequential(layer, Activation("tanh"), layer)
    x = rng.standard_normal((4, 3))

    def forward(x, W, b):
        h, c1 = ops.linear_forward(x, W, b)
        h, c2 = ops.tanh_forward(h)
        y, c3 = ops.linear_forward(h, W, b)
        return y, (c1, c2, c3)

    y, cache = tied.forward(x)
    theirs, (c1, c2, c3) = forward(x, layer.W.value, layer.b.value)
    np.testing.assert_array_equal(y, theirs)
    dy = rng.standard_normal(y.shape)
    tied.backward(dy, cache)
    dh, dW3, db3 = ops.linear_backward(dy, c3)
    _, dW1, db1 = ops.linear_backward(ops.tanh_backward(dh, c2), c1)
    oracles.close(layer.W.grad, dW1 + dW3)
    oracles.close(layer.b.grad, db1 + db3)
    names = [name for name, _ in tied.named_parameters()]
    assert names == ["0.W", "0.b"] and tied.num_parameters() == 12  # or Adam would step twice
    state = tied.state_dict()
    assert list(state) == ["0.W", "0.b", "2.W", "2.b"]  # as in PyTorch
    before = layer.W.value.copy()
    with refused("2.W", "equal 0.W, which is the same parameter", "other values"):
        tied.load_state_dict({**state, "0.W": state["0.W"] + 1})
    np.testing.assert_array_equal(layer.W.value, before)
    tied.load_state_dict({name: array + 1 for name, array in state.items()})
    np.testing.assert_array_equal(layer.W.value, before + 1)


def test_weights_start_uniform_with_variance_one_over_i(rng):
    """So that y has the variance of x: moments, which no gradient check sees."""
    layer = Linear(400, 300, rng, np.float64)
    bound = np.sqrt(3 / 400)
    W = layer.W.value
    assert W.min() >= -bound and W.max() <= bound and not layer.b.value.any()
    np.testing.assert_allclose([W.min(), W.max()], [-bound, bound], rtol=0.01)
    np.testing.assert_allclose(W.var(), 1 / 400, rtol=0.02)
    np.testing.assert_allclose(np.sort(W, axis=None)[30_000], -bound / 2, rtol=0.05)  # a quarter of 120,000
    y, _ = layer.forward(rng.standard_normal((500, 400)))
    np.testing.assert_allclose(y.std(), 1, rtol=0.05)


def test_the_seed_decides_the_start():
    a, b, c = (mlp((3, 4, 2), "relu", seed).state_dict() for seed in (1, 1, 2))
    assert all(np.array_equal(a[n], b[n]) for n in a)
    assert not np.array_equal(a["0.W"], c["0.W"])
    assert {v.dtype for v in a.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_its_op(name, rng):
    x, dy = rng.standard_normal((2, 4, 3))
    layer = Activation(name)
    y, cache = layer.forward(x)
    theirs, their_cache = getattr(ops, f"{name}_forward")(x)
    np.testing.assert_array_equal(y, theirs)
    np.testing.assert_array_equal(layer.backward(dy, cache), getattr(ops, f"{name}_backward")(dy, their_cache))  # noqa: E501


def test_param():
    assert repr(Param(np.zeros((2, 3), np.float32))) == "Param(shape (2, 3), float32)"
    p = Param(np.asfortranarray(np.ones((2, 3))))
    assert p.value.flags.c_contiguous and not p.grad.any() and p.grad.shape == (2, 3)


# Flatten and Reshape.


@given(seeds, st.integers(0, 4), st.lists(st.integers(1, 4), max_size=3).map(tuple))
def test_flatten_and_reshape_move_no_number(seed, n, shape):
    """Rows stay rows, in C order; backward undoes forward; each is the other's inverse."""
    r, P = np.random.default_rng(seed), int(np.prod(shape))
    x = r.standard_normal((n, *shape))
    flat, cache = Flatten().forward(x)
    assert flat.shape == (n, P)
    for row, example in zip(flat, x, strict=True):
        assert row.tolist() == example.ravel().tolist()
    back, back_cache = Reshape(*shape).forward(flat)
    np.testing.assert_array_equal(back, x)
    dy = r.standard_normal((n, P))
    dx = Flatten().backward(dy, cache)
    np.testing.assert_array_equal(dx, dy.reshape(x.shape))
    np.testing.assert_array_equal(Reshape(*shape).backward(dx, back_cache), dy)


def test_reshape_takes_examples_of_any_shape_with_as_many_numbers(rng):
    layer, x = Reshape(2, 3), rng.standard_normal((5, 3, 2))
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, x.reshape(5, 2, 3))
    assert layer.backward(y, cache).shape == (5, 3, 2)
    assert Reshape().forward(np.zeros((4, 1)))[0].shape == (4,)  # an example that is one number


@pytest.mark.parametrize("layer", [Flatten(), Reshape(3, 2)], ids=["Flatten", "Reshape"])
def test_gradcheck_of_flatten_and_reshape(layer, rng):
    report = gradcheck_module(layer, rng.standard_normal((4, 2, 3)), rng=rng)
    assert [row.argument for row in report.rows] == ["x"]
    report.raise_if_failed()


# backward with need_dx=False.


class Watched(Activation):
    """An activation that notes how its backward is called."""

    def __init__(self):
        super().__init__("tanh")
        self.asked = []

    def backward(self, dy, cache, need_dx=True):
        self.asked.append(need_dx)
        return super().backward(dy, cache, need_dx)


@pytest.mark.parametrize(("need_dx", "before", "between"), [(True, [True], [True]), (False, [], [True])])
def test_sequential_goes_back_no_further_than_to_the_first_layer_with_parameters(
    need_dx, before, between, rng
):
    """What lies before it would compute a gradient that nobody wants."""
    first, second = Watched(), Watched()
    net = Sequential(first, Linear(3, 4, rng, np.float64), second, Linear(4, 2, rng, np.float64))
    y, cache = net.forward(rng.standard_normal((5, 3)))
    dx = net.backward(rng.standard_normal(y.shape), cache, need_dx)
    assert (first.asked, second.asked) == (before, between) and (dx is not None) == need_dx


def test_a_sequential_without_parameters_has_nothing_to_do_without_dx(rng):
    layer = Watched()
    y, cache = Sequential(layer, layer).forward(rng.standard_normal((5, 3)))
    assert Sequential(layer, layer).backward(y, cache, need_dx=False) is None and layer.asked == []


def test_the_layer_inside_another_is_asked_for_no_more_than_the_outer(rng):
    """A Sequential that begins a Sequential gets need_dx too: its own first layer's dx is not computed."""
    inner = Watched()
    net = Sequential(Sequential(inner, Linear(3, 3, rng, np.float64)), Linear(3, 2, rng, np.float64))
    y, cache = net.forward(rng.standard_normal((5, 3)))
    assert net.backward(y, cache, need_dx=False) is None and inner.asked == []


# Names.


class Block(Module):
    """A module of a user's own: what is assigned to an attribute belongs to it, in order."""

    def __init__(self):
        self.scale = Param(np.ones(2))
        self.body = Sequential(Linear(2, 3, 0, np.float64), Activation("relu"), Linear(3, 2, 1, np.float64))
        self.shift = Param(np.zeros(2))
        self.head = Linear(2, 1, 2, np.float64)
        self.width, self.note = 2, "not a parameter"


def test_names_are_dotted_and_in_the_order_of_attributes():
    """A module's own first, then those of each child, depth first, as in PyTorch."""
    block = Block()
    names = ["scale", "shift", "body.0.W", "body.0.b", "body.2.W", "body.2.b", "head.W", "head.b"]
    assert [name for name, _ in block.named_parameters()] == names
    assert list(block.state_dict()) == names
    assert [id(p) for p in block.parameters()] == [id(p) for _, p in block.named_parameters()]
    assert [name for name, _ in block.named_children()] == ["body", "head"]
    assert list(block.children()) == [block.body, block.head]
    prefixes = ["", "body.", "body.0.", "body.1.", "body.2.", "head."]
    assert [prefix for prefix, _ in block.named_modules()] == prefixes
    assert [name for name, _ in block.named_parameters()] == [
        prefix + name
        for prefix, module in block.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Param)
    ]
    assert block.num_parameters() == 4 + (2 * 3 + 3) + (3 * 2 + 2) + (2 + 1)


def test_an_attribute_that_is_replaced_is_replaced_in_the_names_too():
    block = Block()
    block.head = Activation("relu")
    block.shift = None
    assert [name for name, _ in block.named_parameters()][:1] == ["scale"]
    assert not any(name.startswith(("head", "shift")) for name, _ in block.named_parameters())


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: Linear(0, 4, 0), "Linear", "in_features", "must be an integer of at least 1", "0"),
        (lambda: Linear(4, -1, 0), "Linear", "out_features", "must be an integer of at least 1", "-1"),
        (lambda: Linear(4.0, 1, 0), "Linear", "in_features", "must be an integer of at least 1", "4.0"),
        (lambda: Linear(4, True, 0), "Linear", "out_features", "must be an integer of at least 1", "True"),
        (lambda: Linear(4, 1, 0, np.float16), "Param", "value", "must be float32 or float64", "float16"),
        (lambda: Linear(4, 1, -1), "Linear", "rng", "must be a numpy.random.Generator or an integer", "-1"),
        (lambda: Param([1.0]), "Param", "value", "must be a NumPy array of float32 or float64", "list"),
        (lambda: Activation("swish"), "Activation", "name", "must be one of 'relu', 'gelu', 'tanh', 'sigmoid'", "'swish'"),  # noqa: E501
        (lambda: mlp((2, 3, 4), "swish", 0), "Activation", "name", "must be one of 'relu', 'gelu', 'tanh', 'sigmoid'", "'swish'"),  # noqa: E501
        (lambda: Sequential(Linear(4, 2), abs), "Sequential", "layers[1]", "must be a vqnp.nn.Module", "builtin_function_or_method"),  # noqa: E501
        (lambda: Sequential([Linear(4, 2)]), "Sequential", "layers[0]", "must be a vqnp.nn.Module", "list"),
        (lambda: Reshape(2, 0), "Reshape", "shape[1]", "must be an integer of at least 1", "0"),
        (lambda: Reshape(-1), "Reshape", "shape[0]", "must be an integer of at least 1", "-1"),
        (lambda: Reshape((2, 3)), "Reshape", "shape[0]", "must be an integer of at least 1", "(2, 3)"),
        (lambda: Linear(4, 2, 0).forward(np.zeros((3, 5), "f")), "linear_forward", "x", "must have shape (..., 4)", "shape (3, 5)"),  # noqa: E501
        (lambda: Linear(4, 2, 0).forward(np.zeros((3, 4))), "linear_forward", "x", "must be float32", "float64"),  # noqa: E501
        (lambda: Linear(4, 2, 0).forward(None), "linear_forward", "x", "must be a NumPy array of float32 or float64", "NoneType"),  # noqa: E501
        (lambda: Flatten().forward([[1.0]]), "Flatten.forward", "x", "must be a NumPy array", "list"),
        (lambda: Flatten().forward(np.array(1.0)), "Flatten.forward", "x", "must have an axis of examples", "shape ()"),  # noqa: E501
        (lambda: Flatten().forward(np.zeros((2, 3), np.uint8)), "Flatten.forward", "x", "must be float32 or float64", "uint8"),  # noqa: E501
        (lambda: Reshape(2, 3).forward(np.zeros((2, 7))), "Reshape.forward", "x", "must have 6 numbers per example", "shape (2, 7)"),  # noqa: E501
        (lambda: Reshape(2, 3).forward(np.array(1.0)), "Reshape.forward", "x", "must have an axis of examples", "shape ()"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        call()


@pytest.mark.parametrize(
    ("layer", "where", "shape"),
    [(Flatten(), "Flatten.backward", (4, 6)), (Reshape(3, 2), "Reshape.backward", (4, 3, 2))],
)
@pytest.mark.parametrize("need_dx", [True, False])
def test_a_cotangent_of_another_shape_is_refused_though_it_has_as_many_numbers(
    layer, where, shape, need_dx, rng
):
    _, cache = layer.forward(rng.standard_normal((4, 2, 3)))
    with refused("dy", f"must have shape {shape}", "shape (2, 12)", where=where):
        layer.backward(rng.standard_normal((2, 12)), cache, need_dx)


def test_what_a_module_lacks_its_error_names():
    for name, call in {
        "forward": lambda: Module().forward(np.zeros(1)),
        "backward": lambda: Module().backward(np.zeros(1), None),
        "config, so it cannot be saved": lambda: Module().config(),
    }.items():
        with pytest.raises(NotImplementedError, match=f"^Module has no {name}$"):
            call()


def test_backward_needs_a_cache_of_as_many_layers(rng):
    net, other = mlp((2, 2, 2), "relu", 0, np.float64), mlp((2, 2), "relu", 0, np.float64)
    x = rng.standard_normal((4, 2))
    for one, another in ((net, other), (other, net)):
        n, m = len(one.layers), len(another.layers)
        with refused("cache", f"must be of {n} layers", str(m), where="Sequential.backward"):
            one.backward(x, another.forward(x)[1])


LAYERS_WITH_RELU = {
    "linear": (lambda r, dtype: Linear(5, 7, r, dtype), (6, 5)),
    "convolution": (lambda r, dtype: Conv(3, 20, 3, 1, 1, rng=r, dtype=dtype), (2, 5, 4, 3)),
    "transposed": (lambda r, dtype: ConvTranspose(3, 20, 4, 2, 1, rng=r, dtype=dtype), (2, 5, 4, 3)),
    "few channels": (lambda r, dtype: ConvTranspose(3, 1, 4, 2, 1, rng=r, dtype=dtype), (2, 5, 4, 3)),
    "kernel < stride": (lambda r, dtype: ConvTranspose(3, 9, 1, 2, rng=r, dtype=dtype), (2, 5, 4, 3)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS_WITH_RELU)
def test_relu_within_a_layer_is_relu_after_it(name, dtype):
    """The same bits, forward and backward, in a Sequential and in two calls."""
    make, shape = LAYERS_WITH_RELU[name]
    r = np.random.default_rng(3)
    layer, relu = make(r, dtype), Activation("relu")
    layer.b.value[...] = r.standard_normal(layer.b.value.shape)
    x = r.standard_normal(shape).astype(dtype)
    h, cache = layer.forward(x)
    y, relu_cache = relu.forward(h)
    assert 0.1 < np.mean(y == 0) < 0.9
    np.testing.assert_array_equal(layer.forward(x, relu=True)[0], y)
    dy = r.standard_normal(y.shape).astype(dtype)
    dx = layer.backward(relu.backward(dy, relu_cache), cache)
    apart = [param.grad.copy() for param in layer.parameters()]
    layer.zero_grad()
    net = Sequential(layer, relu)
    together, caches = net.forward(x)
    np.testing.assert_array_equal(together, y)
    np.testing.assert_array_equal(net.backward(dy, caches), dx)
    for param, grad in zip(layer.parameters(), apart, strict=True):
        np.testing.assert_array_equal(param.grad, grad)


@given(seeds, st.integers(1, 9), st.integers(1, 30), st.integers(1, 30), st.integers(0, 3), st.booleans())
def test_a_gradient_as_a_product_adds_up_like_any_other(seed, M, I, O, uses, defer):
    r = np.random.default_rng(seed)
    param, expected = Param(np.zeros((I, O))), np.zeros((I, O))
    param.zero_grad(defer)
    for _ in range(uses):
        x, dy = r.standard_normal((M, I)), r.standard_normal((M, O))
        param.add_product(x, dy)
        expected += x.T @ dy
    d = r.standard_normal((I, O))
    param.add_grad(d.copy())
    oracles.close(param.grad, expected + d, size=100)
    oracles.close(param.grad, expected + d, size=100)  # read twice
    param.zero_grad()
    assert not param.grad.any()


@given(seeds, st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))
def test_reading_a_gradient_before_the_step_changes_no_bit(seed, M, I, O):
    ends = []
    for read in (False, True):
        r = np.random.default_rng(seed)
        param = Param(r.standard_normal((I, O)).astype(np.float32))
        adam = Adam([("W", param)])
        for _ in range(3):
            x, dy = (r.standard_normal(s).astype(np.float32) for s in ((M, I), (M, O)))
            adam.zero_grad(defer=True)
            param.add_product(x, dy)
            before = param.grad.copy() if read else None
            adam.step()
            if read:
                np.testing.assert_array_equal(param.grad, before)
        np.testing.assert_array_equal(param.grad, linear_dW(x, dy))  # also after the step
        ends.append((param.value, adam.m["W"], adam.v["W"]))
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_x_may_change_after_backward_unless_gradients_are_deferred(rng):
    layer = Linear(3, 2, 0, np.float64)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    _, cache = layer.forward(x)
    layer.backward(dy, cache)
    before = x.copy()
    x[...] = 0  # a buffer that is used again
    np.testing.assert_allclose(layer.W.grad, before.T @ dy)
