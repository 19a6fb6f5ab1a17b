"""A JAX function (z, E) -> (z_q, codes, loss) as an adapter: `check(JaxFunction(quantize))`."""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.adapters.outputs import as_codes, sort_outputs


class JaxFunction:
    """A function of arrays, differentiated by JAX's reverse mode.

    Parameters
    ----------
    function : callable, (z, E) -> z_q, codes, loss
        In any order that shapes and dtypes tell, or a mapping or named tuple; see outputs.sort_outputs.
    start, update, read : callable, E -> state, (state, z) -> state, state -> E or (E, N, m); optional
        For a codebook by moving averages: the state of a new layer whose codebook is E, one step of
        training, and what there is to see in a state. All three, or none.
    evaluate : callable, as function, optional
        The layer in evaluation mode.
    dtype : float32 or float64
        float64 is asked with JAX's 64-bit mode on, for these calls only.
    """

    def __init__(
        self, function: Callable[..., Any], *, start: Callable[..., Any] | None = None,
        update: Callable[..., Any] | None = None, read: Callable[..., Any] | None = None,
        evaluate: Callable[..., Any] | None = None, dtype: Any = np.float64, name: str | None = None,
    ) -> None:  # fmt: skip
        self.function, self.dtype = function, np.dtype(dtype)
        self.name = name or getattr(function, "__name__", type(function).__name__)
        if evaluate is not None:
            self.evaluate = lambda z, E: self._answer(evaluate, z, E)
        if start is not None and update is not None and read is not None:
            self.start, self.update, self.read = start, update, read
            self.reset, self.step = self._reset, self._step

    def forward(self, z: Array, E: Array) -> dict[str, Any]:
        return self._answer(self.function, z, E)

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array]:
        def total(z: Any, E: Any) -> Any:
            out = sort_outputs(self.function(z, E), z.size, len(E))
            return (G * out["z_q"].reshape(z.shape)).sum() + (0.0 if out["L"] is None else out["L"].sum())

        with self._precision():
            dz, dE = jax.grad(total, argnums=(0, 1))(jax.numpy.asarray(z), jax.numpy.asarray(E))
            return np.asarray(dz), np.asarray(dE)

    def _answer(self, function: Callable[..., Any], z: Array, E: Array) -> dict[str, Any]:
        with self._precision():
            out = sort_outputs(function(jax.numpy.asarray(z), jax.numpy.asarray(E)), z.size, len(E))
            out = {name: None if value is None else np.asarray(value) for name, value in out.items()}
        k = None if out["k"] is None else as_codes(out["k"], len(z), len(E))
        return out | {"z_q": out["z_q"].reshape(z.shape), "k": k}

    def _precision(self) -> Any:
        if hasattr(jax, "enable_x64"):  # since JAX 0.8; an experiment before
            return jax.enable_x64(self.dtype == np.float64)
        return importlib.import_module("jax.experimental").enable_x64(self.dtype == np.float64)

    def _reset(self, E: Array) -> None:
        with self._precision():
            self.state = self.start(jax.numpy.asarray(E))

    def _step(self, z: Array) -> Any:
        with self._precision():
            self.state = self.update(self.state, jax.numpy.asarray(z))
            seen = self.read(self.state)
            return tuple(map(np.asarray, seen)) if isinstance(seen, tuple) else np.asarray(seen)
