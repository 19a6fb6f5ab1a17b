"""perplexity = exp(−Σ_j p_j log p_j),  p_j = n_j / Σn,  and what it says of a codebook.

n: (K,) how often each code is used
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_float, check_int, fail


def perplexity(counts: Any) -> float:
    """exp(−Σ p log p),  p = n / Σn,  0 log 0 = 0: how many codes, used alike, would be as uncertain.

    n: (K,) counts or probabilities -> a number from 1 (one code) to K (all alike)

    Parameters
    ----------
    counts : array_like of numbers, shape (K,)
        None negative, not all zero; they are divided by their sum.

    Returns
    -------
    float
        Exactly 1 where one code is used and exactly U where U codes are used equally, and never
        outside [1, U] for U codes in use, in spite of rounding.

    Raises
    ------
    InputError
        Not one axis, not numbers, negative, NaN, infinite, or all zero.

    Notes
    -----
    It is computed over what it is given: over a batch it is at most the number of vectors in the
    batch, so perplexities of batches of different sizes do not compare, and their mean is not that
    of the data set. Add the counts first.

    References
    ----------
    The exponential of Shannon's entropy. van den Oord et al. publish it with their code (Sonnet),
    as exp(−Σ p log(p + 1e-10)), which differs from this in the tenth digit.
    """
    n = _counts("perplexity", counts)
    used = n[n > 0]
    if used.min() == used.max():
        return float(used.size)
    p = used / used.max()  # first by the largest: the sum can neither overflow nor vanish
    p /= p.sum()
    p = p[p > 0]
    return float(np.clip(np.exp(-(p * np.log(p)).sum()), 1, used.size))


def utilization(counts_or_perplexity: Any, num_embeddings: int | None = None) -> float:
    """perplexity / K, from counts: (K,), or from a perplexity and K -> a number from 1/K to 1.

    Raises
    ------
    InputError
        A perplexity without K, or outside [1, K]; counts as in `perplexity`.
    """
    if np.ndim(counts_or_perplexity) == 0:
        if num_embeddings is None:
            fail("utilization", "num_embeddings must be given with a perplexity", None)
        return _in_range("utilization", counts_or_perplexity, num_embeddings) / num_embeddings
    value = perplexity(counts_or_perplexity)
    K = len(counts_or_perplexity)
    if num_embeddings is not None and num_embeddings != K:
        fail("utilization", f"num_embeddings must be {K}, the number of counts", num_embeddings)
    return value / K


def dead_codes(counts: Any) -> Array:
    """{j : n_j = 0}; n: (K,) -> indices of the codes that are never used: (any,) int64."""
    return np.flatnonzero(_counts("dead_codes", counts) == 0)


def bits_per_image(num_latents: int, num_embeddings: int) -> float:
    """M log₂ K: what M codes out of K cost without an entropy coder, in bits."""
    M = check_int("bits_per_image", "num_latents", num_latents)
    return M * math.log2(check_int("bits_per_image", "num_embeddings", num_embeddings))


@dataclass(frozen=True)
class Diagnosis:
    """A codebook's health: a level, the figures behind it, a sentence, and advice; str() is all of it."""

    level: str
    perplexity: float
    num_embeddings: int
    utilization: float
    sentence: str
    advice: str

    def __str__(self) -> str:
        figures = f"perplexity {self.perplexity:.1f} of {self.num_embeddings} codes, "
        text = f"{self.level}: {figures}utilization {100 * self.utilization:.1f} %: {self.sentence}"
        return f"{text}; {self.advice}" if self.advice else text

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)


BANDS = (
    (0.2, "severe collapse", "a few codes dominate and most of the codebook goes unused",
     "use a smaller codebook or train longer; restarting dead codes and a k-means start help too"),
    (0.5, "partial collapse", "more than half of the codebook's capacity goes unused",
     "restart dead codes, start the codes from data, or use a smaller codebook"),
    (0.8, "uneven use", "the codebook is used, but some codes much more than others",
     "nothing is wrong; longer training or restarting dead codes may even it out"),
    (math.inf, "healthy", "excellent use of the codebook", ""),
)  # fmt: skip
"""(utilization below which the band lies, level, sentence, advice). The deck calls 12.5 % and 11.7 %
severe and 93.8 % healthy and excellent; the borders between are ours."""

DROP = 0.7
"""A perplexity that ended below this share of its own peak has dropped: a wobble is no collapse."""

HIGH = 0.25
"""A peak of at least this utilization was worth losing."""


def diagnose(perplexity: float, num_embeddings: int, history: Any = None) -> Diagnosis:
    """utilization = perplexity / K, put into words; with a history, how it came to be so.

    ============  ==================
    utilization   level
    ============  ==================
    below 20 %    severe collapse
    below 50 %    partial collapse
    below 80 %    uneven use
    from 80 %     healthy
    ============  ==================

    Parameters
    ----------
    perplexity : float in [1, K]
        Over a data set, best a test set.
    num_embeddings : int
        K.
    history : optional
        The training's course: a sequence of rows (mappings with "perplexity" and "mse", as `fit`
        returns), or a mapping of those names to sequences, or a sequence of perplexities. If its
        perplexity ended below 70 % of its own peak, and the peak was at least a quarter of K, the
        codebook collapsed during training: by overfitting to few codes where the reconstruction
        error still fell meanwhile.

    Returns
    -------
    Diagnosis

    Raises
    ------
    InputError
        A perplexity outside [1, K], K below 1, a history of another form.
    """
    K = check_int("diagnose", "num_embeddings", num_embeddings)
    value = _in_range("diagnose", perplexity, K)
    course, errors = _course(history)
    share = value / K
    if K == 1:
        sentence, advice = "one code alone carries no information", "use a larger codebook"
        return Diagnosis("degenerate", value, K, share, sentence, advice)
    course = np.append(course, value)
    peak = int(course.argmax())
    if len(course) > 2 and course[peak] >= HIGH * K and value < DROP * course[peak]:
        fell = f"perplexity fell from {course[peak]:.1f} to {value:.1f}"
        if len(errors) > peak and len(errors) >= 2 and errors[-1] < errors[min(peak, len(errors) - 2)]:
            sentence = f"{fell} while reconstruction still improved: the model is overfitting to few codes"
            advice = "reduce the codebook or adjust the commitment cost"
            return Diagnosis("collapse by overfitting to few codes", value, K, share, sentence, advice)
        sentence = f"{fell}: some codes came to dominate while others went unused"
        advice = "restart dead codes, lower the learning rate, or adjust the commitment cost"
        return Diagnosis("collapse during training", value, K, share, sentence, advice)
    level, sentence, advice = next(band[1:] for band in BANDS if share < band[0])
    if errors.size and errors[-1] < errors[0] and level == "severe collapse":
        sentence = f"reconstruction improves although {sentence}: the model is overfitting to few codes"
        advice = "reduce the codebook, adjust the commitment cost, or train longer"
    return Diagnosis(level, value, K, share, sentence, advice)


def _course(history: Any) -> tuple[Array, Array]:
    """The perplexities and the reconstruction errors of a history, as far as it has them."""
    if history is None or len(history) == 0:
        return np.empty(0), np.empty(0)
    try:
        if isinstance(history, Mapping):
            columns = [history["perplexity"], history.get("mse", [])]
        elif isinstance(history, Sequence) and isinstance(history[0], Mapping):
            columns = [
                [row["perplexity"] for row in history],
                [row["mse"] for row in history if "mse" in row],
            ]
        else:
            columns = [history, []]
        course, errors = (np.asarray(column, np.float64).reshape(len(column)) for column in columns)
    except (KeyError, TypeError, ValueError) as error:
        needed = "rows with 'perplexity' and 'mse', or sequences of those names, or perplexities"
        fail("diagnose", f"history must be {needed}", f"{type(error).__name__}: {error}")
    return course, errors


def _counts(where: str, counts: Any) -> Array:
    n = np.asarray(counts)
    if n.dtype.kind not in "iuf":
        fail(where, "counts must be numbers", n.dtype)
    if n.ndim != 1 or n.size == 0:
        fail(where, "counts must have shape (K,) with K of at least 1", f"shape {n.shape}")
    n = n.astype(np.float64)
    if not np.isfinite(n).all() or (n < 0).any():
        bad = int(np.flatnonzero(~(np.isfinite(n) & (n >= 0)))[0])
        fail(where, "counts must be finite and not negative", f"{n[bad]} at index {bad}")
    if where == "perplexity" and not n.any():
        fail(where, "counts must have at least one above 0", "all zero: no code was used")
    return n


def _in_range(where: str, perplexity: Any, num_embeddings: int) -> float:
    """A perplexity within [1, K], to rounding; where it is just outside by that, the nearer end."""
    value = check_float(where, "perplexity", perplexity, "(-inf, inf)")
    K = check_int(where, "num_embeddings", num_embeddings)
    if not 1 - 1e-9 <= value <= K * (1 + 1e-9):
        fail(where, f"perplexity must be in [1, {K}]", value)
    return min(max(value, 1.0), float(K))
