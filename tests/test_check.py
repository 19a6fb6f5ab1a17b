"""An error is one sentence of four fields, and each check of an argument fills them."""

import ast
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers import refused

import vqnp
from vqnp._check import (
    InputError, NonFiniteError, as_array, check_array, check_choice, check_code_rows, check_codes,
    check_finite, check_float, check_int, check_rng, fail,
)

# --- the sentence and its fields ---


def fields(error):
    return error.where, error.argument, error.needed, error.got


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (("f", "x", "must be positive", -1), "f: x must be positive; got -1"),
        (("", "--out", "must be new", "a.npz"), "--out must be new; got a.npz"),
        (("a.npz", "", "must be a checkpoint", "text"), "a.npz: must be a checkpoint; got text"),
    ],
)
def test_the_sentence_is_where_argument_needed_got(parts, sentence):
    with pytest.raises(InputError) as caught:
        fail(*parts)
    assert str(caught.value) == sentence and fields(caught.value) == parts
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("kind", [InputError, NonFiniteError])
def test_an_error_survives_pickling_and_copying(kind):
    """As between the processes of a study."""
    error = kind("f", "x", "must be positive", (-1, "a"))
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind and fields(other) == fields(error) and str(other) == str(error)


@pytest.mark.parametrize("kind", [InputError, NonFiniteError])
def test_within_puts_a_place_in_front(kind):
    error = kind("load", "E", "must be finite", np.nan)
    larger = error.within(Path("m.npz")).within("resume")
    assert type(larger) is kind and fields(larger) == ("resume: m.npz: load", *fields(error)[1:])
    assert str(larger) == "resume: m.npz: load: E must be finite; got nan" and error.where == "load"


def spoken(call):
    """The beginning of `needed` in a call of fail or an error, or None where it is not written out."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name not in ("fail", "InputError", "NonFiniteError"):
        return None
    needed = [*call.args, *(keyword.value for keyword in call.keywords)][2]
    needed = needed.values[0] if isinstance(needed, ast.JoinedStr) else needed
    return needed.value if isinstance(needed, ast.Constant) else None


@pytest.mark.slow
def test_what_is_needed_begins_with_must_in_the_whole_package():
    sources = [path.read_text(encoding="utf-8") for path in Path(vqnp.__file__).parent.rglob("*.py")]
    calls = [node for s in sources for node in ast.walk(ast.parse(s)) if isinstance(node, ast.Call)]
    needs = [needed for call in calls if (needed := spoken(call)) is not None]
    assert len(needs) > 50 and [needed for needed in needs if not needed.startswith("must ")] == []


# --- the checks ---

X = np.zeros((3, 5), np.float32)


@pytest.mark.parametrize("x", [X, X.astype("f8"), X.T, X[:0], np.zeros(())])
def test_an_array_that_is_right_comes_back_itself(x):
    assert check_array("f", "x", x, ndim=x.ndim, shape=x.shape, dtype=x.dtype, finite=True) is x


@pytest.mark.parametrize(
    ("x", "options", "needed", "got"),
    [
        ([1.0], {}, "NumPy array of float32 or float64", "list"),
        (np.float32(1), {}, "NumPy array of float32 or float64", "float32"),
        (np.zeros(3, int), {}, "float32 or float64", "int64"),
        (X.astype(np.float16), {}, "float32 or float64", "float16"),
        (X, {"dtype": np.dtype("f8")}, "float64, like the other arrays", "float32"),
        (X, {"shape": (3, 4)}, "shape (3, 4)", "shape (3, 5)"),
        (X, {"ndim": 3}, "3 axes", "shape (3, 5)"),
        (X, {"last": 4}, "last axis 4", "shape (3, 5)"),
        (np.zeros(()), {"last": 1}, "last axis 1", "shape ()"),
    ],
)
def test_an_array_of_another_form(x, options, needed, got):
    with refused("x", needed, got, where="f"):
        check_array("f", "x", x, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_has_its_index(bad):
    for x, at in ((np.zeros((2, 3)), " at index (1, 2)"), (np.zeros(4), " at index 3"), (np.zeros(()), "")):
        x.reshape(-1)[-1] = bad
        for check in (check_finite, lambda *args: check_array(*args, finite=True)):
            with refused("x", "finite", where="f", error=NonFiniteError) as caught:
                check("f", "x", x)
            assert caught.value.got == f"{bad}{at}"
        assert check_array("f", "x", x) is x  # unless asked
    check_finite("f", "x", np.zeros((0, 2)))


@pytest.mark.parametrize("value", [2, np.int8(2), np.uint64(2), np.array(2)])
def test_integers_of_any_kind(value):
    n = check_int("f", "n", value, 2, 2)
    assert n == 2 and type(n) is int


@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float32(1), "1", None, 0, -1, 9, [1]])
def test_not_an_integer_or_outside(value):
    with refused("n", "an integer in [1, 8]", str(value), where="f"):
        check_int("f", "n", value, 1, 8)
    if not (type(value) is int and value > 0):
        with refused("n", "an integer of at least 1", str(value), where="f"):
            check_int("f", "n", value)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", [0, 0.5, np.float32(0.25), np.nextafter(1, 0)], [1, -1e-300, np.inf]),
        ("(0, 1]", [1, 5e-324], [0, -0.0, 1 + 1e-15]),
        ("(0, inf)", [1e308], [np.inf, 0]),
        ("[0, inf]", [np.inf, 0], [-np.inf]),
        ("(-inf, inf)", [-1e308], [np.inf, -np.inf]),
    ],
)
def test_a_number_and_its_interval(interval, inside, outside):
    for value in inside:
        v = check_float("f", "v", value, interval)
        assert v == value and type(v) is float
    for value in [*outside, np.nan]:
        with refused("v", f"in {interval}", str(float(value)), where="f"):
            check_float("f", "v", value, interval)
    for value in (True, "0.5", None, [0.5, 0.5], 1j):
        with refused("v", f"a number in {interval}", repr(value), where="f"):
            check_float("f", "v", value, interval)


def test_a_choice():
    assert check_choice("f", "mode", "b", ("a", "b")) == "b"
    for value in ("c", "", None, 1, ("a",)):
        with refused("mode", "one of 'a', 'b'", repr(value), where="f"):
            check_choice("f", "mode", value, ("a", "b"))


def test_an_array_of_whatever_was_given():
    assert as_array("f", "k", [[1, 2]]).tolist() == [[1, 2]]
    with refused("k", "an array", "different lengths", where="f"):
        as_array("f", "k", [[1, 2], [3]])


def test_a_generator_or_its_seed():
    rng = np.random.default_rng(3)
    assert check_rng("f", rng) is rng
    assert check_rng("f", np.int64(3)).random() == check_rng("f", 3).random() == rng.random()
    for value in (-1, 0.5, None, True, "3", np.random.RandomState(0)):
        with refused("rng", "numpy.random.Generator or an integer", repr(value), where="f"):
            check_rng("f", value)


def test_codes():
    for k in ([0, 2], np.uint8([[0, 2]]), np.zeros((0, 3), int)):
        assert np.array_equal(check_codes("f", k, 3), k)
    for k, got in (([0, 3], "3 at index 1"), ([[0, 0], [-1, 5]], "-1 at index (1, 0)"), (7, "7")):
        with refused("codes", "in [0, 3)", where="f") as caught:
            check_codes("f", k, 3)
        assert caught.value.got == got
    for k in ([0.0], [True], ["a"]):
        with refused("k", "integers", str(np.asarray(k).dtype), where="f"):
            check_codes("f", k, 3, "k")
    with refused("k", "an array", "different lengths", where="f"):
        check_codes("f", [[0], [1, 2]], 3, "k")


def test_rows_of_codes():
    rows = check_code_rows("f", np.uint8([[0, 2]]), 3)
    assert rows.dtype == np.int64 and rows.tolist() == [[0, 2]]
    plane = check_code_rows("f", np.arange(8).reshape(2, 2, 2), 8)
    assert plane.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for k in ([0, 1], [[]], np.zeros((0, 3), int)):
        k = np.asarray(k, int)
        with refused("codes", "(n, *latent_shape)", f"shape {k.shape}", where="f"):
            check_code_rows("f", k, 3)
    with refused("num_embeddings", "an integer of at least 1", "0", where="f"):
        check_code_rows("f", [[0]], 0)


def test_a_sentence_is_short_enough_to_be_read():
    """Whatever is quoted in it; the fields keep all of it."""
    error = InputError("here", "x", "must be " + "one of " * 1000, "y" * 10_000)
    assert len(str(error)) < 1100 and str(error).endswith("yyy...") and len(error.got) == 10_000
