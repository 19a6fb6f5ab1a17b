"""Figures of runs, codebooks and latents."""

from vqnp.plots.codebook import codebook_figure, save_sheet, training_figure
from vqnp.plots.latents import latent_training_figure, latents_figure
from vqnp.plots.style import save_figure

__all__ = [
    "codebook_figure",
    "latent_training_figure",
    "latents_figure",
    "save_figure",
    "save_sheet",
    "training_figure",
]
