"""A function (z, E) -> (z_q, codes, loss) of a framework's arrays: for JAX and TensorFlow."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.adapters.outputs import as_codes, sort_outputs


class FunctionAdapter:
    """A subclass says how arrays become the framework's (`array`), and what the gradients are (`backward`).

    Parameters
    ----------
    function : callable, (z, E) -> z_q, codes, loss
        In any order that shapes and dtypes tell, or a mapping or named tuple; see outputs.sort_outputs.
    start, update, read : callable, E -> state, (state, z) -> state, state -> E or (E, N, m); optional
        For a codebook by moving averages: the state of a new layer whose codebook is E, one step of
        training, and what there is to see in a state. All three, or none.
    fresh : callable, (K, D) -> state, optional
        The state of a new layer with the codebook that it gives itself, from which steps go on; or None if
        it waits for the first batch, which is then given to `update` with the state None. Without `read`,
        the codebook itself.
    evaluate : callable, as function, optional
        The layer in evaluation mode.
    dtype : float32 or float64
    """

    def __init__(
        self, function: Callable[..., Any], *, start: Callable[..., Any] | None = None,
        update: Callable[..., Any] | None = None, read: Callable[..., Any] | None = None,
        fresh: Callable[..., Any] | None = None, evaluate: Callable[..., Any] | None = None,
        dtype: Any = np.float64, name: str | None = None,
    ) -> None:  # fmt: skip
        self.function, self.dtype = function, np.dtype(dtype)
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.unclear: list[str] = []  # outputs that were not understood
        self.update, self.read = update, read
        if evaluate is not None:
            self.evaluate = lambda z, E: self._answer(evaluate, z, E)
        if start is not None and update is not None and read is not None:
            self.start = start
            self.reset, self.step = self._reset, self._step
        if fresh is not None:
            self.begin = fresh
            self.fresh = self._fresh

    def array(self, a: Array) -> Any:
        """a as the framework has it."""
        raise NotImplementedError

    def context(self) -> Any:
        """What calls are made in."""
        return contextlib.nullcontext()

    def forward(self, z: Array, E: Array) -> dict[str, Any]:
        return self._answer(self.function, z, E)

    def _answer(self, function: Callable[..., Any], z: Array, E: Array) -> dict[str, Any]:
        strange: list[str] = []
        with self.context():
            out = sort_outputs(function(self.array(z), self.array(E)), z.size, len(E), strange)
            out = {name: None if value is None else np.asarray(value) for name, value in out.items()}
        self.unclear = strange
        k = None if out["k"] is None else as_codes(out["k"], len(z), len(E))
        return out | {"z_q": out["z_q"].reshape(z.shape), "k": k}

    def _reset(self, E: Array) -> None:
        with self.context():
            self.state = self.start(self.array(E))

    def _step(self, z: Array) -> Any:
        assert self.update is not None
        with self.context():
            self.state = self.update(self.state, self.array(z))
            return self._seen()

    def _fresh(self, K: int, D: int) -> Any:
        with self.context():
            self.state = self.begin(K, D)
            seen = None if self.state is None else self._seen()
            return seen[0] if isinstance(seen, tuple) else seen

    def _seen(self) -> Any:
        seen = self.state if self.read is None else self.read(self.state)
        return tuple(map(np.asarray, seen)) if isinstance(seen, tuple) else np.asarray(seen)
