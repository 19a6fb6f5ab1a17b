"""A JAX function z or (z, E) -> z_q, codes, loss as a quantizer: `check_quantizer(JaxQuantizer(f))`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.adapters.base import float_dtype
from vqnp.crosscheck.adapters.jax_function import JaxFunction
from vqnp.crosscheck.quantizers.outputs import sort_quantizer_outputs


class JaxQuantizer:
    """A function of arrays, differentiated by JAX's reverse mode.

    Parameters
    ----------
    function : callable, z -> z_q, k, L, or (z, E) -> z_q, k, L if codebooks are given
        Its outputs in any order that shapes and dtypes tell, or by name.
    codebooks : ndarray (K, D) or (n, K, D), optional
        E.
    decode : callable, optional
        k: (N, n) -> z_q.
    levels, embedding_dim, kind : optional
        As in QuantizerFunctions and check_quantizer.
    dtype : float32 or float64
        float64 is asked with JAX's 64-bit mode on, for these calls only.
    name : str, optional
    """

    def __init__(
        self, function: Callable[..., Any], *, codebooks: Array | None = None,
        decode: Callable[..., Any] | None = None, levels: Sequence[int] | None = None,
        embedding_dim: int | None = None, kind: str | None = None, dtype: Any = np.float64,
        name: str | None = None,
    ) -> None:  # fmt: skip
        self.function, self.codebooks, self.decode = function, codebooks, decode
        self.levels, self.embedding_dim, self.kind = levels, embedding_dim, kind
        self.dtype = float_dtype("JaxQuantizer", dtype)
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.context = JaxFunction(function, dtype=self.dtype).context

    def forward(self, z: Array) -> dict[str, Any]:
        with self.context():
            out = self._call(*self._given(z))
            return {name: None if a is None else np.asarray(a) for name, a in out.items()}

    def backward(self, z: Array, G: Array) -> Any:
        def total(z: Any, *E: Any) -> Any:
            out = self._call(z, *E)
            return (G * out["z_q"].reshape(z.shape)).sum() + (0.0 if out["L"] is None else out["L"].sum())

        with self.context():
            given = self._given(z)
            gradients = jax.grad(total, argnums=tuple(range(len(given))))(*given)
            return tuple(np.asarray(g) for g in gradients) if len(given) == 2 else np.asarray(gradients[0])

    def _given(self, z: Array) -> list[Any]:
        arrays = [z] if self.codebooks is None else [z, np.asarray(self.codebooks, self.dtype)]
        return [jax.numpy.asarray(a) for a in arrays]

    def _call(self, z: Any, *E: Any) -> dict[str, Any]:
        return sort_quantizer_outputs(self.function(z, *E), z.shape[0], z.shape[1], [])
