"""Whole models, built from parts in vqnp.nn."""

from vqnp.models.autoencoder import Autoencoder
from vqnp.models.base import Encoding, Model
from vqnp.models.hierarchical import HierarchicalVQVAE
from vqnp.models.level import Level
from vqnp.models.sound import SoundVQVAE
from vqnp.models.vae import VAE
from vqnp.models.vqvae import VQVAE

MODELS: dict[str, type[Model]] = {
    model.kind: model for model in (VQVAE, VAE, Autoencoder, HierarchicalVQVAE, SoundVQVAE)
}
"""Every model by its name on the command line."""

__all__ = [
    "MODELS", "VAE", "VQVAE", "Autoencoder", "Encoding", "HierarchicalVQVAE", "Level", "Model", "SoundVQVAE",
]
