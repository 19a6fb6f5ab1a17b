"""Are two levels of codes better than one at equal bits?

The usual answer: a coarse level holds the layout of an image and a fine one its details, so that two levels
reconstruct better, and a prior that draws the coarse codes first draws better images. Here all models are
convolutional and have at most 343 bits: one level, 7 × 7 codes; two levels as published, 7 × 7 codes above 14
× 14; two levels of coarser grids, 4 × 4 codes above 7 × 7; residual codes, two of each of 7 × 7 latents. The
two-level models are also trained with the gradient between levels stopped and with a loss of 0.5 for the
reconstruction from the top level alone. What a level carries is the error with its codes from another image.
Controls are models with one level and 196 bits, on either grid. A Transformer for each level, given the class
and the codes above, gives the bits that the codes need, and samples.

python examples/studies/hierarchy.py           about a minute
python examples/studies/hierarchy.py --full    the figures of docs/studies/hierarchy.md
"""

import math
from functools import partial

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import vqnp
from vqnp.evaluation import digit_classifier
from vqnp.models import Level
from vqnp.nn import (
    Activation, Conv, ConvTranspose, EMAVectorQuantizer, ResidualVectorQuantizer, Sequential, residual_stack,
)
from vqnp.plots.style import BLUE, ORANGE, SKY, dress, new_figure, plain_log
from vqnp.priors import HierarchicalPrior, Transformer
from vqnp.priors.generation import as_grids

MODELS = (
    "one-level", "two-levels-14", "two-levels-14-stopped", "two-levels-7", "two-levels-7-stopped", "residual",
)  # fmt: skip
WITH_PRIOR = ("one-level", "two-levels-14", "two-levels-7", "residual")
CONTROLS = {"one-level-14-K2": (1, 2), "one-level-7-K16": (2, 16)}
"""Halvings of each axis, and codes."""
LEVEL_LOSS = 0.5
D = 8


def build(scale, model: str, seed: int) -> vqnp.VQVAE | vqnp.HierarchicalVQVAE:
    """The model of a row of the table."""
    H, rng = scale.channels, np.random.default_rng(seed)
    sizes = {"channels": H, "residual_channels": H // 2, "embedding_dim": D, "rng": rng}
    how = {"level_gradient": "stopped", "level_loss": LEVEL_LOSS} if model.endswith("stopped") else {}
    if model.startswith("two-levels-14"):
        return vqnp.HierarchicalVQVAE.conv(num_embeddings=(8, 2), **sizes, **how)
    if model.startswith("two-levels-7"):
        return four_above_seven(H, rng, **how)
    if model == "residual":
        own = {"codebook_init": "data", "restart_dead_codes": 0.2, "rng": rng}
        return vqnp.VQVAE.conv(**sizes, quantizer=ResidualVectorQuantizer(2, 11, D, **own))
    halvings, codes = CONTROLS.get(model, (2, 128))
    return vqnp.VQVAE.conv(downsampling=halvings, num_embeddings=codes, **sizes)


def four_above_seven(H: int, rng, level_gradient="straight_through", level_loss=0.0):
    """4 × 4 codes of 64 above 7 × 7 codes of 32: 341 bits; the published layers, but for kernels of 4."""
    R = H // 2

    def single(channels: int):
        sizes = {"channels": H, "residual_channels": R, "embedding_dim": channels}
        return vqnp.HierarchicalVQVAE.conv(downsampling=(2,), num_embeddings=2, rng=rng, **sizes)

    def quantizer(codes: int) -> EMAVectorQuantizer:
        return EMAVectorQuantizer(codes, D, codebook_init="data", restart_dead_codes=0.2, rng=rng)

    def stack():
        return residual_stack(H, R, 2, rng=rng)

    own = None
    if level_loss:
        own = Sequential(ConvTranspose(D, H, 4, rng=rng), Activation("relu"), *single(H).decoder.layers)
    top = Sequential(Conv(H, H, 4, rng=rng), Activation("relu"), *stack().layers)
    whole = single(2 * D)
    condition = Sequential(
        Conv(D, H, 3, padding=1, rng=rng), *stack().layers, ConvTranspose(H, D, 4, rng=rng)
    )
    levels = [
        Level(top, Conv(H, D, 1, rng=rng), quantizer(64), decoder=own),
        Level(whole.levels[0].encoder, Conv(H + D, D, 1, rng=rng), quantizer(32), condition,
              ConvTranspose(D, D, 4, rng=rng)),
    ]  # fmt: skip
    return vqnp.HierarchicalVQVAE(levels, whole.decoder, level_gradient=level_gradient, level_loss=level_loss)


def measure(scale, seed: int, model: str) -> dict:
    """Train the model; what each level carries; train a prior; bits and samples."""
    train, test = vqnp.load_splits("digits")
    images, asked = test.images[: scale.tested], test.labels[: scale.tested]
    x, labels = train.images[: scale.images], train.labels[: scale.images]
    made = build(scale, model, seed)
    vqnp.fit(made, x, epochs=scale.epochs, batch_size=32, lr=3e-3, seed=seed, progress=False)
    codes = made.encode(images)
    x_hat, real = made.decode(codes), digit_classifier().features(images)
    h = digit_classifier().features(x_hat)
    figures = {
        "bits": made.bits_per_image,
        "parameters": sum(param.value.size for _, param in made.named_parameters()),
        "mse": float(((x_hat.astype(np.float64) - images / 255.0) ** 2).mean()),
        "feature": float(((h - real) ** 2).mean()),
        "frechet_own": vqnp.metrics.frechet_distance(h, real),
    }
    pictures = [images[:5] / 255.0, x_hat[:5]]
    for l, (part, swapped) in enumerate(swaps(made, codes), 1):
        perplexity = vqnp.perplexity(np.bincount(part.ravel()))
        figures[f"perplexity_{l}"] = perplexity
        figures[f"used_{l}"] = part[0].size * math.log2(perplexity)
        figures[f"swapped_{l}"] = float(((swapped - images / 255.0) ** 2).mean())
        pictures.append(swapped[:5])
    if model.endswith("stopped"):
        alone = made.decode_level(codes, 1)
        figures["alone"] = float(((alone - images / 255.0) ** 2).mean())
    figures["pictures"] = pack(np.concatenate(pictures)) if seed == 0 else ""
    if model in WITH_PRIOR:
        few = slice(0, scale.prior_images)
        figures |= prior_of(scale, made, made.encode(x[few]), labels[few], codes, asked, seed)
        drawn = figures.pop("samples")
        figures["drawn"] = pack(drawn[:10]) if seed == 0 else ""
        guessed = digit_classifier().probabilities(drawn).argmax(axis=1)
        figures["accuracy"] = 100 * float((guessed == np.arange(len(drawn)) % 10).mean())
        h = digit_classifier().features(drawn)
        figures["frechet"] = vqnp.metrics.frechet_distance(h, real)
        figures["coverage"] = 100 * vqnp.metrics.density_coverage(h, real).coverage
    return figures


def swaps(model, codes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each level, or of each codebook: its codes, and the images with its codes from another image."""
    if isinstance(codes, tuple):
        several, join = list(codes), tuple
    elif model.quantizer.num_codebooks > 1:
        several, join = list(np.moveaxis(codes, -1, 0)), partial(np.stack, axis=-1)
    else:
        several, join = [codes], lambda parts: parts[0]
    found = []
    for l, part in enumerate(several):
        other = np.roll(part, len(part) // 2, axis=0)
        found.append((part, model.decode(join([*several[:l], other, *several[l + 1 :]])).astype(np.float64)))
    return found


def prior_of(scale, model, codes, labels, test_codes, test_labels, seed: int) -> dict:
    """Bits of test images given their class, of each level, and samples of the ten classes in turn."""
    sizes = {"channels": scale.width, "layers": scale.layers, "heads": 4, "dropout": 0.0, "num_classes": 10,
             "rng": seed}  # fmt: skip
    if isinstance(codes, tuple):
        prior = HierarchicalPrior.of("transformer", model.num_embeddings, model.latent_shape, **sizes)
    else:
        prior = Transformer(model.num_embeddings, model.grid_shape, **sizes)
    vqnp.fit(prior, (as_grids(model, codes), labels), epochs=scale.prior_epochs, batch_size=16, lr=3e-3,
             weight_decay=0.01, clip=1.0, seed=seed, progress=False)  # fmt: skip
    found = prior.evaluate((as_grids(model, test_codes), test_labels))
    bits = {"prior_bits": found.bits_per_image}
    for l, level in enumerate(getattr(found, "levels", ()), 1):
        bits[f"prior_bits_{l}"] = level.bits_per_image
    n = scale.samples
    return bits | {"samples": vqnp.generate(model, prior, n, seed, np.arange(n) % 10)}


def draw(rows: list[Row]) -> Figure:
    """Samples, levels swapped; below, errors, bits and samples."""
    figure = new_figure(9.6, 6.0)
    grid = figure.add_gridspec(1, 2, left=0.15, right=0.995, top=0.95, bottom=0.5, wspace=0.5)
    for place, title, shown in (
        (0, "samples of the ten classes", [row for row in rows if "frechet" in row.runs[0]]),
        (1, "reconstructions with a level from another image", rows[: len(MODELS)]),
    ):
        axes = figure.add_subplot(grid[place])
        sheets = [unpack(row["drawn"][0]) if place == 0 else swapped(row) for row in shown]
        strip(axes, sheets, [row.setting["model"] for row in shown])
        axes.set_title(title + ("\nlevel 1 (or all)" + 25 * " " + "level 2" if place else ""), fontsize=9)
    low = figure.add_gridspec(1, 3, left=0.155, right=0.985, top=0.43, bottom=0.075, wspace=0.1)
    error, bits, drawn = (figure.add_subplot(low[i]) for i in range(3))
    every = [row.setting["model"] for row in rows]
    for y, row in enumerate(rows):
        here = [y] * len(row["mse"])
        error.plot(row["mse"], here, "o", color=BLUE, markersize=4, alpha=0.7)
        drawn.plot(row["frechet_own"], here, "s", color=ORANGE, markersize=4, alpha=0.7)
        if "frechet" not in row.runs[0]:
            continue
        drawn.plot(row["frechet"], here, "o", color=BLUE, markersize=4, alpha=0.7)
        bits.barh(y, row["prior_bits"].mean(), color=SKY, height=0.6)
        if "prior_bits_1" in row.runs[0]:
            bits.barh(y, row["prior_bits_1"].mean(), color=BLUE, height=0.6)
        bits.plot(row["prior_bits"], here, "k.", markersize=3)
    dress(error, "Error", "test MSE", "", integer_x=False)
    dress(bits, "Bits under a prior", "bits an image", "", integer_x=False)
    dress(drawn, "Fréchet distance", "", "", integer_x=False)
    plain_log(drawn, "x")
    for axes in (error, bits, drawn):
        axes.set_yticks(range(len(every)), every if axes is error else [""] * len(every), fontsize=7)
        axes.set_ylim(len(every) - 0.5, -0.5)
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
    marks = {"linestyle": "", "markersize": 4, "alpha": 0.7}
    drawn.legend(handles=[Line2D([], [], marker="o", color=BLUE, label="samples", **marks),
                          Line2D([], [], marker="s", color=ORANGE, label="reconstructions", **marks)],
                 fontsize=7, frameon=False, loc="lower right")  # fmt: skip
    bits.legend(handles=[Patch(color=BLUE, label="level 1"), Patch(color=SKY, label="the rest, or all")],
                fontsize=7, frameon=False, loc="lower right")  # fmt: skip
    return figure


def swapped(row: Row) -> np.ndarray:
    """Five images with level 1 from another image, then with level 2, which is white if there is none."""
    images = unpack(row["pictures"][0]).reshape(-1, 5, 28, 28)[2:]
    return np.concatenate([*images, *np.ones((2 - len(images), 5, 28, 28))])


def main() -> None:
    """Models × seeds."""
    study = Study(__file__, __doc__, full_seeds=3)
    scale = study.pick(
        quick={"images": 100, "epochs": 1, "channels": 8, "prior_images": 100, "width": 8,
               "layers": 1, "prior_epochs": 1, "samples": 20, "tested": 50},
        default={"images": 1000, "epochs": 1, "channels": 16, "prior_images": 500, "width": 16,
                 "layers": 1, "prior_epochs": 2, "samples": 50, "tested": 500},
        full={"images": 10000, "epochs": 1, "channels": 32, "prior_images": 3000, "width": 32,
              "layers": 2, "prior_epochs": 5, "samples": 300, "tested": 1000},
    )  # fmt: skip
    rows = study.run([{"model": name} for name in (*MODELS, *CONTROLS)], partial(measure, scale))
    columns = [
        Column("bits", "bits", ".0f"),
        Column("parameters", "parameters", ".0f"),
        Column("mse", "test MSE", ".5f"),
        Column("feature", "error of features", ".4f"),
        Column("perplexity_1", "perplexity of level 1", ".1f"),
        Column("perplexity_2", "of level 2", ".1f"),
        Column("swapped_1", "MSE with level 1 of another image", ".4f"),
        Column("swapped_2", "with level 2", ".4f"),
        Column("alone", "MSE of level 1 alone", ".4f"),
        Column("prior_bits", "bits under the prior", ".0f"),
        Column("prior_bits_1", "of level 1", ".0f"),
        Column("prior_bits_2", "of level 2", ".0f"),
        Column("accuracy", "accuracy of samples (%)", ".1f"),
        Column("coverage", "coverage of samples (%)", ".1f"),
        Column("frechet", "Fréchet distance of samples", ".2f"),
        Column("frechet_own", "of reconstructions", ".2f"),
    ]
    caption = (
        "Above: samples of the ten classes, and reconstructions of test images with one level from another "
        "image (first seed). Below: error, bits under the prior (dark: of level 1 of two), Fréchet distance "
        "of samples (blue) and of reconstructions. Each run is a point."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
