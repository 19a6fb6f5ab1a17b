"""The figures of an autoencoder or a VAE: its training, and the effect of each latent unit."""

import numpy as np
from matplotlib.figure import Figure

from vqnp._check import Array
from vqnp.evaluation import LatentEvaluation
from vqnp.models import VAE, Autoencoder
from vqnp.plots.curves import History, add_legend, draw_curves, draw_sorted
from vqnp.plots.sheets import are_signals, draw_best, draw_pairs, draw_sheet, shown_images, training_grid
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, new_figure

ROWS, REACH = 12, 3.0
"""Units in latents_figure, and the largest value of each, in standard deviations."""

STEPS = (11, 7, 5, 3)
"""Values of each unit: the first number of these with which a row is as high as its label."""

WIDTH, LOW, HIGH = 7.87, 0.2, 1.2
"""Inches: all the steps; the least and the greatest height of a row."""

UNITS = "unit, strongest first"


def autoencoder_training_figure(
    model: Autoencoder, history: History, images: Array, result: LatentEvaluation
) -> Figure:
    """Losses by epoch, originals above reconstructions, the units, and interpolated images.

    images: (n, *data.shape) of the test set, of which the first ten are shown

    Examples
    --------
    >>> import vqnp
    >>> images, model = vqnp.load_dataset("digits", "test").images[:10], vqnp.Autoencoder.mlp(latent_dim=4)
    >>> history = vqnp.fit(model, images, images, epochs=2, progress=False)
    >>> figure = autoencoder_training_figure(model, history, images, vqnp.evaluate(model, images))
    >>> [axes.get_title() for axes in figure.axes][1:]
    ['Test images, each above its reconstruction', 'Variance of each unit on the test set',
     'Half way between the latents of neighbours above']
    """
    figure, grid = training_grid()
    curves = {"reconstruction_loss": (BLUE, "training"), "test_mse": (ORANGE, "test (clipped to [0, 1])")}
    axes = figure.add_subplot(grid[0, :])
    draw_curves(axes, history, "Loss", "mean squared error", curves, log=True)
    add_legend(axes)
    ten = images[:10]
    draw_pairs(figure.add_subplot(grid[2, :]), model, images)
    title = "Variance of each unit on the test set"
    draw_sorted(figure.add_subplot(grid[4, 0]), result.variance, title, UNITS, "variance")
    z = model.encode(ten)
    between = shown_images(model.decode((z + np.roll(z, -1, axis=0)) / 2), are_signals(model))
    title = "Half way between the latents of neighbours above"
    draw_best(figure.add_subplot(grid[4, 1]), between, title)
    return figure


def vae_training_figure(model: VAE, history: History, images: Array, result: LatentEvaluation) -> Figure:
    """Losses by epoch, units in use, originals above reconstructions, the units, and samples.

    images: (n, *data.shape) of the test set, of which the first ten are shown

    Examples
    --------
    >>> import vqnp
    >>> images, model = vqnp.load_dataset("digits", "test").images[:10], vqnp.VAE.mlp(latent_dim=4)
    >>> history = vqnp.fit(model, images, images, epochs=2, progress=False)
    >>> figure = vae_training_figure(model, history, images, vqnp.evaluate(model, images))
    >>> [axes.get_title() for axes in figure.axes][1:]
    ['Units in use (test images)', 'Test images, each above its reconstruction',
     'KL of each unit on the test set', 'Decoded draws from the prior']
    """
    assert result.kl_per_unit is not None  # a VAE's report has it
    figure, grid = training_grid()
    losses = {
        "reconstruction_loss": (BLUE, "reconstruction, training"),
        "test_reconstruction_loss": (ORANGE, "reconstruction, test"),
        "kl": (GREEN, "KL, training"),
        "test_kl": (GREY, "KL, test"),
    }
    axes = figure.add_subplot(grid[0, 0])
    draw_curves(axes, history, "Loss: reconstruction and KL", "nats per image", losses)
    add_legend(axes)
    units = {"test_active_units": (ORANGE, "variance of the mean above 0.01")}
    axes = figure.add_subplot(grid[0, 1])
    draw_curves(axes, history, "Units in use (test images)", "active units", units)
    add_legend(axes)
    draw_pairs(figure.add_subplot(grid[2, :]), model, images)
    title = "KL of each unit on the test set"
    draw_sorted(figure.add_subplot(grid[4, 0]), result.kl_per_unit, title, UNITS, "nats per image")
    samples = shown_images(model.sample(18, 0), are_signals(model))
    draw_best(figure.add_subplot(grid[4, 1]), samples, "Decoded draws from the prior")
    return figure


def latents_figure(model: Autoencoder, images: Array, result: LatentEvaluation) -> Figure:
    """The strongest units, one per row: the first image, decoded with that unit varied over its range.

    images: (n, *data.shape)

    Strongest by KL in a VAE, whose range is the prior's; by variance in an autoencoder, whose range is that
    of the images.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:10]
    >>> model = vqnp.VAE.mlp(latent_dim=4)
    >>> figure = latents_figure(model, images, vqnp.evaluate(model, images))
    >>> figure.axes[0].get_title(), len(figure.axes[0].get_yticks())  # a row for each unit
    ('The strongest units, each varied with the others as in the first image', 4)
    """
    vae = result.kl_per_unit is not None
    strength = result.kl_per_unit if result.kl_per_unit is not None else result.variance
    order = np.argsort(-strength, kind="stable")[:ROWS]
    codes = model.encode(images)
    z = codes.reshape(len(codes), -1)  # (n, units)
    centre, spread = (0.0 * z[0], 0.0 * z[0] + 1) if vae else (z.mean(axis=0), z.std(axis=0))
    signals = are_signals(model)
    H, W = (side + 1 for side in shown_images(model.decode(codes[:1]), signals).shape[1:3])
    steps = next((n for n in STEPS if WIDTH / n * H / W >= LOW), STEPS[-1])
    row = min(max(WIDTH / steps * H / W, LOW), HIGH)
    height = 1.15 + row * len(order)
    figure = new_figure(9.6, height)
    axes = figure.add_axes((0.16, 0.55 / height, WIDTH / 9.6, 1 - 1.0 / height))
    places = np.linspace(-REACH, REACH, steps)
    moved = np.repeat(z[:1], len(order) * steps, axis=0)
    for i, d in enumerate(order):
        moved[i * steps : (i + 1) * steps, d] = centre[d] + places * spread[d]
    tile = shown_images(model.decode(moved.reshape(-1, *codes.shape[1:])), signals)
    first = "signal" if signals else "image"
    draw_sheet(axes, tile, steps, f"The strongest units, each varied with the others as in the first {first}")
    if row * W / H * steps > WIDTH:  # lower than a label can be: drawn too high
        axes.set_aspect("auto")
    name, reference = ("KL", "the prior's") if vae else ("variance", "the images'")
    units = [f"unit {_place(d, codes.shape[1:])}: {name} {strength[d]:.2f}" for d in order]
    axes.set_yticks([i * H + H / 2 for i in range(len(order))], units, fontsize=8)
    narrow = row * W / H < 0.4  # inches, of a label
    labelled = [i for i in range(steps) if not narrow or i % (steps // 2) == 0]
    values = [f"{places[i]:+.1f}" if places[i] else "0" for i in labelled]
    axes.set_xticks([i * W + W / 2 for i in labelled], values, fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel(f"value of the unit, in {reference} standard deviations from the mean", fontsize=9)
    return figure


def _place(unit: int, shape: tuple[int, ...]) -> str:
    """A unit's number, and of latents with a shape its index: "17", "(3, 0, 5)"."""
    return str(unit) if len(shape) < 2 else str(tuple(map(int, np.unravel_index(unit, shape))))
