"""Are the digits, colours and places of an image those of its caption? For the data set captioned-digits.

images: (n, 32, 32, 3), n captions -> for each of the m objects: digit, colour, place right, (m,) bool

The digit is the class that the classifier of 28 × 28 digits gives the object's place, in grey and enlarged;
the colour is the one nearest to the mean colour of the place; the places are right if there is light in each
that the caption names and almost none elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, fail
from vqnp._images import to_float
from vqnp.data.captioned_digits import CELL, COLOURS, PLACES, SIDE, Object, objects_of
from vqnp.evaluation.classifier import digit_classifier

LEAST_LIGHT = 0.02
"""Of the largest channel, the mean over a place that holds a digit; the thinnest real digits have 0.03."""

MOST_OUTSIDE = 0.1
"""The largest part of an image's light outside the places that its caption names."""


@dataclass(frozen=True, eq=False)
class CaptionAccuracy:
    """What is right about each of m objects; image: (m,) which image the object is in.

    Examples
    --------
    >>> from vqnp.data.captioned_digits import generate
    >>> images, captions = generate("test", 20)
    >>> right, wrong = (caption_accuracy(images, each) for each in (captions, captions[::-1]))
    >>> right.as_dict()["colour"] > 0.9 > wrong.as_dict()["colour"]
    True
    """

    objects: tuple[Object, ...]
    image: Array
    digit: Array
    colour: Array
    place: Array

    @property
    def right(self) -> Array:
        """Whether digit and colour are right: (m,) bool."""
        return np.asarray(self.digit & self.colour)

    @property
    def held_out(self) -> Array:
        """Which objects are of a combination of digit and colour that no training image shows: (m,) bool."""
        return np.array([each.held_out for each in self.objects], bool)

    def among(self, chosen: Array) -> CaptionAccuracy:
        """The same of some objects; chosen: (m,) bool."""
        objects = tuple(each for each, kept in zip(self.objects, chosen, strict=True) if kept)
        arrays = (a[chosen] for a in (self.image, self.digit, self.colour, self.place))
        return CaptionAccuracy(objects, *arrays)

    def as_dict(self) -> dict[str, Any]:
        """The number of objects, and the share of them that are right, as plain values for JSON."""
        shares = {name: getattr(self, name) for name in ("digit", "colour", "right", "place")}
        means = {name: float(a.mean()) if a.size else float("nan") for name, a in shares.items()}
        return {"objects": len(self.objects), **means}


def caption_accuracy(images: Any, captions: Sequence[str]) -> CaptionAccuracy:
    """Compare images with captions of the data set captioned-digits.

    Parameters
    ----------
    images : (n, 32, 32, 3), uint8 or float in [0, 1]
        Real images, reconstructions or samples.
    captions : sequence of n str

    Raises
    ------
    InputError
        Images of another shape, or a caption that captioned-digits does not have.

    Examples
    --------
    >>> from vqnp.data.captioned_digits import generate
    >>> images, captions = generate("test", 100)
    >>> caption_accuracy(images, captions).right.mean() > 0.9
    np.True_
    """
    where = "caption_accuracy"
    x = to_float(images, where=where)
    if x.shape[1:] != (SIDE, SIDE, 3) or len(x) != len(captions) or not len(x):
        needed = f"must have shape ({len(captions)}, {SIDE}, {SIDE}, 3), one for each caption, at least one"
        fail(where, "images", needed, f"shape {x.shape}")
    scenes = [objects_of(caption) for caption in captions]
    objects = tuple(each for scene in scenes for each in scene)
    image = np.repeat(np.arange(len(x)), [len(scene) for scene in scenes])
    places = np.array([PLACES[each.place] for each in objects])
    step = np.arange(CELL)
    rows, columns = places[:, 0, None] + step, places[:, 1, None] + step
    cells = x[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    digit = digit_classifier().probabilities(enlarge(cells.max(axis=-1))).argmax(axis=1)
    colour = colours_of(cells)
    names = list(COLOURS)
    return CaptionAccuracy(
        objects, image, digit == [each.digit for each in objects],
        colour == [names.index(each.colour) for each in objects], _placed(x, cells, image),
    )  # fmt: skip


def colours_of(cells: Array) -> Array:
    """The colour whose direction is nearest to that of the mean colour: (m, h, w, 3) -> (m,) in [0, 6)."""
    table = np.array(list(COLOURS.values()), float)
    mean = cells.mean(axis=(1, 2), dtype=np.float64)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray((mean @ table.T).argmax(axis=1))


def enlarge(cells: Array) -> Array:
    """Digits of 16 × 16 as the classifier takes them: 24 × 24, linearly, in a frame: (m, 28, 28)."""
    at = np.clip((np.arange(24) + 0.5) / 1.5 - 0.5, 0, CELL - 1)
    low = np.minimum(at.astype(int), CELL - 2)
    A = np.zeros((24, CELL), cells.dtype)
    A[np.arange(24), low], A[np.arange(24), low + 1] = 1 - (at - low), at - low
    return np.pad(A @ cells @ A.T, ((0, 0), (2, 2), (2, 2)))


def _placed(x: Array, cells: Array, image: Array) -> Array:
    """Whether the object's place has light, and the image next to none outside its places: (m,) bool."""
    light = cells.max(axis=-1).sum(axis=(1, 2), dtype=np.float64)
    whole = x.max(axis=-1).sum(axis=(1, 2), dtype=np.float64)
    inside = np.bincount(image, light, len(x))
    dark = whole - inside <= MOST_OUTSIDE * whole
    return np.asarray((light >= LEAST_LIGHT * CELL * CELL) & dark[image])
