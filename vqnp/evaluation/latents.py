"""MSE = ⟨(x̂ − x)²⟩ of an autoencoder or a VAE, the VAE's −log p(x|z) and KL, and what each unit does.

Over a whole data set, in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, fail
from vqnp._images import to_float
from vqnp.data import ArrayStream
from vqnp.data.batches import BATCH, batches, origin
from vqnp.metrics.posterior import ACTIVE
from vqnp.models import VAE, Autoencoder
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


def evaluate_latents(
    model: Autoencoder, images: Array | ArrayStream, progress: bool = False
) -> LatentEvaluation:
    """MSE, variance of each unit, and a VAE's likelihood and KL, over all images.

    images: (n, *image_shape), uint8 or float in [0, 1], in memory or streamed -> LatentEvaluation

    The draws of z are from a generator of their own (seed 0), an image's the same however it is batched.
    """
    D, rng = model.latent_dim, np.random.default_rng(0)
    square, nll, entries, n = 0.0, 0.0, 0, 0
    mean, spread, kl = np.zeros(D), np.zeros(D), np.zeros(D)
    total = -(-len(images) // BATCH)
    for batch in tqdm(batches(images), total=total, unit="batch", delay=1, disable=not progress):
        x = to_float(batch, np.float64, first=n, where=origin(images, "evaluate"))
        if isinstance(model, VAE):
            z, logvar = model.posterior(batch, n)
            kl += gaussian_kl_terms(z, logvar).sum(axis=0, dtype=np.float64)
            eps = rng.standard_normal(z.shape, model.dtype)
            a = model.decoded(z + np.exp(logvar / 2) * eps)
            nll += float(model.nll_forward(a, model.pixels(batch))[0]) * len(batch)
        else:
            z = model.latents(batch, n)
        error = model.decode(z).astype(np.float64) - x.reshape(-1, *model.image_shape)
        square += float((error * error).sum())
        entries += error.size
        # Two sets' means and sums of squares become one's (Chan et al. 1979): nothing cancels.
        m = len(batch)
        step = z.mean(axis=0, dtype=np.float64) - mean
        spread += z.var(axis=0, dtype=np.float64) * m + step * step * (n * m / (n + m))
        mean += step * (m / (n + m))
        n += m
    if n == 0:
        fail("evaluate", "images", "must hold at least one image", "none")
    if not isinstance(model, VAE):
        return LatentEvaluation(square / entries, n, spread / n)
    return LatentEvaluation(square / entries, n, spread / n, nll / n, kl / n)
