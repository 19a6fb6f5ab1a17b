"""What codes say of the image and of its class: the equations, the bounds, the bias."""

import math

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from strategies import labelled_codes, seeds

from vqnp.metrics import class_information, code_changes, code_information, rate_distortion


@given(labelled_codes())
def test_code_information_is_its_equation(case):
    k, _, K = case
    found = code_information(k, K)
    M = k.shape[1]
    marginals = [oracles.entropy_bits(k[:, m].tolist()) for m in range(M)]
    assert found.per_position == pytest.approx(marginals, rel=1e-12, abs=1e-12)
    assert found.joint == pytest.approx(oracles.entropy_bits([tuple(row) for row in k]), rel=1e-12, abs=1e-12)
    assert found.upper == pytest.approx(sum(marginals), rel=1e-12, abs=1e-12)


@given(labelled_codes())
def test_the_bounds_of_information(case):
    k, _, K = case
    found = code_information(k, K)
    assert found.per_position.max() <= found.joint + 1e-12
    assert found.joint <= min(found.upper, found.limit) + 1e-12
    assert found.limit == math.log2(len(k)) and found.upper <= rate_distortion(k, K, 1.0).bits + 1e-12


def test_known_information():
    both = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = code_information(both, 2)
    assert (found.per_position.tolist(), found.upper, found.joint, found.limit) == ([1.0, 1.0], 2, 2, 2)
    copied = code_information(both[:, :1].repeat(3, axis=1), 2)
    assert copied.upper == 3 and copied.joint == 1, "three copies of a bit are one bit"
    assert code_information([[3, 3]], 4).upper == 0


@given(labelled_codes())
def test_class_information_is_its_equation(case):
    k, c, K = case
    found = class_information(k, c, K)
    for m in range(k.shape[1]):
        true = oracles.mutual_information_bits(k[:, m].tolist(), c.tolist())
        assert found.per_position[m] == pytest.approx(true, rel=1e-9, abs=1e-12)
        assert 0 <= found.per_position[m] <= found.class_entropy + 1e-12
    C = c.max() + 1
    for one in range(C):
        mine = [int(j) for row in k[c == one] for j in row]
        assert found.usage[one] == pytest.approx([mine.count(j) / max(len(mine), 1) for j in range(K)])
        for other in range(C):
            shared = sum(min(a, b) for a, b in zip(found.usage[one], found.usage[other], strict=True))
            assert found.overlap[one, other] == pytest.approx(shared, abs=1e-12)
    assert np.array_equal(found.classes_per_code > 0, np.bincount(k.ravel(), minlength=K) > 0)
    assert (found.classes_per_code <= C).all()


@given(labelled_codes(), seeds)
def test_neither_the_order_nor_the_names_of_codes_and_images_matter(case, seed):
    k, c, K = case
    r = np.random.default_rng(seed)
    names, order = r.permutation(K), r.permutation(len(k))
    one, other = class_information(k, c, K), class_information(names[k][order], c[order], K)
    assert other.per_position == pytest.approx(one.per_position, abs=1e-12)
    assert other.overlap == pytest.approx(one.overlap, abs=1e-12)
    assert other.classes_per_code[names] == pytest.approx(one.classes_per_code, abs=1e-12)
    assert code_information(names[k][order], K).joint == pytest.approx(
        code_information(k, K).joint, abs=1e-12
    )


def test_a_code_that_is_the_class_and_one_that_knows_nothing():
    c = np.arange(4).repeat(25)
    k = np.stack([c, np.tile(np.arange(5), 20)], axis=1)
    found = class_information(k, c, 5)
    assert found.per_position.tolist() == pytest.approx([2.0, 0.0], abs=1e-12) and found.class_entropy == 2
    own = class_information(c[:, None].astype(np.uint8), c.astype(np.uint8), 5)
    assert own.overlap.tolist() == np.eye(4).tolist() and own.classes_per_code.tolist() == [1, 1, 1, 1, 0]


def test_labels_of_one_byte_are_as_good():
    c = np.arange(10, dtype=np.uint8).repeat(3)
    k = (37 * np.arange(30) % 300)[:, None]
    one, other = class_information(k, c, 300), class_information(k, c.astype(int), 300)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_bias_is_what_chance_shows(rng):
    n, K, C = 10_000, 64, 10
    shown = [
        class_information(rng.integers(K, size=(n, 1)), rng.integers(C, size=n), K) for _ in range(50)
    ]
    mean = np.mean([one.per_position[0] for one in shown])
    assert mean == pytest.approx(shown[0].bias[0], rel=0.05) and mean > 0.03


def test_the_bias_is_not_what_is_too_much_where_the_code_says_the_class(rng):
    """Then I is H(c), and comes out too small; with few counts in a cell chance shows more than bias."""
    n, C = 2000, 10
    labels = rng.integers(C, size=(50, n))
    sure = [class_information(3 * c[:, None] + rng.integers(3, size=(n, 1)), c, 30) for c in labels]
    excess = np.mean([one.per_position[0] for one in sure]) - math.log2(C)
    assert -0.01 < excess < 0 < 0.09 < sure[0].bias[0]
    few = [class_information(rng.integers(128, size=(n, 1)), c, 128) for c in labels[:10]]
    assert 1.1 < np.mean([one.per_position[0] for one in few]) / few[0].bias[0] < 1.25


def test_code_changes_is_its_equation(rng):
    k = rng.integers(3, size=(6, 4))
    true = [sum(int(a != b) for a, b in zip(k[t], k[t + 1], strict=True)) for t in range(5)]
    assert code_changes(k).tolist() == true and code_changes(k[:1]).tolist() == []
    two_axes = np.stack([k, k[::-1]], axis=2)  # such as interpolate gives for latents (M, 2)
    assert code_changes(two_axes).tolist() == [a + b for a, b in zip(true, true[::-1], strict=True)]


# --- what is refused ---


@pytest.mark.parametrize(
    ("codes", "needed", "got"),
    [([1, 2], "shape (n, *latent_shape), not empty", "shape (2,)"), ([[4]], "[0, 4)", "4 at index (0, 0)")],
)
def test_codes_that_are_none(codes, needed, got):
    with refused("codes", needed, got, where="code_information"):
        code_information(codes, 4)
    with refused("codes", needed, got, where="class_information"):
        class_information(codes, [0], 4)


@pytest.mark.parametrize(
    ("labels", "needed", "got"),
    [
        ([0, 1, 2], "integers of shape (2,)", "int64 of shape (3,)"),
        ([0, -1], "not be negative", "-1"),
        ([0.0, 1.0], "integers", "float64"),
    ],
)
def test_labels_that_are_none(labels, needed, got):
    with refused("labels", needed, got, where="class_information"):
        class_information([[0], [1]], labels, 2)


@pytest.mark.parametrize(
    ("codes", "needed", "got"),
    [
        ([0, 1], "integers of shape (T, *latent_shape)", "int64 of shape (2,)"),
        ([[0], [0, 1]], "an array", "different lengths"),
        ([[0.5]], "integers", "float64"),
    ],
)
def test_paths_that_are_none(codes, needed, got):
    with refused("codes", needed, got, where="code_changes"):
        code_changes(codes)


def test_codes_of_a_plane_are_read_row_by_row(rng):
    plane = rng.integers(0, 5, (30, 2, 3))
    rows, labels = plane.reshape(30, 6), rng.integers(0, 3, 30)
    one, other = code_information(plane, 5), code_information(rows, 5)
    assert np.array_equal(one.per_position, other.per_position) and one.upper == other.upper
    usages = [class_information(codes, labels, 5).usage for codes in (plane, rows)]
    assert np.array_equal(*usages)
    assert np.array_equal(code_changes(plane), code_changes(rows))
