"""Layer norm and group norm against plain loops, against differences, and their laws."""

from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import group_norm_backward, group_norm_forward, layer_norm_backward, layer_norm_forward

leading = st.lists(st.integers(0, 4), max_size=2).map(tuple)
spatial = st.lists(st.integers(1, 4), max_size=2).map(tuple)
epsilons = st.sampled_from([1e-5, 1e-2, 1.0])


def parameters(r, C, dtype=np.float64):
    return [r.standard_normal(C).astype(dtype) for _ in range(2)]


@given(seeds, dtypes, leading, st.integers(1, 6), epsilons, layouts)
@at_most(40)
def test_layer_norm_is_the_oracle(seed, dtype, batch, C, epsilon, layout):
    r = np.random.default_rng(seed)
    x, (gamma, beta) = lay_out(r.standard_normal((*batch, C)).astype(dtype), layout), parameters(r, C, dtype)
    before = x.tobytes()
    y, cache = layer_norm_forward(x, gamma, beta, epsilon)
    assert y.dtype == dtype and {g.dtype for g in layer_norm_backward(y, cache)} == {np.dtype(dtype)}
    # The rounding of x − μ is divided by σ, which is at least √ε.
    size = 10 + np.abs(x).max(initial=0) * np.abs(gamma).max() / epsilon**0.5
    oracles.close(y.reshape(-1, C), oracles.layer_norm(x.reshape(-1, C), gamma, beta, epsilon), size)
    assert x.tobytes() == before


@given(seeds, dtypes, st.integers(0, 3), spatial, st.integers(1, 3), st.integers(1, 3), epsilons, layouts)
@at_most(40)
def test_group_norm_is_the_oracle(seed, dtype, B, S, groups, width, epsilon, layout):
    r, C = np.random.default_rng(seed), groups * width
    x, (gamma, beta) = lay_out(r.standard_normal((B, *S, C)).astype(dtype), layout), parameters(r, C, dtype)
    before = x.tobytes()
    y, cache = group_norm_forward(x, gamma, beta, groups, epsilon)
    assert y.dtype == dtype and {g.dtype for g in group_norm_backward(y, cache)} == {np.dtype(dtype)}
    size = 10 + np.abs(x).max(initial=0) * np.abs(gamma).max() / epsilon**0.5
    flat = x.reshape(B, int(np.prod(S)), C)
    oracles.close(y.reshape(flat.shape), oracles.group_norm(flat, gamma, beta, groups, epsilon), size)
    assert x.tobytes() == before


# Two numbers are normalized to ±1 up to ε: with a small ε the gradient is a difference that cancels.
@given(seeds, leading, spatial, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.03, 1.0]))
@at_most(30)
def test_gradcheck(seed, batch, S, groups, width, epsilon):
    r, C = np.random.default_rng(seed), groups * width
    args = r.standard_normal((*batch, C)), *parameters(r, C)
    forward = partial(layer_norm_forward, epsilon=epsilon)
    gradcheck(forward, layer_norm_backward, *args, rng=r).raise_if_failed()
    args = r.standard_normal((2, *S, C)), *parameters(r, C)
    forward = partial(group_norm_forward, groups=groups, epsilon=epsilon)
    gradcheck(forward, group_norm_backward, *args, rng=r).raise_if_failed()


@given(seeds, spatial, st.integers(1, 3), st.integers(2, 4))
def test_laws(seed, S, groups, width):
    r, C = np.random.default_rng(seed), groups * width
    x, one, zero = r.standard_normal((3, *S, C)), np.ones(C), np.zeros(C)
    y, _ = layer_norm_forward(x, one, zero, 1e-12)
    oracles.close(y.mean(axis=-1), np.zeros(x.shape[:-1]), 1e3)
    scaled, _ = layer_norm_forward(3 * x + 5, one, zero, 9e-12)  # a row's place and size do not matter
    oracles.close(scaled, y, 1e6)
    whole, _ = group_norm_forward(x, one, zero, 1, 1e-12)
    rows, ones, zeros = x.reshape(3, -1), np.ones(x[0].size), np.zeros(x[0].size)
    oracles.close(whole.reshape(3, -1), layer_norm_forward(rows, ones, zeros, 1e-12)[0], 1e3)
    each, _ = group_norm_forward(x, one, zero, C)
    for c in range(C):
        alone, _ = group_norm_forward(np.ascontiguousarray(x[..., c : c + 1]), one[:1], zero[:1], 1)
        oracles.close(each[..., c : c + 1], alone, 1e3)


@given(seeds)
def test_the_gradient_is_orthogonal_to_what_changes_nothing(seed):
    """y does not change if a row moves along 1, nor, up to ε, if x − μ is scaled."""
    r = np.random.default_rng(seed)
    x, gamma, beta = r.standard_normal((5, 7)), *parameters(r, 7)
    y, cache = layer_norm_forward(x, gamma, beta, 1e-12)
    dx, _, _ = layer_norm_backward(r.standard_normal(y.shape), cache)
    oracles.close(dx.sum(axis=1), np.zeros(5), 100 * np.abs(dx).max())
    centred = x - x.mean(axis=1, keepdims=True)
    assert np.abs((dx * centred).sum(axis=1)).max() < 1e-9 * max(1, np.abs(dx).max())


@pytest.mark.parametrize("offset", [1e3, -1e4])
def test_a_large_mean_does_not_cancel_the_variance(offset):
    """In float32 mean(x²) − μ² would have no digit right, or be negative."""
    x = (np.random.default_rng(0).standard_normal((20, 64)) + offset).astype(np.float32)
    exact, _ = layer_norm_forward(x.astype(float), np.ones(64), np.zeros(64))
    ours, _ = layer_norm_forward(x, np.ones(64, np.float32), np.zeros(64, np.float32))
    assert np.abs(ours - exact).max() < 4 * np.finfo(np.float32).eps * abs(offset)


@given(seeds, spatial)
@at_most(20)
def test_without_need_dx_the_parameters_gradients_are_the_same_bits(seed, S):
    r = np.random.default_rng(seed)
    x, gamma, beta = r.standard_normal((2, *S, 4)), *parameters(r, 4)
    for forward, backward in (
        (layer_norm_forward, layer_norm_backward),
        (partial(group_norm_forward, groups=2), group_norm_backward),
    ):
        y, cache = forward(x, gamma, beta)
        dx, *gradients = backward(y, cache)
        none, *alone = backward(y, cache, need_dx=False)
        assert none is None and dx is not None
        assert [g.tobytes() for g in alone] == [g.tobytes() for g in gradients]


X, P = np.zeros((2, 3, 4)), np.zeros(4)


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((X, P[:3], P), "gamma", "must have shape (4,)", "shape (3,)"),
        ((X, P, P.astype(np.float32)), "beta", "must be float64", "float32"),
        ((X.astype(int), P, P), "x", "must be float32 or float64", "int64"),
        ((X, P, P, 2, 0.0), "epsilon", "in (0, inf)", "0.0"),
        ((X, P, P, 3), "groups", "must divide the number of channels, 4", "3"),
        ((X, P, P, 0), "groups", "in [1, 4]", "0"),
        ((P, P, P, 1), "x", "must have shape (B, *S, C), no example empty", "shape (4,)"),
        ((X[:, :0], P, P, 1), "x", "no example empty", "shape (2, 0, 4)"),
    ],
)
def test_bad_input_is_refused(args, argument, needed, got):
    with refused(argument, needed, got, where="group_norm_forward"):
        group_norm_forward(*(args if len(args) > 3 else (*args, 2)))
    if argument in ("gamma", "beta", "epsilon"):
        with refused(argument, needed, got, where="layer_norm_forward"):
            layer_norm_forward(*args[:3], *args[4:])


def test_no_channels_are_refused():
    with refused("x", "at least one channel", "shape (2, 0)", where="layer_norm_forward"):
        layer_norm_forward(np.zeros((2, 0)), P[:0], P[:0])


@pytest.mark.parametrize(
    ("dy", "needed", "got"),
    [(X[:, :2], "must have shape (2, 3, 4)", "(2, 2, 4)"), (X.astype("f4"), "must be float64", "float32")],
)
def test_a_bad_cotangent_is_refused(dy, needed, got):
    with refused("dy", needed, got, where="layer_norm_backward"):
        layer_norm_backward(dy, layer_norm_forward(X, P, P)[1])
    with refused("dy", needed, got, where="group_norm_backward"):
        group_norm_backward(dy, group_norm_forward(X, P, P, 2)[1])
