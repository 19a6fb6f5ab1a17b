"""Any function k ↦ a as a function of arrays: (B, M) int64 -> (B, M', K) float64; calls are counted.

M' is M, or M + 1 if the function returns the logits of the first code and those after the last code.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.questions.calls import describe_error, to_array

EXCLUDED = 1e4
"""A logit this far below the largest of its row has the probability 0 in float64, like −∞."""


class Unanswered(Exception):
    """The function returned nothing that can be used; the message says why."""


class Question:
    """A function under test; `calls` is the number of calls, `epsilon` the rounding unit of its results."""

    def __init__(
        self, function: Any, shape: tuple[int, ...], K: int, axis: int | None = None, epsilon: float = 0.0
    ) -> None:
        self.function, self.shape, self.K, self.axis, self.least = function, shape, K, axis, epsilon
        self.M = int(np.prod(shape))
        self.calls, self.epsilon, self.dtype = 0, 0.0, "unknown"
        self.faults: list[str] = []

    def __call__(self, codes: Array) -> Array:
        """a: (B, M', K) float64 of codes (B, M); Unanswered if the function returns no such logits."""
        result = self.run("logits", self.function, codes.reshape(-1, *self.shape))
        return self.logits(result, len(codes), self.M)

    def of_shape(self, codes: Array) -> Array | None:
        """The same for codes of another shape, (B, *S); None if the function does not take them."""
        try:
            return self.logits(self.run("logits", self.function, codes), len(codes), codes[0].size)
        except Unanswered:
            return None

    def run(self, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(*arguments), counted. It gets copies of arrays; a fault is noted if it changes them."""
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
        """Record a fault, once."""
        if fault not in self.faults:
            self.faults.append(fault)

    def logits(self, result: Any, B: int, M: int) -> Array:
        """The result as (B, M or M + 1, K); Unanswered if it has another shape."""
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
    """Logits for tokens that are not codes, such as the start token."""

    def array(self, where: str, result: Any) -> Array:
        """The logits in the result: the result itself, its `logits`, or the first of several."""
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
        """As float64, with 0 for logits whose probability is 0; NaN and +∞ are not logits."""
        bad = np.isnan(a) | np.isposinf(a)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise Unanswered(f"{where}: must not be NaN or +∞; got {a[at]} at index {at}")
        a = a.astype(np.float64)
        return np.where(a < a.max(axis=-1, keepdims=True) - EXCLUDED, 0.0, a)

    def random(self, rng: np.random.Generator, n: int) -> Array:
        """(n, M) random codes."""
        return rng.integers(0, self.K, (n, self.M))

    @property
    def tolerance(self) -> float:
        """A relative difference that rounding may cause when the same computation is repeated."""
        return 256 * self.epsilon

    @property
    def loose(self) -> float:
        """The same if the computation has another order: in chunks, or in another batch."""
        return 4096 * self.epsilon


def size(a: Array) -> float:
    """The largest |a|, relative to which differences are measured; never 0."""
    return float(np.abs(a).max(initial=0.0)) or 1.0
