"""y = λRz with λR held fixed,  λ = ‖q‖/‖z‖,  R the rotation that takes z/‖z‖ to q/‖q‖: the rotation trick.

z, q: (..., D) -> y = q: (..., D)

In the forward pass y is q, because λRz = q. In the backward pass dz = λRᵀ dy, where straight-through has
dz = dy.
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array
from vqnp._shapes import checked

Cache = tuple[Any, ...]

ESTIMATORS = ("straight_through", "rotation")
"""How the gradient of a code z_q reaches the vector z: copied, or rotated as z is rotated to z_q."""


@checked(z="(..., D)", q="(..., D)")
def rotate_forward(z: Array, q: Array) -> tuple[Array, Cache]:
    """y = q = λRz,  R = I − 2rrᵀ + 2q̂ẑᵀ,  ẑ = z/‖z‖,  q̂ = q/‖q‖,  r = (ẑ + q̂)/‖ẑ + q̂‖,  λ = ‖q‖/‖z‖.

    z, q: (..., D) of one shape -> y: (..., D)

    R is orthogonal, takes ẑ to q̂ in the plane of the two, and leaves everything perpendicular to this plane
    as it is. Three cases have no such rotation:

    - q̂ = −ẑ: a half turn takes ẑ to q̂ in every plane that contains ẑ. The one matrix that prefers none of
      these planes is the reflection R = I − 2ẑẑᵀ, which the equation gives for r = 0. It is used where
      ‖ẑ + q̂‖ < √ε (ε of the dtype), since rounding would decide the direction of r there.
    - z = 0, or ‖z‖ below the smallest normal number: ẑ does not exist. The gradient is copied, dz = dy.
    - q = 0: q̂ does not exist, and λ = 0 would give the vectors of this code no gradient from the decoder at
      all. The gradient is copied here too.

    Raises
    ------
    InputError
        Wrong shape or dtype.

    References
    ----------
    Fifty et al. 2024, arXiv 2410.06424, section 4, with R as the product of two Householder reflections.
    """
    length_z, length_q = _length(z), _length(q)
    tiny = np.finfo(z.dtype).tiny
    none = (length_z < tiny) | (length_q < tiny)
    z_hat = np.where(none, 0, z / np.where(none, 1, length_z)).astype(z.dtype)
    q_hat = np.where(none, 0, q / np.where(none, 1, length_q)).astype(z.dtype)
    half_way = z_hat + q_hat
    length = _length(half_way)
    opposite = length < np.sqrt(np.finfo(z.dtype).eps)
    r = np.where(opposite, 0, half_way / np.where(opposite, 1, length)).astype(z.dtype)
    scale = np.where(none, 1, length_q / np.where(none, 1, length_z)).astype(z.dtype)
    return q.copy(), (z_hat, q_hat, r, scale)


def rotate_backward(dy: Array, cache: Cache) -> Array:
    """dz = λRᵀ dy = λ (dy − 2 r (r·dy) + 2 ẑ (q̂·dy)); q has no gradient, since λR and q are held fixed.

    dy: (..., D) -> dz: (..., D)

    The angle between dz and z is the angle between dy and q, and ‖dz‖ = λ‖dy‖.
    """
    z_hat, q_hat, r, scale = cache
    check_array("rotate_backward", "dy", dy, shape=r.shape, dtype=r.dtype)
    return scale * (dy - 2 * r * _dot(r, dy) + 2 * z_hat * _dot(q_hat, dy))


def _dot(a: Array, b: Array) -> Array:
    return (a * b).sum(axis=-1, keepdims=True)


def _length(x: Array) -> Array:
    """‖x‖ in float64, so that a float32 vector's squares neither overflow nor vanish: (..., 1)."""
    return np.sqrt(np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True))
