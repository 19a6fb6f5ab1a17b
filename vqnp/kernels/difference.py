"""r = a − b and Σr², in one pass; the sum in float64, in an order that does not depend on the threads.

a, b: (n,) -> r: (n,), Σr²
"""

from __future__ import annotations

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.relu import PASSING
from vqnp.kernels.threads import in_blocks

LANES = 64
"""Sums that run side by side, element i in sum i mod 64: one alone would wait for each addition."""

BLOCK = 1 << 12
"""Elements to a block; the blocks' sums are added up in their order."""


def difference_and_square(a: Array, b: Array) -> tuple[Array, np.float64]:
    """r = a − b and Σr²; a, b: any shape, one dtype -> r: the same, Σr²: float64.

    Element i of a block of 4096 goes into sum i mod 64; the 64 sums of a block are added from the first
    to the last, then the blocks.
    """
    if not JIT:
        return difference_and_square_plain(a, b)
    flat_a, flat_b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    r = np.empty_like(flat_a)
    sums = np.empty(-(-r.size // BLOCK), np.float64)

    def work(start: int, stop: int) -> None:
        i = slice(start * BLOCK, stop * BLOCK)
        _difference(flat_a[i], flat_b[i], r[i], sums[start:stop])

    in_blocks(work, sums.size, PASSING * BLOCK)
    return r.reshape(a.shape), np.float64(_in_order(sums))


def difference_and_square_plain(a: Array, b: Array) -> tuple[Array, np.float64]:
    """The plain twin: the same additions in the same order."""
    r = np.subtract(a, b)
    square = np.zeros(-(-r.size // BLOCK) * BLOCK, np.float64)
    square[: r.size] = r.reshape(-1)
    square *= square
    sums = np.zeros((square.size // BLOCK, LANES))
    for line in np.moveaxis(square.reshape(-1, BLOCK // LANES, LANES), 1, 0):
        sums += line
    return r, np.float64(_in_order_plain(np.array([_in_order_plain(s) for s in sums])))


def _in_order_plain(sums: Array) -> float:
    total = 0.0
    for s in sums:
        total += s
    return float(total)


_in_order = jit(nogil=True)(_in_order_plain)


@jit(nogil=True)
def _difference(a: Array, b: Array, r: Array, sums: Array) -> None:  # pragma: no cover - compiled
    lanes = np.empty(LANES, np.float64)
    for block in range(sums.size):
        first, stop = block * BLOCK, min((block + 1) * BLOCK, a.size)
        a_, b_, r_ = a[first:stop], b[first:stop], r[first:stop]
        for i in range(r_.size):
            r_[i] = a_[i] - b_[i]
        lanes[:] = 0.0
        rest = r_.size % LANES
        for i in range(0, r_.size - rest, LANES):
            line = r_[i : i + LANES]
            for j in range(LANES):
                lanes[j] += np.float64(line[j]) * np.float64(line[j])
        for j in range(rest):
            last = np.float64(r_[r_.size - rest + j])
            lanes[j] += last * last
        sums[block] = _in_order(lanes)
