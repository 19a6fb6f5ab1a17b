"""One decorator for all kernels: numba.njit with an on-disk cache where one can be written."""

import contextlib
import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

JIT = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
"""Whether kernels are compiled. With NUMBA_DISABLE_JIT=1 their plain NumPy forms run instead."""


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """numba.njit(**options), never with fastmath: sums keep their order, comparisons their meaning."""

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache can be written: compiled once in each process
            return numba.njit(**options)(function)
        if hasattr(compiled, "_cache"):  # not with NUMBA_DISABLE_JIT=1
            index = compiled._cache._cache_file
            index._source_stamp = (index._source_stamp, _sources())
            compiled._cache = _Healing(compiled._cache)
        return compiled

    return compile_


@cache
def _sources() -> str:
    """SHA-256 of all files of kernels.

    numba compiles a kernel anew if the kernel's own file has changed. But kernels call each other across
    files, and some have their instructions from llvm.py and the tiles: without this, the old code of a file
    that was changed would live on in the kernels that call it.
    """
    digest, folder = hashlib.sha256(), Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


class _Healing:
    """numba's cache of one kernel, which is emptied where numba would raise because a file in it is damaged.

    A truncated file (of a full disk or a machine that lost power) otherwise ends every later command with an
    EOFError or UnpicklingError: numba issue 10656.
    """

    warned = False

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *args: Any) -> Any:
        """The kernel as it was compiled before, or None if it must be compiled."""
        try:
            return self._cache.load_overload(*args)
        except Exception as error:  # whatever unpickling some bytes raises
            self._empty(error)
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep a kernel for the next process, if that is possible."""
        try:
            self._cache.save_overload(*args)
        except Exception as error:
            self._empty(error)
            with contextlib.suppress(Exception):
                self._cache.save_overload(*args)

    def _empty(self, error: Exception) -> None:
        if not _Healing.warned:
            _Healing.warned = True
            problem = f"{type(error).__name__} in {self._cache.cache_path}"
            warnings.warn(f"numba's cache is damaged ({problem}); kernels are compiled anew", stacklevel=2)
        with contextlib.suppress(Exception):
            self._cache.flush()
