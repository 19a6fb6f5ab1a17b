"""Images composed by rule: one or two handwritten digits, each of a colour and in a place, with a caption.

x: (n, 32, 32, 3) uint8, black around the digits; captions such as "a green four left of a red one"

Each digit fills a cell of 16 × 16 pixels. Ten of the sixty combinations of a digit and a colour are in no
training image: they show whether a model has learned what a word means, or whole captions by heart.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vqnp._check import Array, check_choice, check_int, fail
from vqnp.data.stream import open_array
from vqnp.data.vocabulary import words_of

NAME = "captioned-digits"
DIGITS = Path(__file__).with_name("digits.npz")
SIDE, CELL = 32, 16
COUNTS = {"train": 10_000, "test": 2_000, "held-out": 2_000}
SEEDS = {"train": 0, "test": 1, "held-out": 2}
SINGLE_SHARE = 0.25
"""The part of the images that show one digit; two are the more difficult case."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "red": (255, 50, 40), "green": (50, 255, 70), "blue": (60, 90, 255), "yellow": (255, 225, 30),
    "purple": (225, 70, 255), "white": (255, 255, 255),
}  # fmt: skip
"""Red, green and blue of each, the largest of them 255, so that the largest channel is the digit in grey."""

PLACES = {"middle": (8, 8), "left": (8, 0), "right": (8, 16), "top": (0, 8), "bottom": (16, 8)}
"""The row and the column of a cell's upper left pixel."""

ALONE = {
    "middle": "", "left": " on the left", "right": " on the right", "top": " at the top",
    "bottom": " at the bottom",
}  # fmt: skip
PAIRS = {
    "left of": ("left", "right"), "right of": ("right", "left"), "above": ("top", "bottom"),
    "below": ("bottom", "top"),
}  # fmt: skip

HELD_OUT = frozenset(zip(range(10), list(COLOURS) * 2, strict=False))
"""(digit, colour) that no training image shows: of each digit one colour, of each colour 1 or 2 digits."""


class Object(NamedTuple):
    """A digit, the name of its colour, and the name of its place."""

    digit: int
    colour: str
    place: str = "middle"

    @property
    def held_out(self) -> bool:
        """Whether no training image shows this digit in this colour."""
        return (self.digit, self.colour) in HELD_OUT


def caption_of(objects: tuple[Object, ...]) -> str:
    """The caption of one object, or of two in places that have a relation.

    Examples
    --------
    >>> caption_of((Object(4, "green", "left"), Object(1, "red", "right")))
    'a green four left of a red one'
    """
    names = [f"a {each.colour} {NUMBERS[each.digit]}" for each in objects]
    if len(objects) == 1:
        return names[0] + ALONE[objects[0].place]
    relation = next(words for words, pair in PAIRS.items() if pair == tuple(o.place for o in objects))
    return f"{names[0]} {relation} {names[1]}"


def objects_of(caption: str) -> tuple[Object, ...]:
    """The objects that a caption names, the first one first.

    Raises
    ------
    InputError
        A caption that no image of this data set has.

    Examples
    --------
    >>> objects_of("a red seven above a blue three")
    (Object(digit=7, colour='red', place='top'), Object(digit=3, colour='blue', place='bottom'))
    """
    words = words_of(caption)
    for relation, places in [*PAIRS.items(), *((phrase, (place,)) for place, phrase in ALONE.items())]:
        middle = relation.split()
        pair = len(places) == 2
        if len(words) != len(middle) + 3 * len(places) or words[3 : 3 + len(middle)] != middle:
            continue
        parts = [words[:3], words[-3:]] if pair else [words[:3]]
        if all(a == "a" and c in COLOURS and d in NUMBERS for a, c, d in parts):
            found = zip(parts, places, strict=True)
            return tuple(Object(NUMBERS.index(d), c, place) for (_, c, d), place in found)
    needed = 'must be like "a red seven on the left" or "a red seven above a blue three"'
    fail("objects_of", "caption", needed, repr(caption))


def draw_objects(split: str, n: int) -> list[tuple[Object, ...]]:
    """The objects of the first n images of a split; in "held-out" one of each image is a held-out one."""
    streams = np.random.default_rng(SEEDS[split]).spawn(6)  # one each, so that n changes no image
    every = [(d, c) for d in range(10) for c in COLOURS]
    known, new = ([pair for pair in every if (pair in HELD_OUT) == held] for held in (False, True))
    single, first = streams[0].random(n) < SINGLE_SHARE, streams[1].random(n) < 0.5
    places = streams[2].integers(len(PLACES), size=n), streams[3].integers(len(PAIRS), size=n)
    drawn, unseen = streams[4].integers(len(known), size=(n, 2)), streams[5].integers(len(new), size=n)
    alone, together = list(PLACES), list(PAIRS.values())
    objects = []
    for i in range(n):
        pairs = [known[j] for j in drawn[i]]
        if split == "held-out":
            pairs[0 if single[i] or first[i] else 1] = new[unseen[i]]
        where = (alone[places[0][i]],) if single[i] else together[places[1][i]]
        objects.append(tuple(Object(d, c, place) for (d, c), place in zip(pairs, where, strict=False)))
    return objects


def generate(split: str = "train", n: int | None = None) -> tuple[Array, tuple[str, ...]]:
    """The images of a split and their captions; the same n images come first in a longer array.

    Parameters
    ----------
    split : {"train", "test", "held-out"}
        "train" is of the embedded training digits and the other two of the embedded test digits. Each image
        of "held-out" has exactly one digit in a colour in which no image of the other two shows it.
    n : int, optional
        How many images; by default 10,000, 2,000 and 2,000.

    Returns
    -------
    images : (n, 32, 32, 3) uint8
    captions : tuple of n str

    Examples
    --------
    >>> images, captions = generate("test", 3)
    >>> images.shape, captions[1]
    ((3, 32, 32, 3), 'a purple seven on the left')
    """
    check_choice("captioned_digits", "split", split, tuple(COUNTS))
    n = COUNTS[split] if n is None else check_int("captioned_digits", "n", n)
    part = "train" if split == "train" else "test"
    labels = open_array(DIGITS, (f"{part}_labels",)).read()
    cells = shrink(open_array(DIGITS, (f"{part}_images",)).read())
    objects = draw_objects(split, n)
    rng = np.random.default_rng(SEEDS[split] + len(SEEDS))
    writing = [np.flatnonzero(labels == digit) for digit in range(10)]
    images = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    u = rng.random((n, 2))
    for j in range(2):  # the objects of one colour in one place at a time
        where: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for i, each in enumerate(objects):
            if j < len(each):
                own = writing[each[j].digit]
                where.setdefault(each[j][1:], []).append((i, own[int(u[i, j] * len(own))]))
        for (colour, place), pairs in where.items():
            i, k = np.array(pairs).T
            r, c = PLACES[place]
            grey = cells[k][..., None] * (np.array(COLOURS[colour]) / 255)
            images[i, r : r + CELL, c : c + CELL] = np.rint(grey)
    return images, tuple(map(caption_of, objects))


def shrink(images: Array) -> Array:
    """The middle 24 × 24 pixels of digits, by mean areas: (n, 28, 28) uint8 -> (n, 16, 16) float in [0, 255].

    With A (16, 24), whose row i averages pixels 1.5 i to 1.5 (i + 1): y = A x Aᵀ.
    """
    edges = 1.5 * np.arange(CELL)[:, None]
    pixel = np.arange(24)
    A = np.clip(np.minimum(edges + 1.5, pixel + 1) - np.maximum(edges, pixel), 0, None) / 1.5
    A = A.astype(np.float32)
    return np.asarray(A @ images[:, 2:26, 2:26].astype(np.float32) @ A.T)
