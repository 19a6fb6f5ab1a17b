"""Nearest training images: copies are found, new images of the same kind are not."""

import numpy as np
import pytest

from vqnp.metrics import memorization, nearest_distance


def test_copies_are_near_and_new_images_are_not(rng):
    train, test, new = rng.random((3, 400, 4))
    copies, fresh = memorization(train[:100], test, train), memorization(new, test, train)
    assert copies.samples == 0 and copies.near == 1 and copies.ratio == 0
    assert fresh.ratio == pytest.approx(1, abs=0.1) and fresh.near == pytest.approx(0.05, abs=0.03)
    own = memorization(test, test, train)
    assert own.ratio == 1 and own.near == pytest.approx(0.05, abs=1 / 400)
    assert own.images == pytest.approx(np.median(nearest_distance(test, train)))


def test_it_does_not_depend_on_the_order(rng):
    train, test = rng.random((2, 50, 4))
    assert memorization(test, train[::-1], train) == memorization(test[::-1], train, train[::-1])
    assert np.isnan(memorization(test, train, train).ratio)  # the images are the training's: no distance
