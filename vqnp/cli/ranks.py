"""A command that mpiexec or srun has started on several ranks: who prints, and how all end together."""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from vqnp._check import fail

if TYPE_CHECKING:
    from vqnp.training.ranks import Ranks

VARIABLES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),  # Open MPI
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),  # srun --mpi=pmix
)
"""What a launcher sets: a process's rank, the number of ranks, and how many of them are on this machine."""

SHARDS = 4
"""Of a run that a launcher starts, on however many ranks; docs/decisions/0008-shards.md has the reasons."""

SECONDS_AFTER_RANK_0 = 1.0
"""An error that all ranks find is printed by rank 0, which then ends the others; they wait for it so long."""


def launched() -> tuple[int, int, int] | None:
    """Our rank, the number of ranks, and of those on this machine; None if no launcher has started us."""
    for names in VARIABLES:
        rank, size, local = (os.environ.get(name, "").partition("(")[0] for name in names)
        if rank.isdecimal() and size.isdecimal():
            return int(rank), int(size), int(local) if local.isdecimal() else 1
    return None


def default_shards() -> int:
    """SHARDS if a launcher has started us, so that its runs are equal on any number of ranks; otherwise 1."""
    return SHARDS if launched() else 1


def ranks() -> "Ranks":
    """All ranks of MPI's world, or one process alone.

    To be called before numba is loaded, so that each rank has its share of a machine's cores.
    """
    found = launched()
    if found is None:
        from vqnp.training.ranks import Ranks

        return Ranks()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == os.cpu_count():  # otherwise the launcher has given each rank cores of its own
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(1, cores // found[2])))
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: no library of MPI
        fail("", "mpiexec", "must be used with the extra mpi: pip install 'vqnp[mpi]'", error)
    from vqnp.training.ranks import Ranks

    return Ranks(MPI.COMM_WORLD)


def end(status: int, sentence: str = "") -> int:
    """Print the sentence, if there is one, and return the status; of several ranks, end all that are left.

    A rank that ended alone would leave the others waiting for it for ever.
    """
    found = launched()
    if found and found[0] and status:
        time.sleep(SECONDS_AFTER_RANK_0)
        sentence = f"rank {found[0]}: {sentence}" if sentence else ""
    if sentence:
        print(sentence, file=sys.stderr, flush=True)
    if found and found[1] > 1 and status and "mpi4py.MPI" in sys.modules:
        sys.stdout.flush()
        sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(status)
    return status


def end_by_error(error: BaseException) -> NoReturn:
    """The same for an error that has no sentence of its own."""
    if launched():
        traceback.print_exception(error)
        end(1)
    raise error


@contextlib.contextmanager
def announcing(team: "Ranks", sentence: str) -> Iterator[None]:
    """Within the block, print the sentence as soon as a signal arrives, whatever this rank is waiting for.

    When a rank is killed, the launcher sends SIGTERM to the others and some tenths of a second later SIGKILL.
    Those that wait in MPI for the rank that is gone do not return to Python before that, so a thread prints.
    Ranks 0 and 1 do so, since one of them may be the one that is gone.
    """
    if team.size == 1 or team.rank > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, wakes = os.pipe()
    os.set_blocking(wakes, False)
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def listen() -> None:
        numbers = os.read(heard, 1)
        if numbers and numbers[0] in (signal.SIGINT, signal.SIGTERM):
            print(f"rank {team.rank} of {team.size}: {sentence}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(wakes, b"\0")
        thread.join(1)
        os.close(wakes)
        os.close(heard)
