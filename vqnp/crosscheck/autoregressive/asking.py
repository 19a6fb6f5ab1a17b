"""Somebody's function k ↦ a as one of arrays: (B, M) int64 -> (B, M', K) float64, each call counted.

M' is M, or M + 1 where the logits of the start token and those after the last code are both returned.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.questions.calls import describe_error, to_array

EXCLUDED = 1e4
"""A logit so far below its row's largest has the probability 0 in float64: it stands for −∞."""


class Unanswered(Exception):
    """The function gave nothing to work with; the sentence says why."""


class Question:
    """A function to be asked; `calls` counts, `epsilon` is the rounding unit of what it returns."""

    def __init__(
        self, function: Any, shape: tuple[int, ...], K: int, axis: int | None = None, epsilon: float = 0.0
    ) -> None:
        self.function, self.shape, self.K, self.axis, self.least = function, shape, K, axis, epsilon
        self.M = int(np.prod(shape))
        self.calls, self.epsilon, self.dtype = 0, 0.0, "unknown"
        self.faults: list[str] = []

    def __call__(self, codes: Array) -> Array:
        """a: (B, M', K) float64 of codes: (B, M); Unanswered if there is no such thing."""
        result = self.run("logits", self.function, codes.reshape(-1, *self.shape))
        return self.logits(result, len(codes), self.M)

    def of_shape(self, codes: Array) -> Array | None:
        """The same for codes of another shape, (B, *S); None if the function does not take them."""
        try:
            return self.logits(self.run("logits", self.function, codes), len(codes), codes[0].size)
        except Unanswered:
            return None

    def run(self, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(*arguments), counted; arrays are copies, and whether they were changed is noted."""
        self.calls += 1
        given = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = function(*given)
        except (Exception, SystemExit) as error:
            shapes = ", ".join(f"shape {a.shape}" for a in arguments if isinstance(a, np.ndarray))
            sentence = f"{where}: raised {describe_error(error)} (given {shapes or 'no codes'})"
            raise Unanswered(sentence) from error
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, np.ndarray) and not np.array_equal(before, after):
                self.note(f"{where}: must leave the codes alone; it changed them")
        return result

    def note(self, fault: str) -> None:
        """A fault, once."""
        if fault not in self.faults:
            self.faults.append(fault)

    def logits(self, result: Any, B: int, M: int) -> Array:
        """What was returned as (B, M or M + 1, K); Unanswered if it has another shape."""
        a = self.array("logits", result)
        axes = (-1, 1) if self.axis is None else (self.axis,)
        found = []
        for axis in axes:
            if a.ndim >= 3 and a.shape[0] == B and -a.ndim <= axis < a.ndim:
                moved = np.moveaxis(a, axis, -1)
                rows, K = int(np.prod(moved.shape[1:-1])), moved.shape[-1]
                if rows in (M, M + 1) and K >= self.K:
                    found.append((K != self.K, rows != M, moved.reshape(B, rows, K)))
        if not found:
            last = f"; the last axis must be the {self.K} codes" if self.axis is None else ""
            one = " (are logits of the last position alone returned?)" if a.shape[1:-1] == (1,) else ""
            needed = f"must have {M} positions of {self.K} logits for each of {B} items{last}"
            raise Unanswered(f"logits: {needed}; got shape {a.shape}{one}")
        a = min(found, key=lambda one: one[:2])[2]
        if a.shape[-1] > self.K:
            self.extra = a.shape[-1] - self.K
        return self.usable("logits", a)

    extra = 0
    """Logits for ids that are no code, such as a start token's."""

    def array(self, where: str, result: Any) -> Array:
        """The logits of what was returned: itself, its field logits, or the first of several."""
        if hasattr(result, "logits"):
            result = result.logits
        elif isinstance(result, dict):
            result = result.get("logits", next(iter(result.values()), None))
        elif isinstance(result, (tuple, list)) and result:
            result = result[0]
        a, wrong = to_array(result)
        if a is None or a.dtype.kind != "f":
            raise Unanswered(f"{where}: {wrong if a is None else f'must be floats; got {a.dtype}'}")
        self.epsilon, self.dtype = max(self.least, float(np.finfo(a.dtype).eps)), str(a.dtype)
        return a

    def usable(self, where: str, a: Array) -> Array:
        """In float64, logits of no probability 0; NaN and +∞ are no logits."""
        bad = np.isnan(a) | np.isposinf(a)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise Unanswered(f"{where}: must not be NaN or +∞; got {a[at]} at index {at}")
        a = a.astype(np.float64)
        return np.where(a < a.max(axis=-1, keepdims=True) - EXCLUDED, 0.0, a)

    def random(self, rng: np.random.Generator, n: int) -> Array:
        """(n, M) codes."""
        return rng.integers(0, self.K, (n, self.M))

    @property
    def tolerance(self) -> float:
        """A relative difference that rounding may make in one and the same computation."""
        return 256 * self.epsilon

    @property
    def loose(self) -> float:
        """The same for one that is done in another order: in chunks, or in another batch."""
        return 4096 * self.epsilon


def size(a: Array) -> float:
    """The largest |a|, to which differences are relative; never 0."""
    return float(np.abs(a).max(initial=0.0)) or 1.0
