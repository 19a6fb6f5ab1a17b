"""Do the same codes have the same logits, whatever the earlier calls and the rest of the batch?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.autoregressive.asking import Question, size
from vqnp.crosscheck.autoregressive.influence import rows
from vqnp.crosscheck.findings import Finding

MOST_STARTS = 512
"""The number of codes that are tried in place of the start token."""

CLEAR, NEARER = 4.0, 0.01
"""The start token is a code if logits with this code differ by rounding, and those with most other codes by
4 times the tolerance and 100 times as much: float32 logits that differ by little may agree by chance."""


def find_repeat(ask: Question, rng: np.random.Generator) -> Finding:
    """Four calls: a grid, another one, and the first one twice."""
    x, y = ask.random(rng, 2)[:, None]
    a, _, again, last = ask(x), ask(y), ask(x), ask(x)
    if (a >= 0).all() and np.allclose(a.sum(axis=-1), 1, atol=1e-3):
        ask.note("logits: must be logits; got rows of numbers ≥ 0 with the sum 1, which are probabilities")
    d = [float(np.abs(one - a).max()) for one in (again, last)]
    tolerance = ask.tolerance * size(a)
    if max(d) <= tolerance:
        return Finding("repeat", "deterministic", "asked three times, with another grid in between")
    between = float(np.abs(again - last).max())
    variant = "random" if between > tolerance else "stateful"
    return Finding("repeat", variant, f"answers to the same codes differ by {max(d):.2g}")


def find_batch(ask: Question, rng: np.random.Generator) -> Finding:
    """The logits of the first and last of three items when the others change, and of the first alone."""
    x, y = ask.random(rng, 3), ask.random(rng, 3)
    a, alone = ask(x), ask(x[:1])
    tolerance = ask.tolerance * size(a)
    late, early = ask(np.stack([x[0], y[1], y[2]])), ask(np.stack([y[0], y[1], x[2]]))
    d = max(float(np.abs(late[0] - a[0]).max()), float(np.abs(early[2] - a[2]).max()))
    if d > tolerance:
        variant = "axes_exchanged" if _only_the_same_place(ask, x, a, tolerance) else "dependent"
        return Finding("batch", variant, f"with other items beside it an item's logits differ by {d:.2g}")
    d = float(np.abs(alone[0] - a[0]).max())
    if d > ask.loose * size(a):
        return Finding("batch", "dependent", f"alone an item's logits differ by {d:.2g}")
    return Finding("batch", "independent", "beside other items, and alone")


def _only_the_same_place(ask: Question, x: Array, a: Array, tolerance: float) -> bool:
    """Whether a code of one item affects other items at its own place only, and its own item nowhere else."""
    j = ask.M // 2
    for item in (0, 2):
        other = x.copy()
        other[item, j] = (other[item, j] + 1) % ask.K
        changed = np.flatnonzero((np.abs(ask(other) - a) > tolerance).any(axis=(0, 2)))
        if not set(changed.tolist()) <= {j, j + 1}:
            return False
    return ask.M > 2


def find_start(
    ask: Question, rng: np.random.Generator, first: int, batch: int, starting_with: Callable[..., Any] | None,
    order: str | None,
) -> Finding:  # fmt: skip
    """Whether a_1 = a_0 after some code, or whether the start token can be replaced by a code.

    The first can be tested only if each position sees no codes but those before it.
    """
    if first:
        return Finding("start", None, "logits are for the next code: there is no start token")
    codes = np.arange(min(ask.K, MOST_STARTS))
    base = np.repeat(ask.random(rng, 1), len(codes), axis=0)
    if ask.M > 1 and order == "causal":
        base[:, 0] = codes
        parts = [rows(ask(base[i : i + batch]), ask.M, 0)[:, :2] for i in range(0, len(codes), batch)]
        a = np.concatenate(parts)
        equal = _the_same(np.abs(a[:, 1] - a[:, 0]).max(axis=-1), ask.tolerance * size(a))
        if equal.any():
            same = int(np.flatnonzero(equal)[0])
            return Finding("start", "shared", f"after code {same} the logits are those of the first position")
    if starting_with is None:
        return Finding("start", None, "positions differ, and no function was given that starts with a code")
    base[:, 0] = rng.integers(0, ask.K)
    d, largest = np.zeros(len(codes)), 0.0
    for i in range(0, len(codes), batch):
        some, k = base[i : i + batch], codes[i : i + batch]
        given = some.reshape(len(some), *ask.shape)
        told = ask.logits(ask.run("starting_with", starting_with, given, k), len(some), ask.M)
        usual = ask(some)
        largest = max(largest, size(usual))
        d[i : i + batch] = np.abs(told - usual).max(axis=(1, 2))
    tolerance = ask.tolerance * largest
    equal = _the_same(d, tolerance)
    if (d <= tolerance).all():
        return Finding("start", None, "any code in its place gives the same logits: it is not read")
    if equal.any():
        same = int(np.flatnonzero(equal)[0])
        return Finding("start", "shared", f"with code {same} in its place the logits are the same")
    if (d <= tolerance).any():
        return Finding("start", None, "the logits differ by too little to be told from rounding")
    return Finding("start", "own", f"with each of {len(codes)} codes in its place the logits differ")


def _the_same(d: Array, tolerance: float) -> Array:
    """Which of some differences are rounding, where most are clearly more: (n,) -> (n,) bool."""
    usual = float(np.median(d))
    return (d <= min(tolerance, NEARER * usual)) & (usual > CLEAR * tolerance)
