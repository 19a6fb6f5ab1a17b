"""The ranks of a run, which are processes of MPI: who they are, and how all of them learn what one knows."""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

from vqnp._check import Array, InputError, fail

T = TypeVar("T")
METHODS = ("Get_rank", "Get_size", "allgather", "bcast", "Bcast", "Send", "Recv")


class Ranks:
    """One rank's view of all: its number, how many there are, and what they tell each other.

    Every method is collective unless it says otherwise: all ranks call it, in the same order.

    Parameters
    ----------
    comm : mpi4py communicator, optional
        Such as MPI.COMM_WORLD; None for a process alone, for which nothing is sent.

    Examples
    --------
    >>> ranks = Ranks()
    >>> ranks.rank, ranks.size, ranks.everyone("step 1")
    (0, 1, ['step 1'])
    """

    def __init__(self, comm: Any = None) -> None:
        if comm is not None and not all(hasattr(comm, name) for name in METHODS):
            needed = "must be a communicator of mpi4py, such as MPI.COMM_WORLD"
            fail("fit", "comm", needed, type(comm).__name__)
        self.comm = comm
        self.rank = 0 if comm is None else int(comm.Get_rank())
        self.size = 1 if comm is None else int(comm.Get_size())

    def everyone(self, own: T) -> list[T]:
        """What each rank gives, in the order of ranks."""
        return [own] if self.size == 1 else list(self.comm.allgather(own))

    def first(self, act: Callable[[], T]) -> T:
        """act() on rank 0 alone; all ranks return what it returns, or raise what it raises."""
        if self.size == 1:
            return act()
        if self.rank:
            result, error = self.comm.bcast(None)
            if error is not None:
                raise error
            return result
        try:
            result = act()
        except BaseException as error:
            self.comm.bcast((None, _sendable(error)))
            raise
        self.comm.bcast((result, None))
        return result

    def first_then_others(self, act: Callable[[], T]) -> T:
        """act() on rank 0, then on all others: what rank 0 has downloaded is there for them."""
        found: list[T] = []
        self.first(lambda: found.append(act()))
        return found[0] if found else act()

    def check_same(self, what: str, own: Any, where: str = "fit") -> None:
        """Raise on all ranks unless they all give equal values."""
        values = self.everyone(own)
        other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            fail(where, what, "must be the same on all ranks", f"another on rank {other} than on rank 0")

    def send(self, array: Array, to: int) -> None:
        """Give an array to one rank, which receives it. Of these two ranks alone."""
        self.comm.Send(array, dest=to)

    def receive(self, array: Array, source: int) -> Array:
        """Fill the array with what one rank sends. Of these two ranks alone."""
        self.comm.Recv(array, source=source)
        return array

    def from_first(self, array: Array) -> Array:
        """The array of rank 0, with which those of the others, of the same form, are filled."""
        if self.size > 1:
            self.comm.Bcast(array, root=0)
        return array


def _sendable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return InputError("rank 0", "", "must go on", f"{type(error).__name__}: {error}")
