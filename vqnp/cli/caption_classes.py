"""Captions as classes: each caption of a data set of sounds, such as "seven by nicolas", is one class.

captions: n str -> (n,) integers in [0, C), the classes in alphabetical order
"""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, fail


def caption_classes(data: str, splits: Sequence[Any]) -> tuple[tuple[str, ...], list[Array]]:
    """The distinct captions of the training data, and the class of each recording of each split."""
    names = tuple(sorted(set(splits[0].captions)))
    number = {name: c for c, name in enumerate(names)}
    for caption in splits[-1].captions:
        if caption not in number:
            fail(data, "captions of the test data", "must be among those of the training data", repr(caption))
    return names, [np.array([number[each] for each in split.captions], np.int64) for split in splits]


def class_of(text: str, names: Sequence[str]) -> int:
    """The class of a caption, or a sentence with the nearest ones."""
    if text not in names:
        near = difflib.get_close_matches(text, names, 3, 0.0)
        needed = f"must be a caption of the training data (nearest: {', '.join(map(repr, near))})"
        fail("", "--text", needed, repr(text))
    return list(names).index(text)
