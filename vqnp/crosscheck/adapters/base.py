"""(z, E) ↦ (k, z_q, L);  (z, E, G) ↦ ∂(L + ⟨G, z_q⟩)/∂(z, E);  z ↦ E after: what `check` asks of a layer.

z, G: (N, D), E: (K, D), all of the adapter's dtype -> k: (N,), z_q: (N, D), L: (), dz: (N, D), dE: (K, D)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import FLOATS, fail

FUNCTIONS = ("forward", "backward", "evaluate", "reset", "step", "fresh")  # what check() may call


@dataclass
class Adapter:
    """Somebody's quantizer as functions of NumPy arrays, each of them optional.

    Any object with some of these attributes is an adapter; this class only saves writing another. What is
    missing, or None, is reported as not checked.

    Parameters
    ----------
    forward : callable, (z, E) -> (k, z_q, L) or (k, z_q, L, perplexity)
        A forward pass in training mode of a layer that has just been made, its codebook being E. Any
        of the outputs may be None. L is the layer's loss, all terms together.
    backward : callable, (z, E, G) -> (dz, dE)
        The gradients of L + ⟨G, z_q⟩ with respect to z and E. dE is None for a codebook that has no
        gradient.
    evaluate : callable, (z, E) -> as forward
        The same in evaluation mode.
    reset : callable, E -> None
        For a codebook that follows by moving averages: make the layer new, its codebook being E.
    step : callable, z -> E or (E, N, m)
        One step of training on z, after which the codebook, the cluster sizes N: (K,) and the sums
        m: (K, D) are returned, the last two where they can be reached, else None.
    fresh : callable, (K, D) -> E or None
        Make the layer new with the codebook that it gives itself; step goes on from there. None if it
        waits for the first batch.
    num_embeddings, embedding_dim : int, optional
        K and D, where the layer has one size only. The reduction can be told for certain only by a
        layer that can have any D.
    dtype : float32 or float64
        What the arrays are made of that the functions are given.
    name : str
        For the report.
    precision : str, optional
        "float16" or "bfloat16" for a layer in half precision, whose arrays are then of float32. Default: as
        dtype.
    """

    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    evaluate: Callable[..., Any] | None = None
    reset: Callable[..., Any] | None = None
    step: Callable[..., Any] | None = None
    fresh: Callable[..., Any] | None = None
    num_embeddings: int | None = None
    embedding_dim: int | None = None
    dtype: Any = "float64"
    name: str = "the layer"
    precision: str | None = None


def float_dtype(where: str, dtype: Any) -> np.dtype[Any]:
    """NumPy's float32 or float64, also for torch.float32 and its like."""
    try:
        dtype = np.dtype(str(dtype).removeprefix("torch.") if str(dtype).startswith("torch.") else dtype)
    except TypeError:
        pass
    if dtype not in FLOATS:
        fail(where, "the adapter's dtype", "must be float32 or float64", dtype)
    return dtype
