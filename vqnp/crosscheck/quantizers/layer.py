"""z ↦ (z_q, k, L);  (z, G) ↦ ∂(L + ⟨G, z_q⟩)/∂z: what `check_quantizer` asks of a layer.

z, G: (N, D) -> z_q: (N, D), k: (N,) or (N, n) for n codes of a vector, L: (), dz: (N, D)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class QuantizerFunctions:
    """Somebody's quantizer as functions of NumPy arrays.

    Any object with these attributes will do; what is missing, or None, is reported as not checked.

    Parameters
    ----------
    forward : callable, z -> z_q, k, L
        A forward pass in training mode, each time from the same state. The outputs may come in any order
        that shapes and dtypes tell, or by name, and L as one number for each depth; k and L may be missing.
    backward : callable, (z, G) -> dz or (dz, dE), optional
        The gradients of L + ⟨G, z_q⟩ with respect to z and the codebooks, the latter shaped like `codebooks`.
        Without dE a gradient of the codebooks is not checked.
    codebooks : ndarray (K, D) or (n, K, D), or callable () -> ndarray, optional
        The codebooks before the forward pass: one, which all depths share, or one for each depth. None for
        layers without a codebook.
    after : callable, z -> ndarray, optional
        The codebooks after a forward pass on z in training mode, for those that it moves.
    decode : callable, k -> z_q, optional
        The vectors that belong to codes of the shape that forward returns.
    levels : sequence of int, optional
        Of a finite scalar quantizer: the number of values of each coordinate.
    embedding_dim : int, optional
        D, if neither codebooks nor levels give it.
    dtype : float32 or float64
        Of z and G.
    name : str
        The name in the report.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None = None
    codebooks: Any = None
    after: Callable[..., Any] | None = None
    decode: Callable[..., Any] | None = None
    levels: Any = None
    embedding_dim: int | None = None
    dtype: Any = np.float64
    name: str = "the layer"
