"""Is a backward pass the derivative? Checks of gradients and of declared estimators, for any functions."""

import sys
import types
import warnings
from typing import Any

from vqnp.gradcheck.checks import gradcheck, gradcheck_module, surrogate_check
from vqnp.gradcheck.report import GradcheckError, GradcheckReport

__all__ = ["GradcheckError", "GradcheckReport", "gradcheck", "gradcheck_module", "surrogate_check"]


class _CallablePackage(types.ModuleType):
    """In version 0.1 `vqnp.gradcheck` was the function; as a package it can still be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> GradcheckReport:
        moved = "vqnp.gradcheck is a package now: use vqnp.gradcheck.gradcheck"
        warnings.warn(moved, DeprecationWarning, stacklevel=2)
        return gradcheck(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
