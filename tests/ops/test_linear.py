"""y = x W + b against plain loops, and its gradients against differences."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import linear_backward, linear_forward

leading = st.lists(st.integers(0, 4), max_size=2).map(tuple)
widths = st.integers(1, 5)


@given(seeds, dtypes, leading, widths, widths, layouts)
@at_most(60)
def test_it_is_the_oracle(seed, dtype, batch, I, O, layout):
    r = np.random.default_rng(seed)
    x, W, b = (r.standard_normal(s).astype(dtype) for s in ((*batch, I), (I, O), (O,)))
    dy = r.standard_normal((*batch, O)).astype(dtype)
    x, W, dy = (lay_out(a, layout) for a in (x, W, dy))
    before = [a.tobytes() for a in (x, W, b, dy)]
    y, cache = linear_forward(x, W, b)
    gradients = linear_backward(dy, cache)
    assert y.dtype == dtype and [g.dtype for g in gradients] == [dtype] * 3
    size = I + 1 + x.size
    oracles.close(y.reshape(-1, O), oracles.linear(x.reshape(-1, I), W, b), size)
    dx, dW, db = oracles.linear_gradients(dy.reshape(-1, O), x.reshape(-1, I), W)
    for ours, theirs in zip(gradients, (dx.reshape(x.shape), dW, db), strict=True):
        oracles.close(ours, theirs, size + O)
    assert [a.tobytes() for a in (x, W, b, dy)] == before


@given(seeds, leading, widths, widths)
@at_most(30)
def test_gradcheck(seed, batch, I, O):
    r = np.random.default_rng(seed)
    args = (r.standard_normal((*batch, I)), r.standard_normal((I, O)), r.standard_normal(O))
    gradcheck(linear_forward, linear_backward, *args, rng=r).raise_if_failed()


@given(seeds, leading, widths, widths)
@at_most(30)
def test_it_is_linear_and_backward_is_its_adjoint(seed, batch, I, O):
    """⟨x W, dy⟩ = ⟨x, dy Wᵀ⟩ = ⟨W, xᵀ dy⟩."""
    r = np.random.default_rng(seed)
    x, W, dy = r.standard_normal((*batch, I)), r.standard_normal((I, O)), r.standard_normal((*batch, O))
    y, cache = linear_forward(x, W, np.zeros(O))
    dx, dW, db = linear_backward(dy, cache)
    inner = (y * dy).sum()
    size = (np.abs(x) @ np.abs(W) * np.abs(dy)).sum() + 1
    assert abs((x * dx).sum() - inner) <= 1e-13 * size
    assert abs((W * dW).sum() - inner) <= 1e-13 * size
    oracles.close(db, dy.reshape(-1, O).sum(0), 1.0)
    oracles.close(linear_forward(2 * x, W, np.zeros(O))[0], 2 * y)


@given(seeds, dtypes, leading, widths, widths)
@at_most(30)
def test_without_need_dx_the_parameters_gradients_are_the_same_bits(seed, dtype, batch, I, O):
    r = np.random.default_rng(seed)
    x, W, b = (r.standard_normal(s).astype(dtype) for s in ((*batch, I), (I, O), (O,)))
    dy = r.standard_normal((*batch, O)).astype(dtype)
    _, cache = linear_forward(x, W, b)
    dx, dW, db = linear_backward(dy, cache)
    none, *alone = linear_backward(dy, cache, need_dx=False)
    assert none is None and dx is not None
    assert [g.tobytes() for g in alone] == [dW.tobytes(), db.tobytes()]


X, W, B = np.zeros((2, 3)), np.zeros((3, 4)), np.zeros(4)


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((X[:, :2], W, B), "x", "must have shape (..., 3)", "shape (2, 2)"),
        ((np.array(1.0), W, B), "x", "must have shape (..., 3)", "shape ()"),
        ((X, W[0], B), "W", "must have shape (I, O)", "shape (4,)"),
        ((X, W, B[:3]), "b", "must have shape (4,)", "shape (3,)"),
        ((X.astype(np.float32), W, B), "x", "must be float64", "float32"),
        ((X, W, B.astype(np.float32)), "b", "must be float64", "float32"),
        ((X, W.astype(int), B), "W", "must be float32 or float64", "int64"),
        ((X.tolist(), W, B), "x", "must be a NumPy array", "list"),
    ],
)
def test_bad_input_is_refused(args, argument, needed, got):
    with refused(argument, needed, got, where="linear_forward"):
        linear_forward(*args)


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize(
    ("dy", "needed", "got"),
    [
        (np.zeros((2, 3)), "must have shape (2, 4)", "shape (2, 3)"),
        (np.zeros(4), "must have shape (2, 4)", "shape (4,)"),
        (np.zeros((2, 4), np.float32), "must be float64", "float32"),
    ],
)
def test_a_bad_cotangent_is_refused(dy, needed, got, need_dx):
    with refused("dy", needed, got, where="linear_backward"):
        linear_backward(dy, linear_forward(X, W, B)[1], need_dx)
