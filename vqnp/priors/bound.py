"""−log p(x) ≤ −log p(k(x)) − log p(x | k(x)): a bound on the likelihood of images, from prior and decoder.

x: (n, H, W) of 256 grey levels, k(x): the codes that the encoder gives x

p(x) = Σ_k p(k) p(x | k) is at least the one term of k(x). p(x | k) is a logistic around the decoder's output,
cut into 256 levels (vqnp.metrics.grey_level_nats), whose scale is fitted to training images.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, fail
from vqnp.metrics.likelihood import fit_scale, grey_level_nats
from vqnp.priors.generation import as_grids


class LikelihoodBound(NamedTuple):
    """The two terms, in nats per image; scale: that of the logistic, in grey levels; pixels: H W.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:20]
    >>> model = vqnp.VQVAE.mlp(num_latents=4, num_embeddings=8)
    >>> bound = likelihood_bound(model, vqnp.priors.Markov(model.encode(images), 8), images, images)
    >>> bound.pixels, bound.decoder_nats > bound.prior_nats > 0, bound.bits_per_pixel < 8  # 8: uniform
    (784, True, True)
    """

    prior_nats: float
    decoder_nats: float
    scale: float
    pixels: int

    @property
    def bits_per_pixel(self) -> float:
        """(prior_nats + decoder_nats) / (pixels ln 2), also called bits per dimension."""
        return (self.prior_nats + self.decoder_nats) / (self.pixels * math.log(2))

    def as_dict(self) -> dict[str, float]:
        """Every figure, as plain values for JSON."""
        return {**self._asdict(), "bits_per_pixel": self.bits_per_pixel}

    def __str__(self) -> str:
        one = self.pixels * math.log(2)
        parts = f"prior {self.prior_nats / one:.3f} + decoder {self.decoder_nats / one:.3f}"
        return f"{self.bits_per_pixel:.3f} bits a pixel: {parts}"


def likelihood_bound(model: Any, prior: Any, images: Array, training_images: Array) -> LikelihoodBound:
    """⟨−log p(k(x))⟩ + ⟨−log p(x | k(x))⟩ over images, in nats per image.

    Parameters
    ----------
    model : VQVAE or HierarchicalVQVAE
        A model of images with values in [0, 1].
    prior : Transformer, PixelCNN or Markov
        A prior over the model's codes; its distribution without a class is used.
    images, training_images : ndarray of uint8, shapes (n, *data.shape) and (n', *data.shape)
        The bound is measured on the first; the decoder's scale is fitted to the second.

    Raises
    ------
    InputError
        If images are not uint8: a density of real numbers has no bits.
    """
    for name, each in (("images", images), ("training_images", training_images)):
        if each.dtype != np.uint8:
            fail("likelihood_bound", name, "must be uint8, which has 256 levels", each.dtype)
    k = model.encode(images)
    nats = prior.nll(as_grids(model, k))
    levels = nats if isinstance(nats, tuple) else (nats,)
    prior_nats = sum(float(each.reshape(len(each), -1).sum(axis=1).mean()) for each in levels)
    scale = fit_scale(_scaled(model, model.encode(training_images)), training_images)
    decoder = grey_level_nats(_scaled(model, k), images, scale)
    return LikelihoodBound(prior_nats, float(decoder.mean()), scale, images[0].size)


def _scaled(model: Any, k: Any) -> Array:
    """x̂ scaled to [0, 1] from the model's range."""
    low, high = model.data.low, model.data.high
    return np.asarray((model.decode(k).astype(np.float64) - low) / (high - low))
