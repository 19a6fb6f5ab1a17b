"""Precision, recall, density and coverage: their equations as loops, and what they find in plain cases."""

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from strategies import seeds

from vqnp.metrics import density_coverage, precision_recall


@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 3), st.integers(1, 2), st.booleans(), seeds)
def test_they_are_their_equations(n, other, d, k, ties, seed):
    r = np.random.default_rng(seed)
    x, y = r.standard_normal((n, d)), r.standard_normal((other, d))
    if ties:  # many points at one distance, and equal points
        x, y = np.rint(x), np.rint(y)
    assert precision_recall(x, y, k) == pytest.approx(oracles.precision_recall(x, y, k))
    assert density_coverage(x, y, k) == pytest.approx(oracles.density_coverage(x, y, k))


@given(st.integers(6, 12), seeds)
def test_one_set_is_among_itself_whatever_its_order_place_and_scale(n, seed):
    x = np.random.default_rng(seed).standard_normal((n, 2))
    assert precision_recall(x, x[::-1]) == (1, 1) and density_coverage(x, x[::-1]).coverage == 1
    y = np.random.default_rng(seed + 1).standard_normal((n, 2))
    assert precision_recall(x, y) == precision_recall(4 * x, 4 * y)  # exactly: 4 is a power of 2
    assert precision_recall(x, y) == precision_recall(x[:, ::-1], y[:, ::-1])
    assert precision_recall(y, x) == precision_recall(x, y)[::-1]


def test_precision_and_recall_are_not_exchanged(rng):
    y = rng.standard_normal((300, 2))
    narrow, wide = 0.05 * rng.standard_normal((300, 2)), 5 * rng.standard_normal((300, 2))
    few, many = precision_recall(narrow, y), precision_recall(wide, y)
    assert few.precision > 0.95 and few.recall < 0.1
    assert many.precision < 0.5 and many.recall > 0.8
    assert density_coverage(narrow, y).coverage < 0.1 < density_coverage(narrow, y).density


def test_halves_of_one_set_are_covered_as_the_paper_says(rng):
    found = [density_coverage(*rng.standard_normal((2, 400, 3))) for _ in range(10)]
    density, coverage = np.mean(found, axis=0)
    assert density == pytest.approx(1, abs=0.06) and coverage == pytest.approx(1 - 2.0**-5, abs=0.01)


def test_one_far_image_raises_precision_but_hardly_density(rng):
    y = np.vstack([rng.standard_normal((200, 2)), [[40, 0]]])
    x = rng.standard_normal((200, 2)) + [15, 0]
    assert precision_recall(x, y).precision == 1 and density_coverage(x, y).density < 0.25


def test_in_parts(rng, monkeypatch):
    x, y = rng.standard_normal((20, 4)), rng.standard_normal((9, 4))
    whole = precision_recall(x, y), density_coverage(x, y)
    monkeypatch.setattr("vqnp.metrics.neighbours.BLOCK_NUMBERS", 100)
    assert (precision_recall(x, y), density_coverage(x, y)) == whole


@pytest.mark.parametrize("function", [precision_recall, density_coverage])
def test_too_few_points_or_another_number_of_axes(function):
    x, where = np.zeros((7, 2)), function.__name__
    with refused("samples and images", "n at least 8, d equal", "shapes (7, 2) and (7, 2)", where=where):
        function(x, x, 7)
    with refused("samples and images", "d equal", "shapes (7, 2) and (7, 3)", where=where):
        function(x, np.zeros((7, 3)))
    with refused("k", "an integer of at least 1", "0", where=where):
        function(x, x, 0)
