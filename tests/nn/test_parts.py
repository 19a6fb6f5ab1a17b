"""LayerNorm, GroupNorm, Upsample, PixelShuffle, Residual and the residual stack."""

import numpy as np
import oracles
import pytest
from helpers import refused

from vqnp import ops
from vqnp.export import from_torch, to_torch
from vqnp.gradcheck import gradcheck_module
from vqnp.nn import (
    Activation, Conv, Flatten, GroupNorm, LayerNorm, Linear, PixelShuffle, Residual, Sequential, Upsample,
    residual_stack,
)


def test_gradcheck(rng):
    net = Sequential(
        Conv(3, 8, 3, rng=rng, dtype=np.float64),
        GroupNorm(2, 8, 1e-3, np.float64),
        Activation("silu"),
        PixelShuffle((1, 2)),
        Residual(Sequential(LayerNorm(4, 1e-3, np.float64), Linear(4, 4, rng, np.float64))),
        Upsample((2, 1)),
    )
    report = gradcheck_module(net, rng.standard_normal((2, 5, 4, 3)), rng=rng)
    residual = ["4.inner.0.gamma", "4.inner.0.beta", "4.inner.1.W", "4.inner.1.b"]
    names = ["x", "0.W", "0.b", "1.gamma", "1.beta", *residual]
    assert [row.argument for row in report.rows] == names
    report.raise_if_failed()


def test_a_norm_is_its_op_and_starts_without_effect(rng):
    x = rng.standard_normal((2, 3, 3, 6))
    one, zero = np.ones(6), np.zeros(6)
    layer, group = LayerNorm(6, 0.1, np.float64), GroupNorm(3, 6, 0.1, np.float64)
    np.testing.assert_array_equal(layer.forward(x)[0], ops.layer_norm_forward(x, one, zero, 0.1)[0])
    np.testing.assert_array_equal(group.forward(x)[0], ops.group_norm_forward(x, one, zero, 3, 0.1)[0])


def test_a_norm_has_pytorchs_names(rng):
    layer = GroupNorm(3, 6)
    layer.gamma.value[:], layer.beta.value[:] = rng.standard_normal((2, 6))
    arrays = to_torch(layer)
    assert {name: a.tolist() for name, a in arrays.items()} == {
        "weight": layer.gamma.value.tolist(), "bias": layer.beta.value.tolist(),
    }  # fmt: skip
    again = from_torch(arrays, GroupNorm(3, 6))
    np.testing.assert_array_equal(again.gamma.value, layer.gamma.value)


@pytest.mark.parametrize("ndim", [1, 2])
def test_a_residual_stack_is_its_formula(ndim, rng):
    """h + conv1x1(relu(conv3x3(relu(h)))) by the ops, block after block, and a last relu."""
    stack, relu = residual_stack(4, 3, 2, rng, np.float64, ndim), lambda x: np.maximum(x, 0)
    x = rng.standard_normal((2, *range(4, 4 + ndim), 4))
    given, h = x.copy(), x
    for block in stack.layers[:-1]:
        _, wide, _, narrow = block.inner.layers
        assert wide.W.value.shape == (*(3,) * ndim, 4, 3) and narrow.W.value.shape == (*(1,) * ndim, 3, 4)
        inner, _ = ops.conv_forward(relu(h), wide.W.value, wide.b.value, padding=1)
        h = h + ops.conv_forward(relu(inner), narrow.W.value, narrow.b.value)[0]
    y, _ = stack.forward(x)
    oracles.close(y, relu(h), 10.0)
    np.testing.assert_array_equal(x, given)
    assert len(stack.layers) == 3 and stack.layers[-1].name == "relu"


def test_every_block_has_its_own_weights(rng):
    stack = residual_stack(4, 3, 3, rng)
    assert stack.num_parameters() == 3 * ((9 * 4 * 3 + 3) + (3 * 4 + 4))
    first = [block.inner.layers[1].W.value for block in stack.layers[:-1]]
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])


def test_gradcheck_of_a_residual_stack(rng):
    net = residual_stack(3, 9, 2, rng, np.float64)
    gradcheck_module(net, rng.standard_normal((2, 4, 3, 3)), rng=rng).raise_if_failed()


def test_a_stack_of_no_blocks_is_a_relu(rng):
    x = rng.standard_normal((2, 3, 3, 4))
    np.testing.assert_array_equal(residual_stack(4, 3, 0).forward(x)[0], np.maximum(x, 0))


@pytest.mark.parametrize(
    ("make", "where", "argument", "needed", "got"),
    [
        (lambda: LayerNorm(0), "LayerNorm", "channels", "at least 1", "0"),
        (lambda: LayerNorm(3, 0.0), "LayerNorm", "epsilon", "in (0, inf)", "0.0"),
        (lambda: GroupNorm(2, 5), "GroupNorm", "groups", "must divide the number of channels, 5", "2"),
        (lambda: GroupNorm(6, 5), "GroupNorm", "groups", "in [1, 5]", "6"),
        (lambda: Upsample(0), "Upsample", "factor", "at least 1", "0"),
        (lambda: PixelShuffle((2, 0)), "PixelShuffle", "factor[1]", "at least 1", "0"),
        (lambda: Residual("relu"), "Residual", "inner", "must be a vqnp.nn.Module", "str"),
        (lambda: residual_stack(3, 3, -1), "residual_stack", "blocks", "at least 0", "-1"),
    ],
)
def test_bad_arguments_are_refused(make, where, argument, needed, got):
    with refused(argument, needed, got, where=where):
        make()


def test_the_inside_of_a_residual_keeps_the_shape():
    with refused("inner", "must keep the shape (2, 3, 4)", "shape (2, 12)", where="Residual.forward"):
        Residual(Flatten()).forward(np.zeros((2, 3, 4)))
