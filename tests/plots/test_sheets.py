"""Images side by side: each where it belongs, and whatever its shape."""

import numpy as np
import pytest

from vqnp import load_dataset
from vqnp.plots.sheets import bands, curves, flat_images, save_sheet, shown_images, tiles

TEST = load_dataset("digits", "test").images[:3]


def test_tiles_puts_each_image_where_it_belongs():
    images = np.arange(5.0).reshape(5, 1, 1) * np.ones((1, 2, 3))
    sheet = tiles(images, 3, gap=1, background=-1)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 1)
    for i in range(5):
        r, c = 1 + i // 3 * 3, 1 + i % 3 * 4
        assert (sheet[r : r + 2, c : c + 3] == i).all()
    assert (sheet[4:6, 9:12] == -1).all() and (sheet[0] == -1).all()


@pytest.mark.parametrize(
    ("shape", "flat"), [((4, 3, 5), (3, 5)), ((4, 9), (3, 3)), ((4, 10), (1, 10)), ((4, 6, 5, 3), (6, 5))]
)
def test_images_of_any_shape_can_be_drawn(shape, flat):
    assert flat_images(np.zeros(shape)).shape == (4, *flat)


def test_three_channels_are_shown_in_colour_and_others_by_their_mean():
    x = np.random.default_rng(0).random((2, 4, 5, 3))
    np.testing.assert_array_equal(shown_images(x), x)
    sheet = tiles(x, 2)
    assert sheet.shape == (6, 13, 3) and (sheet[0] == 1).all()
    np.testing.assert_array_equal(sheet[1:5, 7:12], x[1])
    np.testing.assert_array_equal(shown_images(x[..., :1]), x[..., 0])
    np.testing.assert_array_equal(shown_images(x[..., :2]), x[..., :2].mean(axis=-1))


def test_a_sheet_is_the_images(tmp_path):
    from matplotlib.image import imread

    with open(tmp_path / "s.png", "wb") as file:
        save_sheet(file, TEST / 255.0, columns=3)
    pixels = imread(tmp_path / "s.png")[2:58:2, 2:58:2, 0]
    np.testing.assert_allclose(pixels, TEST[0] / 255.0, atol=1 / 255)


def test_a_signal_is_shown_as_a_curve():
    """At each point of time the row of its value is lit, and the rows up to the next value's."""
    x = np.array([[0.0, 1.0, 0.5, 0.5]])
    (picture,) = curves(x)
    assert picture.shape == (48, 4) and set(np.unique(picture)) == {0, 1}
    lit = [np.flatnonzero(column) for column in picture.T]
    assert lit[0].tolist() == list(range(48)) and lit[1].tolist() == list(range(25))
    assert lit[2].tolist() == lit[3].tolist() == [24]
    both = curves(np.stack([x, 1 - x], axis=-1))[0]
    np.testing.assert_array_equal(both.any(axis=-1), np.maximum(picture, curves(1 - x)[0]))
    np.testing.assert_array_equal(shown_images(x, signals=True), curves(x))
    assert curves(np.zeros((2, 1000))).shape == (2, 48, 96)


def test_each_channel_has_a_band():
    x = np.random.default_rng(0).random((2, 6, 3))
    assert bands(x).shape == (2, 3, 6) and bands(x[..., 0]).shape == (2, 3, 6)
    np.testing.assert_array_equal(bands(x)[:, 2], x[..., 2])
