"""Digits, colours and places compared with a caption: real images are right, and each mistake is noticed."""

import numpy as np
import pytest
from helpers import refused

from vqnp.data.captioned_digits import COLOURS, caption_of, generate, objects_of
from vqnp.evaluation import caption_accuracy

IMAGES, CAPTIONS = generate("held-out", 150)


def changed(change):
    """The captions of IMAGES with one object after another changed."""
    scenes = (objects_of(caption) for caption in CAPTIONS)
    return [caption_of(tuple(map(change, scene))) for scene in scenes]


def test_real_images_are_right():
    accuracy = caption_accuracy(IMAGES, CAPTIONS)
    assert accuracy.objects == tuple(o for caption in CAPTIONS for o in objects_of(caption))
    assert accuracy.digit.mean() > 0.95 and accuracy.colour.all() and accuracy.place.all()
    held_out = accuracy.among(accuracy.held_out)
    assert len(held_out.objects) == 150 and (held_out.image == np.arange(150)).all()
    figures = accuracy.as_dict()
    assert figures["right"] == accuracy.right.mean() and figures["objects"] == len(accuracy.objects)
    same = caption_accuracy(IMAGES / np.float32(255), CAPTIONS)
    np.testing.assert_array_equal(same.digit, accuracy.digit)


def test_each_mistake_is_noticed():
    names = list(COLOURS)
    other_colour = lambda o: o._replace(colour=names[(names.index(o.colour) + 1) % 6])
    accuracy = caption_accuracy(IMAGES, changed(other_colour))
    assert not accuracy.colour.any() and accuracy.digit.mean() > 0.95 and accuracy.place.all()
    accuracy = caption_accuracy(IMAGES, changed(lambda o: o._replace(digit=(o.digit + 1) % 10)))
    assert accuracy.digit.mean() < 0.05 and accuracy.colour.all() and not accuracy.right.mean() > 0.05
    moved = {"left": "top", "right": "bottom", "top": "left", "bottom": "right", "middle": "left"}
    accuracy = caption_accuracy(IMAGES, changed(lambda o: o._replace(place=moved[o.place])))
    assert not accuracy.place.any()
    above = np.array([" above " in caption for caption in CAPTIONS])
    top_only = [f"{c.split(' above')[0]} at the top" for c in CAPTIONS if " above " in c]
    accuracy = caption_accuracy(IMAGES[above], top_only)
    assert len(top_only) > 5 and not accuracy.place.any() and accuracy.digit.mean() > 0.9


@pytest.mark.parametrize("images", [IMAGES[:3], IMAGES[..., 0], IMAGES[:0]])
def test_other_images_are_refused(images):
    with refused("images", "one for each caption", where="caption_accuracy"):
        caption_accuracy(images, CAPTIONS if len(images) != 0 else [])
