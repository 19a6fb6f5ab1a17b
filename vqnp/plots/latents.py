"""The pictures of an autoencoder's or a VAE's run, in the style of vqnp.plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from vqnp._check import Array
from vqnp._images import to_float
from vqnp.evaluation.latents import LatentEvaluation
from vqnp.models import VAE, Autoencoder
from vqnp.plots.codebook import flat_images, tiles
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, dress, new_figure, no_ticks, plain_log

ROWS, STEPS, REACH = 12, 11, 3.0
"""Units that latents_figure shows, places of each, and how far it goes, in standard deviations."""

History = Sequence[dict[str, float]]


def latent_training_figure(
    model: Autoencoder, history: History, images: Array, result: LatentEvaluation
) -> Figure:
    """Losses by epoch, originals above reconstructions, the units, and what the decoder makes up.

    images: (n, *image_shape), the test set's; the first ten are shown
    """
    figure = new_figure(9.6, 8.4)
    grid = GridSpec(
        3, 2, figure, height_ratios=[1.1, 1, 1.1], hspace=0.42, wspace=0.2,
        left=0.075, right=0.985, bottom=0.06, top=0.96,
    )  # fmt: skip
    if isinstance(model, VAE):
        _nats(figure.add_subplot(grid[0, 0]), history)
        _curve(figure.add_subplot(grid[0, 1]), history, "Units in use (test images)", "active units",
               {"test_active_units": (ORANGE, "variance of the mean above 0.01")})  # fmt: skip
    else:
        _curve(figure.add_subplot(grid[0, :]), history, "Loss", "mean squared error",
               {"mse": (BLUE, "training"), "test_mse": (ORANGE, "test (clipped to [0, 1])")}, log=True)  # fmt: skip  # noqa: E501
    ten = images[:10]
    pairs = flat_images(np.concatenate([to_float(ten), model.reconstruct(ten)]))
    _sheet(
        figure.add_subplot(grid[1, :]),
        pairs,
        len(ten),
        "Test images (above) and their reconstructions (below)",
    )
    _units(figure.add_subplot(grid[2, 0]), result)
    made, title = figure.add_subplot(grid[2, 1]), "Half way between the latents of neighbours above"
    if isinstance(model, VAE):
        _sheet(made, flat_images(model.sample(18, 0)), 6, "Decoded draws from the prior")
    else:
        z = model.encode(ten)
        _sheet(made, flat_images(model.decode((z + np.roll(z, -1, axis=0)) / 2)), 5, title)
    return figure


def latents_figure(model: Autoencoder, images: Array, result: LatentEvaluation) -> Figure:
    """The strongest units, one a row: the first image, decoded with that unit moved through its range.

    Strongest by KL in a VAE, where the range is the prior's; by variance in an autoencoder, where it is
    the images' own.
    """
    strength = result.variance if result.kl_per_unit is None else result.kl_per_unit
    order = np.argsort(-strength, kind="stable")[:ROWS]
    z = model.encode(images)
    vae = isinstance(model, VAE)
    centre, spread = (0.0 * z[0], 0.0 * z[0] + 1) if vae else (z.mean(axis=0), z.std(axis=0))
    places = np.linspace(-REACH, REACH, STEPS)
    height = 1.15 + 0.72 * len(order)
    figure = new_figure(9.6, height)
    axes = figure.add_axes((0.16, 0.45 / height, 0.82, 1 - 1.0 / height))
    moved = np.repeat(z[:1], len(order) * STEPS, axis=0)
    for i, d in enumerate(order):
        moved[i * STEPS : (i + 1) * STEPS, d] = centre[d] + places * spread[d]
    tile = flat_images(model.decode(moved))
    _sheet(axes, tile, STEPS, "The units that say most, each moved with the others as in the first image")
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


def _nats(axes: Axes, history: History) -> None:
    """Reconstruction and KL, which add up to the loss, over the same epochs."""
    _curve(axes, history, "Loss: reconstruction and KL", "nats per image", {
        "reconstruction_loss": (BLUE, "reconstruction, training"),
        "test_reconstruction_loss": (ORANGE, "reconstruction, test"),
        "kl": (GREEN, "KL, training"),
        "test_kl": (GREY, "KL, test"),
    })  # fmt: skip


def _curve(
    axes: Axes, history: History, title: str, unit: str, lines: dict[str, tuple[str, str]], log: bool = False
) -> None:
    epochs = [row["epoch"] for row in history]
    for name, (colour, label) in lines.items():
        if history and name in history[0]:
            marker = "o" if len(history) == 1 else None
            axes.plot(epochs, [row[name] for row in history], color=colour, label=label, marker=marker)
    if log and any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
        plain_log(axes)
    if not log:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.lines else 0.0)
    dress(axes, title, "epoch", unit)
    if axes.lines:
        axes.legend(fontsize=8, frameon=False, loc="upper right")


def _units(axes: Axes, result: LatentEvaluation) -> None:
    strength = result.variance if result.kl_per_unit is None else result.kl_per_unit
    axes.bar(np.arange(1, len(strength) + 1), np.sort(strength)[::-1], width=1.0, color=BLUE)
    axes.set_xlim(0.5, len(strength) + 0.5)
    if result.kl_per_unit is None:
        dress(axes, "Variance of each unit on the test set", "unit, most varied first", "variance")
    else:
        dress(axes, "KL of each unit on the test set", "unit, most informed first", "nats per image")


def _sheet(axes: Axes, images: Array, columns: int, title: str) -> None:
    axes.imshow(tiles(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    no_ticks(axes)
