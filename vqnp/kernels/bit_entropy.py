"""Σ_n H(p_n), and Σ_n of p_nd and 1 − p_nd or of p_n(k): the sums of entropies of independent bits.

a: (N, D), p = σ(a), p_n(k) = Π_d p_nd^(k_d) (1 − p_nd)^(1 − k_d). No array of N · 2^D numbers is made.
"""

import numpy as np

from vqnp._check import Array
from vqnp.kernels.exp import exp, log1p
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

LANES = 16
"""Vectors at a time, next to each other in memory, so that every loop over them is vectorized."""

SUMMED_ROWS = 1 << 12
"""Rows that are summed together, whatever the number of threads."""


def sigmoids_plain(a: Array) -> tuple[Array, Array]:
    """p = σ(a) and 1 − p = σ(−a), neither by a subtraction; exp is only ever applied to −|a|."""
    small = np.exp(-np.abs(a))
    near, far = 1 / (1 + small), small / (1 + small)
    return np.where(a >= 0, near, far), np.where(a >= 0, far, near)


def joint_plain(p: Array, q: Array) -> Array:
    """p_n(k) of every code, its lowest bit first: (N, D) -> (N, 2^D)."""
    P = np.ones((len(p), 1), p.dtype)
    for d in range(p.shape[1]):
        P = np.concatenate([P * q[:, d : d + 1], P * p[:, d : d + 1]], axis=1)
    return P


def bit_entropy_sums_plain(a: Array, joint: bool) -> tuple[float, Array]:
    """Σ_n H(p_n), and Σ_n p_n(k): (2^D,), or Σ_n of 1 − p_nd, then of p_nd: (2, D); all in float64.

    h(σ(a)) = log(1 + exp(−|a|)) + |a| σ(−|a|), without overflow.
    """
    p, q = sigmoids_plain(a)
    size = np.abs(a, dtype=np.float64)
    sample = float((np.log1p(np.exp(-size)) + size * sigmoids_plain(-size)[0]).sum())
    if joint:
        return sample, joint_plain(p, q).sum(axis=0, dtype=np.float64)
    return sample, np.stack([q.sum(axis=0, dtype=np.float64), p.sum(axis=0, dtype=np.float64)])


def bit_entropy_gradient_plain(a: Array, f: Array, u: float, v: float) -> Array:
    """da_nd = σ'(a_nd) (u a_nd + v (E_n[f | k_d = 1] − E_n[f | k_d = 0])),  σ' = p (1 − p).

    a: (N, D), f: (2^D,), or (2, D) for a sum Σ_d f[k_d, d] -> (N, D)

    σ' times the difference is Σ_k p_n(k) f(k) (k_d − p_nd).
    """
    p, q = sigmoids_plain(a)
    if f.ndim == 2:
        return p * q * (u * a + v * (f[1] - f[0]))
    da = np.empty_like(a)
    F = np.broadcast_to(f, (len(a), f.size))
    below = [np.ones((len(a), 1), a.dtype)]
    for d in range(a.shape[1] - 1):
        below.append(joint_plain(p[:, : d + 1], q[:, : d + 1]))
    for d in reversed(range(a.shape[1])):  # the bits above d are averaged already, those below are not
        off, on = F[:, : 1 << d], F[:, 1 << d :]
        da[:, d] = u * a[:, d] + v * (below[d] * (on - off)).sum(axis=1)
        F = q[:, d : d + 1] * off + p[:, d : d + 1] * on
    return p * q * da


def bit_entropy_sums(a: Array, joint: bool) -> tuple[float, Array]:
    """bit_entropy_sums_plain, compiled."""
    if not JIT:
        return bit_entropy_sums_plain(a, joint)
    a = np.ascontiguousarray(a)
    N, D = a.shape
    parts = -(-N // SUMMED_ROWS)
    samples, sums = np.zeros(parts), np.zeros((parts, 1 << D if joint else 2 * D))

    def work(i: int, j: int) -> None:
        for part in range(i, j):
            rows = a[part * SUMMED_ROWS : (part + 1) * SUMMED_ROWS]
            samples[part] = _sums(rows, joint, sums[part])

    in_blocks(work, parts, _cost(D, joint) * SUMMED_ROWS)
    total = sums.sum(axis=0)
    return float(samples.sum()), total if joint else total.reshape(2, D)


def bit_entropy_gradient(a: Array, f: Array, u: float, v: float) -> Array:
    """bit_entropy_gradient_plain, compiled."""
    if not JIT:
        return bit_entropy_gradient_plain(a, f, u, v)
    a, f, number = np.ascontiguousarray(a), np.ascontiguousarray(f), a.dtype.type
    da, u, v, joint = np.empty_like(a), number(u), number(v), f.ndim == 1
    cost = _cost(a.shape[1], joint)
    in_blocks(lambda i, j: _gradient(a[i:j], joint, f.reshape(-1), u, v, da[i:j]), len(a), cost, LANES)
    return da


def _cost(D: int, joint: bool) -> int:
    """Multiply-adds of a vector."""
    return 4 * MULTIPLY_ADDS_PER_ELEMENT * D + (4 << D) * joint


@jit(nogil=True, error_model="numpy")
def _bits(a: Array, start: int, x: Array, p: Array, q: Array) -> None:
    """a, p and 1 − p of LANES rows of a: (N, D), from start: (D, LANES); 0 where there are no rows."""
    N, D = a.shape
    zero, one = a.dtype.type(0), a.dtype.type(1)
    rows = min(LANES, N - start)
    if rows < LANES:
        x[:] = zero
    for l in range(rows):
        for d in range(D):
            x[d, l] = a[start + l, d]
    for d in range(D):
        for l in range(LANES):
            small = exp(-abs(x[d, l]))  # type: ignore[no-untyped-call]
            near = one / (one + small)
            far = small * near
            p[d, l] = near if x[d, l] >= zero else far
            q[d, l] = far if x[d, l] >= zero else near
    if rows < LANES:
        p[:, rows:] = zero
        q[:, rows:] = zero


@jit(nogil=True, error_model="numpy")
def _sums(a: Array, joint: bool, sums: Array) -> float:
    """Add to sums: (2^D,) or (2 D,); return Σ_n H(p_n). a: (N, D)."""
    N, D = a.shape
    zero, one = a.dtype.type(0), a.dtype.type(1)
    x, p, q = (np.empty((D, LANES), a.dtype), np.empty((D, LANES), a.dtype), np.empty((D, LANES), a.dtype))
    P = np.empty((1 << D if joint else 1, LANES), a.dtype)
    total, sample = np.zeros((sums.size, LANES)), np.zeros(LANES)
    for start in range(0, N, LANES):
        _bits(a, start, x, p, q)
        if N - start < LANES:
            x[:, N - start :] = a.dtype.type(np.inf)  # whose entropy is 0
        for d in range(D):
            for l in range(LANES):
                size = abs(x[d, l])
                small = exp(-size)  # type: ignore[no-untyped-call]
                far = small / (one + small)
                rest = size * far if far > zero else zero
                sample[l] += np.float64(log1p(small) + rest)  # type: ignore[no-untyped-call]
        if joint:
            P[0, :] = one
            for d in range(D):
                half = 1 << d
                for k in range(half):
                    for l in range(LANES):
                        P[half + k, l] = P[k, l] * p[d, l]
                        P[k, l] *= q[d, l]
            for k in range(P.shape[0]):
                for l in range(LANES):
                    total[k, l] += np.float64(P[k, l])
        else:
            for d in range(D):
                for l in range(LANES):
                    total[d, l] += np.float64(q[d, l])
                    total[D + d, l] += np.float64(p[d, l])
    for k in range(sums.size):
        sums[k] = total[k].sum()
    return sample.sum()


@jit(nogil=True, error_model="numpy")
def _gradient(a: Array, joint: bool, f: Array, u: float, v: float, da: Array) -> None:
    N, D = a.shape
    zero, one = a.dtype.type(0), a.dtype.type(1)
    x, p, q = (np.empty((D, LANES), a.dtype), np.empty((D, LANES), a.dtype), np.empty((D, LANES), a.dtype))
    below = np.empty((1 << D if joint else 2, LANES), a.dtype)  # p(k) of bits 0 to d − 1, from place 2^d
    F = np.empty((1 << D if joint else 1, LANES), a.dtype)
    gap = np.empty((D, LANES), a.dtype)
    for start in range(0, N, LANES):
        _bits(a, start, x, p, q)
        if joint:
            below[1, :] = one
            for d in range(D - 1):
                half = 1 << d
                for k in range(half):
                    for l in range(LANES):
                        below[2 * half + k, l] = below[half + k, l] * q[d, l]
                        below[3 * half + k, l] = below[half + k, l] * p[d, l]
            for k in range(1 << D):
                F[k, :] = f[k]
            for i in range(D):
                d = D - 1 - i
                half = 1 << d
                gap[d, :] = zero
                for k in range(half):
                    for l in range(LANES):
                        off, on = F[k, l], F[half + k, l]
                        gap[d, l] += below[half + k, l] * (on - off)
                        F[k, l] = q[d, l] * off + p[d, l] * on
        else:
            for d in range(D):
                gap[d, :] = f[D + d] - f[d]
        for l in range(min(LANES, N - start)):
            for d in range(D):
                da[start + l, d] = p[d, l] * q[d, l] * (u * x[d, l] + v * gap[d, l])
