"""One way to compile: cached where a cache can be written, and not at all with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import config

JIT = not config.DISABLE_JIT  # type: ignore[attr-defined]
"""Whether kernels are compiled; with NUMBA_DISABLE_JIT=1 the plain NumPy twins run in their place."""


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: numba.njit with its on-disk cache if there is a folder for it, else without.

    Numba raises at decoration time where neither the package's folder nor the user's cache can be
    written (a read-only installation); the kernel then compiles once in each process.
    No option here is ever fastmath: sums keep their order, comparisons their meaning.
    """

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:
            compiled = numba.njit(**options)(function)
        return compiled

    return compile_
