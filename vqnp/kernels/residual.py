"""k_i = argmin ‖r_{i−1} − e‖²,  r_i = r_{i−1} − e_{k_i},  r_0 = z,  z_q = Σ_i e_{k_i}, part by part of z.

z: (N, D), E: (C, K, D) -> z_q: (N, D), k: (N, n); depth i has codebook i mod C. All depths of a part of z are
computed while it is in the cache.

A code of −1 is none: it adds nothing to z_q and takes nothing from r, and its depth has no terms in sums.
"""

import numpy as np

from vqnp._check import Array, fail
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.nearest import Search, nearest_code
from vqnp.kernels.statistics import CodeStatistics, code_statistics
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

BYTES = 1 << 17
"""Of a part of z: it, its residuals and their sums stay in a cache of 512 KB."""

ROWS = 64
"""Of which codes are gathered, so that the arithmetic runs over entries, whatever D is."""


def residual_codes_plain(
    z: Array, E: Array, depth: int, used: Array | None
) -> tuple[Array, Array, float, bool]:
    """z_q, k, Σ_i Σ r_i² in float64, and whether z is finite; if not, the others mean nothing.

    used: (N,), how many codes each vector has; the others are −1
    """
    k, r, z_q, square = np.empty((len(z), depth), np.int64), z, np.zeros_like(z), 0.0
    if not np.isfinite(z).all():
        return z_q, k, square, False
    for i in range(depth):
        e = E[i % len(E)]
        has = np.ones(len(z), bool) if used is None else used > i
        k[:, i] = np.where(has, nearest_code(r, e), -1)
        chosen = e[k[:, i]] * has[:, None]
        r, z_q = r - chosen, z_q + chosen
        square += float(np.square(r * has[:, None], dtype=np.float64).sum())
    return z_q, k, square, True


def residual_gradient_plain(dz_q: Array, z: Array, E: Array, k: Array, factor: float) -> Array:
    """dz_q + factor Σ_i r_i; dz_q, z: (N, D), k: (N, n) -> (N, D)."""
    total = np.zeros_like(z)
    for r, has in residuals_plain(z, E, k):
        total += r * has[:, None]
    return dz_q + factor * total


def residual_statistics_plain(z: Array, E: Array, k: Array, after: bool) -> list[CodeStatistics]:
    """Of each depth, how often each code occurs, and the sum of r_i (after) or of r_{i−1} of its vectors."""
    if k.max(initial=-1) >= E.shape[1]:
        fail("residual_statistics", "k", f"must be below {E.shape[1]}", k.max())
    found, before = [], z
    for i, (r, has) in enumerate(residuals_plain(z, E, k)):
        found.append(code_statistics((r if after else before)[has], k[has, i], E.shape[1]))
        before = r
    return found


def residuals_plain(z: Array, E: Array, k: Array) -> list[tuple[Array, Array]]:
    """r_i and whether there is a code, k_i ≥ 0, of each depth: (N, D), (N,)."""
    found, r = [], z
    for i in range(k.shape[1]):
        has = k[:, i] >= 0
        r = r - E[i % len(E)][np.maximum(k[:, i], 0)] * has[:, None]
        found.append((r, has))
    return found


def residual_before(z: Array, E: Array, k: Array, i: int) -> Array:
    """r_{i−1} of the vectors with a code at depth i; z: (N, D), k: (N, n) -> (any, D)."""
    return np.asarray((residuals_plain(z, E, k[:, :i])[-1][0] if i else z)[k[:, i] >= 0])


def residual_codes(z: Array, E: Array, depth: int, used: Array | None) -> tuple[Array, Array, float, bool]:
    """residual_codes_plain, compiled."""
    if not JIT:
        return residual_codes_plain(z, E, depth, used)
    z, E = np.ascontiguousarray(z), np.ascontiguousarray(E)
    N, D = z.shape
    rows = max(ROWS, BYTES // (D * z.itemsize) // ROWS * ROWS)
    searches = [Search(e, N) for e in E]
    k, z_q, parts = np.empty((N, depth), np.int64), np.empty_like(z), -(-N // rows)
    squares, finite = np.zeros(parts), list[bool]()
    counts = np.full(N, depth) if used is None else np.ascontiguousarray(used, np.int64)

    def work(start: int, stop: int) -> None:
        for part in range(start, stop):
            here = slice(part * rows, min((part + 1) * rows, N))
            r, out, codes = z[here].copy(), z_q[here], np.empty(here.stop - here.start, np.int64)
            out[:] = 0
            for i in range(depth):
                finite.append(searches[i % len(E)](r, codes))
                squares[part] += _subtract(r, E[i % len(E)], codes, i, counts[here], k[here], out)

    in_blocks(work, parts, rows * depth * (E[0].size + 8 * D * MULTIPLY_ADDS_PER_ELEMENT))
    return z_q, k, float(squares.sum()), all(finite)


def residual_gradient(dz_q: Array, z: Array, E: Array, k: Array, factor: float) -> Array:
    """residual_gradient_plain, compiled."""
    if not JIT:
        return residual_gradient_plain(dz_q, z, E, k, factor)
    dz_q, z, E, k = (np.ascontiguousarray(a) for a in (dz_q, z, E, k))
    dz, factor = np.empty_like(z), z.dtype.type(factor)
    cost = (k.shape[1] + 2) * MULTIPLY_ADDS_PER_ELEMENT * z.shape[1]
    in_blocks(lambda i, j: _gradient(dz_q[i:j], z[i:j], E, k[i:j], factor, dz[i:j]), len(z), cost, ROWS)
    return dz


def residual_statistics(z: Array, E: Array, k: Array, after: bool) -> list[CodeStatistics]:
    """residual_statistics_plain, compiled; summed in the order of the vectors."""
    if not JIT:
        return residual_statistics_plain(z, E, k, after)
    z, E, k = (np.ascontiguousarray(a) for a in (z, E, k))
    D, n, K = z.shape[1], k.shape[1], E.shape[1]
    counts, sums, right = np.zeros((n, K), np.int64), np.zeros((n, K, D)), list[bool]()

    def work(i: int, j: int) -> None:
        right.append(_statistics(z, E, k, i, j, after, counts, sums))

    in_blocks(work, n, 2 * MULTIPLY_ADDS_PER_ELEMENT * z.size)
    if not all(right):
        fail("residual_statistics", "k", f"must be below {K}", k.max())
    return [CodeStatistics(*each) for each in zip(counts, sums, strict=True)]


@jit(nogil=True)
def _gather(e: Array, k: Array, chosen: Array, weight: Array) -> None:
    """chosen: the codes' vectors, flat, 0 for a code of −1, whose weight is 0."""
    D = e.shape[1]
    for n in range(k.size):
        j = k[n]
        if j >= 0:
            for d in range(D):
                chosen[n * D + d] = e[j, d]
                weight[n * D + d] = 1
        else:
            for d in range(D):
                chosen[n * D + d] = 0
                weight[n * D + d] = 0


@jit(nogil=True)
def _subtract(
    r: Array, e: Array, codes: Array, i: int, used: Array, k: Array, z_q: Array
) -> float:
    """r −= e_k, z_q += e_k and k_i of vectors that have more than i codes; return Σ r² of these.

    r, z_q: (N, D), e: (K, D), codes, used: (N,), k: (N, n)
    """
    N, D = r.shape
    chosen, weight, sums = np.empty(ROWS * D, r.dtype), np.empty(ROWS * D, r.dtype), np.zeros(ROWS * D)
    for start in range(0, N, ROWS):
        stop = min(start + ROWS, N)
        for n in range(start, stop):
            if used[n] <= i:
                codes[n] = -1
            k[n, i] = codes[n]
        _gather(e, codes[start:stop], chosen, weight)
        x, q = r[start:stop].reshape(-1), z_q[start:stop].reshape(-1)
        for j in range(x.size):
            x[j] -= chosen[j]
        for j in range(x.size):
            q[j] += chosen[j]
        for j in range(x.size):
            left = np.float64(x[j] * weight[j])
            sums[j] += left * left
    return sums.sum()


@jit(nogil=True)
def _gradient(dz_q: Array, z: Array, E: Array, k: Array, factor: float, dz: Array) -> None:
    (N, D), n, C = z.shape, k.shape[1], len(E)
    r, chosen, weight, total = (
        np.empty(ROWS * D, z.dtype), np.empty(ROWS * D, z.dtype), np.empty(ROWS * D, z.dtype),
        np.empty(ROWS * D, z.dtype),
    )  # fmt: skip
    for start in range(0, N, ROWS):
        stop = min(start + ROWS, N)
        x, dq, dx = (z[start:stop].reshape(-1), dz_q[start:stop].reshape(-1), dz[start:stop].reshape(-1))
        r[: x.size] = x
        total[:] = 0
        for i in range(n):
            _gather(E[i % C], k[start:stop, i], chosen, weight)
            for j in range(x.size):
                r[j] -= chosen[j]
            for j in range(x.size):
                total[j] += r[j] * weight[j]
        for j in range(x.size):
            dx[j] = dq[j] + factor * total[j]


@jit(nogil=True)
def _statistics(
    z: Array, E: Array, k: Array, first: int, last: int, after: bool, counts: Array, sums: Array
) -> bool:
    """Of the depths from first to last − 1; False at a code that is too large."""
    (N, D), C = z.shape, len(E)
    r = np.empty(D, z.dtype)
    for n in range(N):
        r[:] = z[n]
        for i in range(last):
            j = k[n, i]
            if j < 0:
                continue
            if j >= E.shape[1]:
                return False
            e = E[i % C, j]
            if i < first:
                for d in range(D):
                    r[d] -= e[d]
                continue
            counts[i, j] += 1
            total = sums[i, j]
            if after:
                for d in range(D):
                    r[d] -= e[d]
                    total[d] += np.float64(r[d])
            else:
                for d in range(D):
                    total[d] += np.float64(r[d])
                    r[d] -= e[d]
    return True
