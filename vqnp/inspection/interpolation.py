"""z(t) = (1 − t) z_a + t z_b: a path between two images through the latents."""

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, as_array, check_int, fail
from vqnp._images import to_float
from vqnp.models import Model


class Path(NamedTuple):
    """A path from one image to another.

    t: (T,) from 0 to 1; codes: (T, *latent_shape), or (T, 0) if latents are not quantized, or of several
    levels a tuple of (T, *latent_shape[l − 1]); images: (T, *data.shape)
    """

    t: Array
    codes: Any
    images: Array


def interpolate(model: Model, a: Array, b: Array, steps: int) -> Path:
    """z(t) = (1 − t) z_a + t z_b,  x̂(t) = decoder(q(z(t))),  q(z) = e_k, k = argmin ‖z − e_j‖², or q(z) = z.

    a, b: (*data.shape) -> Path of T = steps points, from a's reconstruction to b's

    The latents move on a straight line. Those of a VQVAE are quantized at each point: the codes, and with
    them the image, change only where the line enters another code's cell; vqnp.metrics.code_changes counts
    these changes. Those of an Autoencoder, and the means of a VAE, are decoded directly, and path.codes is
    empty. Of several levels, the latents of each move on a line of their own, at the same t.

    Parameters
    ----------
    model : VQVAE, HierarchicalVQVAE, SoundVQVAE, Autoencoder or VAE
    a, b : ndarray, shape data.shape
        uint8, or float in the data's range.
    steps : int
        T, at least 2.

    Raises
    ------
    InputError
        If the model is another object, an image has another shape, or steps is below 2.
    """
    T = check_int("interpolate", "steps", steps, 2)
    if not hasattr(model, "latents"):
        fail("interpolate", "model", "must be a VQVAE, an Autoencoder or a VAE", type(model).__name__)
    ends = [model.data.to_array(np.asarray(image)[None], model.dtype, "interpolate") for image in (a, b)]
    z = model.latents(np.concatenate(ends))
    t = np.linspace(0, 1, T)
    line = tuple(_line(level, t) for level in z) if isinstance(z, tuple) else _line(z, t)
    codes = model.quantize(line)
    if codes is None:
        return Path(t, np.empty((T, 0), np.int64), model.decode(line))
    return Path(t, codes, model.decode(codes))


def _line(z: Array, t: Array) -> Array:
    """(1 − t) z_a + t z_b: (2, ...) -> (T, ...)."""
    weight = t.astype(z.dtype).reshape(len(t), *(1 for _ in z.shape[1:]))
    line: Array = (1 - weight) * z[0] + weight * z[1]
    return line


def step_sizes(images: Array) -> Array:
    """√⟨(x̂(t + 1) − x̂(t))²⟩: how much the image changes at each step of a path.

    images: (T, ...), uint8 or float in [0, 1] -> (T − 1,) float64, in units of the pixel range

    On a smooth path all are similar; on a path that jumps, most are 0 and a few are large.
    """
    x = to_float(as_array("step_sizes", "images", images), np.float64, where="step_sizes")
    if x.ndim == 0 or x.size == 0:
        fail("step_sizes", "images", "must have shape (T, ...), none of it 0", f"shape {x.shape}")
    x = x.reshape(len(x), -1)
    return np.sqrt((np.diff(x, axis=0) ** 2).mean(axis=1))
