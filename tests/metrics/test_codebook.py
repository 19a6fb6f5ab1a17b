"""Perplexity is its equation and keeps its bounds to the last bit."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import example, given

from vqnp.metrics import bits_per_image, dead_codes, perplexity, utilization

COUNTS = st.lists(st.integers(0, 2**62), min_size=1, max_size=40).filter(any)
WEIGHTS = st.lists(
    st.floats(0, 1, allow_subnormal=True) | st.floats(0, 1e300), min_size=1, max_size=40
).filter(any)


# --- perplexity ---


@given(COUNTS)
def test_perplexity_is_its_equation(counts):
    assert perplexity(counts) == pytest.approx(oracles.perplexity(counts), rel=1e-12)
    assert perplexity(np.array(counts)) == perplexity(counts)


@given(st.lists(st.floats(1e-300, 1), min_size=1, max_size=40))
def test_perplexity_of_probabilities(p):
    assert perplexity(p) == pytest.approx(oracles.perplexity(p), rel=1e-12)


@given(COUNTS | WEIGHTS)
@example([5e-324, 1.0])
@example([5e-324, 5e-324, 1e-323])
@example([1.7e308, 1.7e308, 1.6e308])
@example([2**62, 2**62 - 1])
@example([1, 2**62])
@example([1.0, 1.0, 1.0, 1.000000000000094, 1.000000000000094])
@example([1 / 3, 1 / 3, 1 - 2 / 3])
def test_bounds_hold_to_the_last_bit(counts):
    used = sum(n > 0 for n in counts)
    value = perplexity(counts)
    assert type(value) is float and 1 <= value <= used <= len(counts)
    assert 0 < utilization(counts) <= 1 and len(dead_codes(counts)) == len(counts) - used


@given(st.integers(1, 300), st.integers(0, 50), st.integers(1, 2**62) | st.floats(5e-324, 1e300))
def test_uniform_use_is_exact(U, dead, n):
    counts = np.array([n] * U + [0] * dead)
    assert perplexity(counts) == U
    assert utilization(counts) == U / (U + dead)


@given(COUNTS | WEIGHTS, st.randoms())
def test_order_and_unused_codes_do_not_matter(counts, random):
    shuffled = [*counts, 0, 0]
    random.shuffle(shuffled)
    assert perplexity(shuffled) == perplexity(counts)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40).filter(any), st.integers(1, 2**20))
def test_scale_does_not_matter(counts, factor):
    assert perplexity(np.array(counts) * factor) == pytest.approx(perplexity(counts), rel=1e-13)
    assert perplexity(np.array(counts) / sum(counts)) == pytest.approx(perplexity(counts), rel=1e-12)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40).filter(any))
def test_splitting_every_code_in_two_halves_doubles_it(counts):
    assert perplexity(counts + counts) == pytest.approx(2 * perplexity(counts), rel=1e-13)


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=40).filter(any))
def test_merging_two_codes_never_raises_it(counts):
    merged = [counts[0] + counts[1], *counts[2:]]
    assert perplexity(merged) <= perplexity(counts) * (1 + 1e-13)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=64))
def test_of_a_batch_it_is_at_most_the_batch_size(codes):
    assert perplexity(np.bincount(codes, minlength=16)) <= min(16, len(codes))


def test_known_values():
    assert perplexity([7, 0, 0]) == 1 and perplexity([0.0, 1e-300]) == 1 and perplexity([5]) == 1
    assert perplexity([1, 1, 2]) == pytest.approx(2 * math.sqrt(2), rel=1e-15)
    assert perplexity([9, 1]) == pytest.approx(10 / 9**0.9, rel=1e-15)
    assert perplexity(np.array([3, 3, 0, 3], np.uint8)) == 3
    assert perplexity(np.array([0.5, 0.25, 0.25], np.float32)) == pytest.approx(2 * math.sqrt(2), rel=1e-15)
    # one vector of 2⁶² elsewhere: 1 + 44.0 / 2⁶², and that is 1 in float64
    assert perplexity([2**62, 1]) == 1


def test_the_1e10_of_public_code_is_not_in_it():
    """exp(−Σ p log(p + 1e-10)) is smaller by a factor of about 1 − U·1e-10."""

    def with_constant(counts):
        p = counts / counts.sum()
        return np.exp(-(p * np.log(p + 1e-10)).sum())

    for counts in (np.ones(1), np.ones(512), np.arange(1.0, 4001)):
        theirs = with_constant(counts) / perplexity(counts)
        assert theirs == pytest.approx(1 - len(counts) * 1e-10, rel=1e-12 * len(counts))
        assert perplexity(counts) == pytest.approx(oracles.perplexity(counts), rel=1e-12)
    assert with_constant(np.ones(1)) < 1 == perplexity(np.ones(1))


NOT_NEGATIVE, SHAPE, NUMBERS = "finite and not negative", "shape (K,)", "integers or floats"
BAD_COUNTS = [
    ([1, 0, -1, -2], NOT_NEGATIVE, "-1 at index 2"),
    ([1, math.nan], NOT_NEGATIVE, "nan at index 1"),
    ([math.inf, 1], NOT_NEGATIVE, "inf at index 0"),
    ([], SHAPE, "shape (0,)"),
    ([[1, 2], [3, 4]], SHAPE, "shape (2, 2)"),
    ([[1, 2], [3]], "must be an array", "parts of different lengths"),
    ([True, False], NUMBERS, "bool"),
    (["1", "2"], NUMBERS, "<U1"),
    ([1j], NUMBERS, "complex128"),
    ([None, 1], NUMBERS, "object"),
]


@pytest.mark.parametrize(("counts", "needed", "got"), BAD_COUNTS)
@pytest.mark.parametrize("function", [perplexity, utilization, dead_codes], ids=lambda f: f.__name__)
def test_bad_counts(function, counts, needed, got):
    with refused("counts", needed, got, where=function.__name__):
        function(counts)


def test_no_codes_at_all():
    for function in (perplexity, utilization):
        with refused("counts", "at least one above 0", "all", where="perplexity"):
            function([0, 0, 0])
    assert dead_codes([0, 0, 0]).tolist() == [0, 1, 2]
    with refused("counts", "shape (K,)", "shape ()", where="perplexity"):
        perplexity(3.0)


# --- utilization, dead codes, bits ---


def test_utilization_from_counts_or_from_a_perplexity():
    assert utilization([3, 3, 0, 0]) == 0.5 == utilization(2, 4) == utilization(np.float32(2), np.int64(4))
    assert utilization([3, 3, 0, 0], 4) == 0.5 and type(utilization(np.float64(2), np.int64(4))) is float
    assert utilization(64, 512) == 0.125 and utilization(8 * (1 + 1e-12), 8) == 1
    uneven = [999_997, 1, 1, 1]  # all are used, but as good as one
    assert utilization(uneven) == utilization(perplexity(uneven), 4) < 0.251


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((3.0,), "num_embeddings", "given with a perplexity", "None"),
        ((9, 8), "perplexity", "[1, 8]", "9.0"),
        ((0.5, 8), "perplexity", "[1, 8]", "0.5"),
        ((math.nan, 8), "perplexity", "(-inf, inf)", "nan"),
        (("3", 8), "perplexity", "a number in (-inf, inf)", "'3'"),
        ((3, 0), "num_embeddings", "an integer of at least 1", "0"),
        (([1, 2, 3], 8), "num_embeddings", "3, the number of counts", "8"),
    ],
)
def test_bad_utilization(args, argument, needed, got):
    with refused(argument, needed, got, where="utilization"):
        utilization(*args)


def test_dead_codes():
    dead = dead_codes([0, 2, 0, 1e-300, 0.0])
    assert dead.tolist() == [0, 2, 4] and dead.dtype == np.int64
    assert dead_codes(np.ones(3)).shape == (0,)


def test_bits_per_image():
    assert bits_per_image(16, 128) == 112 and bits_per_image(49, 1) == 0
    assert bits_per_image(3, 10) == pytest.approx(3 * math.log2(10))
    with refused("num_latents", "an integer of at least 1", "0", where="bits_per_image"):
        bits_per_image(0, 8)
    with refused("num_embeddings", "an integer", "2.5", where="bits_per_image"):
        bits_per_image(8, 2.5)
