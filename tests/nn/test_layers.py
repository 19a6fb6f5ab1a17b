"""Linear, Activation, mlp, Sequential, Param: gradients by differences, the start, what is refused."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from vqnp import InputError, gradcheck_module, ops
from vqnp.nn import ACTIVATIONS, Activation, Linear, Module, Param, Sequential, mlp

widths = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@given(seeds, st.lists(st.integers(1, 4), max_size=2).map(tuple), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=20)
def test_gradcheck_of_linear(seed, batch, I, O):
    r = np.random.default_rng(seed)
    report = gradcheck_module(Linear(I, O, r, np.float64), r.standard_normal((*batch, I)), rng=r)
    assert [row.argument for row in report.rows] == ["x", "W", "b"]
    report.raise_if_failed()


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"relu"}))
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
@settings(max_examples=20)
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
    names = [name for name, _ in tied.named_params()]
    assert names == ["0.W", "0.b", "2.W", "2.b"]


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
    a, b, c = (mlp((3, 4, 2), "relu", seed).state() for seed in (1, 1, 2))
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


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Linear(0, 4, 0), "Linear: in_features must be an integer of at least 1; got 0"),
        (lambda: Linear(4, -1, 0), "Linear: out_features must be an integer of at least 1; got -1"),
        (lambda: Linear(4.0, 1, 0), "Linear: in_features must be an integer of at least 1; got 4.0"),
        (lambda: Linear(4, True, 0), "Linear: out_features must be an integer of at least 1; got True"),
        (lambda: Linear(4, 1, 0, np.float16), "Param: value must be float32 or float64; got float16"),
        (lambda: Param([1.0]), "Param: value must be a NumPy array of float32 or float64; got list"),
        (lambda: Activation("swish"), "Activation: name must be one of 'relu', 'gelu', 'tanh', 'sigmoid'; got 'swish'"),  # noqa: E501
        (lambda: mlp((2, 3, 4), "swish", 0), "Activation: name must be one of 'relu', 'gelu', 'tanh', 'sigmoid'; got 'swish'"),  # noqa: E501
        (lambda: Linear(4, 2, 0).forward(np.zeros((3, 5), np.float32)), "Linear.forward: x must have last axis 4; got shape (3, 5)"),  # noqa: E501
        (lambda: Linear(4, 2, 0).forward(np.zeros((3, 4))), "Linear.forward: x must be float32, like the other arrays; got float64"),  # noqa: E501
        (lambda: Linear(4, 2, 0).forward(None), "Linear.forward: x must be a NumPy array of float32 or float64; got NoneType"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == sentence


def test_a_module_without_a_forward_says_so():
    with pytest.raises(NotImplementedError, match="^Module has no forward$"):
        Module().forward(np.zeros(1))
    with pytest.raises(NotImplementedError, match="^Module has no backward$"):
        Module().backward(np.zeros(1), None)


def test_backward_needs_a_cache_of_as_many_layers(rng):
    net, other = mlp((2, 2, 2), "relu", 0, np.float64), mlp((2, 2), "relu", 0, np.float64)
    x = rng.standard_normal((4, 2))
    with pytest.raises(ValueError, match="zip"):
        net.backward(x, other.forward(x)[1])
