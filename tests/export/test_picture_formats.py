"""The formats that a compressed file is compared with: PNG keeps every pixel, the others lose some."""

import io

import numpy as np
import pytest
from PIL import Image

from vqnp import load_dataset
from vqnp.export.picture_formats import _cut, _sheet, picture_sizes


@pytest.mark.parametrize("colours", [False, True])
def test_the_formats_of_digits(colours):
    images = load_dataset("digits", "test").images[:30]
    if colours:
        images = np.stack([images, images // 2, 255 - images], axis=-1)
    sizes = picture_sizes(images)
    png = sizes.pop("PNG")
    assert png.mse == png.sheet_mse == 0 and png.sheet_bits < png.bits
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, format="PNG", optimize=True)
    assert picture_sizes(images[:1])["PNG"].bits == 8 * file.tell()
    for each in sizes.values():
        assert 0 < each.mse < 0.1 and 0 < each.sheet_mse < 0.1
        assert each.sheet_bits < min(each.bits, png.sheet_bits)
    assert "JPEG, quality 1" in sizes


def test_floats_and_an_axis_for_one_channel_are_the_same_images():
    images = load_dataset("digits", "test").images[:5]
    assert picture_sizes(images / 255) == picture_sizes(images[..., None]) == picture_sizes(images)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_a_sheet_is_cut_into_its_images(n, rng):
    images = rng.integers(0, 256, (n, 4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(_cut(_sheet(images), images.shape), images)
