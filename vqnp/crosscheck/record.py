"""The answers: a layer's outputs for each case of a plan, asked when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp.crosscheck.adapter import FUNCTIONS, float_dtype
from vqnp.crosscheck.calls import Outputs, call
from vqnp.crosscheck.distance import distance_cases
from vqnp.crosscheck.plan import OUTPUTS, Case, plan

K_DEFAULT, D_DEFAULT = 11, 6
"""For a layer of any size: small enough to be quick; K is neither D nor 2D, so that shapes tell."""


class Record:
    """What an adapter answers; `faults` gathers, in sentences, what was wrong with how it answered.

    Parameters
    ----------
    adapter : object
        See adapter.Adapter.
    seed : int
        Of the questions.
    num_embeddings, embedding_dim : int, optional
        K and D to ask with, where the adapter does not fix them.
    """

    def __init__(
        self,
        adapter: Any,
        seed: int = 0,
        num_embeddings: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        where = "check"
        self.adapter = adapter
        self.name = str(getattr(adapter, "name", type(adapter).__name__))
        self.dtype = float_dtype(where, getattr(adapter, "dtype", np.float64))
        fixed = [getattr(adapter, name, None) for name in ("num_embeddings", "embedding_dim")]
        self.free = fixed == [None, None]
        asked = (("num_embeddings", num_embeddings, K_DEFAULT), ("embedding_dim", embedding_dim, D_DEFAULT))
        self.K, self.D = (
            check_int(where, name, next(n for n in (of_layer, wanted, usual) if n is not None))
            for of_layer, (name, wanted, usual) in zip(fixed, asked, strict=True)
        )
        if not any(self.can(name) for name in FUNCTIONS):
            fail(where, "the adapter", f"must have one of {', '.join(FUNCTIONS)}", type(adapter).__name__)
        self.cases: dict[str, Case] = plan(self.K, self.D, self.dtype, seed, free=self.free)
        self.cases |= distance_cases(self.K, self.D, self.dtype, seed, free=self.free)
        self.faults: list[str] = []
        self.live = True  # whether it can be asked again
        self.precision = self.dtype  # of the answers: the least that came
        self._answers: dict[str, Outputs] = {}

    def can(self, function: str) -> bool:
        """Whether the adapter has the function (and for step, reset too)."""
        if function == "step" and not callable(getattr(self.adapter, "reset", None)):
            return False
        return callable(getattr(self.adapter, function, None))

    def get(self, name: str) -> Outputs:
        """The outputs of a case, None or absent where there are none."""
        if name not in self._answers:
            case = self.cases.get(name)
            can = case is not None and self.can(case.function)
            self._answers[name] = self._ask(case) if case is not None and can else {}
            if name == "base" and case is not None:
                self._notice_float32(case, self._answers[name])
        return self._answers[name]

    def output(self, name: str, output: str) -> Array | None:
        """One output of a case, or None."""
        return self.get(name).get(output)

    def _ask(self, case: Case) -> Outputs:
        if case.function == "step":
            return self._trajectory(case)
        return self.ask(case)

    def ask(self, case: Case) -> Outputs:
        """Call the adapter once more, whatever it answered before; faults are kept."""
        return self.answer(case.function, getattr(self.adapter, case.function), case)

    def answer(self, where: str, function: Callable[..., Any], case: Case) -> Outputs:
        """What function makes of a case; faults are kept, and so is the least precision that came."""
        outputs, faults = call(
            where, function, case.arguments, OUTPUTS[case.function], case.shapes, self.dtype
        )
        k, K = outputs.get("k"), len(case.arguments["E"])
        if k is not None and not ((k >= 0) & (k < K)).all():
            outputs["k"] = None
            faults.append(f"{where}: k must be in [0, {K}); got {k.min()} to {k.max()}")
        self.note(faults)
        for value in outputs.values():
            if value is not None and value.dtype.kind == "f" and value.ndim:
                self.precision = min(self.precision, value.dtype, key=lambda d: d.itemsize)
        return outputs

    def _notice_float32(self, case: Case, outputs: Outputs) -> None:
        """A z_q in float64 that is off E by more than float64 rounds was computed in float32."""
        z_q, k = outputs.get("z_q"), outputs.get("k")
        if self.precision == np.float64 and z_q is not None and k is not None:
            E = case.arguments["E"]
            off = np.abs(z_q - E[np.clip(k, 0, len(E) - 1)]).max() / np.abs(E).max()
            if 1e-11 < off < 1e-6:  # between the roundings of float64 and float32
                self.precision = np.dtype(np.float32)
                self.note([f"forward: z_q must be E[k] as float64 rounds it; got {off:.1g} off, as float32"])

    def note(self, faults: list[str]) -> None:
        """Keep sentences, each once, whatever case they came from."""
        known = {_kind(fault) for fault in self.faults}
        for fault in faults:
            if _kind(fault) not in known:
                known.add(_kind(fault))
                self.faults.append(fault)

    def _trajectory(self, case: Case) -> Outputs:
        """reset(E), then step on each batch; steps that could not be taken are NaN."""
        z, E = case.arguments["z"], case.arguments["E"]
        _, faults = call("reset", lambda E: self.adapter.reset(E) and None, {"E": E}, (), {}, self.dtype)
        self.note(faults)
        if faults:
            return {}
        names = OUTPUTS["step"]
        shapes = {name: case.shapes[name][1:] for name in names}
        found: dict[str, Array] = {}
        for t, batch in enumerate(z):
            outputs, faults = call("step", self.adapter.step, {"z": batch}, names, shapes, self.dtype)
            self.note(faults)
            if outputs.get("E") is None:
                break
            for name, value in outputs.items():
                if value is not None:
                    whole = found.setdefault(name, np.full(case.shapes[name], np.nan, value.dtype))
                    whole[t] = value
        return dict(found)


def _kind(fault: str) -> str:
    """A fault without its particulars: where, and what was needed."""
    return fault.split("; ")[0].split(" (given")[0]
