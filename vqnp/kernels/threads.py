"""work(0, size) in blocks of independent outputs, shared among threads; their number changes no bit."""

import contextlib
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
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.llvm import VectorBuilder, compiles

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

NEXT_JOB, NEVER = 0, 8  # places in the shared array, in cache lines of their own


def in_blocks(work: Callable[[int, int], None], size: int, multiply_adds: int, multiple: int = 1) -> None:
    """Call work(start, stop) for blocks that cover range(size), on NUMBA_NUM_THREADS threads if that pays.

    work: computes outputs start to stop − 1 and nothing else, without the interpreter's lock; multiply_adds:
    the cost of one output; multiple: blocks begin at multiples of so many outputs

    A thread that has finished a block takes the next one. A process made by fork starts threads of its own,
    and a call that finds the threads busy with another call's blocks computes its own alone.
    """
    threads = int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    small = size * multiply_adds < 2 * MULTIPLY_ADDS_PER_BLOCK or size <= multiple
    if threads == 1 or small or not _can_wait():
        work(0, size)
        return
    least = max(MULTIPLY_ADDS_PER_BLOCK // max(1, multiply_adds), size // (MOST_BLOCKS_PER_THREAD * threads))
    block = max(1, least // multiple) * multiple
    if size < 2 * block:
        block = -(-size // (2 * multiple)) * multiple  # halves
    crew = _crew(os.getpid(), threads - 1)
    if time.perf_counter() < crew.pause:
        work(0, size)
        return
    mine = False
    try:
        with crew.lock:
            if not crew.busy:
                crew.busy = mine = True
        if mine:
            crew.run(_Job(work, size, block))
        else:
            work(0, size)
    finally:
        if mine:
            crew.busy = False


@functools.cache
def _can_wait() -> bool:
    """Whether the loops in which threads wait are compiled; if not, the calling thread computes alone."""
    return JIT and compiles("vqnp's threads", lambda: announce(np.zeros(16, np.int64), 1))


class _Job:
    """One call's blocks, and who is at work on them: of this call alone, so a thread that is late counts here
    and not in the next one."""

    def __init__(self, work: Callable[[int, int], None], size: int, block: int) -> None:
        self.work, self.size, self.block = work, size, block
        self.number = itertools.count()
        self.started = 0
        self.finished = np.zeros(1, np.int64)
        self.errors: list[BaseException] = []

    def take(self) -> None:
        """Compute blocks until none is left."""
        while (start := next(self.number) * self.block) < self.size:
            self.work(start, min(start + self.block, self.size))


class _Crew:
    """Threads that wait for blocks: awake for a while after each job, then asleep."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.busy = False
        self.shared = np.zeros(16, np.int64)
        # Ctrl-C may strike within the methods of a Condition, which are Python, and leave its lock taken for
        # ever; `with` a lock cannot be interrupted so. It is re-entrant for a finalizer that needs a product.
        self.lock = threading.RLock()
        self.asleep = threading.Condition(self.lock)
        self.sleepers = 0
        self.pause = 0.0  # until this time, all blocks are computed by the calling thread
        self.job: _Job | None = None

    def run(self, job: _Job) -> None:
        """The caller has set `busy`. An exception that a signal raises here, as Ctrl-C does, waits too: the
        caller may use the arrays as soon as it has it."""
        while self.count:  # at the first call, when no other thread can start them too
            self.count -= 1
            with contextlib.suppress(RuntimeError):  # the system has no more threads: there are fewer
                threading.Thread(target=self._serve, name=f"vqnp-{self.count}", daemon=True).start()
        interruption: BaseException | None = None
        begun = time.perf_counter()
        try:
            self.job = job
            if self.sleepers:
                self.shared[NEXT_JOB] += 1
                with self.lock:
                    self.asleep.notify_all()
            else:
                announce(self.shared, HEAD_START_LOOKS)
            begun = time.perf_counter()
            job.take()
        finally:
            done = None
            while True:
                try:
                    done = done or time.perf_counter()
                    with self.lock:
                        self.job = None  # who has not begun will not
                    while (finished := int(job.finished[0])) < job.started:
                        wait_for_change(job.finished, 0, finished, POLLS_BEFORE_SLEEP)
                    waited = time.perf_counter() - done
                    if waited > max(done - begun, LONG_WAIT_SECONDS):
                        self.pause = done + WAITS_PER_PAUSE * waited
                    break
                except BaseException as error:
                    interruption = error
            if interruption:
                raise interruption
        if job.errors:
            raise job.errors[0]

    def _serve(self) -> None:
        seen = 0
        while True:
            if not wait_for_change(self.shared, NEXT_JOB, seen, POLLS_BEFORE_SLEEP):
                with self.lock:
                    self.sleepers += 1
                    while self.shared[NEXT_JOB] == seen:
                        self.asleep.wait()
                    self.sleepers -= 1
            seen = int(self.shared[NEXT_JOB])
            job = self._begin()
            if job is None:
                continue
            try:
                job.take()
            except BaseException as error:  # raised again by run
                job.errors.append(error)
            finished = job.finished
            del job  # it would keep arrays alive
            with self.lock:
                finished[0] += 1

    def _begin(self) -> _Job | None:
        """The job, counted as begun; or None, if it is over."""
        with self.lock:
            job = self.job
            if job is not None:
                job.started += 1
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


_CREWS: dict[tuple[int, int], _Crew] = {}


def _crew(process: int, count: int) -> _Crew:
    """The process's threads; for two callers at the same time, the same ones."""
    return _CREWS.get((process, count)) or _CREWS.setdefault((process, count), _Crew(count))
