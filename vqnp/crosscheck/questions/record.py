"""The answers: a layer's outputs for each case of a plan, asked when they are first needed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp.crosscheck.adapters.base import FUNCTIONS, float_dtype
from vqnp.crosscheck.questions.calls import Outputs, call
from vqnp.crosscheck.questions.faults import Faults
from vqnp.crosscheck.questions.plan import Case, plan
from vqnp.crosscheck.questions.precision import Precision, as_precision, of_array, rounded

# For a layer of any size: small enough to be quick; K is neither D nor 2D, so that shapes tell.
SIZES = {"num_embeddings": 11, "embedding_dim": 6}

# Cases of small whole numbers, or of a grid: their answers have few digits whatever they were computed in.
ON_A_GRID = ("offset", "far", "bisectors", "ties")


class Record:
    """What an adapter answers. seed: of the questions; K, D: to ask with, where the adapter has no own."""

    repeatable = True  # whether the layer can be asked again

    def __init__(self, adapter: Any, seed: int = 0, K: int | None = None, D: int | None = None) -> None:
        self.adapter = adapter
        self.name = str(getattr(adapter, "name", type(adapter).__name__))
        self.dtype = float_dtype("check", getattr(adapter, "dtype", np.float64))
        fixed = [getattr(adapter, name, None) for name in SIZES]
        self.free = fixed == [None, None]
        self.K, self.D = (
            check_int("check", name, next(n for n in (of_layer, wanted, usual) if n is not None))
            for (name, usual), of_layer, wanted in zip(SIZES.items(), fixed, (K, D), strict=True)
        )
        if not any(Record.can(self, name) for name in FUNCTIONS):
            fail("check", "the adapter", f"must have one of {', '.join(FUNCTIONS)}", type(adapter).__name__)
        self.asked = as_precision(getattr(adapter, "precision", None) or self.dtype)
        eps = self.asked.eps
        self.cases: dict[str, Case] = plan(self.K, self.D, self.dtype, seed, free=self.free, eps=eps)
        self._faults = Faults()
        self.precision: Precision = self.asked  # the coarsest among the answers so far
        self._answers: dict[str, Outputs] = {}
        self.notes: list[str] = list(getattr(adapter, "notes", ()))  # what is worth knowing, and no fault

    @property
    def faults(self) -> list[str]:
        """Sentences on what was wrong with how it answered."""
        return self._faults.sentences

    @property
    def hindrances(self) -> list[str]:
        """Those of the faults that only say why something could not be asked."""
        return self._faults.hindrances

    def can(self, function: str) -> bool:
        """Whether the adapter has the function (and for step, reset too)."""
        names = ("reset", "step") if function == "step" else (function,)
        return all(callable(getattr(self.adapter, name, None)) for name in names)

    def get(self, name: str) -> Outputs:
        """The outputs of a case; absent or None where there are none."""
        if name not in self._answers:
            case = self.cases.get(name)
            self._answers[name] = {} if case is None or not self.can(case.function) else self.ask(name)
            if not name.startswith(ON_A_GRID):
                self._notice_precision(name)
        return self._answers[name]

    def output(self, name: str, output: str) -> Array | None:
        """One output of a case, or None."""
        return self.get(name).get(output)

    def ask(self, name: str) -> Outputs:
        """Ask a case, whatever was answered before; faults are kept."""
        case = self.cases[name]
        if case.function == "step":
            return self._trajectory(case)
        return self.answer(case.function, getattr(self.adapter, case.function), case)

    def ask_again(self, name: str) -> Outputs:
        """The same with other random numbers in the call, if the adapter draws them from a seed."""
        if not hasattr(self.adapter, "seed"):
            return self.ask(name)
        self.adapter.seed += 1
        try:
            return self.ask(name)
        finally:
            self.adapter.seed -= 1

    def answer(self, where: str, function: Callable[..., Any], case: Case) -> Outputs:
        """What function makes of a case; faults are kept, and so is the lowest precision that came."""
        outputs = self.call(where, function, case.arguments, case.shapes)
        k, K = outputs.get("k"), len(case.arguments["E"])
        if k is not None and not ((k >= 0) & (k < K)).all():
            outputs["k"] = None
            self.note(f"{where}: k must be in [0, {K}); got {k.min()} to {k.max()}")
        return outputs

    def call(self, where: str, function: Callable[..., Any], arguments: Any, shapes: Any) -> Outputs:
        """As calls.call; the faults are kept."""
        outputs, faults = call(where, function, arguments, shapes, self.dtype)
        self.note(*faults)
        return outputs

    def note(self, *faults: str, cause: str | None = None, hinders: bool = False) -> None:
        """Keep sentences, of each cause one; see faults.Faults."""
        for fault in faults:
            self._faults.add(fault, cause, hinders=hinders)

    def _notice_precision(self, name: str) -> None:
        """Every float was rounded as the dtype rounds; one that was not makes the precision coarser."""
        case, outputs = self.cases.get(name), self._answers[name]
        for output, value in outputs.items():
            if value is None or value.dtype.kind != "f" or output in ("perplexity", "N"):
                continue
            found = of_array(value) or self.asked
            if output == "z_q" and case is not None and found.eps <= self.asked.eps:
                found = self._of_rows(value, outputs.get("k"), case.arguments["E"])
            if found.eps > self.asked.eps:
                self.precision = max(self.precision, found)
                own = "float16" if value.dtype == np.float16 else str(value.dtype)
                if own != str(self.dtype):
                    continue  # which calls.call has said
                where = "forward" if case is None else case.function
                rounds = f"{self.asked.name} rounds it; got {found.name}'s digits"
                what = "E[k] as" if output == "z_q" else "as"
                if f"must be {self.dtype}, as what it was given" not in self._faults:
                    self.note(f"{where}: {output} must be {what} {rounds}", cause="precision")

    def _of_rows(self, z_q: Array, k: Array | None, E: Array) -> Precision:
        """A z_q in float64 that is off E by more than float64 rounds consists of rows of a coarser E."""
        if k is None or self.asked.half:
            return self.asked
        size = np.abs(E).max()
        for name in ("float32", "float16", "bfloat16"):
            coarse = as_precision(name)
            off = np.abs(z_q - E[k]).max() / size
            if coarse.eps > self.asked.eps and off > max(1e-11, 64 * self.asked.eps):
                if np.abs(z_q - rounded(E, coarse)[k]).max() <= 1e-3 * off * size:
                    return coarse
                if name == "float32" and off < 1e-6:
                    return coarse
        return self.asked

    def _trajectory(self, case: Case) -> Outputs:
        """reset(E), then step on each batch; steps that could not be taken are NaN."""
        E = {"E": case.arguments["E"]}
        _, faults = call("reset", lambda E: self.adapter.reset(E) and None, E, {}, self.dtype)
        self.note(*faults)
        if faults:
            return {}
        shapes = {name: shape[1:] for name, shape in case.shapes.items()}
        found: dict[str, Array] = {}
        for t, batch in enumerate(case.arguments["z"]):
            outputs = self.call("step", self.adapter.step, {"z": batch}, shapes)
            if outputs.get("E") is None:
                break
            for name, value in outputs.items():
                if value is not None:
                    found.setdefault(name, np.full(case.shapes[name], np.nan, value.dtype))[t] = value
        return {**found}
