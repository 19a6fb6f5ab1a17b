"""MSE = ⟨(x̂ − x)²⟩ of an autoencoder or a VAE, the VAE's −log p(x|z) and KL, and what each unit does.

Over a whole data set, in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.data import ArrayStream
from vqnp.data.batches import origin
from vqnp.evaluation.error import SquaredError, numbered_batches
from vqnp.metrics.posterior import ACTIVE
from vqnp.ops.gaussian import gaussian_kl_terms


@dataclass(frozen=True)
class LatentEvaluation:
    """What a model with a continuous latent does to a data set.

    mse is of decode(encode(x)), so at the VAE's mean, in units of the pixel range [0, 1] squared;
    variance: (D,) of each unit of encode(x) over the images. Of a VAE also, in nats per image:
    reconstruction_loss, −log p(x|z) at one draw of z for each image, and kl_per_unit: (D,).
    """

    mse: float
    images: int
    variance: Array
    reconstruction_loss: float | None = None
    kl_per_unit: Array | None = None

    @property
    def latent_dim(self) -> int:
        """D."""
        return len(self.variance)

    @property
    def kl(self) -> float | None:
        """⟨KL(q(z|x) ‖ N(0, I))⟩, in nats per image; None without a posterior."""
        return None if self.kl_per_unit is None else float(self.kl_per_unit.sum())

    @property
    def active_units(self) -> int:
        """Units whose variance is above 0.01: a VAE's active units (see vqnp.posterior)."""
        return int((self.variance > ACTIVE).sum())

    @property
    def elbo(self) -> float | None:
        """−(reconstruction_loss + kl), a lower bound of ⟨log p(x)⟩ for an image, in nats, up to one draw."""
        if self.reconstruction_loss is None or self.kl is None:
            return None
        return -(self.reconstruction_loss + self.kl)

    def row(self) -> dict[str, float]:
        """What an epoch's row of the history says of the test images."""
        row = {"test_mse": self.mse}
        if self.reconstruction_loss is not None and self.kl is not None:
            row |= {
                "test_reconstruction_loss": self.reconstruction_loss,
                "test_kl": self.kl,
                "test_active_units": self.active_units,
            }
        return row

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as JSON has it."""
        figures: dict[str, Any] = {"mse": self.mse, "images": self.images, "latent_dim": self.latent_dim}
        if self.kl_per_unit is not None:
            figures |= {
                "reconstruction_loss": self.reconstruction_loss,
                "kl": self.kl,
                "elbo": self.elbo,
                "active_units": self.active_units,
                "kl_per_unit": self.kl_per_unit.tolist(),
            }
        return figures | {"latent_variance": self.variance.tolist()}

    def __str__(self) -> str:
        D = self.latent_dim
        rows = [
            ("images", f"{self.images} ({D} numbers each)"),
            ("test MSE", f"{self.mse:.5f}"),
        ]
        if self.kl is not None:
            rows += [
                ("-log p(x|z)", f"{self.reconstruction_loss:.2f} nats per image"),
                ("KL from the prior", f"{self.kl:.2f} nats per image"),
                ("bound on log p(x)", f"{self.elbo:.2f} nats per image"),
                ("active units", f"{self.active_units} of {D}"),
            ]
        return "\n".join(f"{name:<21}{value}" for name, value in rows)


class _Moments:
    """Mean and variance of each latent unit, a batch at a time, without cancellation (Chan et al. 1979)."""

    def __init__(self, units: int) -> None:
        self.n, self.mean, self.spread = 0, np.zeros(units), np.zeros(units)

    def add(self, z: Array) -> None:
        """z: (m, units)"""
        m, n = len(z), self.n
        step = z.mean(axis=0, dtype=np.float64) - self.mean
        self.spread += z.var(axis=0, dtype=np.float64) * m + step * step * (n * m / (n + m))
        self.mean += step * (m / (n + m))
        self.n += m


def evaluate_latents(model: Any, images: Array | ArrayStream, progress: bool = False) -> LatentEvaluation:
    """MSE of decode(z), and the variance of each unit of z, over all images.

    images: (n, *data.shape), uint8 or float in the data's range, in memory or streamed -> LatentEvaluation

    Parameters
    ----------
    model : Autoencoder
    images : ndarray or ArrayStream
    progress : bool
        A bar on standard error once it takes longer than a second.

    Raises
    ------
    InputError
        No images, or images of another shape than the model's.
    """
    errors, moments = SquaredError(model), _Moments(int(np.prod(model.encoding.shape)))
    for first, batch in numbered_batches(images, progress):
        z = model.latents(batch, first)
        errors.add(model.decode(z), batch, first, origin(images, "evaluate"))
        moments.add(z.reshape(len(z), -1))
    return LatentEvaluation(errors.mean(), moments.n, moments.spread / moments.n)


def evaluate_vae(model: Any, images: Array | ArrayStream, progress: bool = False) -> LatentEvaluation:
    """evaluate_latents at the posterior's mean; −log p(x|z) at one draw, and each unit's KL, in nats.

    images: (n, *data.shape), uint8 or float in the data's range, in memory or streamed -> LatentEvaluation

    The draws of z are from a generator of their own (seed 0); an image's draw does not depend on how the
    images are batched. Arguments and errors as in evaluate_latents.
    """
    rng, units = np.random.default_rng(0), int(np.prod(model.encoding.shape))
    errors, moments, nll, kl = SquaredError(model), _Moments(units), 0.0, np.zeros(units)
    for first, batch in numbered_batches(images, progress):
        mu, logvar = model.posterior(batch, first)
        errors.add(model.decode(mu), batch, first, origin(images, "evaluate"))
        moments.add(mu.reshape(len(mu), -1))
        kl += gaussian_kl_terms(mu, logvar).reshape(len(mu), -1).sum(axis=0, dtype=np.float64)
        eps = rng.standard_normal(mu.shape, mu.dtype)
        a = model.decode_raw(mu + np.exp(logvar / 2) * eps)
        nll += float(model.nll_forward(a, *model.prepare(batch))[0]) * len(batch)
    n = moments.n
    return LatentEvaluation(errors.mean(), n, moments.spread / n, nll / n, kl / n)
