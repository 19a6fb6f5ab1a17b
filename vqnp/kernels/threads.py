"""work(0, size) in blocks of independent outputs, shared among threads; their number changes no bit."""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import config

from vqnp._check import Array

# Costs are in multiply-adds of the tile of nearest_code. The smallest block takes an eighth of a millisecond
# of one core; to hand it out takes some ten microseconds, to wake a thread some fifty.
MULTIPLY_ADDS_PER_BLOCK = 1 << 24
MULTIPLY_ADDS_PER_ELEMENT = 1 << 5  # to read and write one element in memory
MOST_BLOCKS_PER_THREAD = 8  # so that all end at about the same time, even if one core is slower


def in_blocks(work: Callable[[int, int], None], size: int, multiply_adds: int, multiple: int = 1) -> None:
    """Call work(start, stop) for blocks that cover range(size), on NUMBA_NUM_THREADS threads if that pays.

    work: computes outputs start to stop − 1 and nothing else, without the interpreter's lock; multiply_adds:
    the cost of one output; multiple: blocks begin at multiples of so many outputs

    A thread that has finished a block takes the next one. A process made by fork starts threads of its own,
    and a call that finds all threads busy with another call's blocks computes its own alone.
    """
    threads = int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    least = max(MULTIPLY_ADDS_PER_BLOCK // max(1, multiply_adds), size // (MOST_BLOCKS_PER_THREAD * threads))
    block = max(1, least // multiple) * multiple
    if threads == 1 or size < 2 * block:
        work(0, size)
        return
    starts = range(0, size, block)
    number = itertools.count()
    jobs = [work]

    def run() -> None:
        while (i := next(number)) < len(starts):
            jobs[0](starts[i], min(starts[i] + block, size))

    helpers = [_pool(os.getpid(), threads).submit(run) for _ in range(min(threads, len(starts)) - 1)]
    try:
        run()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()
        jobs.clear()  # cancelled helpers stay in the pool's queue for a while and must not keep arrays alive


def elementwise(kernel: Callable[..., None], multiply_adds: int, *inputs: Array) -> Array:
    """y, as kernel(*inputs, y) sets it in blocks of the flattened arrays; inputs and y: of one shape."""
    flat = [np.ascontiguousarray(x).reshape(-1) for x in inputs]
    y = np.empty_like(flat[0])
    in_blocks(lambda i, j: kernel(*(x[i:j] for x in flat), y[i:j]), y.size, multiply_adds)
    return y.reshape(inputs[0].shape)


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="vqnp")
