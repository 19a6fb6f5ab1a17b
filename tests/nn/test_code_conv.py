"""CodeConv: a convolution of embedded codes, its gradients, how it starts."""

import numpy as np
import oracles
import pytest
from helpers import refused

from vqnp.gradcheck import gradcheck_module
from vqnp.nn import CodeConv
from vqnp.ops import conv_forward

OFFSETS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


def test_it_is_a_convolution_of_the_embedded_codes(rng):
    layer, k = CodeConv(6, 3, 4, OFFSETS, rng, np.float64), rng.integers(0, 6, (2, 4, 5))
    layer.b.value[:] = rng.standard_normal(4)
    true, _ = conv_forward(layer.E.value[k], layer.U.value.reshape(3, 3, 3, 4), layer.b.value, padding=1)
    y, cache = layer.forward(k)
    oracles.close(y, true, size=10)
    np.testing.assert_array_equal(layer.part(k, layer.tables(), (1, 2), (3, 5)), y[:, 1:3, 2:5])


def test_gradients(rng):
    layer, k = CodeConv(6, 3, 4, OFFSETS[:4], rng, np.float64), rng.integers(0, 6, (2, 4, 5))

    def forward(x):
        y, cache = layer.forward(k)
        return y + 0 * x.sum(), (cache, x)

    def backward(dy, cache):
        layer.backward(dy, cache[0])
        return np.zeros_like(cache[1])

    gradcheck_module(layer, np.ones(1), rng=rng, forward=forward, backward=backward).raise_if_failed()


def test_it_starts_with_variance_1():
    """The sum over all taps of a pixel that is not at the border."""
    k = np.random.default_rng(0).integers(0, 50, (20, 9, 9))
    y, _ = CodeConv(50, 30, 40, OFFSETS, 0).forward(k)
    assert y[:, 1:-1, 1:-1].var() == pytest.approx(1, rel=0.15)


def test_bad_offsets_are_refused():
    for offsets, needed in (([], "one tuple"), ([1], "one tuple"), ([(0, 1), (2,)], "2 integers")):
        with refused("offsets" if needed == "one tuple" else "offsets[1]", needed, where="CodeConv"):
            CodeConv(2, 3, 4, offsets)
