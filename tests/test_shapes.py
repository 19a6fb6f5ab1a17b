"""@checked: which arrays an op takes, and what the error says of the first that does not fit."""

import inspect

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st

from vqnp import ops
from vqnp._shapes import checked


@checked(W="(I, O)", x="(..., I)", b="(O,)")
def affine(x, W, b=None, *, scale=1.0):
    """y = x W + b."""
    return scale * (x @ W) + (0 if b is None else b)


@checked(a="(...)", b="(...)")
def pair(a, b):
    return a + b


@checked(z="(B, M, D)", E="(D, D)")
def square(z, E):
    return z @ E


X, W, B = np.zeros((2, 3)), np.zeros((3, 4)), np.zeros(4)


@pytest.mark.parametrize(
    ("call", "where", "argument", "needed", "got"),
    [
        (lambda: affine(X[:, :2], W, B), "affine", "x", "must have shape (..., 3)", "shape (2, 2)"),
        (lambda: affine(np.array(1.0), W, B), "affine", "x", "must have shape (..., 3)", "shape ()"),
        (lambda: affine(X, W[0], B), "affine", "W", "must have shape (I, O)", "shape (4,)"),
        (lambda: affine(X, W[None], B), "affine", "W", "must have shape (I, O)", "shape (1, 3, 4)"),
        (lambda: affine(X, W, B[:3]), "affine", "b", "must have shape (4,)", "shape (3,)"),
        (lambda: affine(X, W, B[None]), "affine", "b", "must have shape (4,)", "shape (1, 4)"),
        (lambda: affine(X.astype("f"), W, B), "affine", "x", "must be float64", "float32"),
        (lambda: affine(X.astype("f"), W.astype("f"), B), "affine", "b", "must be float32", "float64"),
        (lambda: affine(X, W.astype(int), B), "affine", "W", "must be float32 or float64", "int64"),
        (lambda: affine(X, W.astype("e"), B), "affine", "W", "must be float32 or float64", "float16"),
        (lambda: affine(X > 0, W, B), "affine", "x", "must be float32 or float64", "bool"),
        (lambda: affine(X.tolist(), W, B), "affine", "x", "must be a NumPy array", "list"),
        (lambda: affine(3.0, W, B), "affine", "x", "must be a NumPy array", "float"),
        (lambda: affine(b=B, W=W, x=X[0, :2]), "affine", "x", "must have shape (..., 3)", "shape (2,)"),
        (lambda: affine(X, b=B[:1], W=W), "affine", "b", "must have shape (4,)", "shape (1,)"),
        (lambda: pair(X, X[:1]), "pair", "b", "must have shape (2, 3)", "shape (1, 3)"),
        (lambda: pair(B, B[:1]), "pair", "b", "must have shape (4,)", "shape (1,)"),
        (lambda: pair(np.array(1.0), B), "pair", "b", "must have shape ()", "shape (4,)"),
        (lambda: square(X, W), "square", "z", "must have shape (B, M, D)", "shape (2, 3)"),
        (lambda: square(X[None], W), "square", "E", "must have shape (3, 3)", "shape (3, 4)"),
    ],
)
def test_an_array_that_does_not_fit_is_named_with_the_shape_that_it_must_have(
    call, where, argument, needed, got
):
    """A letter that is known already stands as its number, one that is not as the letter."""
    with refused(argument, needed, got, where=where):
        call()


def test_the_array_that_is_declared_first_decides():
    """W is declared before x, although x comes first in the call."""
    with refused("x", "must have shape (..., 4)"):
        affine(X, W.T, B)


def test_a_letter_twice_in_one_shape_is_one_length():
    with refused("E", "must have shape (D, D)", where="other"):
        checked(where="other", E="(D, D)")(lambda E: E)(W)


def test_none_is_allowed_where_it_is_the_default_and_what_is_not_declared_is_not_checked():
    np.testing.assert_array_equal(affine(X, W), np.zeros((2, 4)))
    np.testing.assert_array_equal(affine(X, W, None, scale=2), np.zeros((2, 4)))
    with refused("b"):
        affine(X, W, B[:2], scale=2)
    with refused("x", "must be a NumPy array", "NoneType", where="affine"):
        affine(None, W, B)
    with refused("W", "must be a NumPy array", "NoneType", where="affine"):
        affine(X, W=None)


@given(st.lists(st.integers(0, 3), max_size=3).map(tuple), st.integers(0, 4), st.integers(0, 4))
def test_what_fits_is_passed_on(leading, I, O):
    x = np.ones((*leading, I))
    assert affine(x, np.ones((I, O)), np.ones(O)).shape == (*leading, O)
    assert affine(W=np.ones((I, O)), x=x).shape == (*leading, O)
    assert pair(x, b=x).shape == x.shape


def test_the_function_keeps_its_name_its_docstring_and_its_signature():
    assert affine.__name__ == "affine" and affine.__doc__ == "y = x W + b."
    assert list(inspect.signature(affine).parameters) == ["x", "W", "b", "scale"]


def test_a_missing_argument_is_pythons_own_error():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'W'"):
        affine(X)


FORWARDS = {name: getattr(ops, name) for name in ops.__all__ if name.endswith("_forward")}


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize("bad", [[[1.0]], np.zeros((2, 2), int), np.zeros((2, 2), np.float16)], ids=str)
def test_every_op_refuses_what_is_no_array_of_floats(name, bad):
    """Under the name of its first argument, and as the function that was called or one that it calls."""
    parameters = list(inspect.signature(FORWARDS[name]).parameters.values())
    arrays = [p.name for p in parameters if p.default is p.empty and p.name != "k"]
    args = {p: bad if p == arrays[0] else np.zeros((2, 2)) for p in arrays}
    takes_codes = name in ("softmax_cross_entropy_forward", "code_conv_forward")
    codes = {"k": np.zeros(2, int)} if takes_codes else {}
    with refused(arrays[0], "must be"):
        FORWARDS[name](**args, **codes)
