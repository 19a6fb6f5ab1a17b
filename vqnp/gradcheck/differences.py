"""⟨∂L/∂a, v⟩ by backward and by central differences, for each argument a of a pair of passes."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_finite, check_float, check_int, check_rng, fail
from vqnp.gradcheck.report import GradcheckError, GradcheckReport, Row

EPS = float(np.finfo(np.float64).eps)
STEP = EPS ** (1 / 3)  # h for an argument of size 1, at which a central difference's two errors are equal


class Check:
    """A forward and a backward pass at given arguments, and the settings of their comparison.

    The settings are those of `gradcheck`; freeze is that of `surrogate_check`; names are the arguments'.
    """

    def __init__(
        self, forward: Callable[..., Any], backward: Callable[..., Any], args: tuple[Any, ...],
        rng: np.random.Generator | int, freeze: Callable[..., Callable[..., Any]] | None = None,
        names: list[str] | None = None, argnums: Sequence[int] | None = None,
        cotangents: Sequence[Any] | None = None, h: float | None = None, draws: int = 3, rtol: float = 1e-7,
    ) -> None:  # fmt: skip
        self.draws = check_int("gradcheck", "draws", draws)
        self.rtol = check_float("gradcheck", "rtol", rtol, "(0, inf)")
        self.h = None if h is None else check_float("gradcheck", "h", h, "(0, inf)")
        self.rng = check_rng("gradcheck", rng)
        self.forward, self.backward, self.freeze = forward, backward, freeze
        self.args, self.cotangents = args, cotangents
        self.names = names or _names(forward, len(args))
        is_float = [isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in args]
        self.nums = [i for i, yes in enumerate(is_float) if yes] if argnums is None else list(argnums)
        for i in self.nums:
            a = args[check_int("gradcheck", "argnums", i, 0, len(args) - 1)]
            if not is_float[i] or a.dtype != np.float64:
                got = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
                fail("gradcheck", self.names[i], "must be an array of float64", got)
            check_finite("gradcheck", self.names[i], a)

    def report(self) -> GradcheckReport:
        """The row with the largest error of each argument, over all draws."""
        f = self._outputs if self.freeze is None else self._surrogate(self.freeze)
        worst: dict[int, Row] = {}
        for _ in range(self.draws):
            cotangents, gradients = self._gradients()
            for i, gradient in zip(self.nums, gradients, strict=True):
                row = self._row(f, i, cotangents, gradient)
                if i not in worst or row.error > worst[i].error:
                    worst[i] = row
        return GradcheckReport(tuple(worst[i] for i in self.nums), self.rtol)

    def _outputs(self, *args: Any) -> list[Array]:
        """The float outputs of forward, without the cache."""
        return _floats(self.forward(*args)[:-1])

    def _surrogate(self, freeze: Callable[..., Callable[..., Any]]) -> Callable[..., list[Array]]:
        """The float outputs of the surrogate, whose values at the arguments are checked to be forward's."""
        surrogate = freeze(*self.args)

        def values(*at: Any) -> list[Array]:
            out = surrogate(*at)
            return _floats(out if isinstance(out, tuple) else (out,))

        ours, theirs = self._outputs(*self.args), values(*self.args)
        if len(ours) != len(theirs):
            raise GradcheckError(f"the surrogate must have {len(ours)} float outputs; got {len(theirs)}")
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            # z + (z_q − z) equals z_q to rounding only: a few ulps of z
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-10, atol=1e-12):
                raise GradcheckError(f"the surrogate's output {i} is not the forward pass's")
        return values

    def _gradients(self) -> tuple[list[Array], list[Array]]:
        """Cotangents, and the gradients that backward computes from them; the protocol is checked."""
        before = [a.copy() if isinstance(a, np.ndarray) else a for a in self.args]
        result = self.forward(*self.args)
        if not isinstance(result, tuple) or not _floats(result[:-1]):
            raise GradcheckError("forward must return (output, …, cache) with a float output")
        outputs, cache = [np.array(out) for out in result[:-1]], result[-1]
        again = self.forward(*self.args)[:-1]
        if not all(map(same, before, self.args)):
            raise GradcheckError("forward changes its arguments")
        if len(outputs) != len(again) or not all(map(same, outputs, again)):
            raise GradcheckError("forward answers differently the second time")
        cotangents = self._cotangents([out.shape for out in _floats(outputs)])
        once, twice = (self._call_backward(cotangents, cache, before) for _ in range(2))
        for i, gradient, second in zip(self.nums, once, twice, strict=True):
            a = self.args[i]
            if gradient.shape != a.shape or gradient.dtype != a.dtype:
                needed, got = (f"{x.dtype} of shape {x.shape}" for x in (a, gradient))
                raise GradcheckError(f"the gradient of {self.names[i]} must be {needed}; got {got}")
            if not same(gradient, second):
                raise GradcheckError("backward answers differently the second time: it changes its cache")
        return cotangents, once

    def _cotangents(self, shapes: list[tuple[int, ...]]) -> list[Array]:
        """The given cotangents, or standard normal ones."""
        if self.cotangents is None:
            return [np.asarray(self.rng.standard_normal(shape)) for shape in shapes]
        given = [np.array(c, np.float64) for c in self.cotangents]
        if [c.shape for c in given] != shapes:
            fail("gradcheck", "cotangents", f"must have shapes {shapes}", [c.shape for c in given])
        return given

    def _call_backward(self, cotangents: list[Array], cache: Any, before: list[Any]) -> list[Array]:
        """Copies of backward's gradients; it must change neither the cotangents nor the arguments."""
        copies = [c.copy() for c in cotangents]
        gradients = self.backward(*copies, cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        if not all(map(same, cotangents, copies)):
            raise GradcheckError("backward changes its cotangents")
        if not all(map(same, before, self.args)):
            raise GradcheckError("backward changes the arguments")
        if len(gradients) != len(self.nums):
            raise GradcheckError(f"backward must return {len(self.nums)} gradients; got {len(gradients)}")
        return [np.array(gradient) for gradient in gradients]

    def _row(self, f: Callable[..., list[Array]], i: int, cotangents: list[Array], gradient: Array) -> Row:
        """Argument i in one random direction, at the first step that agrees with backward, or the best."""
        a, name = self.args[i], self.names[i]
        if a.size == 0:
            return Row(name, 0.0, 0.0, 0.0)
        v = np.asarray(self.rng.standard_normal(a.shape))
        with np.errstate(all="ignore"):
            analytic = float((gradient * v).sum())
            usual = float(np.linalg.norm(gradient) * np.linalg.norm(v) / math.sqrt(a.size))
        size = float(np.abs(a).max())
        first = STEP * max(1.0, size) if self.h is None else self.h
        others = {STEP * size, first / math.sqrt(a.size)} - {first, 0.0} if self.h is None else set()
        rows: list[Row] = []
        for step in (first, *sorted(others)):
            with np.errstate(all="ignore"):  # a step out of log's domain gives NaN, an error of inf
                moved = (np.asarray(a + step * v), np.asarray(a - step * v))
                plus, minus = (f(*self.args[:i], at, *self.args[i + 1 :]) for at in moved)
                triples = list(zip(cotangents, plus, minus, strict=True))
                # Subtract first, then sum: outputs that do not depend on a then cancel exactly.
                numeric = sum(float((c * ((p - m) / (2 * step))).sum()) for c, p, m in triples)
            scale = max(abs(numeric), abs(analytic), usual)
            if not rows:  # rounding is allowed for at the first step only: smaller steps would hide errors
                rounding = EPS * sum(float(np.abs(c * p).sum()) for c, p, _ in triples) / step
                scale = max(scale, rounding / self.rtol)
            difference = abs(numeric - analytic)
            error = (difference / scale if scale else 0.0) if math.isfinite(difference) else math.inf
            rows.append(Row(name, analytic, numeric, error))
            if error <= self.rtol:
                break
        return min(rows, key=lambda row: row.error)


def _names(forward: Callable[..., Any], n: int) -> list[str]:
    """The names of forward's first n parameters; "argument i" where it has none."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()  # a builtin may have no signature
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [named[i] if i < len(named) else f"argument {i}" for i in range(n)]


def _floats(outputs: Sequence[Any]) -> list[Array]:
    """The outputs that have a derivative, as arrays."""
    return [out for out in map(np.asarray, outputs) if out.dtype.kind == "f"]


def same(a: Any, b: Any) -> bool:
    """Whether all entries are equal, NaN included; true for what is not numeric."""
    if not isinstance(a, (np.ndarray, np.generic, float, int)) or np.asarray(a).dtype.kind not in "biuf":
        return True
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))
