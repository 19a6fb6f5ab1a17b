"""What do temperature, top-k, top-p and guidance do to samples?

A convolutional VQ-VAE is trained on digits, then a transformer over its codes, given the class. Samples
of all ten classes are drawn in several ways: the logits are divided by a temperature; each code is drawn
from the k likeliest, or from the likeliest of mass p; or the effect of the class on the logits is
multiplied by a guidance scale. A classifier that comes with vqnp says how many samples show the digit
that was asked for ("accuracy"). From its features follow the precision (samples among real images), the
coverage (real images that have a sample near them) and the Fréchet distance. The same figures are given
for other real test images, which is what no prior can surpass, and for reconstructions, which is what no
prior of this model can surpass.

python examples/studies/sampling.py           about a minute
python examples/studies/sampling.py --full    the figures of docs/studies/sampling.md
"""

import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.evaluation import digit_classifier
from vqnp.plots.style import COLOURS, MARKS, dress, new_figure
from vqnp.priors import Transformer

PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "guidance": 1.0}
NAMES = {"temperature": "temperature", "top_k": "top-k", "top_p": "top-p", "guidance": "guidance"}
"""The ways of drawing, each with the value at which it does nothing (top_k 0: all codes)."""


def train(scale, folder: str, seed: int, model: str) -> dict:
    """Train a VQ-VAE and a prior of its codes given the class, and save both, for all ways of drawing."""
    data = vqnp.load_splits("digits")[0]
    x, labels = data.images[: scale.images], data.labels[: scale.images]
    net = vqnp.VQVAE.conv(
        channels=scale.channels, residual_channels=scale.channels // 2, num_embeddings=scale.codes, rng=seed
    )
    vqnp.fit(net, x, epochs=scale.epochs, batch_size=50, seed=seed, progress=False)
    prior = Transformer(
        scale.codes, net.latent_shape, scale.width, scale.layers, 4, num_classes=10, rng=seed
    )
    vqnp.fit(
        prior, (net.encode(x), labels), epochs=scale.prior_epochs, batch_size=64, seed=seed,
        weight_decay=0.01, clip=1.0, progress=False,
    )  # fmt: skip
    vqnp.save(Path(folder) / f"model{seed}.npz", net)
    vqnp.save(Path(folder) / f"prior{seed}.npz", prior)
    return {"parameters": prior.num_parameters()}


@cache
def loaded(folder: str, seed: int) -> tuple:
    """What train has saved, and the features of the real images that samples are compared with."""
    net, prior = (vqnp.load(Path(folder) / f"{name}{seed}.npz") for name in ("model", "prior"))
    return net, prior, digit_classifier().features(vqnp.load_dataset("digits", "test").images[1000:])


def measure(scale, folder: str, seed: int, way: str, value: float) -> dict:
    """Draw in this way, all else plain, and compare with 1000 real test images."""
    net, prior, real = loaded(folder, seed)
    test, n = vqnp.load_dataset("digits", "test"), scale.samples
    images, labels = test.images[:n], test.labels[:n]
    if way == "reconstructions":
        images = net.reconstruct(images)
    elif way != "test-images":
        options = PLAIN | ({way: value} if way != "guidance+top_p" else {"guidance": 1.5, "top_p": value})
        options["top_k"] = int(options["top_k"]) or None
        labels = np.arange(n) % 10
        images = vqnp.generate(net, prior, n, seed, labels, **options)
    h, p = digit_classifier().features(images), digit_classifier().probabilities(images)
    precision = vqnp.metrics.precision_recall(h, real[:n])
    coverage = vqnp.metrics.density_coverage(h, real[:n])
    return {
        "accuracy": 100 * float((p.argmax(axis=1) == labels).mean()),
        "precision": 100 * precision.precision,
        "density": coverage.density,
        "coverage": 100 * coverage.coverage,
        "frechet": vqnp.metrics.frechet_distance(h, real[:n]),
        "drawn": pack(vqnp.data.to_float(images[:10])) if seed == 0 else "",
    }


def draw(rows: list[Row]) -> Figure:
    """Samples, and each measure along each way of drawing."""
    figure = new_figure(9.6, 6.4)
    top = figure.add_gridspec(1, 1, left=0.14, right=0.99, top=0.97, bottom=0.56)
    low = figure.add_gridspec(1, 3, left=0.06, right=0.985, top=0.46, bottom=0.085, wspace=0.3)
    shown = [row for row in rows if row.setting["way"] in ("test-images", "reconstructions")]
    for name in (*NAMES, "guidance+top_p"):
        mine = select(rows, way=name)
        shown += mine[:1] + mine[-1:] if name == "temperature" else mine[-1:]
    images = [unpack(row["drawn"][0]) for row in shown]
    labels = [row.setting["way"].replace("_", "-").replace("test-", "test ") for row in shown]
    values = [f" {row.setting['value']:g}" if row.setting["value"] else "" for row in shown]
    strip(figure.add_subplot(top[0]), images, [a + b for a, b in zip(labels, values, strict=True)])
    x = "coverage"
    for place, y in enumerate(("accuracy", "precision", "frechet")):
        axes = figure.add_subplot(low[place])
        for i, way in enumerate(NAMES):
            mine = select(rows, way=way)
            a, b = stack(mine, x), stack(mine, y)
            error = np.abs(np.stack([b.min(axis=0), b.max(axis=0)]) - b.mean(axis=0))
            axes.errorbar(
                a.mean(axis=0), b.mean(axis=0), error, color=COLOURS[i], marker=MARKS[i], markersize=4,
                linewidth=1.5, elinewidth=0.8, label=NAMES[way],
            )  # fmt: skip
        level = select(rows, way="reconstructions")[0]
        axes.plot(level[x].mean(), level[y].mean(), "k*", markersize=9, label="reconstructions")
        title = "Fréchet distance" if y == "frechet" else f"{y} (%)"
        dress(axes, title, "coverage (%)", "", integer_x=False)
        if place == 0:
            axes.legend(fontsize=8, frameon=False)
    return figure


def main() -> None:
    """Ways of drawing × seeds, from one model for each seed."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={
            "images": 300, "channels": 4, "codes": 16, "epochs": 1, "width": 8, "layers": 1,
            "prior_epochs": 1, "samples": 50, "values": "few",
        },
        default={
            "images": 2500, "channels": 16, "codes": 64, "epochs": 5, "width": 48, "layers": 2,
            "prior_epochs": 12, "samples": 300, "values": "few",
        },
        full={
            "images": 10000, "channels": 32, "codes": 128, "epochs": 12, "width": 96, "layers": 3,
            "prior_epochs": 16, "samples": 1000, "values": "all",
        },
    )  # fmt: skip
    few = {"temperature": [0.5, 0.8, 1.0, 1.2], "top_k": [4, 16], "top_p": [0.6, 0.9], "guidance": [1.5, 3.0]}
    every = {
        "temperature": [0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25], "top_k": [2, 4, 8, 16, 32],
        "top_p": [0.5, 0.7, 0.8, 0.9, 0.95, 0.98], "guidance": [0.5, 1.25, 1.5, 2.0, 3.0, 5.0],
    }  # fmt: skip
    values = few if scale.values == "few" else every
    settings = [{"way": way, "value": 0.0} for way in ("test-images", "reconstructions")]
    settings += [{"way": way, "value": float(value)} for way in values for value in values[way]]
    settings += [{"way": "guidance+top_p", "value": p} for p in values["top_p"]]
    with tempfile.TemporaryDirectory() as folder:
        study.run([{"model": "conv"}], partial(train, scale, folder))
        rows = study.run(settings, partial(measure, scale, folder))
    columns = [
        Column("accuracy", "accuracy (%)", ".1f"),
        Column("precision", "precision (%)", ".1f"),
        Column("density", "density", ".2f"),
        Column("coverage", "coverage (%)", ".1f"),
        Column("frechet", "Fréchet distance", ".2f"),
    ]
    caption = (
        "Samples of the ten classes, drawn in several ways (guidance+top-p: guidance 1.5 with this "
        "top-p), and three measures against the coverage of real images."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
