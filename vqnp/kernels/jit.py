"""One decorator for all kernels: numba.njit with an on-disk cache where one can be written."""

from collections.abc import Callable
from typing import Any

import numba

JIT = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
"""Whether kernels are compiled. With NUMBA_DISABLE_JIT=1 their plain NumPy forms run instead."""


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """numba.njit(**options), never with fastmath: sums keep their order, comparisons their meaning."""

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache can be written: compiled once in each process
            return numba.njit(**options)(function)

    return compile_
