"""y = x W + b against plain loops, and its gradients against differences."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import dtypes, lay_out, layouts, seeds

from vqnp import InputError, gradcheck
from vqnp.ops import linear_backward, linear_forward

leading = st.lists(st.integers(0, 4), max_size=2).map(tuple)
widths = st.integers(1, 5)


@given(seeds, dtypes, leading, widths, widths, layouts)
@settings(max_examples=60)
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
@settings(max_examples=30)
def test_gradcheck(seed, batch, I, O):
    r = np.random.default_rng(seed)
    args = (r.standard_normal((*batch, I)), r.standard_normal((I, O)), r.standard_normal(O))
    gradcheck(linear_forward, linear_backward, *args, rng=r).raise_if_failed()


@given(seeds, leading, widths, widths)
@settings(max_examples=30)
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


X, W, B = np.zeros((2, 3)), np.zeros((3, 4)), np.zeros(4)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((X[:, :2], W, B), "x must have last axis 3; got shape (2, 2)"),
        ((np.array(1.0), W, B), "x must have last axis 3; got shape ()"),
        ((X, W[0], B), "W must have 2 axes; got shape (4,)"),
        ((X, W, B[:3]), "b must have shape (4,); got shape (3,)"),
        ((X.astype(np.float32), W, B), "x must be float64, like the other arrays; got float32"),
        ((X, W, B.astype(np.float32)), "b must be float64, like the other arrays; got float32"),
        ((X, W.astype(int), B), "W must be float32 or float64; got int64"),
        ((X.tolist(), W, B), "x must be a NumPy array of float32 or float64; got list"),
    ],
)
def test_bad_input_is_refused(args, sentence):
    with pytest.raises(InputError) as error:
        linear_forward(*args)
    assert str(error.value) == f"linear_forward: {sentence}"


@pytest.mark.parametrize(
    ("dy", "sentence"),
    [
        (np.zeros((2, 3)), "dy must have shape (2, 4); got shape (2, 3)"),
        (np.zeros(4), "dy must have shape (2, 4); got shape (4,)"),
        (np.zeros((2, 4), np.float32), "dy must be float64, like the other arrays; got float32"),
    ],
)
def test_a_bad_cotangent_is_refused(dy, sentence):
    with pytest.raises(InputError) as error:
        linear_backward(dy, linear_forward(X, W, B)[1])
    assert str(error.value) == f"linear_backward: {sentence}"
