"""The answers: a layer's outputs for each case of a plan, asked when they are first needed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp.crosscheck.adapters.base import FUNCTIONS, float_dtype
from vqnp.crosscheck.questions.calls import Outputs, call
from vqnp.crosscheck.questions.plan import Case, plan

# For a layer of any size: small enough to be quick; K is neither D nor 2D, so that shapes tell.
SIZES = {"num_embeddings": 11, "embedding_dim": 6}


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
        self.cases: dict[str, Case] = plan(self.K, self.D, self.dtype, seed, free=self.free)
        self._faults: dict[str, str] = {}  # by kind
        self.precision = self.dtype  # the lowest among the answers so far
        self._answers: dict[str, Outputs] = {}

    @property
    def faults(self) -> list[str]:
        """Sentences on what was wrong with how it answered."""
        return list(self._faults.values())

    def can(self, function: str) -> bool:
        """Whether the adapter has the function (and for step, reset too)."""
        names = ("reset", "step") if function == "step" else (function,)
        return all(callable(getattr(self.adapter, name, None)) for name in names)

    def get(self, name: str) -> Outputs:
        """The outputs of a case; absent or None where there are none."""
        if name not in self._answers:
            case = self.cases.get(name)
            self._answers[name] = {} if case is None or not self.can(case.function) else self.ask(name)
            if name == "base":
                self._notice_float32()
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

    def answer(self, where: str, function: Callable[..., Any], case: Case) -> Outputs:
        """What function makes of a case; faults are kept, and so is the lowest precision that came."""
        outputs = self.call(where, function, case.arguments, case.shapes)
        k, K = outputs.get("k"), len(case.arguments["E"])
        if k is not None and not ((k >= 0) & (k < K)).all():
            outputs["k"] = None
            self.note(f"{where}: k must be in [0, {K}); got {k.min()} to {k.max()}")
        for value in outputs.values():
            if value is not None and value.dtype.kind == "f" and value.ndim:
                self.precision = min(self.precision, value.dtype, key=lambda d: d.itemsize)
        return outputs

    def call(self, where: str, function: Callable[..., Any], arguments: Any, shapes: Any) -> Outputs:
        """As calls.call; the faults are kept."""
        outputs, faults = call(where, function, arguments, shapes, self.dtype)
        self.note(*faults)
        return outputs

    def note(self, *faults: str) -> None:
        """Keep sentences, of each kind one: where, and what was needed, without the particulars."""
        for fault in faults:
            self._faults.setdefault(fault.split("; ")[0].split(" (given")[0], fault)

    def _notice_float32(self) -> None:
        """A z_q in float64 that is off E by more than float64 rounds was computed in float32."""
        z_q, k = self.output("base", "z_q"), self.output("base", "k")
        if self.precision == np.float64 and z_q is not None and k is not None:
            E = self.cases["base"].arguments["E"]
            off = np.abs(z_q - E[k]).max() / np.abs(E).max()
            if 1e-11 < off < 1e-6:  # between the roundings of float64 and float32
                self.precision = np.dtype(np.float32)
                self.note(f"forward: z_q must be E[k] as float64 rounds it; got {off:.1g} off, as float32")

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
