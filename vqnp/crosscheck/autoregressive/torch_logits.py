"""A PyTorch module or function as a function of arrays: `check_autoregressive(TorchLogits(model), …)`."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vqnp.crosscheck.adapters.base import float_dtype


class TorchLogits:
    """A function of arrays that calls a function of tensors, without gradients.

    Parameters
    ----------
    function : torch.nn.Module or callable
        A module is copied, so that it does not change, and called in its current mode: training, unless
        eval() has been called. A function may have more arguments, like extend and starting_with; those
        that are not arrays are passed unchanged.
    dtype : float32, float64 or None
        The dtype to which the copy of a module is converted; None: its own. In float64 much smaller leaks
        can be distinguished from rounding.
    name : str, optional
        The name in the report. Default: that of the module's class or of the function.
    """

    def __init__(
        self, function: Callable[..., Any], *, dtype: Any = np.float64, name: str | None = None
    ) -> None:
        self.name = name or getattr(function, "__name__", type(function).__name__)
        if isinstance(function, torch.nn.Module):
            function = copy.deepcopy(function)
            if dtype is not None:
                function.to(getattr(torch, float_dtype("TorchLogits", dtype).name))
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        given = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
        with torch.no_grad():
            return self.function(*given)
