"""A JAX function as a function of NumPy arrays: `check_autoregressive(JaxLogits(function), …)`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class JaxLogits:
    """A function of NumPy arrays that calls a JAX function; arrays that it closes over keep their precision.

    Parameters
    ----------
    function : callable
        It may have more arguments, like extend and starting_with; those that are not arrays are passed
        unchanged.
    name : str, optional
        The name in the report. Default: the function's.
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*(jax.numpy.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments))
