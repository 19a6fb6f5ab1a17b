"""A JAX function (z, E) -> (z_q, codes, loss) as an adapter: `check(JaxFunction(quantize))`."""

import importlib
from typing import Any

import jax
import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.adapters.functions import FunctionAdapter
from vqnp.crosscheck.adapters.outputs import sort_outputs


class JaxFunction(FunctionAdapter):
    """A function of arrays, differentiated by JAX's reverse mode; its parameters are FunctionAdapter's.

    float64 is asked with JAX's 64-bit mode on, for these calls only.
    """

    def array(self, a: Array) -> Any:
        return jax.numpy.asarray(a)

    def context(self) -> Any:
        if hasattr(jax, "enable_x64"):  # since JAX 0.8; an experiment before
            return jax.enable_x64(self.dtype == np.float64)
        return importlib.import_module("jax.experimental").enable_x64(self.dtype == np.float64)

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array]:
        def total(z: Any, E: Any) -> Any:
            out = sort_outputs(self.function(z, E), z.size, len(E))
            return (G * out["z_q"].reshape(z.shape)).sum() + (0.0 if out["L"] is None else out["L"].sum())

        with self.context():
            dz, dE = jax.grad(total, argnums=(0, 1))(self.array(z), self.array(E))
            return np.asarray(dz), np.asarray(dE)
