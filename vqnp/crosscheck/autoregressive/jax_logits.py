"""A JAX function of codes as one of NumPy arrays: `check_autoregressive(JaxLogits(function), …)`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class JaxLogits:
    """A function that is given JAX arrays in place of NumPy's; what it closes over keeps its precision.

    Parameters
    ----------
    function : callable
        It may have more arguments, as extend and starting_with have; those that are no arrays are given as
        they are.
    name : str, optional
        For the report. Default: the function's.
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*(jax.numpy.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments))
