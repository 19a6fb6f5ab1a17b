"""Convolutions and their adjoints against plain loops, the plain form, each other, and differences."""

from functools import partial
from typing import NamedTuple

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import at_most, dtypes, lay_out, layouts, seeds

from vqnp.gradcheck import gradcheck
from vqnp.ops import conv_backward, conv_forward, conv_transpose_backward, conv_transpose_forward
from vqnp.ops._windows import LARGEST_KEPT, adjoint_tables, gather_table, windows_of
from vqnp.ops.conv import FEW_CHANNELS, conv_plain, conv_plain_backward


class Case(NamedTuple):
    """A convolution of an image of S pixels into windows of O channels, by W: (*k, C, O)."""

    B: int
    S: tuple
    k: tuple
    C: int
    O: int
    s: tuple
    p: tuple
    d: tuple

    def options(self):
        return {"stride": self.s, "padding": self.p, "dilation": self.d}

    def windows(self):
        """How many there are; 0 where the kernel does not fit."""
        per_axis = zip(self.S, self.k, self.s, self.p, self.d, strict=True)
        return tuple(oracles.conv_length(*each) for each in per_axis)

    def arrays(self, r, dtype=np.float64):
        """x, W, b, dy."""
        x, W = (self.B, *self.S, self.C), (*self.k, self.C, self.O)
        dy = (self.B, *self.windows(), self.O)
        return [r.standard_normal(shape).astype(dtype) for shape in (x, W, (self.O,), dy)]


@st.composite
def cases(draw, channels=3, min_batch=0):
    """Any kernel, stride, padding (uneven, or larger than the kernel), dilation and size; one axis or two."""
    axes = draw(st.integers(1, 2))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))
    C = draw(st.integers(1, channels) | st.integers(FEW_CHANNELS, FEW_CHANNELS + 1))
    B, O = draw(st.integers(min_batch, 3)), draw(st.integers(1, channels))
    p = tuple((draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in range(axes))
    case = Case(B, each(1, 6), each(1, 4), C, O, each(1, 4), p, each(1, 3))
    assume(all(case.windows()))
    return case


def close_all(ours, theirs, size):
    for a, b in zip(ours, theirs, strict=True):
        oracles.close(a, b, size)


@given(seeds, dtypes, cases(channels=2), layouts)
@at_most(60)
def test_it_is_the_oracle(seed, dtype, case, layout):
    x, W, b, dy = case.arrays(np.random.default_rng(seed), dtype)
    x, W, dy = (lay_out(a, layout) for a in (x, W, dy))
    before = [a.tobytes() for a in (x, W, b, dy)]
    y, cache = conv_forward(x, W, b, **case.options())
    gradients = conv_backward(dy, cache)
    assert y.dtype == dtype and [g.dtype for g in gradients] == [dtype] * 3
    oracles.close(y, oracles.conv(x, W, b, case.s, case.p, case.d), W[..., 0].size)
    close_all(gradients, oracles.conv_gradients(dy, x, W, case.s, case.p, case.d), W[..., 0].size + dy.size)
    assert [a.tobytes() for a in (x, W, b, dy)] == before


@given(seeds, dtypes, cases())
@settings(max_examples=200)
def test_it_is_the_plain_form(seed, dtype, case):
    x, W, b, dy = case.arrays(np.random.default_rng(seed), dtype)
    y, cache = conv_forward(x, W, b, **case.options())
    oracles.close(y, conv_plain(x, W, b, **case.options()), W[..., 0].size)
    plain = conv_plain_backward(dy, x, W, **case.options())
    close_all(conv_backward(dy, cache), plain, W[..., 0].size + dy.size)


@given(seeds, dtypes, cases(channels=2), layouts, st.data())
@at_most(60)
def test_the_transposed_one_is_the_oracle(seed, dtype, case, layout, data):
    """And its gradients are those of the convolution with the roles of x and dy changed."""
    more = tuple(data.draw(st.integers(0, s - 1)) for s in case.s)
    per_axis = zip(case.S, case.k, case.s, case.p, case.d, more, strict=True)
    pixels = tuple(s * (n - 1) + d * (k - 1) + 1 - sum(p) + m for n, k, s, p, d, m in per_axis)
    assume(all(n > 0 for n in pixels))
    r = np.random.default_rng(seed)
    x, W = r.standard_normal((case.B, *case.S, case.O)), r.standard_normal((*case.k, case.C, case.O))
    b, dy = r.standard_normal(case.C), r.standard_normal((case.B, *pixels, case.C))
    x, W, b, dy = (lay_out(a.astype(dtype), layout) for a in (x, W, b, dy))
    before = [a.tobytes() for a in (x, W, b, dy)]
    y, cache = conv_transpose_forward(x, W, b, output_padding=more, **case.options())
    dx, dW, db = conv_transpose_backward(dy, cache)
    assert {a.dtype for a in (y, dx, dW, db)} == {np.dtype(dtype)}
    size = W.size + dy.size
    oracles.close(y, oracles.conv_transpose(x, W, b, case.s, case.p, more, case.d), size)
    theirs, their_dW, _ = oracles.conv_gradients(x, dy, W, case.s, case.p, case.d)
    oracles.close(dW, their_dW, size)
    oracles.close(dx, oracles.conv(dy, W, np.zeros(case.O), case.s, case.p, case.d), size)
    oracles.close(db, dy.reshape(-1, case.C).sum(axis=0), size)
    oracles.close(y - b, theirs, size)
    assert [a.tobytes() for a in (x, W, b, dy)] == before


@given(seeds, cases())
@settings(max_examples=100)
def test_the_transposed_one_is_the_adjoint(seed, case):
    """⟨conv x, g⟩ = ⟨x, conv_transpose g⟩, with the same W and the output padding that x's size needs."""
    x, W, _, g = case.arrays(np.random.default_rng(seed))
    y, _ = conv_forward(x, W, np.zeros(case.O), **case.options())
    per_axis = zip(case.S, case.k, case.s, case.p, case.d, strict=True)
    more = tuple((n + sum(p) - d * (k - 1) - 1) % s for n, k, s, p, d in per_axis)
    back, _ = conv_transpose_forward(g, W, np.zeros(case.C), output_padding=more, **case.options())
    assert back.shape == x.shape
    size = np.linalg.norm(x) * np.linalg.norm(g) * np.linalg.norm(W) + 1
    assert abs((y * g).sum() - (x * back).sum()) <= 1e-13 * size
    dx, _, _ = conv_backward(g, conv_forward(x, W, np.zeros(case.O), **case.options())[1])
    np.testing.assert_array_equal(back, dx)


@given(seeds, cases(min_batch=1))
@at_most(30)
def test_gradcheck(seed, case):
    r = np.random.default_rng(seed)
    x, W, b, g = case.arrays(r)
    gradcheck(partial(conv_forward, **case.options()), conv_backward, x, W, b, rng=r).raise_if_failed()
    per_axis = zip(case.windows(), case.k, case.s, case.p, case.d, strict=True)
    if all(s * (n - 1) + d * (k - 1) + 1 > sum(p) for n, k, s, p, d in per_axis):
        forward, b = partial(conv_transpose_forward, **case.options()), r.standard_normal(case.C)
        gradcheck(forward, conv_transpose_backward, g, W, b, rng=r).raise_if_failed()


@given(seeds, cases())
@at_most(30)
def test_without_need_dx_the_parameters_gradients_are_the_same_bits(seed, case):
    x, W, b, dy = case.arrays(np.random.default_rng(seed))
    _, cache = conv_forward(x, W, b, **case.options())
    dx, *gradients = conv_backward(dy, cache)
    none, *alone = conv_backward(dy, cache, need_dx=False)
    assert none is None and dx is not None
    assert [g.tobytes() for g in alone] == [g.tobytes() for g in gradients]


def test_a_window_of_one_pixel_is_a_linear_layer(rng):
    x, W, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((1, 1, 5, 6)), rng.standard_normal(6)
    oracles.close(conv_forward(x, W, b)[0], x @ W[0, 0] + b, 10.0)


def test_it_moves_with_the_image(rng):
    """conv(shifted x) = shifted conv(x), away from the border: the same weights everywhere."""
    x, W, b = rng.standard_normal((2, 9, 9, 2)), rng.standard_normal((3, 3, 2, 4)), rng.standard_normal(4)
    y, shifted = (conv_forward(a, W, b)[0] for a in (x, np.roll(x, (1, 2), (1, 2))))
    oracles.close(shifted[:, 1:, 2:], y[:, :-1, :-2], 10.0)


@pytest.mark.parametrize("C", [1, FEW_CHANNELS])
def test_pixels_that_no_window_covers_get_no_gradient(C, rng):
    """A stride of 3 with a kernel of 2 leaves every third pixel out; of a transposed one these are b."""
    x, W = rng.standard_normal((2, 8, C)), rng.standard_normal((2, C, 3))
    y, cache = conv_forward(x, W, np.zeros(3), stride=3)
    dx, _, _ = conv_backward(rng.standard_normal(y.shape), cache)
    assert not dx[:, [2, 5]].any() and dx[:, [0, 1, 3, 4, 6, 7]].all()
    b = rng.standard_normal(C)
    up, _ = conv_transpose_forward(y, W, b, stride=3)
    assert up.shape == (2, 8, C)
    np.testing.assert_array_equal(up[:, [2, 5]], np.broadcast_to(b, (2, 2, C)))


def test_tables_are_built_once_and_are_read_only():
    g = windows_of("test", np.zeros((5, 6, 6, 9)), (4, 4), 2, 1, 1)
    at = gather_table(g, 9, 5)
    assert at.dtype == np.int64 and at.shape == (5 * 9, 4) and not at.flags.writeable
    assert np.shares_memory(at, gather_table(g, 9, 7)) and np.shares_memory(at, gather_table(g, 9, 8))
    tables, again = adjoint_tables(g, 9, 3, 5), adjoint_tables(g, 9, 3, 6)
    assert len(tables.residues) == 4  # the parities of row and column
    for a, b in zip(tables.residues, again.residues, strict=True):
        assert a.at.shape == (5 * 9, 2) and np.shares_memory(a.at, b.at) and np.shares_memory(a.to, b.to)
        assert not a.at.flags.writeable and not a.to.flags.writeable


def test_large_tables_are_not_kept():
    """They are the same; an evaluation in large batches is not to fill the memory with them."""
    n = LARGEST_KEPT // (15 * 16) + 1
    g = windows_of("test", np.zeros((n, 32, 31, 1)), (3, 2), 2, 0, 1)
    assert g.windows == (15, 15)
    assert np.shares_memory(gather_table(g, 1, n), gather_table(g, 1, n))  # 225 windows each: just kept
    large = gather_table(g, 1, 2 * n)
    assert len(large) == 2 * n * 225 and not np.shares_memory(large, gather_table(g, 1, 2 * n))
    np.testing.assert_array_equal(large[: n * 225], gather_table(g, 1, n))
    few, many = adjoint_tables(g, 1, 1, 3), adjoint_tables(g, 1, 1, LARGEST_KEPT // (32 * 31) + 1)
    for a, b in zip(few.residues, many.residues, strict=True):
        np.testing.assert_array_equal(a.at, b.at[: len(a.at)])
        np.testing.assert_array_equal(a.to, b.to[: len(a.to)])


X, W, B = np.zeros((2, 5, 4, 3)), np.zeros((3, 3, 3, 4)), np.zeros(4)
G = np.zeros((2, 1, 4, 4))


@pytest.mark.parametrize(
    ("args", "options", "argument", "needed", "got"),
    [
        ((X[..., :2], W, B), {}, "x", "must have last axis 3", "shape (2, 5, 4, 2)"),
        ((X[0], W, B), {}, "x", "must have 4 axes", "shape (5, 4, 3)"),
        ((X, W[0, 0], B), {}, "W", "must have shape (k, C, O) or (k_y, k_x, C, O)", "shape (3, 4)"),
        ((X, W[:, :0], B), {}, "W", "must have shape (k, C, O) or", "shape (3, 0, 3, 4)"),
        ((X, W, B[:3]), {}, "b", "must have shape (4,)", "shape (3,)"),
        ((X.astype(np.float32), W, B), {}, "x", "must be float64", "float32"),
        ((X.tolist(), W, B), {}, "x", "must be a NumPy array", "list"),
        ((X, W, B), {"stride": 0}, "stride", "at least 1", "0"),
        ((X, W, B), {"stride": (1, 0)}, "stride[1]", "at least 1", "0"),
        ((X, W, B), {"stride": (1, 1, 1)}, "stride", "2 of them, one per axis", "(1, 1, 1)"),
        ((X, W, B), {"dilation": 1.5}, "dilation", "an integer", "1.5"),
        ((X, W, B), {"padding": -1}, "padding", "at least 0", "-1"),
        ((X, W, B), {"padding": (0, -1)}, "padding[1]", "at least 0", "-1"),
        ((X, W, B), {"padding": ((0, -1), 0)}, "padding[0]", "at least 0", "-1"),
        ((X, W, B), {"padding": (1, 1, 1)}, "padding", "pairs (before, after)", "(1, 1, 1)"),
        ((X, W, B), {"padding": ((1, 1, 1), 0)}, "padding[0]", "an integer", "(1, 1, 1)"),
        ((X, W, B), {"dilation": 2}, "x", "must have length 5 or more along axis 2", "shape (2, 5, 4, 3)"),
        ((X[:, :1], W, B), {"padding": ((0, 1), 0)}, "x", "length 2 or more along axis 1", "(2, 1, 4, 3)"),
        ((X[:, :0], W, B), {"padding": 2}, "x", "length 1 or more along axis 1", "(2, 0, 4, 3)"),
    ],
)
def test_bad_input_is_refused(args, options, argument, needed, got):
    with refused(argument, needed, got, where="conv_forward"):
        conv_forward(*args, **options)


@pytest.mark.parametrize(
    ("x", "W", "options", "argument", "needed", "got"),
    [
        (X, W, {}, "x", "must have last axis 4", "shape (2, 5, 4, 3)"),
        (X, W[0, 0], {}, "W", "must have shape (k, O, C) or (k_y, k_x, O, C)", "shape (3, 4)"),
        (G, W, {"padding": 2}, "x", "length 3 or more along axis 1", "(2, 1, 4, 4)"),
        (G, W, {"padding": 3, "stride": 2}, "x", "length 3 or more", "(2, 1, 4, 4)"),
        (G, W, {"stride": 2, "output_padding": 2}, "output_padding", "less than the stride, 2", "2"),
        (G, W, {"output_padding": -1}, "output_padding", "at least 0", "-1"),
    ],
)
def test_bad_input_of_the_transposed_one_is_refused(x, W, options, argument, needed, got):
    with refused(argument, needed, got, where="conv_transpose_forward"):
        conv_transpose_forward(x, W, np.zeros(3), **options)


@pytest.mark.parametrize("length", range(1, 6))
@pytest.mark.parametrize("s", [1, 2, 3])
def test_the_least_length_that_is_named_is_the_least_that_works(length, s):
    """For padding that is too large: one pixel less is refused, and as many are not."""
    W, b = np.zeros((3, 1, 1)), np.zeros(1)
    for total in range(9):
        works = (length - 1) * s + 3 - total > 0
        try:
            y, _ = conv_transpose_forward(np.zeros((1, length, 1)), W, b, s, ((total, 0),))
            assert works and y.shape[1] == (length - 1) * s + 3 - total
        except ValueError as error:
            least = int(error.needed.split()[3])
            assert not works and (least - 1) * s + 3 - total > 0 >= (least - 2) * s + 3 - total


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize(
    ("dy", "needed", "got"),
    [
        (np.zeros((2, 3, 2, 3)), "must have shape (2, 3, 2, 4)", "shape (2, 3, 2, 3)"),
        (np.zeros((2, 3, 2, 4), np.float32), "must be float64", "float32"),
    ],
)
def test_a_bad_cotangent_is_refused(dy, needed, got, need_dx):
    with refused("dy", needed, got, where="conv_backward"):
        conv_backward(dy, conv_forward(X, W, B)[1], need_dx)
    _, cache = conv_transpose_forward(np.zeros((2, 3, 2, 4)), W, np.zeros(3))
    with refused("dy", "must have shape (2, 5, 4, 3)", "shape (2, 3, 2, ", where="conv_transpose_backward"):
        conv_transpose_backward(dy.astype(float), cache, need_dx)
