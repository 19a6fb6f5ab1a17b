"""Levels, borders, gradient and index of a layer that rounds each coordinate by itself.

z: (N, D) -> z_q: (N, D), k: (N,) in [0, L_1 ⋯ L_D)
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.asking import Question, relative
from vqnp.crosscheck.quantizers.bounds import BOUNDS, VALUES

REACH, FURTHER, HALVINGS = 8.0, 1e4, 46
"""Each coordinate is moved from −8 to 8 in equal steps and beyond in larger ones; borders are halved."""

MOST = 256
"""Levels up to which the steps are small enough to meet each of them."""

APART = 1e-4
"""Values of z_q closer than this, relative to the largest, are one level with rounding."""


class Levels:
    """What z_q's coordinates do: `values` and `borders` of each, the smallest first; None if not alone."""

    def __init__(self, ask: Question, D: int, most: int) -> None:
        beyond = np.geomspace(REACH, FURTHER, 40)[1:]
        grid = np.concatenate([-beyond[::-1], np.linspace(-REACH, REACH, max(1001, 40 * most + 1)), beyond])
        n = len(grid)
        z = np.zeros((D, n, D))
        for d in range(D):
            z[d, :, d] = grid
        z_q = ask.forward(z.reshape(-1, D)).z_q.reshape(D, n, D)
        size = float(np.abs(z_q).max(initial=0)) or 1.0
        others = [np.delete(z_q[d], d, axis=1) for d in range(D)]
        self.alone = all(np.ptp(o, axis=0).max(initial=0) <= APART * size for o in others)
        own = [z_q[d, :, d] for d in range(D)]
        self.values = [_levels(y, APART * size) for y in own]
        self.monotonic = all((np.diff(y) >= -APART * size).all() for y in own)
        self.borders: list[Array] = []
        if self.alone and self.monotonic and all(2 <= len(v) <= n // 4 for v in self.values):
            self.borders = _halve(ask, self.values, own, grid, D)

    def digits(self, z_q: Array) -> Array:
        """The rank of each value among its coordinate's: (N, D)."""
        ranks = [np.abs(y[:, None] - v).argmin(axis=1) for y, v in zip(z_q.T, self.values, strict=True)]
        return np.stack(ranks, axis=1)


def _levels(y: Array, apart: float) -> Array:
    """The different values, the smallest first."""
    y = np.sort(y)
    starts = np.concatenate([[True], np.diff(y) > apart])
    return np.asarray(y[starts])


def _halve(ask: Question, values: list[Array], own: list[Array], grid: Array, D: int) -> list[Array]:
    """Where each coordinate goes from one level to the next."""
    which = [(d, j) for d, v in enumerate(values) for j in range(len(v) - 1)]
    axis = np.array([d for d, _ in which])
    middle = np.array([(values[d][j] + values[d][j + 1]) / 2 for d, j in which])
    at = np.array([int(np.searchsorted(own[d] > m, True)) for (d, _), m in zip(which, middle, strict=True)])
    low, high = grid[at - 1], grid[at]
    rows = np.arange(len(which))
    for _ in range(HALVINGS if ask.epsilon < 1e-10 else 20):
        z = np.zeros((len(which), D))
        z[rows, axis] = half = (low + high) / 2
        above = ask.forward(z).z_q[rows, axis] > middle
        low, high = np.where(above, low, half), np.where(above, half, high)
    border = (low + high) / 2
    return [border[axis == d] for d in range(D)]


def find_levels(found: Levels, levels: tuple[int, ...] | None) -> Finding:
    """How many values each coordinate takes."""
    counts = tuple(len(v) for v in found.values)
    text = f"z from {-FURTHER:g} to {FURTHER:g} in each coordinate: {', '.join(map(str, counts))} values"
    if not found.alone:
        return Finding("levels", None, "a coordinate of z_q depends on others of z: rotated or projected")
    if not found.monotonic:
        return Finding("levels", "not_monotonic", text)
    if levels is None or counts == levels:
        return Finding("levels", "as_asked", text + ("" if levels else "; no levels were given"))
    more = [c > L for c, L in zip(counts, levels, strict=True)]
    return Finding("levels", "more" if any(more) else "fewer", text)


def find_values(ask: Question, found: Levels) -> Finding:
    """What the values are."""
    counts = [len(v) for v in found.values]
    a = np.concatenate(found.values)
    known = {name: np.concatenate([f(n) for n in counts]) for name, f in VALUES.items()}
    same = ask.equal(a, known)
    if same:
        return Finding("values", same[0], f"relative difference {ask.difference:.1g}")
    first = ", ".join(f"{x:.4g}" for x in a[: counts[0]])
    return Finding("values", "other", f"of the first coordinate: {first}")


def find_bound(ask: Question, found: Levels) -> Finding:
    """Where the borders are; found to rounding, and told apart from the next formula by a factor of 10."""
    if not found.borders:
        return Finding("bound", None, "levels were not found")
    a = np.concatenate(found.borders)
    counts = [len(b) + 1 for b in found.borders]
    known = {name: np.concatenate([b.borders(n) for n in counts]) for name, b in BOUNDS.items()}
    d = {name: relative(a, b) for name, b in known.items() if np.isfinite(b).all()}
    name = min(d, key=lambda one: d[one])
    rough = max(ask.tolerance, 3e-6)  # constants are often kept in float32
    if d[name] > rough:
        text = f"no known borders; the nearest are those of {name}, off by {d[name]:.1g}"
        return Finding("bound", None, text)
    near = [one for one in d if d[one] <= max(4 * d[name], 16 * ask.epsilon)]
    others = f"; as near: {', '.join(near[1:])}" if len(near) > 1 else ""
    evidence = f"{len(a)} borders, relative difference {d[near[0]]:.1g}{others}"
    return Finding("bound", near[0], evidence, tuple(near))


def find_slope(ask: Question, found: Levels, bound: str | None, z: Array, G: Array, J: Array) -> Finding:
    """Jᵀ G beside the bound's slope, in steps of z_q."""
    known = {"skips_bound": G, "zero": np.zeros_like(G)}
    if bound is not None:
        slope = np.stack(
            [BOUNDS[bound].slope(z[:, d], len(v)) for d, v in enumerate(found.values)], axis=1
        )  # fmt: skip
        step = np.array([np.diff(v).mean() for v in found.values])
        known = {"through_bound": G * slope * step, "through_bound_unscaled": G * slope} | known
    same = ask.equal(J, known)
    if not same and bound is not None and relative(J, known["through_bound"]) < 3e-6:
        same, ask.difference = ["through_bound"], relative(J, known["through_bound"])
    text = f"relative difference {ask.difference:.1g}"
    if same:
        return Finding("estimator", same[0], text)
    why = "" if bound is not None else "; without a known bound its slope is not known"
    return Finding("estimator", None, f"no known gradient: {text}{why}")


def find_index(found: Levels, k: Array | None, z_q: Array, levels: tuple[int, ...] | None) -> Finding:
    """What number the values of a vector have."""
    if k is None or k.shape[1] != 1:
        return Finding("index", None, "no codes, one for each vector")
    counts = levels or tuple(len(v) for v in found.values)
    K, code = int(np.prod(counts)), k[:, 0]
    if code.min() < 0 or code.max() >= K:
        return Finding("index", "out_of_range", f"{code.min()} to {code.max()}, for {K} codes")
    digits = found.digits(z_q)
    for name, numbers in _orders(digits, np.array(counts)):
        if (numbers == code).all():
            return Finding("index", name, f"{len(code)} vectors, {len(np.unique(code))} of {K} codes")
    rows = np.unique(np.column_stack([digits, code]), axis=0)
    different = len(np.unique(digits, axis=0))
    if len(rows) == different == len(np.unique(code)):
        return Finding("index", "one_to_one", f"{different} different vectors, as many codes")
    return Finding("index", "collides", f"{different} different vectors, {len(np.unique(code))} codes")


def _orders(digits: Array, L: Array) -> Iterator[tuple[str, Any]]:
    """Each known order, and the numbers that it gives."""
    up = np.concatenate([[1], np.cumprod(L[:-1])])
    down = np.concatenate([[1], np.cumprod(L[:0:-1])])[::-1]
    yield "first_lowest", digits @ up
    yield "first_highest", digits @ down
    yield "descending", (L - 1 - digits) @ up
