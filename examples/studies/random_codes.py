"""What do codes drawn at random decode to?

A VQ-VAE can decode any codes, but it has no model of which ones make an image. Here codes are drawn
uniformly, by the frequencies of each position, from a Markov chain over the positions, and from a
transformer, the latter three trained on the codes of the training images. They are compared with the codes of
real test images and with samples of a VAE, which is trained with a prior. For 1000 images of each kind, three
measures are given: the energy distance from 1000 other test images, in % of its largest possible value; the
sharpness, in % of the gradient energy of real images; and the percentage of outliers ("strange" in the
table), images that are farther from the nearest training image than 95 % of that model's reconstructions of
test images. Also given is the number of bits that an ideal coder with these probabilities needs for the codes
of a test image.

python examples/studies/random_codes.py           about a minute
python examples/studies/random_codes.py --full    the figures of docs/studies/random_codes.md
"""

from functools import cache, partial

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study, select, stack
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import PURPLE, dress, log_settings, new_figure, spread

SOURCES = ("real", "transformer", "Markov", "frequencies", "uniform")
SHOWN = ((16, 128), (4, 512))
"""M and K of the samples that the figure shows."""


def measure(scale, seed: int, model: str, M: int, K: int, source: str) -> dict:
    """Make 1000 images from one source, and measure how far they are from real ones."""
    train, test = vqnp.load_splits("digits")
    ours, others = test.images[:1000], test.images[1000:]
    if model == "none":
        made, limit, bits = ours, np.inf, {}
    else:
        trained, limit = fitted(scale.images, scale.epochs, scale.hidden, scale.lr, seed, model, M, K)
        made, bits = draws(scale, trained, train.images[: scale.images], test.images, seed, source)
    d = vqnp.metrics.nearest_distance(made, train.images[: scale.images])
    return {
        "energy": 100 * vqnp.metrics.energy_distance(made, others).coefficient,
        "sharp": 100 * vqnp.metrics.gradient_energy(made) / vqnp.metrics.gradient_energy(others),
        "drawn": pack(made[:10]) if seed == 0 and (model == "VAE" or (M, K) in SHOWN) else "",
    } | bits | ({"strange": 100 * float((d > limit).mean())} if model != "none" else {})  # fmt: skip


@cache
def fitted(images: int, epochs: int, hidden: int, lr: float, seed: int, kind: str, M: int, K: int) -> tuple:
    """A model, and the 95 % quantile of the distances of its reconstructions from the training images."""
    train, test = vqnp.load_splits("digits")
    options = {"hidden": (hidden,), "rng": seed}
    if kind == "VAE":
        model = vqnp.VAE.mlp(latent_dim=M, **options)
    else:
        D = min(8, max(2, 128 // M))
        model = vqnp.VQVAE.mlp(num_latents=M, embedding_dim=D, num_embeddings=K, **options)
    vqnp.fit(model, train.images[:images], epochs=epochs, batch_size=50, lr=lr, seed=seed, progress=False)
    d = vqnp.metrics.nearest_distance(model.reconstruct(test.images[:1000]), train.images[:images])
    return model, float(np.quantile(d, 0.95))


def draws(
    scale, model, train: np.ndarray, test: np.ndarray, seed: int, source: str
) -> tuple[np.ndarray, dict]:
    """1000 images from a source of codes, and the bits that it needs for the codes of test images."""
    if source == "real":
        return model.reconstruct(test[:1000]), {}
    if source == "N(0,I)":
        return model.sample(1000, seed), {}
    M, K = model.num_latents, model.num_embeddings
    if source == "uniform":
        k, bits = np.random.default_rng(seed).integers(K, size=(1000, M)), model.bits_per_image
    elif source == "transformer":
        prior = vqnp.priors.Transformer(K, (M,), scale.width, scale.layers, 4, rng=seed)
        vqnp.fit(prior, model.encode(train), epochs=scale.prior_epochs, batch_size=64, lr=3e-3, seed=seed,
                 weight_decay=0.01, clip=1.0, progress=False)  # fmt: skip
        k, bits = prior.sample(1000, seed), prior.evaluate(model.encode(test)).bits_per_image
    else:
        chain = vqnp.priors.Markov(model.encode(train), K, order=int(source == "Markov"))
        k, bits = chain.sample(1000, seed), chain.code_length(model.encode(test))
    images = model.decode(k.reshape(-1, *model.latent_shape))
    return images, {"bits": bits, "saved": 100 * (1 - bits / model.bits_per_image)}


def draw(rows: list[Row]) -> Figure:
    """Samples in rows; below, the measures against the number of positions."""
    figure = new_figure(9.6, 6.1)
    top = figure.add_gridspec(1, 2, left=0.08, right=0.995, top=0.95, bottom=0.545, wspace=0.23)
    low = figure.add_gridspec(1, 3, left=0.06, right=0.985, top=0.455, bottom=0.085, wspace=0.28)
    for place, (M, K) in enumerate(SHOWN):
        strips = [unpack(row["drawn"][0]) for row in select(rows, model="VQ-VAE", M=M, K=K)]
        if place == 0:
            strips, names = [vqnp.load_splits("digits")[1].images[:10] / 255, *strips], ("test", *SOURCES)
        else:
            strips.append(unpack(select(rows, source="N(0,I)")[0]["drawn"][0]))
            names = (*SOURCES, "VAE, N(0,I)")
        axes = figure.add_subplot(top[place])
        strip(axes, strips, names)
        axes.set_title(f"{M} codes of {K}" + (", and a VAE" if place else ""), fontsize=10)
    for place, (name, title, unit) in enumerate(
        (
            ("energy", "Energy distance from real images", "% of its largest value"),
            ("sharp", "Sharpness", "gradient energy, % of real"),
            ("strange", "Outliers", "% far from all training images"),
        )
    ):
        axes = figure.add_subplot(low[place])
        against_positions(axes, rows, name)
        dress(axes, title, "M, positions", unit, integer_x=False)
        log_settings(axes, [row.setting["M"] for row in select(rows, model="VQ-VAE", source="real")])
        axes.set_ylim(bottom=0)
        if place == 1:
            axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def against_positions(axes: Axes, rows: list[Row], name: str) -> None:
    """A line for each source, and a horizontal line for the VAE's samples."""
    for i, source in enumerate(SOURCES):
        mine = select(rows, model="VQ-VAE", source=source)
        spread(axes, [row.setting["M"] for row in mine], stack(mine, name), source, i)
    level = select(rows, source="N(0,I)")[0][name].mean()
    axes.axhline(level, color=PURPLE, linewidth=1.5, linestyle="--", label="VAE, N(0,I)")


def main() -> None:
    """Models × sources of codes × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={
            "images": 300, "epochs": 2, "hidden": 32, "lr": 2e-3, "rates": ["4 x 512", "16 x 128"],
            "width": 8, "layers": 1, "prior_epochs": 1,
        },
        default={
            "images": 4000, "epochs": 8, "hidden": 256, "lr": 2e-3, "rates": ["4 x 512", "16 x 128"],
            "width": 32, "layers": 2, "prior_epochs": 8,
        },
        full={
            "images": 10000, "epochs": 12, "hidden": 384, "lr": 2e-3, "width": 64, "layers": 3,
            "prior_epochs": 16, "rates": ["4 x 512", "8 x 128", "16 x 128", "49 x 128"],
        },
    )  # fmt: skip
    rates = [map(int, rate.split(" x ")) for rate in scale.rates]
    settings = [{"model": "none", "M": 0, "K": 0, "source": "test images"}]
    settings += [{"model": "VQ-VAE", "M": M, "K": K, "source": s} for M, K in rates for s in SOURCES]
    settings += [{"model": "VAE", "M": 16, "K": 0, "source": s} for s in ("real", "N(0,I)")]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("energy", "energy distance (%)", ".2f"),
        Column("sharp", "sharpness (%)", ".0f"),
        Column("strange", "strange (%)", ".0f"),
        Column("bits", "bits of a test image's codes", ".1f"),
        Column("saved", "saved (%)", ".1f"),
    ]
    caption = "Images decoded from real codes and from random ones, and how far from real images they are."
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
