"""What error does a VQ-VAE reach at a given number of bits, compared with product quantization?

M codes out of K take M log2 K bits per image. Here a VQ-VAE is trained at several M and K and compared with
two coders without a network: product quantization (PQ: the pixels in M contiguous runs, with k-means in each)
and PCA+PQ (the same on principal components, distributed so that the runs share the variance equally, with
the result clipped to [0, 1], as the VQ-VAE's is). At M = 1, PQ is plain k-means of whole images. Also
measured are the error on the training images and the bits that an entropy coder needs when it knows the
frequencies of the codes in the training images.

python examples/studies/rate_distortion.py           about a minute
python examples/studies/rate_distortion.py --full    the figures of docs/studies/rate_distortion.md
"""

import importlib.util
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
from _pictures import pack, strip, unpack
from _product import ProductQuantizer, pixels
from _study import Column, Row, Study, select
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import COLOURS, GREY, MARKS, dress, log_settings, new_figure, plain_log

METHODS = ("VQ-VAE", "PQ", "PCA+PQ")
SHOWN = {"M": 16, "K": 128}
"""The rate at which reconstructions are drawn."""
TICKS = (7, 14, 28, 56, 112, 196, 343)


def measure(scale, seed: int, method: str, M: int, K: int, epochs: int) -> dict:
    """Fit one coder; its bits, its errors, and the number of parameters of its decoder."""
    train, test = vqnp.load_splits("digits")
    images = train.images[: scale.images]
    if method == "VQ-VAE":
        D = min(8, max(2, 128 // M))  # a latent of about 100 numbers, whatever M
        sizes = {"num_latents": M, "embedding_dim": D, "num_embeddings": K, "hidden": (scale.hidden,)}
        model = vqnp.VQVAE.mlp(**sizes, rng=seed)
        vqnp.fit(model, images, epochs=epochs, batch_size=scale.batch_size, lr=scale.lr, seed=seed,
                 progress=False)  # fmt: skip
        numbers = K * D + model.decoder.num_parameters()
    else:
        model = ProductQuantizer(images, M, K, seed, method == "PCA+PQ")
        numbers = model.numbers
    k, other = model.encode(test.images), model.encode(images)
    rate = vqnp.metrics.rate_distortion(k, K, error(model.decode(k), test.images))
    train_mse = error(model.decode(other), images)
    return {
        "bits": rate.bits,
        "coded": vqnp.priors.code_length(k, other, K),
        "mse": rate.mse,
        "psnr": rate.psnr,
        "train_mse": train_mse,
        "gap": 100 * (rate.mse / train_mse - 1),
        "numbers": numbers / 1000,
        "drawn": pack(model.decode(k[:10])) if seed == 0 and SHOWN == {"M": M, "K": K} else "",
    }


def error(x_hat: np.ndarray, images: np.ndarray) -> float:
    """⟨(x̂ − x)²⟩."""
    return float(((x_hat.reshape(len(images), -1) - pixels(images)).astype(np.float64) ** 2).mean())


def draw(rows: list[Row], epochs: int) -> Figure:
    """Error against bits, relative to PQ's, against entropy-coded bits; the gap; and reconstructions."""
    figure = new_figure(9.6, 8.2)
    grid = figure.add_gridspec(2, 2, left=0.08, right=0.985, top=0.96, bottom=0.27, hspace=0.33, wspace=0.22)
    pq = {(row.setting["M"], row.setting["K"]): row["mse"].mean() for row in select(rows, method="PQ")}
    bits = "bits per image"
    wanted = (
        ("Error", bits, "test MSE", lambda row: row["mse"]),
        ("Error relative to product quantization's", bits, "test MSE / PQ's test MSE",
         lambda row: row["mse"] / pq[row.setting["M"], row.setting["K"]]),
        ("Error, and bits after entropy coding", "entropy-coded " + bits, "test MSE", lambda row: row["mse"]),
        ("Generalization gap", bits, "test MSE above training MSE (%)", lambda row: row["gap"]),
    )  # fmt: skip
    for place, (title, x, y, of) in enumerate(wanted):
        axes = figure.add_subplot(grid[divmod(place, 2)])
        for i, method in enumerate(METHODS):
            for K in (128, 16):
                mine = [r for r in select(rows, method=method, K=K) if r.setting["epochs"] in (0, epochs)]
                points(axes, mine, "bits" if x == bits else "coded", of, i, MARKS[i], f"{method}, K = {K}")
        for row in rows:
            if row.setting["epochs"] > epochs:
                label = f"VQ-VAE, K = 128, {row.setting['epochs']} epochs"
                points(axes, [row], "bits" if x == bits else "coded", of, 0, "*", label)
        dress(axes, title, x, y, integer_x=False)
        log_settings(axes, TICKS)
        if place in (0, 2):
            plain_log(axes)
        else:
            axes.axhline(1 if place == 1 else 0, color=GREY, linewidth=1, linestyle="--", zorder=0)
        if place == 0:
            axes.legend(fontsize=8, frameon=False, loc="lower left")
    shown = {m: select(rows, method=m, epochs=epochs * (m == "VQ-VAE"), **SHOWN)[0] for m in METHODS}
    test = vqnp.load_splits("digits")[1].images[:10] / 255
    low = figure.add_gridspec(1, 2, left=0.08, right=0.985, top=0.185, bottom=0.01, wspace=0.2)
    for place, names in enumerate((METHODS[:2], METHODS[::2])):
        axes = figure.add_subplot(low[place])
        strip(axes, [test, *(unpack(shown[name]["drawn"][0]) for name in names)], ["test", *names])
        axes.set_title(f"{names[1]} beside the VQ-VAE at {shown['PQ']['bits'][0]:g} bits", fontsize=10)
    return figure


def points(axes: Axes, rows: list[Row], x: str, of: Callable, i: int, mark: str, label: str) -> None:
    """The mean over seeds with its range; joined where K = 128, hollow where not."""
    if rows:
        rows = sorted(rows, key=lambda row: row["bits"][0])
        y, filled = np.stack([of(row) for row in rows], axis=1), rows[0].setting["K"] == 128
        mean = y.mean(axis=0)
        axes.errorbar([row[x].mean() for row in rows], mean, [mean - y.min(axis=0), y.max(axis=0) - mean],
                      color=COLOURS[i], marker=mark, markersize=10 if mark == "*" else 5, linewidth=1.5,
                      linestyle="-" if filled else "", markerfacecolor=COLOURS[i] if filled else "white",
                      label=label)  # fmt: skip


def main() -> None:
    """Coders × rates × seeds."""
    study = Study(__file__, __doc__)
    if not study.redraw and importlib.util.find_spec("faiss") is None:
        sys.exit("rate_distortion: product quantization needs faiss: pip install -e '.[bench]'")
    scale = study.pick(
        quick={
            "images": 300, "epochs": 2, "longer": 3, "hidden": 32, "batch_size": 50, "lr": 2e-3,
            "rates": ["1 x 128", "16 x 128", "49 x 128"],
        },
        default={
            "images": 10000, "epochs": 12, "longer": 0, "hidden": 384, "batch_size": 50, "lr": 2e-3,
            "rates": ["4 x 128", "16 x 128"],
        },
        full={
            "images": 10000, "epochs": 12, "longer": 30, "hidden": 384, "batch_size": 50, "lr": 2e-3,
            "rates": ["1 x 128", "4 x 128", "16 x 128", "49 x 128", "16 x 16", "49 x 16"],
        },
    )  # fmt: skip
    rates = [dict(zip("MK", map(int, rate.split(" x ")), strict=True)) for rate in scale.rates]
    settings = [{"method": "VQ-VAE", **rate, "epochs": scale.epochs} for rate in rates]
    if scale.longer:
        settings.append({"method": "VQ-VAE", "M": 49, "K": 128, "epochs": scale.longer})
    settings += [{"method": "PQ", **rate, "epochs": 0} for rate in rates]
    settings += [{"method": "PCA+PQ", **rate, "epochs": 0} for rate in rates if rate["M"] > 1]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("bits", "bits per image", ".0f"),
        Column("coded", "entropy-coded", ".1f"),
        Column("mse", "test MSE", ".4f"),
        Column("psnr", "PSNR (dB)", ".2f"),
        Column("train_mse", "training MSE", ".4f"),
        Column("gap", "test above training (%)", ".1f"),
        Column("numbers", "numbers in the decoder (thousands)", ".0f"),
    ]
    caption = "Test error against bits: a VQ-VAE, product quantization, and product quantization after PCA."
    study.write(rows, columns, draw(rows, study.scale["epochs"]), caption)


if __name__ == "__main__":
    main()
