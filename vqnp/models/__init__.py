"""Whole models, made of vqnp.nn."""

from vqnp.models.vqvae import VQVAE, Losses

__all__ = ["VQVAE", "Losses"]
