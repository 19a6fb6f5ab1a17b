"""Conv and ConvTranspose: gradients, the start, the names in PyTorch, what is refused."""

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, seeds

from vqnp import ops
from vqnp.export import from_torch, to_torch
from vqnp.gradcheck import gradcheck_module
from vqnp.nn import Activation, Conv, ConvTranspose, Sequential


@given(seeds, st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@at_most(20)
def test_gradcheck(seed, ndim, k, s, d):
    r = np.random.default_rng(seed)
    net = Sequential(
        Conv(2, 9, k, s, 1, d, ndim, r, np.float64),
        Activation("tanh"),
        ConvTranspose(9, 2, k, s, 0, s - 1, d, ndim, r, np.float64),
    )
    x = r.standard_normal((2, *range(5, 5 + ndim), 2))
    report = gradcheck_module(net, x, rng=r)
    assert [row.argument for row in report.rows] == ["x", "0.W", "0.b", "2.W", "2.b"]
    report.raise_if_failed()


def test_a_layer_is_its_op(rng):
    options = {"stride": 2, "padding": ((1, 0), 2), "dilation": (1, 2)}
    conv, up = Conv(2, 3, 3, **options, rng=rng), ConvTranspose(3, 2, 3, **options, output_padding=1, rng=rng)
    x = rng.standard_normal((2, 7, 8, 2), np.float32)
    y, _ = conv.forward(x)
    np.testing.assert_array_equal(y, ops.conv_forward(x, conv.W.value, conv.b.value, **options)[0])
    theirs, _ = ops.conv_transpose_forward(y, up.W.value, up.b.value, **options, output_padding=1)
    np.testing.assert_array_equal(up.forward(y)[0], theirs)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (Conv(64, 40, 4, 2, 1, rng=3, dtype=np.float64), 64 * 16),
        (Conv(64, 60, 5, ndim=1, rng=3, dtype=np.float64), 64 * 5),
        (ConvTranspose(64, 40, 4, 2, 1, rng=3, dtype=np.float64), 64 * 4),
        (ConvTranspose(64, 40, (3, 1), (2, 3), rng=3, dtype=np.float64), 64 * 1.5),
    ],
)
def test_weights_start_uniform_with_variance_one_over_fan_in(layer, fan_in):
    W, bound = layer.W.value, np.sqrt(3 / fan_in)
    np.testing.assert_allclose([W.min(), W.max()], [-bound, bound], rtol=0.01)
    np.testing.assert_allclose(W.var(), 1 / fan_in, rtol=0.03)
    assert not layer.b.value.any()


def test_the_variance_of_the_input_is_that_of_the_output(rng):
    """Away from the border: of a transposed one too, where only a quarter of the taps reach a pixel."""
    x = rng.standard_normal((20, 12, 12, 16))
    options = {"rng": rng, "dtype": np.float64}
    for layer in (Conv(16, 32, 4, 2, **options), ConvTranspose(16, 32, 4, 2, 3, **options)):
        np.testing.assert_allclose(layer.forward(x)[0].var(), 1, rtol=0.05)


@pytest.mark.parametrize("ndim", [1, 2])
def test_in_pytorchs_layout_the_axes_of_the_kernel_come_last(ndim):
    k = (2, 3)[-ndim:]
    conv, up = Conv(4, 5, k, ndim=ndim), ConvTranspose(4, 5, k, ndim=ndim)
    for layer, shape in ((conv, (5, 4, *k)), (up, (4, 5, *k))):
        arrays = to_torch(layer)
        assert {name: a.shape for name, a in arrays.items()} == {"weight": shape, "bias": (5,)}
        assert arrays["weight"].flags.c_contiguous
        again = from_torch(arrays, type(layer)(4, 5, k, ndim=ndim, rng=9))
        np.testing.assert_array_equal(again.W.value, layer.W.value)
    at = (1, 2)[-ndim:]
    assert to_torch(conv)["weight"][4, 3, *at] == conv.W.value[*at, 3, 4]
    assert to_torch(up)["weight"][3, 4, *at] == up.W.value[*at, 4, 3]


@pytest.mark.parametrize(
    ("options", "argument", "needed", "got"),
    [
        ({"in_channels": 0}, "in_channels", "at least 1", "0"),
        ({"out_channels": 1.5}, "out_channels", "an integer", "1.5"),
        ({"kernel_size": (3,)}, "kernel_size", "2 of them, one per axis", "(3,)"),
        ({"stride": 0}, "stride", "at least 1", "0"),
        ({"padding": -1}, "padding", "at least 0", "-1"),
        ({"dilation": 0}, "dilation", "at least 1", "0"),
        ({"ndim": 3}, "ndim", "in [1, 2]", "3"),
        ({"rng": "x"}, "rng", "a numpy.random.Generator", "'x'"),
    ],
)
@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
def test_bad_arguments_are_refused(kind, options, argument, needed, got):
    with refused(argument, needed, got, where=kind.__name__):
        kind(**({"in_channels": 2, "out_channels": 3, "kernel_size": 3} | options))


def test_output_padding_is_less_than_the_stride():
    with refused("output_padding", "less than the stride, 2, along axis 2", "2", where="ConvTranspose"):
        ConvTranspose(2, 3, 4, (3, 2), 1, 2)
