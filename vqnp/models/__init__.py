"""Whole models, made of vqnp.nn."""

from collections.abc import Mapping
from typing import Any

from vqnp._check import check_choice
from vqnp.models.autoencoder import Autoencoder, AutoencoderLosses
from vqnp.models.base import ImageModel
from vqnp.models.vae import VAE, VAELosses
from vqnp.models.vqvae import VQVAE, Losses

MODELS: dict[str, type[VQVAE | VAE | Autoencoder]] = {"vqvae": VQVAE, "vae": VAE, "autoencoder": Autoencoder}
"""Every model by the name that the command line and a checkpoint have for it."""


def build(kind: Any, config: Mapping[str, Any], **more: Any) -> VQVAE | VAE | Autoencoder:
    """The model of a kind with these arguments, such as model.config; more: rng.

    Raises
    ------
    InputError
        An unknown kind, or an argument out of range; TypeError for an argument that the model has not.
    """
    check_choice("build", "kind", kind, tuple(MODELS))
    return MODELS[kind](**config, **more)


__all__ = [
    "MODELS",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "AutoencoderLosses",
    "ImageModel",
    "Losses",
    "VAELosses",
    "build",
]
