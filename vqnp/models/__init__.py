"""Whole models, built from parts in vqnp.nn."""

from vqnp.models.autoencoder import Autoencoder
from vqnp.models.base import Encoding, Model
from vqnp.models.vae import VAE
from vqnp.models.vqvae import VQVAE

MODELS: dict[str, type[VQVAE] | type[VAE] | type[Autoencoder]] = {
    model.kind: model for model in (VQVAE, VAE, Autoencoder)
}
"""Every model by its name on the command line."""

__all__ = ["MODELS", "VAE", "VQVAE", "Autoencoder", "Encoding", "Model"]
