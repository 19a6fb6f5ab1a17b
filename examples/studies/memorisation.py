"""When does a prior memorize the codes of its training images?

A convolutional VQ-VAE is trained on digits. Then transformers of growing width, without dropout, are
trained on the codes of a part of its training images. For each the study gives the bits that an image
needs under it, for the images that it was trained on and for test images; the distance of samples from
the nearest of its training images, beside that of reconstructions of test images by the same decoder, so
that blur counts for both; and how many codes of a sample differ from the nearest grid of codes that it
was trained on, beside those of test images.

python examples/studies/memorisation.py           about a minute
python examples/studies/memorisation.py --full    the figures of docs/studies/memorisation.md
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import dress, log_settings, new_figure, spread
from vqnp.priors import Transformer


def train(scale, folder: str, seed: int, model: str) -> dict:
    """Train a VQ-VAE and save it; every prior of a seed is about the codes of this one."""
    x = vqnp.load_dataset("digits").images[: scale.images]
    net = vqnp.VQVAE.conv(
        channels=scale.channels, residual_channels=scale.channels // 2, num_embeddings=scale.codes, rng=seed
    )
    vqnp.fit(net, x, epochs=scale.epochs, batch_size=50, seed=seed, progress=False)
    vqnp.save(Path(folder) / f"model{seed}.npz", net)
    return {"parameters": net.num_parameters()}


def measure(scale, folder: str, seed: int, width: int) -> dict:
    """Train a prior on few codes; bits, and what its samples have in common with them."""
    train_set, test = vqnp.load_splits("digits")
    x, n = train_set.images[: scale.grids], scale.samples
    net = vqnp.load(Path(folder) / f"model{seed}.npz")
    known, new = net.encode(x), net.encode(test.images)
    prior = Transformer(scale.codes, net.latent_shape, width, scale.layers, 4, dropout=0.0, rng=seed)
    history = vqnp.fit(
        prior, known, new[:500], epochs=scale.prior_epochs, batch_size=20, lr=2e-3, seed=seed, clip=1.0,
        progress=False,
    )  # fmt: skip
    drawn = prior.sample(n, seed)
    images, decoded = net.decode(drawn), net.decode(new[:n])
    near = vqnp.metrics.memorization(images, decoded, x)
    differ, nearest = differing(drawn, known)
    return {
        "parameters": prior.num_parameters(),
        "train": prior.evaluate(known).bits_per_image,
        "test": prior.evaluate(new).bits_per_image,
        "best": min(row["test_bits_per_image"] for row in history),
        "distance": near.ratio,
        "near": 100 * near.near,
        "differ": float(differ.mean()),
        "differ_test": float(differing(new[:n], known)[0].mean()),
        "copies": 100 * float((differ == 0).mean()),
        "curve": [row["test_bits_per_image"] for row in history],
        "drawn": pack(np.concatenate([images[:10], net.decode(known[nearest[:10]])])) if seed == 0 else "",
    }


def differing(k: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of codes in which each grid differs from the nearest known one, and which that is."""
    k, known = k.reshape(len(k), -1), known.reshape(len(known), -1)
    counts = np.stack([(known != row).sum(axis=1) for row in k])
    return counts.min(axis=1), counts.argmin(axis=1)


def draw(rows: list[Row]) -> Figure:
    """Samples above their nearest training grids; below, bits, the test bits by epoch, codes that differ."""
    figure = new_figure(9.6, 6.2)
    top = figure.add_gridspec(1, 1, left=0.16, right=0.99, top=0.97, bottom=0.6)
    low = figure.add_gridspec(1, 3, left=0.06, right=0.985, top=0.5, bottom=0.09, wspace=0.28)
    shown = [rows[0], rows[-1]] if len(rows) > 1 else rows
    strips, names = [], []
    for row in shown:
        images = unpack(row["drawn"][0])
        strips += [images[:10], images[10:]]
        names += [f"width {row.setting['width']}", "nearest known"]
    strip(figure.add_subplot(top[0]), strips, names)
    widths = [row.setting["width"] for row in rows]
    bits, curves, codes = (figure.add_subplot(place) for place in low)
    spread(bits, widths, stack(rows, "train"), "training images", 0)
    spread(bits, widths, stack(rows, "test"), "test images", 1)
    dress(bits, "Bits an image, at the end", "width", "bits", integer_x=False)
    for i, row in enumerate(rows):
        curve, label = row["curve"], f"width {row.setting['width']}"
        spread(curves, np.arange(1, curve.shape[1] + 1), curve, label, i, mark=False)
    dress(curves, "Bits of a test image", "epoch", "bits")
    spread(codes, widths, stack(rows, "differ"), "samples", 0)
    spread(codes, widths, stack(rows, "differ_test"), "test images", 1)
    dress(codes, "Codes that differ from a known grid", "width", "codes", integer_x=False)
    for axes in (bits, codes):
        log_settings(axes, widths)
    for axes in (bits, curves, codes):
        axes.legend(fontsize=8, frameon=False)
    return figure


def main() -> None:
    """Widths × seeds, over the codes of one VQ-VAE for each seed."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={
            "images": 300, "channels": 4, "codes": 16, "epochs": 1, "grids": 100, "layers": 1,
            "prior_epochs": 2, "samples": 40, "widths": [4, 8],
        },
        default={
            "images": 2500, "channels": 16, "codes": 64, "epochs": 5, "grids": 200, "layers": 2,
            "prior_epochs": 50, "samples": 200, "widths": [16, 48, 96],
        },
        full={
            "images": 10000, "channels": 32, "codes": 128, "epochs": 12, "grids": 1000, "layers": 3,
            "prior_epochs": 80, "samples": 500, "widths": [16, 32, 64, 128],
        },
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        study.run([{"model": "conv"}], partial(train, scale, folder))
        rows = study.run([{"width": width} for width in scale.widths], partial(measure, scale, folder))
    columns = [
        Column("parameters", "parameters", ".0f"),
        Column("train", "training bits", ".1f"),
        Column("test", "test bits", ".1f"),
        Column("best", "at the best epoch", ".1f"),
        Column("distance", "distance, samples / test images", ".2f"),
        Column("differ", "codes that differ", ".1f"),
        Column("differ_test", "the same of test images", ".1f"),
        Column("copies", "copies (%)", ".1f"),
    ]
    caption = "Samples and the nearest grids of codes that the prior was trained on; bits; codes that differ."
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
