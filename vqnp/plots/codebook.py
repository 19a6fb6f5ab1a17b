"""The figures of a VQ-VAE: its training, and the contribution of each code to the image."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from vqnp._check import Array
from vqnp.evaluation import Evaluation
from vqnp.inspection.anatomy import CodeAnatomy, code_anatomy
from vqnp.models import VQVAE
from vqnp.plots.curves import History, add_legend, draw_curves, draw_losses, draw_sorted
from vqnp.plots.sheets import are_signals, bands, convolved_axes, draw_pairs, flat_images, training_grid
from vqnp.plots.style import BLUE, GREY, ORANGE, new_figure, no_ticks

COLUMNS, ALL_TILES, MOST_TILES = 16, 128, 512  # of codebook_figure
WIDEST = {COLUMNS: 2.5, 8: 5.0, 4: np.inf}  # by the number of columns, the width of an image by its height
LEAST_CHANGE = 1e-3  # in pixel values, a quarter of a grey level: less is not scaled to full colour


def codebook_training_figure(model: VQVAE, history: History, images: Array, result: Evaluation) -> Figure:
    """Loss and perplexity by epoch, originals above reconstructions, usage, the most used codes.

    images: (n, *data.shape) of the test set, of which the first ten are shown; result: the report on them

    Examples
    --------
    >>> import vqnp
    >>> images, model = vqnp.load_dataset("digits", "test").images[:10], vqnp.VQVAE.mlp(num_latents=4)
    >>> history = vqnp.fit(model, images, images, epochs=2, progress=False)
    >>> figure = codebook_training_figure(model, history, images, vqnp.evaluate(model, images))
    >>> [axes.get_title() for axes in figure.axes][:4]
    ['Loss', 'Codebook perplexity',
     'Test images, each above its reconstruction', 'Codebook usage on the test set']
    """
    figure, grid = training_grid()
    draw_losses(figure.add_subplot(grid[0, 0]), history, model.likelihood)
    axes, K = figure.add_subplot(grid[0, 1]), result.num_embeddings
    curves = {"perplexity": (BLUE, "training"), "test_perplexity": (ORANGE, "test")}
    draw_curves(axes, history, "Codebook perplexity", "effective number of codes", curves)
    _level(axes, K, f"all {K} codes equally" if K > 1 else "the only code")
    axes.set_ylim(0, 1.12 * K)
    add_legend(axes)
    draw_pairs(figure.add_subplot(grid[2, :]), model, images)
    axes, shares = figure.add_subplot(grid[4, 0]), 100 * result.counts.reshape(-1) / result.counts.sum()
    title = "Codebook usage on the test set"
    draw_sorted(axes, shares, title, "code, most used first", "share of all codes (%)")
    _level(axes, 100 / len(shares), "uniform")
    _most_used(figure, grid[4, 1], code_anatomy(model, images), are_signals(model))
    return figure


def codebook_figure(anatomy: CodeAnatomy, model: VQVAE | None = None) -> Figure:
    """effect_j of every code j, most used first: red for pixels that it raises, blue for those it lowers.

    Of more than 128 codes the 512 most used are drawn, and at most a row of dead ones. With the
    model, signals are drawn as bands, and of a convolutional model a frame marks m_j, the position at which
    the effect is measured.

    Examples
    --------
    >>> import vqnp
    >>> images, model = vqnp.load_dataset("digits", "test").images[:10], vqnp.VQVAE.mlp(num_embeddings=8)
    >>> anatomy = code_anatomy(model, images)
    >>> figure = codebook_figure(anatomy, model)
    >>> figure.axes[0].get_title().startswith(f"{anatomy.counts.argmax()}: ")  # the most used code
    True
    """
    order, left_out = _tiles(anatomy.counts)
    signals = model is not None and are_signals(model)
    effect = bands(anatomy.effect) if signals else flat_images(anatomy.effect)
    span = max(float(np.quantile(np.abs(effect), 0.999)), LEAST_CHANGE)
    K, (H, W) = len(anatomy.counts), effect.shape[1:]
    columns = min(len(order), next(n for n, widest in WIDEST.items() if W <= widest * H))
    rows = -(-len(order) // columns)
    label, tile = 0.225, min(0.5, max(0.1, H / W * 9.2 / (1.2 * columns)))  # inches: heights
    above = 0.75 if left_out else 0.55  # the title
    below = 0.75  # the colour bar
    height = above + rows * tile + (rows - 1) * label + below
    figure = new_figure(9.6, height)
    edges = {"left": 0.02, "right": 0.98, "bottom": below / height, "top": 1 - above / height}
    grid = GridSpec(rows, columns, figure, hspace=label / tile, **edges)
    shown: Any = None
    for i, j in enumerate(order):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        shown = axes.imshow(effect[j], cmap="RdBu_r", vmin=-span, vmax=span, interpolation="nearest")
        share, name = anatomy.counts[j] / anatomy.counts.sum(), anatomy.label(j)
        axes.set_title(f"{name}: {100 * share:.1f} %" if share else f"{name}: dead", fontsize=6.5, pad=2)
        no_ticks(axes)
        if model is not None and convolved_axes(model) and share:
            _frame(axes, int(anatomy.latent[j]), model.latent_shape, effect.shape[1:])
    many = f"All {K} codes" if not left_out else f"{len(order)} of {K} codes"
    title = f"{many}, most used first" if K > 1 else "The only code"
    title += f": number, share of use, and effect on the {'signal' if signals else 'image'}"
    if left_out:
        title += f"\n(not drawn: {left_out})"
    elif model is not None and convolved_axes(model):
        title += " (frame: position)"
    figure.suptitle(title, fontsize=11, y=1 - 0.08 / height)
    place = figure.add_axes((0.3, 0.5 / height, 0.4, 0.09 / height))
    bar = figure.colorbar(shown, cax=place, orientation="horizontal")
    what = "the signal" if signals else "pixel value"
    bar.set_label(f"change of {what} by the code, compared with the mean at its position", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    return figure


def _tiles(counts: Array) -> tuple[Array, str]:
    """The codes that are drawn, most used first, and in words the others: of many, one row of dead ones."""
    order = np.argsort(-counts, kind="stable")
    if len(order) <= ALL_TILES:
        return order, ""
    used = int(np.count_nonzero(counts))
    shown = min(used, MOST_TILES)
    room = (-shown % COLUMNS or COLUMNS) if used <= MOST_TILES else 0
    dead, rare = len(order) - used - min(len(order) - used, room), used - shown
    words = [f"{rare} used less often"] * (rare > 0) + [f"{dead} {'more ' * (room > 0)}dead"] * (dead > 0)
    return order[: shown + room], ", ".join(words)


def _level(axes: Axes, y: float, label: str) -> None:
    """A dashed line at y, labelled at its right end."""
    axes.axhline(y, color=GREY, linewidth=1, linestyle="--")
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    axes.annotate(label, (1, y), (-4, 3), fontsize=8, color=GREY, **place)  # type: ignore[arg-type]


def _frame(axes: Axes, latent: int, latent_shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    """A frame around the part of an image, of this size, that is the position's share of the plane."""
    rows, columns = latent_shape if len(latent_shape) == 2 else (1, *latent_shape)
    height, width = size[0] / rows, size[1] / columns
    corner = latent % columns * width - 0.5, latent // columns * height - 0.5
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=GREY, linewidth=0.7))


def _most_used(figure: Figure, place: SubplotSpec, anatomy: CodeAnatomy, signals: bool) -> None:
    """Twelve codes: the mean image of each, with the pixels that it raises in red and lowers in blue."""
    order = np.argsort(-anatomy.counts, kind="stable")[:12]
    order = order[anatomy.counts[order] > 0]
    context, effect = map(bands if signals else flat_images, (anatomy.context, anatomy.effect))
    span = max(float(np.abs(effect[order]).max()), LEAST_CHANGE)
    inner = place.subgridspec(4, 6, wspace=0.08, hspace=0, height_ratios=[0.17, 1, 0.2, 1])  # labels, tiles
    for i, j in enumerate(order):
        axes = figure.add_subplot(inner[1 + i // 6 * 2, i % 6])
        axes.imshow(_overlay(context[j], effect[j] / span), interpolation="nearest")
        axes.set_title(f"code {anatomy.label(j)}", fontsize=7, pad=2)
        no_ticks(axes)
    grey = anatomy.context.ndim == 3 or anatomy.context.shape[-1] == 1
    what = "values" if signals else "pixels" if grey else "brightness"
    heading = figure.add_subplot(place, frameon=False)
    heading.set_title(f"Most used codes: {what} raised red, lowered blue", fontsize=10)
    no_ticks(heading)


def _overlay(context: Array, effect: Array) -> Array:
    """A grey image with the effect in colour: (H, W) in [0, 1], (H, W) in [−1, 1] -> (H, W, 3)."""
    grey = np.repeat(1 - 0.55 * np.clip(context, 0, 1)[..., None], 3, axis=2)
    weight = np.clip(np.abs(effect) * 1.5, 0, 1)[..., None]
    red, blue = np.array([0.70, 0.09, 0.17]), np.array([0.13, 0.40, 0.67])  # the ends of RdBu
    mixed = grey * (1 - weight) + np.where(effect[..., None] > 0, red, blue) * weight
    return np.clip(mixed, 0, 1)
