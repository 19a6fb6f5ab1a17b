"""One call of somebody's quantizer, checked: arrays in float64, faults in sentences; calls are counted."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, InputError
from vqnp.crosscheck.adapters.base import float_dtype
from vqnp.crosscheck.adapters.outputs import Unclear
from vqnp.crosscheck.quantizers.outputs import by_depth, sort_quantizer_outputs
from vqnp.crosscheck.questions.calls import describe_error, to_array

ROUNDING = 1024.0
"""ε times this is the relative difference of equal computations that rounding may cause."""


SINGLE = "float64 was asked, and some answers agree to float32's precision only"


class Unanswered(Exception):
    """Nothing that can be used was returned; the message says why."""


class Answer(NamedTuple):
    """z_q: (N, D), k: (N, n) or None, L: the total or None."""

    z_q: Array
    k: Array | None
    L: float | None


class Question:
    """A layer under test; `calls` counts, `faults` and `notes` say what was wrong, `epsilon` its rounding."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.calls = layer, 0
        self.dtype = float_dtype("check_quantizer", getattr(layer, "dtype", np.float64))
        self.epsilon = float(np.finfo(self.dtype).eps)
        self.faults: list[str] = []
        self.notes: list[str] = []
        self.hindrances: list[str] = []
        self.strange: set[str] = set()
        self.seed = 0

    def has(self, name: str) -> bool:
        """Whether the layer has this function."""
        return callable(getattr(self.layer, name, None))

    def codebooks(self) -> Array | None:
        """The codebooks before a call, (C, K, D) float64, or None."""
        E = self.run("codebooks", getattr, self.layer, "codebooks", None)
        E = self.run("codebooks", E) if callable(E) else E
        return None if E is None else self.books("codebooks", E)

    def after(self, z: Array) -> Array | None:
        """The codebooks after a call, or None."""
        if not self.has("after"):
            return None
        E = self.run("after", self.layer.after, z.astype(self.dtype))
        return None if E is None else self.books("after", E)

    def books(self, where: str, E: Any) -> Array:
        a, wrong = to_array(E)
        if a is None:
            raise Unanswered(f"{where}: {wrong}")
        if a.ndim not in (2, 3):
            raise Unanswered(f"{where}: must have shape (K, D) or (n, K, D); got shape {a.shape}")
        return self.finite(where, a.astype(np.float64)).reshape(-1, *a.shape[-2:])

    def forward(self, z: Array, seed: int | None = None) -> Answer:
        """The outputs for z: (N, D), drawing with this seed, else `seed`, where the layer can be seeded."""
        result = self.run("forward", self.layer.forward, z.astype(self.dtype), seed=seed)
        strange: list[str] = []
        try:
            out = sort_quantizer_outputs(result, len(z), z.shape[1], strange)
        except Unclear as problem:
            raise Unanswered(f"forward: {problem}") from problem
        for one in (*strange, *getattr(self.layer, "unclear", ())):
            kind = re.sub(r"\d+", "", one)  # of another batch it has another shape
            if kind not in self.strange:
                self.strange.add(kind)
                self.note(f"not understood, and left out: {one}")
        z_q = self.array("z_q", out["z_q"]).reshape(z.shape)
        k = None if out["k"] is None else by_depth(out["k"], len(z)).astype(np.int64)
        L = None if out["L"] is None else float(self.array("L", out["L"]).sum())
        return Answer(z_q, k, L)

    def gradients(self, z: Array, G: Array) -> tuple[Array, Array | None]:
        """dz: (N, D), and dE: (C, K, D) if the layer gives it, of L + ⟨G, z_q⟩."""
        if not self.has("backward"):
            raise Unanswered("")
        result = self.run("backward", self.layer.backward, z.astype(self.dtype), G.astype(self.dtype))
        if isinstance(result, Mapping):
            result = result.get("dz"), result.get("dE")
        dz, dE = result if isinstance(result, (tuple, list)) and len(result) == 2 else (result, None)
        dz = self.array("dz", dz)
        if dz.size != z.size:
            raise Unanswered(f"backward: dz must have shape {z.shape}; got shape {dz.shape}")
        return dz.reshape(z.shape), None if dE is None else self.books("dE", dE)

    def run(self, where: str, function: Callable[..., Any], *arguments: Any, seed: int | None = None) -> Any:
        """function(*arguments), counted, on copies of arrays."""
        self.calls += 1
        if hasattr(self.layer, "seed"):
            self.layer.seed = self.seed if seed is None else seed
        given = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = function(*given)
        except (Exception, SystemExit) as error:
            if where == "codebooks" and isinstance(error, InputError):  # a wrong name
                raise
            shapes = ", ".join(f"shape {a.shape}" for a in arguments if isinstance(a, np.ndarray))
            raise Unanswered(f"{where}: raised {describe_error(error)} (given {shapes or '-'})") from error
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, np.ndarray) and not np.array_equal(before, after):
                self.fault(f"{where}: must leave its arguments alone; it changed one")
        return result

    def array(self, where: str, value: Any) -> Array:
        """As finite float64."""
        a, wrong = to_array(value)
        if a is None:
            raise Unanswered(f"{where}: {wrong}")
        return self.finite(where, a.astype(np.float64))

    def finite(self, where: str, a: Array) -> Array:
        if not np.isfinite(a).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(a))[0])
            raise Unanswered(f"{where}: must be finite; got {a[at]} at index {at}")
        return a

    def fault(self, sentence: str) -> None:
        """Record a fault, once."""
        if sentence and sentence not in self.faults:
            self.faults.append(sentence)

    def hinder(self, problem: Any) -> None:
        """Record what kept the layer from being asked; only what is not finite is its mistake."""
        sentence = str(problem)
        self.fault(sentence)
        if sentence and "must be finite" not in sentence and sentence not in self.hindrances:
            self.hindrances.append(sentence)

    def note(self, sentence: str) -> None:
        """Record a note, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    @property
    def tolerance(self) -> float:
        """A relative difference that rounding may cause."""
        return ROUNDING * self.epsilon

    def equal(self, a: Array, candidates: Mapping[str, Array]) -> list[str]:
        """The candidates that a is equal to, but for rounding; in float32's precision if in no other.

        Values are compared relative to the largest of either; that only float32's precision fits is noted.
        """
        d = {name: relative(a, b) for name, b in candidates.items()}
        found = [name for name, one in d.items() if one <= self.tolerance]
        single = ROUNDING * float(np.finfo(np.float32).eps)
        if not found and self.epsilon < 1e-10:
            found = [name for name, one in d.items() if one <= single]
            if found:
                self.note(SINGLE)
        self.difference = min((d[name] for name in found), default=min(d.values(), default=np.inf))
        return found

    def small(self, rest: float) -> bool:
        """Whether what remains of a gradient that is fitted is rounding; if only float32's, it is noted."""
        single = 4 * ROUNDING * float(np.finfo(np.float32).eps)
        if 4 * self.tolerance < rest <= single:
            self.note(SINGLE)
        return rest <= max(4 * self.tolerance, single)

    difference = np.inf
    """The relative difference from the candidate that was found last, or from the nearest."""


def relative(a: Array, b: Array) -> float:
    """max |a − b| relative to the largest |a| or |b|; 0 for two arrays of zeros."""
    size = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)))
    return float(np.abs(a - b).max(initial=0)) / size if size else 0.0


def independent(basis: Sequence[Array]) -> bool:
    """Whether each of some arrays can be told from combinations of the others."""
    A = np.stack([b.ravel() / max(np.linalg.norm(b), 1e-300) for b in basis], axis=1)
    return bool(np.linalg.svd(A, compute_uv=False)[-1] > 1e-3)


def combination(a: Array, basis: Sequence[Array]) -> tuple[Array, float]:
    """The weights w that bring Σ w_i b_i nearest to a, and the relative difference that remains."""
    if not len(basis):
        return np.zeros(0), relative(a, np.zeros_like(a))
    A = np.stack([b.ravel() for b in basis], axis=1)
    size = np.maximum(np.linalg.norm(A, axis=0), 1e-300)
    w = np.linalg.lstsq(A / size, a.ravel(), rcond=None)[0] / size
    return w, relative(a.ravel(), A @ w)
