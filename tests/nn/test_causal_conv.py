"""CausalConv: its formula, its gradients, how it starts; two in a row see nothing that comes later."""

import numpy as np
import oracles
import pytest
from helpers import refused

from vqnp.gradcheck import gradcheck_module
from vqnp.nn import Activation, CausalConv, Sequential


@pytest.mark.parametrize(("kernel", "ndim"), [(3, 1), ((3, 5), 2), (1, 2)])
@pytest.mark.parametrize("centre", [False, True])
def test_formula_and_gradients(kernel, ndim, centre, rng):
    layer = CausalConv(2, 3, kernel, centre, ndim, rng, np.float64)
    layer.b.value[:] = rng.standard_normal(3)
    x = rng.standard_normal((2, 4, 5, 2)[: ndim + 1] + (2,))
    theirs = oracles.causal_conv(x, layer.W.value, layer.b.value, layer.kernel, centre)
    oracles.close(layer.forward(x)[0], theirs, size=5)
    gradcheck_module(layer, x, rng=rng).raise_if_failed()


def test_two_layers_see_only_the_pixels_before(rng):
    """5 × 7, mask A and then mask B: no logit depends on its own pixel or on a later one."""
    net = Sequential(
        CausalConv(2, 4, 5, False, rng=rng, dtype=np.float64),
        Activation("tanh"),
        CausalConv(4, 3, 3, True, rng=rng, dtype=np.float64),
    )
    x = rng.standard_normal((1, 5, 7, 2))
    y, cache = net.forward(x)
    number = np.arange(35).reshape(5, 7)
    for i in np.ndindex(5, 7):
        dy = np.zeros_like(y)
        dy[0][i] = 1
        seen = net.backward(dy, cache)[0].any(axis=-1)
        assert not seen[number >= number[i]].any()
        assert i[1] == 0 or seen[i[0], i[1] - 1]
        assert i[0] == 0 or seen[i[0] - 1, i[1]]


def test_it_starts_with_the_variance_of_its_taps():
    layer = CausalConv(20, 30, 7, False)
    assert layer.W.value.shape == (24, 20, 30)
    assert layer.W.value.var() * 20 * 24 == pytest.approx(1, rel=0.05) and not layer.b.value.any()


def test_an_even_kernel_is_refused():
    with refused("kernel", "one odd length or two", "(4, 4)"):
        CausalConv(2, 3, 4, True)
