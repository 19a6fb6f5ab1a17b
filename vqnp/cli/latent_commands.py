"""What `vqnp inspect` says of a continuous latent: its units, and how much they tell of the image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vqnp._check import Array
from vqnp.evaluation.latents import LatentEvaluation
from vqnp.metrics.posterior import mutual_information
from vqnp.models import VAE, Autoencoder

SOME = 2000
"""Images among which mutual_information tells one from the others: 4 million densities, a second."""


def report(model: Autoencoder, images: Array, result: LatentEvaluation) -> Iterator[str]:
    """The lines of inspect beneath the table; images: at most SOME of those that result is of."""
    if not isinstance(model, VAE) or result.kl_per_unit is None:
        low, middle, high = np.quantile(result.variance, [0, 0.5, 1])
        yield f"{'variance of a unit':<21}{low:.3g} to {high:.3g}, median {middle:.3g}"
        return
    mu, logvar = model.posterior(images)
    eps = np.random.default_rng(0).standard_normal(mu.shape, model.dtype)
    said = mutual_information(mu, logvar, eps)
    about = f"{said.information:.2f} nats in a draw (standard error {said.error:.2f})"
    yield f"{'says which image':<21}{about}"
    yield f"{'  and at most':<21}{said.limit:.2f} nats, log {len(mu)} images; {said.kl:.2f}, their KL"
    yield from _histogram(result.kl_per_unit)


def _histogram(kl: Array) -> Iterator[str]:
    """How many units have which KL, as bars."""
    edges = [0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0, np.inf]
    names = ["< 0.01", "0.01-0.1", "0.1-0.5", "0.5-1", "1-2", "2-4", ">= 4"]
    yield "KL of a unit (nats)  units"
    for name, n in zip(names, np.histogram(kl, edges)[0], strict=True):
        yield f"  {name:<19}{n:<5d} {'#' * round(50 * n / len(kl))}".rstrip()
