"""What the study of convolutions measures, for decoders whose answers are known."""

import numpy as np
import pytest
from _places import locality, neighbours, same_effect, shift_error, shifted, shuffle_error

G, SIZE, K = 7, 4, 20


@pytest.fixture
def tiles(rng):
    """A decoder that draws one patch for each code, the same everywhere."""
    patches = rng.random((K, SIZE, SIZE))
    return lambda k: patches[k].swapaxes(2, 3).reshape(len(k), G * SIZE, G * SIZE)


@pytest.fixture
def dense(rng):
    """A decoder that adds an unrelated image for each code at each position."""
    images = rng.standard_normal((G * G, K, G * SIZE, G * SIZE))
    return lambda k: images[np.arange(G * G), k.reshape(len(k), -1)].sum(axis=1)


def test_a_patch_for_each_code_can_be_moved(tiles, rng):
    k = rng.integers(0, K, (30, G, G))
    assert shift_error(tiles, k, SIZE) == 0 and shuffle_error(tiles, k, SIZE, rng) == 0
    found = same_effect(tiles, k, SIZE, rng, 300)
    assert np.allclose([found["here"], found["there"]], 1)
    assert max(map(abs, (found["whole"], found["other"]))) < 0.3


@pytest.mark.slow
def test_an_image_for_each_position_and_code_cannot(dense, rng):
    k = rng.integers(0, K, (30, G, G))
    assert shift_error(dense, k, SIZE) > 80 and shuffle_error(dense, k, SIZE, rng) > 80
    found = same_effect(dense, k, SIZE, rng, 300)
    assert np.isclose(found["here"], 1) and max(map(abs, (found["there"], found["whole"]))) < 0.1


def test_shifting_keeps_the_border():
    k = np.arange(9).reshape(1, 3, 3)
    assert shifted(k, (0, 1)).tolist() == [[[0, 0, 1], [3, 3, 4], [6, 6, 7]]]
    assert shifted(k, (-1, 0)).tolist() == [[[3, 4, 5], [6, 7, 8], [6, 7, 8]]]


def test_locality_is_where_the_influence_is(rng):
    a = np.zeros((G, G, G, SIZE, G, SIZE))
    for r in range(G):
        for s in range(G):
            a[r, s, r, :, s, :] = 3
            a[r, s, r, :, (s + 1) % G, :] = 1  # a neighbour, except at the right border
    found = locality(a.reshape(G, G, G * SIZE, G * SIZE), rng)
    assert np.isclose(found["own"], 75) and np.isclose(found["own_near"], 100 - 25 / G)
    assert found["best"] == found["own"] and found["shuffled_near"] < 60
    assert neighbours(G).sum() == (3 * G - 2) ** 2
