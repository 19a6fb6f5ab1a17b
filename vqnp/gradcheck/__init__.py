"""Is a backward pass the derivative? Checks of gradients and of declared estimators, for any functions."""

from vqnp.gradcheck.checks import GradcheckError, gradcheck, gradcheck_module, surrogate_check

__all__ = ["GradcheckError", "gradcheck", "gradcheck_module", "surrogate_check"]
