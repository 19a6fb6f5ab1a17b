"""Ranks as threads of one process, with the methods of an mpi4py communicator that vqnp calls.

Only one thread runs at a time, until it waits for another, so the kernels' own threads see one caller.
"""

import pickle
import threading

import numpy as np


class World:
    """What the ranks share: the baton without which none runs, and what they have sent."""

    def __init__(self, size):
        self.size = size
        self.changed = threading.Condition()
        self.boxes = [[[] for _ in range(size)] for _ in range(size)]  # [source][destination]
        self.failed = None

    def give(self, source, to, value):
        self.boxes[source][to].append(value)
        self.changed.notify_all()

    def take(self, source, to):
        if not self.changed.wait_for(lambda: self.boxes[source][to] or self.failed, timeout=60):
            raise TimeoutError(f"rank {to} waits for rank {source}")
        if not self.boxes[source][to]:
            raise RuntimeError("another rank has failed")
        return self.boxes[source][to].pop(0)


class Comm:
    """One rank's communicator."""

    def __init__(self, world, rank):
        self.world, self.rank = world, rank

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.world.size

    def Send(self, array, dest):
        self.world.give(self.rank, dest, array.copy())

    def Recv(self, array, source):
        array[...] = self.world.take(source, self.rank)

    def bcast(self, value, root=0):
        if self.rank != root:
            return pickle.loads(self.world.take(root, self.rank))
        for rank in range(self.world.size):
            if rank != root:
                self.world.give(root, rank, pickle.dumps(value))
        return value

    def Bcast(self, array, root=0):
        if self.rank != root:
            array[...] = self.world.take(root, self.rank)
            return
        for rank in range(self.world.size):
            if rank != root:
                self.world.give(root, rank, array.copy())

    def allgather(self, value):
        for rank in range(self.world.size):
            self.world.give(self.rank, rank, pickle.dumps(value))
        return [pickle.loads(self.world.take(source, self.rank)) for source in range(self.world.size)]


def on_ranks(size, work):
    """[work(comm) of each rank]; an exception of one of them is raised."""
    world, results, errors = World(size), [None] * size, [None] * size

    def run(rank):
        with world.changed, np.errstate(all="warn"):
            try:
                results[rank] = work(Comm(world, rank))
            except BaseException as error:
                errors[rank] = error
                world.failed = error
                world.changed.notify_all()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
    return results
