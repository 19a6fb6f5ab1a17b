"""to_float: p / 255, rounded once; floating point images pass if they are in [0, 1]."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vqnp._check import InputError, NonFiniteError
from vqnp.data import to_float

DTYPES = (np.float32, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_divided_by_255_and_rounded_once(dtype):
    x = to_float(np.arange(256, dtype=np.uint8), dtype)
    assert x.dtype == dtype and x[0] == 0 and x[255] == 1
    for p, value in enumerate(x):
        exact = Fraction(p, 255)
        error = abs(Fraction(float(value)) - exact)
        for near in (np.nextafter(value, dtype(0)), np.nextafter(value, dtype(2))):
            assert error <= abs(Fraction(float(near)) - exact)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_side=0)))
def test_bytes_come_back(images):
    np.testing.assert_array_equal(np.rint(to_float(images) * 255).astype(np.uint8), images)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_floats_in_0_1_pass(dtype, data):
    came = data.draw(st.sampled_from(DTYPES))
    elements = st.floats(0, 1, width=32)
    images = data.draw(hnp.arrays(came, hnp.array_shapes(min_side=0), elements=elements))
    x = to_float(images, dtype)
    assert x.dtype == dtype and (x is images) == (dtype == came)
    np.testing.assert_array_equal(x, images.astype(dtype))


def test_the_default_is_float32_and_layout_is_no_matter():
    images = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert to_float(images).dtype == np.float32
    images.flags.writeable = False
    np.testing.assert_array_equal(to_float(images[::2, ::-1].T), to_float(images)[::2, ::-1].T)
    big = np.array([0.25, 1.0], ">f4")
    assert to_float(big).dtype.isnative and to_float(big).tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    ("value", "error", "needed", "got"),
    [
        (np.nan, NonFiniteError, "finite", "nan"),
        (-np.inf, NonFiniteError, "finite", "-inf"),
        (1.5, InputError, "[0, 1] if they are not uint8", "1.5"),
        (-1e-9, InputError, "[0, 1] if they are not uint8", "-1e-09"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_place_of_a_bad_pixel(value, error, needed, got, dtype):
    images = np.full((2, 3), 0.5, dtype)
    images[1, 2] = value
    with refused("images", needed, f"{got} at index (1, 2)", where="to_float", error=error):
        to_float(images)
    with refused("images", needed, f"{got} at index (41, 2)", where="to_float", error=error):
        to_float(images, first=40)
    with refused("x", needed, f"{got} at index (1, 2)", where="here", error=error):
        to_float(images, where="here", name="x")


def test_place_on_one_axis():
    with refused("images", got="2.0 at index 11"):
        to_float(np.array([0.0, 2.0]), first=10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_range(dtype):
    """Bytes are spread over it, and floats must be within it."""
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(to_float(pixels, dtype, low=-1, high=2), [-1, -0.4, 2], rtol=1e-6)
    assert to_float(pixels, dtype, low=-1, high=2).dtype == dtype
    inside = np.array([-1, 1.5, 2], dtype)
    assert to_float(inside, dtype, low=-1, high=2) is inside
    with refused("images", "[-1, 2] if they are not uint8", "-1.5 at index 1"):
        to_float(np.array([0, -1.5], dtype), low=-1, high=2)


@pytest.mark.parametrize(
    ("images", "dtype", "argument", "needed", "got"),
    [
        (np.zeros((1, 2), np.int64), np.float32, "images", "uint8, or float32 or float64", "int64"),
        (np.zeros((1, 2), np.float16), np.float32, "images", "uint8, or float32 or float64", "float16"),
        (np.zeros((1, 2), bool), np.float32, "images", "uint8, or float32 or float64", "bool"),
        ([[0, 1]], np.float32, "images", "a NumPy array", "list"),
        (np.zeros((1, 2), np.uint8), np.int32, "dtype", "float32 or float64", "int32"),
    ],
)
def test_other_types(images, dtype, argument, needed, got):
    with refused(argument, needed, got, where="to_float"):
        to_float(images, dtype)
