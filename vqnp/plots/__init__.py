"""Figures of runs, codebooks and latents, in one style."""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from vqnp._check import Array
from vqnp.inspection.anatomy import code_anatomy
from vqnp.plots.codebook import codebook_figure, codebook_training_figure
from vqnp.plots.curves import History
from vqnp.plots.influence import influence_figure
from vqnp.plots.latents import autoencoder_training_figure, latents_figure, vae_training_figure
from vqnp.plots.levels import hierarchy_figure, hierarchy_training_figure
from vqnp.plots.sheets import are_signals, save_sheet
from vqnp.plots.sounds import sound_figure, sound_training_figure
from vqnp.plots.style import save_figure


def training_figure(report: Any, model: Any, history: History, images: Array) -> Figure:
    """The course of a training: curves, reconstructions, details; images: those of the report.

    Examples
    --------
    >>> import vqnp
    >>> images, model = vqnp.load_dataset("digits", "test").images[:10], vqnp.VAE.mlp(latent_dim=4)
    >>> history = vqnp.fit(model, images, images, epochs=2, progress=False)
    >>> figure = training_figure(vqnp.evaluate(model, images), model, history, images)
    >>> [axes.get_title() for axes in figure.axes][:2]
    ['Loss: reconstruction and KL', 'Units in use (test images)']
    """
    return TRAINING[model.kind](model, history, images, report)


def inspection_figure(report: Any, model: Any, images: Array) -> tuple[str, Figure]:
    """The figure of a model's codes or latent units, and the name of its file in a run folder.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:10]
    >>> model = vqnp.VQVAE.mlp(num_latents=4, num_embeddings=8)
    >>> name, figure = inspection_figure(vqnp.evaluate(model, images), model, images)
    >>> name, len(figure.axes)  # a tile for each of 8 codes, and the colours
    ('codebook.png', 9)
    """
    if model.kind == "sound":
        return "sounds.png", sound_figure(model, images, report)
    if model.encoding.name == "codes":
        return "codebook.png", codebook_figure(code_anatomy(model, images), model)
    if model.encoding.name == "levels":
        return "levels.png", hierarchy_figure(model, images, report)
    return "latents.png", latents_figure(model, images, report)


TRAINING: dict[str, Callable[..., Figure]] = {
    "vqvae": codebook_training_figure, "vae": vae_training_figure, "autoencoder": autoencoder_training_figure,
    "hierarchical": hierarchy_training_figure, "sound": sound_training_figure,
}  # fmt: skip
"""The figure of a training run, by the kind of model."""

__all__ = [
    "are_signals", "autoencoder_training_figure", "codebook_figure", "codebook_training_figure",
    "hierarchy_figure", "hierarchy_training_figure", "influence_figure", "inspection_figure",
    "latents_figure", "save_figure", "save_sheet", "sound_figure",
    "sound_training_figure", "training_figure", "vae_training_figure",
]  # fmt: skip
