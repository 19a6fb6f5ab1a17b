"""Jᵀ G of the estimators known from public code, J = ∂z_q/∂z: straight-through and rotations, n depths.

G, and at depth i the residual r_{i−1} and its code e_i: (N, D) each -> Jᵀ G: (N, D)
"""

from collections.abc import Sequence

import numpy as np

from vqnp._check import Array
from vqnp.ops.rotation import rotate_backward, rotate_forward


def rotated(r: Array, e: Array, G: Array) -> Array:
    """λRᵀ G of the rotation that takes r to e."""
    return rotate_backward(G, rotate_forward(np.ascontiguousarray(r), np.ascontiguousarray(e))[1])


def one_vector(z: Array, q: Array, G: Array) -> dict[str, Array]:
    """Jᵀ G of a quantizer of one code: z is replaced by q."""
    turned = rotated(z, q, G)
    length_z, length_q = (np.linalg.norm(a, axis=1, keepdims=True) for a in (z, q))
    usable = np.maximum(length_z, 1e-300)
    scale = length_q / usable
    along = (q * G).sum(axis=1, keepdims=True)
    back = rotated(q, z, G) * scale**2  # λR G, where Rᵀ is the rotation from q to z
    return {
        "straight_through": G,
        "rotation": turned,
        "rotation_unscaled": turned / np.where(scale > 0, scale, 1),
        "rotation_transposed": back,
        "scale_not_detached": turned - z * along / usable**2,
        "zero": np.zeros_like(G),
    }


def several(residuals: Sequence[Array], codes: Sequence[Array], G: Array) -> dict[str, Array]:
    """Jᵀ G of n depths; residuals: r_0 = z, …, r_{n−1}; codes: e_1, …, e_n."""
    n, z, z_q = len(codes), residuals[0], sum(codes)
    steps = list(zip(residuals, codes, strict=True))
    left, through = np.zeros_like(G), np.zeros_like(G)  # the gradients of r_n
    for r, e in reversed(steps):
        through = through + rotated(r, e, G - through)
    return {
        "straight_through": G,
        "n_times": n * G,
        "rotation": rotated(z, np.asarray(z_q), G),
        "rotation_each": np.asarray(sum(rotated(r, e, G) for r, e in steps)),
        "rotation_through": through,
        "first_rotated": rotated(*steps[0], G),
        "zero": left,
    }
