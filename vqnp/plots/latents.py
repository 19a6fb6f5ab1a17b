"""The figures of an autoencoder or a VAE: how its training went, and what each latent unit does."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vqnp._check import Array
from vqnp.evaluation import LatentEvaluation
from vqnp.models import VAE, Autoencoder
from vqnp.plots.curves import History, draw_curves
from vqnp.plots.sheets import draw_pairs, draw_sheet, flat_images, training_grid
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, dress, new_figure

ROWS, STEPS, REACH = 12, 11, 3.0
"""Units that latents_figure shows, places of each, and how far it goes, in standard deviations."""


def autoencoder_training_figure(
    model: Autoencoder, history: History, images: Array, result: LatentEvaluation
) -> Figure:
    """Losses by epoch, originals above reconstructions, the units, and images between images.

    images: (n, *data.shape), the test set's, of which the first ten are shown
    """
    figure, grid = training_grid()
    curves = {"reconstruction_loss": (BLUE, "training"), "test_mse": (ORANGE, "test (clipped to [0, 1])")}
    draw_curves(figure.add_subplot(grid[0, :]), history, "Loss", "mean squared error", curves, log=True)
    ten = images[:10]
    draw_pairs(figure.add_subplot(grid[1, :]), ten, model.reconstruct(ten))
    title = "Variance of each unit on the test set"
    _units(figure.add_subplot(grid[2, 0]), result.variance, title, "variance")
    z = model.encode(ten)
    between = flat_images(model.decode((z + np.roll(z, -1, axis=0)) / 2))
    title = "Half way between the latents of neighbours above"
    draw_sheet(figure.add_subplot(grid[2, 1]), between, 5, title)
    return figure


def vae_training_figure(model: VAE, history: History, images: Array, result: LatentEvaluation) -> Figure:
    """Losses by epoch, units in use, originals above reconstructions, the units, and samples.

    images: (n, *data.shape), the test set's, of which the first ten are shown
    """
    assert result.kl_per_unit is not None  # a VAE's report has it
    figure, grid = training_grid()
    losses = {
        "reconstruction_loss": (BLUE, "reconstruction, training"),
        "test_reconstruction_loss": (ORANGE, "reconstruction, test"),
        "kl": (GREEN, "KL, training"),
        "test_kl": (GREY, "KL, test"),
    }
    title = "Loss: reconstruction and KL"
    draw_curves(figure.add_subplot(grid[0, 0]), history, title, "nats per image", losses)
    units = {"test_active_units": (ORANGE, "variance of the mean above 0.01")}
    title = "Units in use (test images)"
    draw_curves(figure.add_subplot(grid[0, 1]), history, title, "active units", units)
    draw_pairs(figure.add_subplot(grid[1, :]), images, model.reconstruct(images[:10]))
    title = "KL of each unit on the test set"
    _units(figure.add_subplot(grid[2, 0]), result.kl_per_unit, title, "nats per image")
    samples = flat_images(model.sample(18, 0))
    draw_sheet(figure.add_subplot(grid[2, 1]), samples, 6, "Decoded draws from the prior")
    return figure


def latents_figure(model: Autoencoder, images: Array, result: LatentEvaluation) -> Figure:
    """The strongest units, one a row: the first image, decoded with that unit moved through its range.

    Strongest by KL in a VAE, where the range is the prior's; by variance in an autoencoder, where it is
    the images' own.
    """
    strength = result.variance if result.kl_per_unit is None else result.kl_per_unit
    order = np.argsort(-strength, kind="stable")[:ROWS]
    codes = model.encode(images)
    z = codes.reshape(len(codes), -1)  # a unit a column
    vae = result.kl_per_unit is not None
    centre, spread = (0.0 * z[0], 0.0 * z[0] + 1) if vae else (z.mean(axis=0), z.std(axis=0))
    places = np.linspace(-REACH, REACH, STEPS)
    height = 1.15 + 0.72 * len(order)
    figure = new_figure(9.6, height)
    axes = figure.add_axes((0.16, 0.45 / height, 0.82, 1 - 1.0 / height))
    moved = np.repeat(z[:1], len(order) * STEPS, axis=0)
    for i, d in enumerate(order):
        moved[i * STEPS : (i + 1) * STEPS, d] = centre[d] + places * spread[d]
    tile = flat_images(model.decode(moved.reshape(-1, *codes.shape[1:])))
    draw_sheet(axes, tile, STEPS, "The strongest units, each moved with the others as in the first image")
    H, W = tile.shape[1] + 1, tile.shape[2] + 1
    axes.set_yticks([i * H + H / 2 for i in range(len(order))])
    unit = "variance" if result.kl_per_unit is None else "KL"
    axes.set_yticklabels([f"unit {d}: {unit} {strength[d]:.2f}" for d in order], fontsize=8)
    axes.set_xticks([i * W + W / 2 for i in range(STEPS)])
    axes.set_xticklabels([f"{p:+.1f}" if p else "0" for p in places], fontsize=8)
    axes.tick_params(length=0)
    whose = "the prior's" if vae else "the images' own"
    axes.set_xlabel(f"value of the unit, in {whose} standard deviations from the mean", fontsize=9)
    return figure


def _units(axes: Axes, strength: Array, title: str, unit: str) -> None:
    axes.bar(np.arange(1, len(strength) + 1), np.sort(strength)[::-1], width=1.0, color=BLUE)
    axes.set_xlim(0.5, len(strength) + 0.5)
    dress(axes, title, "unit, strongest first", unit)
