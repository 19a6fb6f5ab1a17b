"""MSE = ⟨(x̂ − x)²⟩ of an autoencoder or a VAE, the VAE's −log p(x|z) and KL, and the variance of each unit.

Over a whole data set, in constant memory.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.data import ArrayStream
from vqnp.evaluation.error import SquaredError, Variance, aligned, checked_batches
from vqnp.metrics.posterior import ACTIVE
from vqnp.ops.gaussian import gaussian_kl_terms


@dataclass(frozen=True)
class LatentEvaluation:
    """The report on a model with a continuous latent over a data set.

    mse is that of decode(encode(x)), for a VAE at the posterior's mean, in the data's own units,
    squared; data_variance is that of the mean image, which a model that reconstructs anything is below;
    variance: (D,) of each unit of encode(x) over the images. Of a VAE also, in nats per image:
    reconstruction_loss, −log p(x|z) at one draw of z for each image, and kl_per_unit: (D,).

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:20]
    >>> report = vqnp.evaluate(vqnp.VAE.mlp(latent_dim=3), images)
    >>> list(report.row()), report.elbo == -(report.reconstruction_loss + report.kl)
    (['test_mse', 'test_reconstruction_loss', 'test_kl', 'test_active_units'], True)
    """

    mse: float
    images: int
    variance: Array
    reconstruction_loss: float | None = None
    kl_per_unit: Array | None = None
    data_variance: float = math.nan

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
        """The number of units with a variance above 0.01: see vqnp.metrics.active_units."""
        return int((self.variance > ACTIVE).sum())

    @property
    def elbo(self) -> float | None:
        """−(reconstruction_loss + kl), an estimate from one draw of a lower bound of ⟨log p(x)⟩, in nats."""
        if self.reconstruction_loss is None or self.kl is None:
            return None
        return -(self.reconstruction_loss + self.kl)

    def row(self) -> dict[str, float]:
        """The columns of the history for the test images."""
        row = {"test_mse": self.mse}
        if self.reconstruction_loss is not None and self.kl is not None:
            row |= {"test_reconstruction_loss": self.reconstruction_loss, "test_kl": self.kl}
            row |= {"test_active_units": self.active_units}
        return row

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON."""
        figures: dict[str, Any] = {"mse": self.mse, "data_variance": self.data_variance}
        figures |= {"images": self.images, "latent_dim": self.latent_dim}
        if self.kl_per_unit is not None:
            figures |= {"reconstruction_loss": self.reconstruction_loss, "kl": self.kl, "elbo": self.elbo}
            figures |= {"active_units": self.active_units, "kl_per_unit": self.kl_per_unit.tolist()}
        return figures | {"latent_variance": self.variance.tolist()}

    def __str__(self) -> str:
        D = self.latent_dim
        useless = self.mse >= self.data_variance > 0
        worse = ", not below the data's variance: nothing is reconstructed" * useless
        rows = [("images", f"{self.images} ({D} numbers each)"), ("test MSE", f"{self.mse:.5f}{worse}")]
        rows += [("data's variance", f"{self.data_variance:.5f}")]
        if self.kl is not None:
            rows += [
                ("-log p(x|z)", f"{self.reconstruction_loss:.2f} nats per image"),
                ("KL from the prior", f"{self.kl:.2f} nats per image"),
                ("bound on log p(x)", f"{self.elbo:.2f} nats per image"),
                ("active units", f"{self.active_units} of {D}"),
            ]
        return aligned(rows)


def evaluate_latents(model: Any, images: Array | ArrayStream, progress: bool = False) -> LatentEvaluation:
    """MSE of decode(z), and the variance of each unit of z, over all images.

    images: (n, *data.shape), in memory or streamed -> LatentEvaluation

    Parameters and errors are those of `evaluate`; model is an Autoencoder.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:20]
    >>> report = evaluate_latents(vqnp.Autoencoder.mlp(latent_dim=3), images)
    >>> report.images, report.variance.shape, report.elbo  # no posterior, no bound
    (20, (3,), None)
    """
    errors, spread, moments = SquaredError(), Variance(), Variance()
    for first, batch, x in checked_batches(model, images, progress):
        z = model.latents(batch, first)
        errors.add(model.decode(z), x)
        spread.add(x)
        moments.add(z.reshape(len(z), -1))
    variance = float(spread.value().mean())
    return LatentEvaluation(errors.mean(), moments.n, moments.value(), data_variance=variance)


def evaluate_vae(model: Any, images: Array | ArrayStream, progress: bool = False) -> LatentEvaluation:
    """MSE and variance at the posterior's mean; −log p(x|z) at one draw, and the KL of each unit, in nats.

    images: (n, *data.shape), in memory or streamed -> LatentEvaluation

    The draws of z are from a generator with seed 0, and an image's draw does not depend on the batches.
    Parameters and errors are those of `evaluate`; model is a VAE.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:20]
    >>> report = evaluate_vae(vqnp.VAE.mlp(latent_dim=3), images)
    >>> report.kl_per_unit.shape, (report.kl_per_unit >= 0).all(), report.elbo < 0
    ((3,), np.True_, True)
    """
    rng, nll, kl = np.random.default_rng(0), 0.0, np.zeros(int(np.prod(model.encoding.shape)))
    errors, spread, moments = SquaredError(), Variance(), Variance()
    for first, batch, x in checked_batches(model, images, progress):
        mu, logvar = model.posterior(batch, first)
        errors.add(model.decode(mu), x)
        spread.add(x)
        moments.add(mu.reshape(len(mu), -1))
        kl += gaussian_kl_terms(mu, logvar).reshape(len(mu), -1).sum(axis=0, dtype=np.float64)
        eps = rng.standard_normal(mu.shape, mu.dtype)
        a = model.decode_raw(mu + np.exp(logvar / 2) * eps)
        nll += float(model.nll_forward(a, *model.prepare(batch))[0]) * len(batch)
    n = moments.n
    variance = float(spread.value().mean())
    return LatentEvaluation(errors.mean(), n, moments.value(), nll / n, kl / n, variance)
