"""y_m = b + Σ_t x[at(m, t) :] W_t,  dW_t = Σ_m x[at(m, t) :]ᵀ dy_m: both in NumPy.

x: flat, at: (M, T) int64, W: (T, K, N), b: (N,) -> y: (M, N)

The table says where each row's operands begin in x. For a linear layer T = 1 and at(m, 0) = m K, so the table
describes a matrix; for a convolution there is one t for each row of its kernel, and at(m, t) is where that
row of the padded image begins for output pixel m.
"""

import numpy as np

from vqnp._check import Array


def product_plain(x: Array, at: Array, W: Array, b: Array | None = None) -> Array:
    """y_m = b + Σ_t x[at(m, t) : at(m, t) + K] W_t; b is 0 if None."""
    M, T = at.shape
    y = np.zeros((M, W.shape[2]), W.dtype) if b is None else np.repeat(b[None], M, axis=0)
    for t in range(T):
        y += x[at[:, t, None] + np.arange(W.shape[1])] @ W[t]
    return y


def gradient_plain(x: Array, at: Array, K: int, dy: Array) -> Array:
    """dW_t = Σ_m x[at(m, t) : at(m, t) + K]ᵀ dy_m; dy: (M, N) -> dW: (T, K, N)."""
    M, T = at.shape
    dW = [x[at[:, t, None] + np.arange(K)].T @ dy for t in range(T)]
    return np.stack(dW) if T else np.zeros((0, K, dy.shape[1]), dy.dtype)
