"""Embedding, CausalSelfAttention and TransformerBlock: formulas, gradients, causality, dropout, prefixes."""

from itertools import pairwise

import numpy as np
import oracles
import pytest
from helpers import refused

from vqnp import ops
from vqnp.export import from_torch, to_torch
from vqnp.gradcheck import gradcheck_module
from vqnp.nn import CausalSelfAttention, Embedding, TransformerBlock


def test_an_embedding_is_its_op_and_adds_up(rng):
    layer, k = Embedding(5, 3, rng=rng, dtype=np.float64), rng.integers(0, 5, (2, 4))
    y, cache = layer.forward(k)
    np.testing.assert_array_equal(y, layer.E.value[k])
    dy = rng.standard_normal(y.shape)
    assert layer.backward(dy, cache) is None
    once = ops.embedding_backward(dy, cache)
    layer.backward(dy, cache)
    np.testing.assert_array_equal(layer.E.grad, 2 * once)
    again = from_torch(to_torch(layer), Embedding(5, 3, dtype=np.float64))
    np.testing.assert_array_equal(again.E.value, layer.E.value)


def test_an_embedding_starts_normal():
    E = Embedding(1000, 50, 0.1).E.value
    assert abs(E.std() - 0.1) < 2e-3 and abs(E.mean()) < 2e-3


def test_attention_is_its_formula(rng):
    layer, x = CausalSelfAttention(6, 3, rng, np.float64), rng.standard_normal((2, 4, 6))
    layer.qkv.b.value[:] = rng.standard_normal(18)
    q, k, v = np.split(x @ layer.qkv.W.value + layer.qkv.b.value, 3, axis=-1)
    o = oracles.attention(*(a.reshape(2, 4, 3, 2) for a in (q, k, v))).reshape(2, 4, 6)
    oracles.close(layer.forward(x)[0], o @ layer.out.W.value + layer.out.b.value, size=5)


@pytest.mark.parametrize("layer", [CausalSelfAttention(6, 3, 1, np.float64), TransformerBlock(6, 2, 0.5, 1, np.float64)])  # noqa: E501
def test_gradcheck_and_causality(layer, rng):
    x = rng.standard_normal((2, 4, 6))
    gradcheck_module(layer, x, rng=rng).raise_if_failed()
    y, cache = layer.forward(x)
    for i in range(4):
        dy = np.zeros_like(y)
        dy[:, i] = rng.standard_normal((2, 6))
        dx = layer.backward(dy, cache)
        assert [bool(dx[:, j].any()) for j in range(4)] == [j <= i for j in range(4)]


def test_a_block_is_its_formula_and_drops_only_with_a_generator(rng):
    block, x = TransformerBlock(6, 2, 0.4, rng, np.float64), rng.standard_normal((2, 4, 6))
    h = x + block.attention.forward(block.attention_norm.forward(x)[0])[0]
    y = h + block.mlp.forward(block.mlp_norm.forward(h)[0])[0]
    np.testing.assert_array_equal(block.forward(x)[0], y)
    np.testing.assert_array_equal(block.forward(x, 7)[0], block.forward(x, 7)[0])
    assert (block.forward(x, 7)[0] != y).any()
    whole = TransformerBlock(6, 2, 0.0, rng, np.float64)
    np.testing.assert_array_equal(whole.forward(x, 7)[0], whole.forward(x)[0])


def test_the_gradient_goes_through_the_mask_that_was_drawn(rng):
    block, x = TransformerBlock(6, 2, 0.4, rng, np.float64), rng.standard_normal((2, 4, 6))
    gradcheck_module(block, x, rng=rng, forward=lambda x: block.forward(x, 7)).raise_if_failed()


@pytest.mark.parametrize("cuts", [(0, 5), (0, 1, 2, 3, 4, 5), (0, 2, 5), (0, 3, 4, 5)])
def test_piece_by_piece_it_gives_the_same_rows(cuts, rng):
    block, x = TransformerBlock(6, 2, 0.4, rng, np.float64), rng.standard_normal((3, 5, 6))
    past = block.attention.room(3, 7)  # more than is used
    pieces = [block.extend(x[:, start:stop], past, start) for start, stop in pairwise(cuts)]
    oracles.close(np.concatenate(pieces, axis=1), block.forward(x)[0])


def test_bad_settings_are_refused():
    with refused("heads", "must divide the number of channels, 6", "4", where="CausalSelfAttention"):
        CausalSelfAttention(6, 4)
    with refused("dropout", "must be in [0, 1)", where="TransformerBlock"):
        TransformerBlock(6, 2, 1.0)
    with refused("x", "must have 3 axes", where="CausalSelfAttention.forward"):
        CausalSelfAttention(6, 2).forward(np.zeros((4, 6), np.float32))
