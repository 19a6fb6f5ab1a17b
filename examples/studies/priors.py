"""How many bits do the codes of an image need, under which prior?

The usual answer: the codes of an image depend on each other, so a learned autoregressive prior needs far
fewer bits than counting frequencies, and draws better images; a Transformer sees all codes before a
position, a PixelCNN too, but only with two stacks of convolutions. Here the codes are the 7 × 7 of a
convolutional VQ-VAE with 128 codes, trained on digits. Uniform codes, frequencies of all positions together
and of each position, and a Markov chain in raster order only count. A PixelCNN with one stack of masked
convolutions, which has a blind spot, one with two stacks and otherwise the same sizes, and a Transformer
are trained. Bits an image are given for the training images, which the priors have seen, and for test
images.

python examples/studies/priors.py           about a minute
python examples/studies/priors.py --full    the figures of docs/studies/priors.md
"""

import time
from functools import cache, partial

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import BLUE, ORANGE, dress, new_figure
from vqnp.priors import Markov, PixelCNN, Transformer

COUNTED = ("uniform", "unigram", "unigram-by-position", "Markov-chain")
TRAINED = ("PixelCNN-one-stack", "PixelCNN-two-stacks", "Transformer")
K = 128
SAMPLES = 12


def measure(scale, seed: int, prior: str) -> dict:
    """Count or train a prior of the codes of one model; bits of training and of test images; samples."""
    model, train, test = codes(scale.images, scale.model_epochs, scale.channels, seed)
    figures = {"parameters": 0, "seconds": 0.0, "blind": 0.0}
    if prior in COUNTED:
        counted = [vqnp.priors.baseline_bits(train, k, K)[prior.replace("-", " ")] for k in (train, test)]
        bits = dict(zip(("train", "test"), counted, strict=True))
        drawn = draws(prior, train, seed)
    else:
        network = build(scale, prior, model.latent_shape, seed)
        began = time.process_time()
        lr = scale.transformer_lr if prior == "Transformer" else scale.pixelcnn_lr
        vqnp.fit(network, train, epochs=scale.epochs, batch_size=64, lr=lr, weight_decay=0.01, clip=1.0,
                 seed=seed, progress=False)  # fmt: skip
        figures["seconds"] = time.process_time() - began
        figures["parameters"] = network.num_parameters()
        figures["blind"] = 100 * getattr(network, "blind_spot", 0.0)
        bits = {name: network.evaluate(k).bits_per_image for name, k in (("train", train), ("test", test))}
        drawn = network.sample(SAMPLES, seed)
    images = model.decode(drawn.reshape(SAMPLES, *model.latent_shape))
    return figures | {
        "train": bits["train"],
        "test": bits["test"],
        "nats": bits["test"] * np.log(2) / model.num_latents,
        "gap": bits["test"] - bits["train"],
        "drawn": pack(images) if seed == 0 else "",
    }


@cache
def codes(images: int, epochs: int, channels: int, seed: int) -> tuple:
    """A convolutional VQ-VAE, and the codes of its training images and of the test images."""
    train, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.conv(
        channels=channels, residual_channels=channels // 2, embedding_dim=8, num_embeddings=K, rng=seed
    )
    x = train.images[:images]
    vqnp.fit(model, x, epochs=epochs, batch_size=32, lr=3e-3, seed=seed, progress=False)
    return model, model.encode(x), model.encode(test.images)


def draws(prior: str, train: np.ndarray, seed: int) -> np.ndarray:
    """Samples of a prior that only counts: (SAMPLES, …)."""
    rng, size = np.random.default_rng(seed), (SAMPLES, train[0].size)
    if prior == "uniform":
        return rng.integers(K, size=size)
    if prior == "unigram":
        return rng.choice(train.ravel(), size)
    return Markov(train, K, order=int(prior == "Markov-chain")).sample(SAMPLES, rng)


def build(scale, prior: str, shape: tuple[int, ...], seed: int) -> PixelCNN | Transformer:
    """The network of a row of the table."""
    if prior == "Transformer":
        heads = max(1, scale.width // 16)
        return Transformer(K, shape, scale.width, scale.blocks, heads, dropout=scale.dropout, rng=seed)
    stacks = 1 if prior.endswith("one-stack") else 2
    return PixelCNN(K, shape, scale.features, scale.layers, stacks=stacks, dropout=scale.dropout, rng=seed)


def draw(rows: list[Row]) -> Figure:
    """Samples of each prior; below, bits of training and test images, and test bits against seconds."""
    figure = new_figure(9.6, 6.6)
    axes = figure.add_axes((0.17, 0.5, 0.8, 0.47))
    names = [row.setting["prior"].replace("-", " ") for row in rows]
    strip(axes, [unpack(row["drawn"][0]) for row in rows], names)
    left = figure.add_axes((0.17, 0.085, 0.37, 0.34))
    bits_of(left, rows)
    right = figure.add_axes((0.62, 0.085, 0.35, 0.34))
    for n, row in enumerate(row for row in rows if row["seconds"].any()):
        name = row.setting["prior"].replace("-", " ")
        right.plot(row["seconds"], row["test"], "os^D"[n], markersize=6, alpha=0.8, label=name)
    dress(right, "Test images, trained priors", "processor seconds of training", "bits an image",
          integer_x=False)  # fmt: skip
    right.legend(fontsize=8, frameon=False)
    return figure


def bits_of(axes: Axes, rows: list[Row]) -> None:
    """A row for each prior, each run a point."""
    for n, row in enumerate(rows):
        for name, colour, mark in (("train", ORANGE, "o"), ("test", BLUE, "s")):
            axes.plot(row[name], [n] * len(row[name]), mark, color=colour, markersize=5, alpha=0.8,
                      label=f"{name}ing images" if name == "train" else "test images")  # fmt: skip
        if n == 0:
            axes.legend(fontsize=8, frameon=False, loc="lower left")
    dress(axes, "Bits an image", "bits", "", integer_x=False)
    axes.set_yticks(range(len(rows)), [row.setting["prior"].replace("-", " ") for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(left=0)


def main() -> None:
    """Priors × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 200, "model_epochs": 1, "channels": 8, "epochs": 1, "features": 4, "layers": 3,
               "width": 16, "blocks": 1, "dropout": 0.1, "pixelcnn_lr": 3e-3, "transformer_lr": 1e-3},
        default={"images": 2000, "model_epochs": 2, "channels": 16, "epochs": 4, "features": 16, "layers": 3,
                 "width": 32, "blocks": 2, "dropout": 0.1, "pixelcnn_lr": 3e-3, "transformer_lr": 3e-3},
        full={"images": 10000, "model_epochs": 6, "channels": 32, "epochs": 15, "features": 32, "layers": 5,
              "width": 64, "blocks": 3, "dropout": 0.1, "pixelcnn_lr": 3e-3, "transformer_lr": 3e-3},
    )  # fmt: skip
    rows = study.run([{"prior": prior} for prior in (*COUNTED, *TRAINED)], partial(measure, scale))
    columns = [
        Column("parameters", "parameters", ".0f"),
        Column("seconds", "seconds", ".0f"),
        Column("blind", "blind spot (%)", ".1f"),
        Column("train", "bits an image, train", ".1f"),
        Column("test", "bits an image, test", ".1f"),
        Column("gap", "test − train", ".1f"),
        Column("nats", "nats a code, test", ".4f"),
    ]
    caption = (
        "Samples of each prior (first seed). Below, on the left: bits that the codes of an image need, each "
        "run a point; on the right: those of the trained priors against the processor time of training."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
