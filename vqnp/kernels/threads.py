"""Blocks of independent outputs, shared among threads: the same bits whatever their number."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba.core import config

SMALLEST = 1 << 24
"""Multiplications to a block, at least: about an eighth of a millisecond, where handing one out takes
some ten microseconds and waking a thread some fifty."""

PER_THREAD = 8
"""Blocks to a thread, at most: so fine that threads end together, even where one core is slower."""


def in_blocks(work: Callable[[int, int], None], size: int, cost: int, multiple: int = 1) -> None:
    """work(start, stop) for blocks that cover range(size), on as many threads as there are blocks and cores.

    Parameters
    ----------
    work : callable
        Computes outputs start to stop − 1 and nothing else; releases the interpreter while it does.
    size : int
        How many outputs there are.
    cost : int
        Multiplications for one output. Less than two blocks' worth in all is done where we stand.
    multiple : int
        Blocks begin at multiples of so many outputs.

    NUMBA_NUM_THREADS sets the number of threads; by default there are as many as cores. Each takes
    the next block when it is done with one. A child made by fork has its own threads, and a call that
    finds them all busy with another call's blocks does its own alone.
    """
    threads = int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    least = max(SMALLEST // max(1, cost), size // (PER_THREAD * threads))
    block = max(1, least // multiple) * multiple
    starts = range(0, size, block)
    if threads == 1 or size < 2 * block:
        work(0, size)
        return
    number = itertools.count()

    def run() -> None:
        while (i := next(number)) < len(starts):
            work(starts[i], min(starts[i] + block, size))

    helpers = [_pool(os.getpid(), threads).submit(run) for _ in range(min(threads, len(starts)) - 1)]
    try:
        run()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="vqnp")
