"""t = encode(caption): words of a closed vocabulary as integers, with an end after the last word.

caption: str -> t: (T,) integers in [0, V]; V is the end, which fills the rest of the T positions
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_int, fail

MOST_CAPTION = 60
"""Characters of a caption that an error repeats."""


def words_of(caption: str) -> list[str]:
    """The words of a caption in lower case, without punctuation at their ends.

    Examples
    --------
    >>> words_of("A red seven, left.")
    ['a', 'red', 'seven', 'left']
    """
    return [word for part in caption.lower().split() if (word := part.strip(".,;:!?\"'()[]“”‘’"))]


class Vocabulary:
    """V words that captions may have, and T, the most words of one.

    Parameters
    ----------
    words : sequence of str
        Different words in lower case; word i is the integer i.
    length : int
        T.

    Examples
    --------
    >>> vocabulary = Vocabulary.of(["a red seven", "a blue three"])
    >>> vocabulary.words
    ('a', 'blue', 'red', 'seven', 'three')
    >>> vocabulary.encode(["a red three", "red"])
    array([[0, 2, 4],
           [2, 5, 5]])
    """

    def __init__(self, words: Sequence[str], length: int) -> None:
        where = "Vocabulary"
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            fail(where, "words", "must be a sequence of str", repr(words))
        self.words, self.length = tuple(words), check_int(where, "length", length)
        self._number = {word: i for i, word in enumerate(self.words)}
        if not self.words or len(self._number) != len(self.words):
            got = f"{len(self._number)} different ones"
            fail(where, "words", "must be different words, at least one", got)
        for word in self.words:
            if words_of(word) != [word]:
                needed = "must each be one word, in lower case and without punctuation"
                fail(where, "words", needed, repr(word))

    @classmethod
    def of(cls, captions: Iterable[str]) -> Self:
        """The words of these captions in alphabetical order, and the length of the longest."""
        split = [words_of(caption) for caption in captions]
        return cls(sorted({word for words in split for word in words}), max(map(len, split), default=0))

    def __len__(self) -> int:
        return len(self.words)

    @property
    def end(self) -> int:
        """V, which stands for the end of a caption."""
        return len(self.words)

    def encode(self, captions: Sequence[str], where: str = "encode") -> Array:
        """t of each caption: n captions -> (n, T) int64.

        Raises
        ------
        InputError
            A caption without words, one of more than T, or one with an unknown word, which is named with
            the words of the vocabulary that resemble it.
        """
        t = np.full((len(captions), self.length), self.end)
        for i, caption in enumerate(captions):
            words = self._words(where, caption)
            t[i, : len(words)] = [self._number[word] for word in words]
        return t

    def decode(self, t: Array) -> tuple[str, ...]:
        """The captions of (n, T) integers: the words before the first end of each."""
        rows = np.asarray(t)
        lengths = np.cumprod(rows != self.end, axis=1).sum(axis=1)
        parts = zip(rows, lengths, strict=True)
        return tuple(" ".join(self.words[k] for k in row[:n]) for row, n in parts)

    def _words(self, where: str, caption: Any) -> list[str]:
        if not isinstance(caption, str):
            fail(where, "caption", "must be a str", type(caption).__name__)
        words, shown = words_of(caption), repr(caption[:MOST_CAPTION])
        if not words:
            fail(where, "caption", "must have at least one word", shown)
        if len(words) > self.length:
            fail(where, "caption", f"must have at most {self.length} words", f"{len(words)}: {shown}")
        for word in words:
            if word not in self._number:
                near = difflib.get_close_matches(word[:MOST_CAPTION], self.words, n=3, cutoff=0.5)
                hint = f" (nearest: {', '.join(near)})" if near else ""
                needed = f"must have only words that the prior was trained on{hint}"
                fail(where, "caption", needed, f"{word[:MOST_CAPTION]!r} in {shown}")
        return words
