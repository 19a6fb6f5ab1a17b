"""How strong must a decoder be before its latent is ignored?

The usual answer, which is also why VQ-VAEs were proposed: a decoder that is strong enough, such as an
autoregressive one, models the images without the latent, and the posterior of a VAE collapses; a VQ-VAE does
not have this problem. Here the strength of the decoder is a number, w. The decoder predicts each pixel from
the latent and from the pixels before it within a window of w rows and columns, from w = 0, the usual decoder,
to w = 28, where the window holds all pixels before it. The models are a VAE with a KL weight of 1, with and
without a warm-up, and a VQ-VAE with β = 0.25 and 28 or 112 bits. The pixels are rounded to four grey levels,
and the decoder gives the probability of each level, so that all results are in nats and can be added.

The price of a latent is what it costs to send: the KL divergence in a VAE, and M ln K in a VQ-VAE with M
positions and K codes. Its use is how many more nats per image the decoder needs when it is given the latent
of another image. Its gain is how many more the same decoder needs when it is trained without a latent. This
decoder is one control; the others are a VQ-VAE whose encoder stays random and one that is not trained at all.
The prediction, made before the runs: the use of the VAE's latent falls to 0 together with its price; the
price of the VQ-VAE is fixed, so its use falls only as far as the window makes the codes redundant.

python examples/studies/decoder_strength.py           about a minute
python examples/studies/decoder_strength.py --full    the figures of docs/studies/decoder_strength.md
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np
from _autoregressive import Codes, WindowModel, build, rounded, window_means
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import COLOURS, GREY, dress, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

K, D, BATCH, LR = 128, 8, 50, 4e-3
LONG = 30
"""Epochs of a longer training, at some windows."""

CODES = {28: 4, 112: 16}
"""M, the number of codes of an image, by bits. A VAE has as many numbers as the VQ-VAE of 28 bits."""

LEAST = 0.5
"""The least use in the figure, in nats."""

LINES = (("VAE", "own"), ("VAE-warm-up", "own"), ("VQ-VAE", 28), ("VQ-VAE", 112), ("VQ-VAE-frozen", 28),
         ("VQ-VAE-frozen", 112))  # fmt: skip
"""Model and bits; the bits of a VAE are its own affair."""


@lru_cache(maxsize=2)
def images(split: int, n: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Rounded training (0) or test images (1), and the means of their windows."""
    x = rounded(vqnp.load_splits("digits")[split].images[:n])
    return x, window_means(x, window)


def measure(scale, seed: int, model: str, bits: int | str, window: int, epochs: int) -> dict:
    """Train once; nats of test images with their own latents and with those of others."""
    steps = epochs * math.ceil(scale.images / BATCH)
    kind = "VAE" if model == "VAE-warm-up" else model.replace("-untrained", "")
    warmup = steps // 2 if model == "VAE-warm-up" else 0
    M = CODES.get(bits, CODES[28])
    made = build(kind, window, M, D, K, scale.hidden, scale.pixel_hidden, warmup, 28, seed)
    data = images(0, scale.images, window)
    if model == "VQ-VAE-untrained":
        Trainer(made, data, Schedule(1, BATCH, seed=seed)).initialize()
    else:
        vqnp.fit(made, data, epochs=epochs, batch_size=BATCH, lr=LR, seed=seed, progress=False)
    return nats(made, *images(1, scale.tested, window), np.random.default_rng(seed))


def nats(model: WindowModel, x: np.ndarray, c: np.ndarray, rng: np.random.Generator) -> dict:
    """Price, NLL, their sum, and what is lost with the latents of others, in nats an image."""
    z, price = model.latents(x, rng)
    figures = {}
    if isinstance(latent := getattr(model, "latent", None), Codes):
        k = latent.quantizer.encode(z.reshape(len(z), -1, D))
        price = k.shape[1] * math.log(K)
        figures["perplexity"] = vqnp.perplexity(np.bincount(k.ravel(), minlength=K))
        figures["distinct"] = 100 * len(np.unique(k, axis=0)) / len(k)
    own = model.nats(x, c, z).mean()
    figures |= {"price": price, "nll": own, "total": own + price, "bits": (own + price) / math.log(2)}
    if not model.blind:
        one, other = (model.nats(x, c, z[permuted(len(z), rng)]).mean() for _ in range(2))
        figures |= {"use": one - own, "chance": abs(one - other)}
    return figures


def permuted(n: int, rng: np.random.Generator) -> np.ndarray:
    """Another image for each: a random cyclic permutation, so that none keeps its own."""
    order, other = rng.permutation(n), np.empty(n, np.int64)
    other[order] = np.roll(order, 1)
    return other


def compare(rows: list[Row]) -> None:
    """Add gain = NLL without a latent − NLL, and net = gain − price, seed by seed."""
    for row in rows:
        same = {name: row.setting[name] for name in ("window", "epochs")}
        alone = select(rows, model="none", **same)[0]
        for run, without in zip(row.runs, alone.runs, strict=True):
            if row is not alone and row.setting["model"] != "VQ-VAE-untrained":
                run["gain"] = float(f"{without['nll'] - run['nll']:.6g}")
                run["net"] = float(f"{without['nll'] - run['total']:.6g}")


def draw(rows: list[Row], windows: list[int], epochs: int) -> Figure:
    """Use against the window; gain and price against the window."""
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2)
    x = range(len(windows))
    for i, (model, bits) in enumerate(LINES):
        mine = select(rows, model=model, bits=bits, epochs=epochs)
        if not mine:
            continue
        at = [windows.index(row.setting["window"]) for row in mine]
        label = model.replace("-warm-up", ", warm-up").replace("VAE-frozen", "VAE, random encoder")
        label += "" if bits == "own" else f", {bits} bits"
        spread(left, at, stack(mine, "use").clip(LEAST), label, i)
        spread(right, at, stack(mine, "gain"), label, i)
        if model != "VQ-VAE-frozen":
            right.plot(at, stack(mine, "price").mean(axis=0), color=COLOURS[i], linestyle="--", linewidth=1)
    titles = "Use: lost with the latents of other images", "Gain over no latent (solid), price (dashed)"
    for axes, title in zip((left, right), titles, strict=True):
        dress(axes, title, "window of the decoder: w rows and columns", "nats an image")
        axes.set_xticks(x, [str(w) for w in windows])
    left.set_yscale("log")
    left.set_yticks([LEAST, 1, 10, 100], [f"{LEAST:g} or less", "1", "10", "100"])
    left.set_ylim(bottom=LEAST)
    right.set_yscale("symlog", linthresh=10, linscale=1.5)
    right.set_yticks([-10, -5, 0, 5, 10, 20, 50, 100], ["−10", "−5", "0", "5", "10", "20", "50", "100"])
    right.set_ylim(bottom=min(-5, *(row["gain"].min() for row in rows if "gain" in row.runs[0])))
    right.axhline(0, color=GREY, linewidth=0.8)
    for bits, M in CODES.items():
        right.annotate(f"price of {bits} bits", (x[-1], M * math.log(K)), (0, 3), textcoords="offset points",
                       fontsize=7, ha="right")  # fmt: skip
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def settings_of(models: list[tuple[str, int | str]], window: int, epochs: int) -> list[dict]:
    """A setting for each model and bits."""
    return [{"model": model, "bits": bits, "window": window, "epochs": epochs} for model, bits in models]


def main() -> None:
    """Models × windows × seeds."""
    study = Study(__file__, __doc__)
    size = {"hidden": 64, "pixel_hidden": 32, "tested": 1000}
    scale = study.pick(
        quick={"images": 100, "hidden": 16, "pixel_hidden": 8, "tested": 50, "epochs": 1, "windows": [0, 2],
               "controls": [], "longer": []},
        default={"images": 2000, **size, "epochs": 8, "windows": [0, 2, 7], "controls": [], "longer": []},
        full={"images": 3000, **size, "epochs": 10, "windows": [0, 1, 2, 4, 7, 14, 28],
              "controls": [0, 2, 28], "longer": [2, 28]},
    )  # fmt: skip
    settings = []
    for window in scale.windows:  # the runs of a window after one another: they share its means
        models = [("none", 0), *LINES[:4]]
        if window in scale.controls:
            models += [*LINES[4:], ("VQ-VAE-untrained", 112)]
        settings += settings_of(models, window, scale.epochs)
    for window in scale.longer:
        models = [("none", 0), LINES[1], LINES[2], LINES[4]]
        settings += settings_of(models, window, LONG)
    rows = study.run(settings, partial(measure, scale))
    compare(rows)
    columns = [
        Column("price", "price (nats)", ".1f"),
        Column("use", "use (nats)", ".2f"),
        Column("gain", "gain (nats)", ".1f"),
        Column("nll", "test −log p(x given z) (nats)", ".1f"),
        Column("bits", "total (bits an image)", ".0f"),
        Column("net", "total less than without a latent by (nats)", ".1f"),
        Column("chance", "use: two permutations differ by", ".2f"),
        Column("perplexity", "test perplexity of 128", ".0f"),
        Column("distinct", "distinct codes (% of images)", ".0f"),
    ]
    caption = (
        "Left: what the decoder loses when it is given the latent of another image, against its window. "
        "Right: what the latent brings compared with no latent, and what it costs."
    )
    figure = draw(rows, study.scale["windows"], study.scale["epochs"])
    study.write(rows, columns, figure, caption)


if __name__ == "__main__":
    main()
