"""work(0, size) in blocks of independent outputs, shared among threads; their number changes no bit."""

import functools
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from vqnp._check import Array
from vqnp.kernels.jit import jit
from vqnp.kernels.llvm import VectorBuilder

# Costs are in multiply-adds of a tile. To hand a block to a thread that is still awake takes some ten
# microseconds, to wake a sleeping one some fifty; the smallest block takes some forty.
MULTIPLY_ADDS_PER_BLOCK = 1 << 21
MULTIPLY_ADDS_PER_ELEMENT = 1 << 5  # to read and write one element in memory
MOST_BLOCKS_PER_THREAD = 8  # so that all end at about the same time, even if one core is slower

POLLS_BEFORE_SLEEP = 1000
"""How often a thread without work looks for some before it sleeps. At each look it offers its core to other
programs (sched_yield), so a busy neighbour loses nothing; undisturbed, these are some hundred
microseconds."""

HEAD_START_LOOKS = 1 << 13
"""How often the calling thread looks at memory, for some microseconds, after it has announced a job, without
the interpreter's lock: the others then take the lock while it is free. To wait for it would cost them 50
µs, a third of a product of 32 rows. (It must not give way here: on a busy machine that costs
milliseconds.)"""

LONG_WAIT_SECONDS, WAITS_PER_PAUSE = 1e-3, 50
"""After a job whose end the calling thread awaited for w seconds, longer than that and longer than it had
worked itself, it computes alone for 50 w: another program has the core of a thread that is in the middle
of a block. So waiting of this kind takes at most a fiftieth of the time. Without the pause, a training
beside ten busy processes on two cores took 15 times as long as on one thread."""

NEXT_JOB, FINISHED, NEVER = 0, 8, 16  # places in the shared array, in cache lines of their own


def in_blocks(work: Callable[[int, int], None], size: int, multiply_adds: int, multiple: int = 1) -> None:
    """Call work(start, stop) for blocks that cover range(size), on NUMBA_NUM_THREADS threads if that pays.

    work: computes outputs start to stop − 1 and nothing else, without the interpreter's lock; multiply_adds:
    the cost of one output; multiple: blocks begin at multiples of so many outputs

    A thread that has finished a block takes the next one. A process made by fork starts threads of its own,
    and a call that finds the threads busy with another call's blocks computes its own alone.
    """
    threads = int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if threads == 1 or size * multiply_adds < 2 * MULTIPLY_ADDS_PER_BLOCK or size <= multiple:
        work(0, size)
        return
    least = max(MULTIPLY_ADDS_PER_BLOCK // max(1, multiply_adds), size // (MOST_BLOCKS_PER_THREAD * threads))
    block = max(1, least // multiple) * multiple
    if size < 2 * block:
        block = -(-size // (2 * multiple)) * multiple  # halves
    crew = _crew(os.getpid(), threads - 1)
    if time.perf_counter() < crew.pause or not crew.free.acquire(blocking=False):
        work(0, size)
        return
    try:
        crew.run(work, size, block)
    finally:
        crew.free.release()


class _Crew:
    """Threads that wait for blocks: awake for a while after each job, then asleep."""

    def __init__(self, count: int) -> None:
        self.free = threading.Lock()
        self.shared = np.zeros(24, np.int64)
        self.asleep = threading.Condition()
        self.sleepers = 0
        self.pause = 0.0  # until this time, all blocks are computed by the calling thread
        self.job: Any = None
        self.started = 0
        self.errors: list[BaseException] = []
        for i in range(count):
            threading.Thread(target=self._serve, name=f"vqnp-{i}", daemon=True).start()

    def run(self, work: Callable[[int, int], None], size: int, block: int) -> None:
        number, blocks = itertools.count(), -(-size // block)

        def take() -> None:
            while (i := next(number)) < blocks:
                work(i * block, min((i + 1) * block, size))

        self.started, self.errors = 0, []
        self.shared[FINISHED] = 0
        self.job = take
        if self.sleepers:
            self.shared[NEXT_JOB] += 1
            with self.asleep:
                self.asleep.notify_all()
        else:
            announce(self.shared, HEAD_START_LOOKS)
        begun = time.perf_counter()
        try:
            take()
        finally:
            done = time.perf_counter()
            with self.asleep:
                self.job = None  # who has not begun will not
            while self.shared[FINISHED] < self.started:
                wait_for_change(self.shared, FINISHED, self.shared[FINISHED], POLLS_BEFORE_SLEEP)
            waited = time.perf_counter() - done
            if waited > max(done - begun, LONG_WAIT_SECONDS):
                self.pause = done + WAITS_PER_PAUSE * waited
        if self.errors:
            raise self.errors[0]

    def _serve(self) -> None:
        seen = 0
        while True:
            if not wait_for_change(self.shared, NEXT_JOB, seen, POLLS_BEFORE_SLEEP):
                with self.asleep:
                    self.sleepers += 1
                    while self.shared[NEXT_JOB] == seen:
                        self.asleep.wait()
                    self.sleepers -= 1
            seen = int(self.shared[NEXT_JOB])
            job = self._begin()
            if job is None:
                continue
            try:
                job()
            except BaseException as error:  # raised again by run
                self.errors.append(error)
            del job  # it would keep arrays alive
            with self.asleep:
                self.shared[FINISHED] += 1

    def _begin(self) -> Any:
        """The job, counted as begun; or None, if it is over."""
        with self.asleep:
            job = self.job
            self.started += job is not None
            return job


@jit(nogil=True)
def wait_for_change(shared: Array, place: int, seen: int, polls: int) -> bool:
    """Whether shared[place] differs from `seen` at one of so many looks, between which other programs may
    run."""
    for _ in range(polls):
        if _look(shared, place) != seen:  # type: ignore[call-arg]
            return True
        _give_way()
    return False


@jit(nogil=True)
def announce(shared: Array, looks: int) -> None:
    """Count the next job, and leave the interpreter's lock to others for a moment."""
    shared[NEXT_JOB] += 1
    for _ in range(looks):
        if _look(shared, NEVER):  # type: ignore[call-arg]
            return


if sys.platform == "win32":
    _give_way = jit()(lambda: np.int32(0))
else:
    _give_way = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def _look(typing: Any, shared: Any, place: Any) -> Any:
    """shared[place] as it is in memory now: a load that the compiler may not move out of a loop."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, b, signature, args)
        array, place = e.arguments
        return b.load_atomic(e.at(array.data, place), "acquire", 8)

    return types.int64(shared, types.int64), emit


def elementwise(kernel: Callable[..., None], multiply_adds: int, *inputs: Array) -> Array:
    """y, as kernel(*inputs, y) sets it in blocks of the flattened arrays; inputs and y: of one shape."""
    flat = [np.ascontiguousarray(x).reshape(-1) for x in inputs]
    y = np.empty_like(flat[0])
    in_blocks(lambda i, j: kernel(*(x[i:j] for x in flat), y[i:j]), y.size, multiply_adds)
    return y.reshape(inputs[0].shape)


@functools.cache
def _crew(process: int, count: int) -> _Crew:
    return _Crew(count)
