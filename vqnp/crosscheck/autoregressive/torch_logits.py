"""A PyTorch module or function of codes as one of arrays: `check_autoregressive(TorchLogits(model), …)`."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vqnp.crosscheck.adapters.base import float_dtype


class TorchLogits:
    """A function that is given tensors in place of arrays, without gradients.

    Parameters
    ----------
    function : torch.nn.Module or callable
        A module is copied, so that it does not change, and asked in the mode in which it is: training, if
        nobody has called eval(). A function may have more arguments, as extend and starting_with have;
        those that are no arrays are given as they are.
    dtype : float32, float64 or None
        What the copy of a module is converted to; None: it stays as it is. In float64 much smaller leaks are
        told from rounding.
    name : str, optional
        For the report. Default: that of the module's class, or the function's.
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
