"""How the benchmarks measure: each contender in a process of its own, in turn, its answer first.

All contenders have the same number of threads. With a process each, no library finds the cores occupied by
idle threads of another, and the memory that a contender uses can be attributed to it. Each round calls all
contenders; each timing is long enough that the resolution of the clock and the scheduler do not matter;
ratios compare times from the same round.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

LIBRARIES = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""How many threads numba, BLAS and OpenMP use; each library reads its variable when it is loaded."""

Size = tuple[int, ...]
Run = Callable[[], Any]
OURS, PEAK = "vqnp", "FMA peak"


def compared(run: Run, in_layout: Callable[[Any], Any]) -> Run:
    """run; its first answer, which is compared with those of other contenders, in vqnp's layout."""
    first = iter([True])
    return lambda: in_layout(run()) if next(first, False) else run()


IDLE = 0.25
"""Seconds of pause before each timing on several threads. The threads of OpenBLAS continue to spin for a
while after their work is done, so the next contender would find a core occupied: with a pause of 0.02 s a
matrix product took twice as long. After the pause the contender runs untimed for twice as long as it is
timed: after an idle period the scheduler leaves both threads on one core for a while, and 1.4 ms became
0.8 ms only after some 0.1 s."""


class Timing(NamedTuple):
    """The measurements of one contender at one size: seconds in each round, and bytes beyond its inputs."""

    size: Size
    threads: int
    contender: str
    seconds: list[float]
    extra_bytes: int | None

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))


def arguments(
    doc: str, sizes: Sequence[Size], quick: Sequence[Size], name: str,
    threads: Sequence[int] | None = None, **own: Any,
) -> argparse.Namespace:  # fmt: skip
    """The options common to all benchmarks; threads: by default; own: others, name=(default, help)."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = list(threads or sorted({1, min(2, cores)}))
    parser.add_argument("--threads", type=int, nargs="+", default=counts, help=f"(default: {counts})")
    parser.add_argument("--rounds", type=int, default=9, help="timings of each contender (default: 9)")
    parser.add_argument("--seconds", type=float, default=0.1, help="least duration of each (default: 0.1)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test that it runs")
    parser.add_argument("--out", type=Path, default=Path(name), help=f"output folder (default: {name})")
    for option, (default, help) in own.items():
        parser.add_argument(
            f"--{option}", type=type(default), default=default, help=f"{help} (default: {default})"
        )
    args = parser.parse_args()
    args.sizes = list(quick if args.quick else sizes)
    if args.quick:
        args.rounds, args.seconds = 2, 0.0
    return args


# A contender's process.


def threads() -> int:
    """The number of threads that this process was given."""
    return int(os.environ[LIBRARIES[0]])


def worker(make: Callable[[Size], Run], pipe: Connection) -> None:
    """Serve requests until None: a size -> its answer and its bytes; a number of calls -> seconds."""
    run: Run = lambda: None
    _keep_freed_memory()
    while (request := pipe.recv()) is not None:
        try:
            if isinstance(request, tuple):
                make((min(request[0], 16), *request[1:]))()  # loads everything that is loaded only once
                run = make(request)
                give_back_memory()
                before = memory()
                answer = run()
                pipe.send((answer, memory("VmHWM") - before if before else None))
            else:
                start = time.perf_counter()
                for _ in range(request):
                    run()
                pipe.send(time.perf_counter() - start)
        except Exception as error:  # the parent reports which contender it was
            pipe.send(error)


def _keep_freed_memory() -> None:
    """Free 31 MB: from then on glibc keeps freed blocks up to that size (at most 32 MB) for the next call.

    Otherwise whether a contender with temporaries of some MB pays for fresh pages in each call would depend
    on what it did before.
    """
    np.empty(31 << 20, np.uint8)


def give_back_memory() -> None:
    """Return freed memory to the system, so that a call that needs it again is seen to use it."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # not glibc


def memory(field: str = "VmRSS") -> int:
    """Resident bytes now (which also resets the peak), or at the peak; 0 without Linux's /proc."""
    try:
        if field == "VmRSS":
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Process:
    """A contender's process, which can be asked for an answer or a time."""

    def __init__(self, name: str, make: Callable[[Size], Run]) -> None:
        self.name = name
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=worker, args=(make, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, request: object) -> Any:
        self.pipe.send(request)
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise SystemExit(f"{self.name} terminated at {request}") from None
        if isinstance(answer, Exception):
            raise SystemExit(f"{self.name} failed at {request}: {type(answer).__name__}: {answer}")
        return answer

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join()


@contextmanager
def started(makers: dict[str, Callable[[Size], Run]], threads: int) -> Iterator[list[Process]]:
    """The contenders' processes; every library uses this many threads, and the code for this processor."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(LIBRARIES, str(threads)))
    os.environ.pop("OPENBLAS_CORETYPE", None)  # it would restrict NumPy to the kernels of another processor
    try:
        with ExitStack() as stack:
            processes = [Process(name, make) for name, make in makers.items()]
            for process in processes:
                stack.callback(process.close)
            yield processes
    finally:
        os.environ.clear()
        os.environ.update(before)


def compete(
    makers: dict[str, Callable[[Size], Run]],
    args: argparse.Namespace,
    check: Callable[[Size, dict[str, Any]], Collection[str] | None],
    skip: Callable[[str, Size], bool] = lambda name, size: False,
) -> list[Timing]:
    """For each number of threads and size: first check(size, answers), then time every contender.

    If an answer is wrong, check ends the run, or returns the contenders to leave out at this size.
    """
    timings = []
    for threads in args.threads:
        with started(makers, threads) as everyone:
            for size in tqdm(args.sizes, desc=f"{threads} thread{'s' * (threads > 1)}"):
                present = [p for p in everyone if not skip(p.name, size)]
                first = {p.name: p.ask(size) for p in present}
                wrong = check(size, {name: answer for name, (answer, _) in first.items()}) or ()
                present = [p for p in present if p.name not in wrong]
                for p in present:
                    p.ask(1)  # warms up, and triggers just-in-time compilation
                calls = {p.name: max(1, round(args.seconds / max(1e-7, p.ask(1)))) for p in present}
                seconds: dict[str, list[float]] = {p.name: [] for p in present}
                for _ in range(args.rounds):
                    for p in present:
                        if threads > 1:
                            time.sleep(IDLE)
                            for _ in range(2 if calls[p.name] > 1 else 0):
                                p.ask(calls[p.name])
                        seconds[p.name].append(p.ask(calls[p.name]) / calls[p.name])
                for name, times in seconds.items():
                    timings.append(Timing(size, threads, name, times, first[name][1]))
    return timings
