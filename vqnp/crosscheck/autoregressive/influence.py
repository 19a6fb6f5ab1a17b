"""r_ij = max |Δa_i| / max |a|, when code j alone is changed: what each position sees.

r: (M, M); row i belongs to the logits of code i, whichever row of the function's result these are
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.autoregressive.asking import Question, size

MOST_CODES = 256
"""The most codes that are changed, one at a time: all of a grid of 16 × 16; evenly spread in a larger one."""

CLEAR = 32.0
"""If not even the strongest influence is so many times the tolerance, weaker ones are lost in rounding."""


@dataclass
class Influence:
    """What was measured; ratio: (M, M), seen, told: (M, M) bool; told: whether the pair was tested."""

    shape: tuple[int, ...]
    ratio: Array
    seen: Array
    told: Array
    probes: int
    first: int  # the first code whose logits are given: 0, or 1 where a row is for the code after it

    @property
    def M(self) -> int:
        """The number of positions."""
        return len(self.seen)

    @property
    def before(self) -> Array:
        """Whether code j comes before code i and the pair was tested: (M, M)."""
        return np.tri(self.M, k=-1, dtype=bool) & self.told

    @property
    def leaks(self) -> Array:
        """Pairs (i, j) with j ≥ i where the logits of code i depend on code j: (M, M)."""
        return self.seen & ~np.tri(self.M, k=-1, dtype=bool)

    @property
    def unseen(self) -> Array:
        """Pairs (i, j) with j < i where they do not: (M, M)."""
        return self.before & ~self.seen

    def faint(self, tolerance: float) -> bool:
        """Whether all influences are so near to rounding that a pattern of what is not seen says nothing."""
        return bool(self.ratio.max() < CLEAR * tolerance)

    def place(self, m: int) -> str:
        """The name of position m: its number, or its row and column."""
        at = tuple(int(i) for i in np.unravel_index(m, self.shape))
        return str(at[0] if len(at) == 1 else at)

    def example(self, pairs: Array) -> str:
        """The first of the pairs, in words."""
        i, j = (int(n) for n in np.argwhere(pairs)[0])
        return f"code {self.place(j)} for the logits of code {self.place(i)}"


def measure(
    ask: Question, rng: np.random.Generator, first: int, probes: int, batch: int, alone: bool
) -> Influence:
    """Change one code at a time in `probes` random grids.

    alone: items depend on each other, so each call has one changed grid and one that stays the same.

    A changed grid is compared with its original at the same place in a batch of the same size, since the
    order of sums, and therefore the rounding, may depend on both. Calls: probes (⌈J/batch⌉ + 1) for J codes.
    """
    M, K = ask.M, ask.K
    codes = np.arange(M) if M <= MOST_CODES else np.linspace(0, M - 1, MOST_CODES).astype(int)
    ratio, bits = np.zeros((M, M)), np.zeros((M, M), bool)
    n = 1 if alone else min(batch, len(codes))
    for _ in range(probes):
        base, other = ask.random(rng, 2)
        usual = np.stack([base, other]) if alone else np.repeat(base[None], n, axis=0)
        a = rows(ask(usual), M, first)
        for start in range(0, len(codes), n):
            some = codes[start : start + n]
            changed = usual.copy()
            changed[np.arange(len(some)), some] += rng.integers(1, K, len(some))
            d = np.abs(rows(ask(changed % K), M, first) - a)[: len(some)].max(axis=-1)
            ratio[:, some] = np.maximum(ratio[:, some], d.T / size(a))
            bits[:, some] |= d.T > 0
    told = np.zeros((M, M), bool)
    told[first:, codes] = True
    return Influence(ask.shape, ratio, decide(ratio, bits, ask.tolerance), told, probes, first)


def decide(ratio: Array, bits: Array, tolerance: float) -> Array:
    """Which pairs are seen: those above rounding or, if later codes change no bit, those that change any bit.

    A deep network of convolutions may transmit less than its rounding error, so a tolerance alone would
    report blind spots that do not exist.
    """
    earlier = np.tri(len(ratio), k=-1, dtype=bool)
    above = ratio > tolerance
    quiet = not (bits & ~above & ~earlier).any()
    return above | (bits & earlier) if quiet else above


def rows(a: Any, M: int, first: int) -> Array:
    """(B, M', K) -> (B, M, K): row i for code i; with first = 1, row i − 1 of the result, 0 for code 0."""
    if first:
        return np.concatenate([np.zeros_like(a[:, :1]), a[:, : M - 1]], axis=1)
    return a[:, :M]
