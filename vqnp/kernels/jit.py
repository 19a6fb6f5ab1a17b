"""One decorator for all kernels: numba.njit with an on-disk cache where one can be written."""

from collections.abc import Callable
from typing import Any

import numba

JIT = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
"""Whether kernels are compiled. With NUMBA_DISABLE_JIT=1 their plain NumPy forms run instead."""


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: numba.njit(cache=True, **options), or without the cache if no folder for it can be written.

    In a read-only installation numba raises as soon as the decorator runs; the kernel is then compiled once
    in each process. fastmath is never among the options: sums keep their order, comparisons their meaning.
    """

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:
            compiled = numba.njit(**options)(function)
        return compiled

    return compile_
