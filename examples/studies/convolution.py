"""What do convolutions change in a VQ-VAE of images?

The usual answer: convolutions preserve the spatial layout, so that each code belongs to a place in the image,
and share their weights, so that a code has the same effect everywhere; on images a convolutional network
(CNN) therefore reconstructs better than an MLP. Here both have 7 × 7 codes out of 128, 343 bits an image, and
train for about the same number of seconds on one core: a CNN in the published form; an MLP with as many
parameters; and a wide MLP with 24 times as many. Three controls: the CNN with the positions of its codes
permuted between encoder and decoder; untrained models; and a network of 4 × 4 patches, each of which is
encoded and decoded on its own with the same weights. The CNN and wide MLP also have 16 and 1024 codes.

python examples/studies/convolution.py           about a minute
python examples/studies/convolution.py --full    the figures of docs/studies/convolution.md
"""

import time
from functools import partial

import numpy as np
from _pictures import pack, unpack
from _places import decoder, locality, same_effect, shift_error, shifted, shuffle_error
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.nn import Activation, Conv, ConvTranspose, EMAVectorQuantizer, Module, Reshape, Sequential
from vqnp.plots.style import COLOURS, MARKS, dress, log_settings, new_figure, no_ticks, spread

SETTINGS = [
    ("CNN", 128), ("MLP", 128), ("MLP-wide", 128), ("CNN-permuted", 128), ("patches", 128),
    ("CNN-untrained", 128), ("MLP-untrained", 128),
    ("CNN", 16), ("MLP-wide", 16), ("CNN", 1024), ("MLP-wide", 1024),
]  # fmt: skip
G, SIZE, D = 7, 4, 8
"""Positions along an axis, pixels of a patch along an axis, numbers of a code."""
SHOWN = ("CNN", "MLP", "MLP-wide", "CNN-permuted", "patches")
LABELS = {"shift": "shifted by one position", "shuffle": "permuted", "here": "at one position",
          "there": "at two positions"}  # fmt: skip
EPOCHS = {"CNN": 1, "CNN-permuted": 1, "MLP": 10, "MLP-wide": 3, "patches": 6}
"""Epochs that take about as many seconds as one of the CNN's, measured on the processor of
docs/studies/README.md. They are fixed, so that the results do not depend on the machine."""
LR = {"MLP": 1e-3, "MLP-wide": 1e-3}
"""Of the MLPs; the convolutional networks have 3e-3. Single runs were worse with the other value."""


class Permute(Module):
    """y_p = x_π(p): the positions of a map in another order, (B, G, G, D) -> (B, G, G, D)."""

    def __init__(self, seed: int) -> None:
        self._order = np.random.default_rng(seed).permutation(G * G)

    def forward(self, x):
        """y_p = x_π(p)."""
        return np.ascontiguousarray(x.reshape(len(x), G * G, -1)[:, self._order].reshape(x.shape)), None

    def backward(self, dy, cache, need_dx=True):
        """dx_π(p) = dy_p."""
        back = np.argsort(self._order)
        return np.ascontiguousarray(dy.reshape(len(dy), G * G, -1)[:, back].reshape(dy.shape))


def build(scale, model: str, K: int, seed: int) -> vqnp.VQVAE:
    """The model of a row of the table."""
    kind = model.partition("-")[0]
    if kind == "MLP":
        hidden = scale.wide if model == "MLP-wide" else scale.hidden
        return vqnp.VQVAE.mlp((28, 28), G * G, D, K, (hidden,), rng=seed)
    if kind == "patches":
        rng, H = np.random.default_rng(seed), 2 * scale.channels
        encoder = Sequential(Reshape(28, 28, 1), Conv(1, H, SIZE, stride=SIZE, rng=rng), Activation("relu"),
                             Conv(H, D, 1, rng=rng))  # fmt: skip
        decoder = Sequential(Conv(D, H, 1, rng=rng), Activation("relu"),
                             ConvTranspose(H, 1, SIZE, stride=SIZE, rng=rng), Reshape(28, 28))  # fmt: skip
        quantizer = EMAVectorQuantizer(K, D, restart_dead_codes=0.05, codebook_init="data", rng=rng)
        return vqnp.VQVAE(encoder, quantizer, decoder)
    H = scale.channels
    cnn = vqnp.VQVAE.conv(channels=H, residual_channels=H // 2, embedding_dim=D, num_embeddings=K, rng=seed)
    if model == "CNN-permuted":
        return vqnp.VQVAE(cnn.encoder, cnn.quantizer, Sequential(Permute(seed), *cnn.decoder.layers))
    return cnn


def measure(scale, seed: int, model: str, K: int) -> dict:
    """Train once; error and sharpness; locality of the positions; the same codes at other places."""
    train, test = vqnp.load_splits("digits")
    x, rng = train.images[: scale.images], np.random.default_rng(seed)
    made = build(scale, model, K, seed)
    began, epochs = time.process_time(), scale.epochs * EPOCHS.get(model, 0)
    if epochs:
        lr = LR.get(model, 3e-3)
        vqnp.fit(made, x, epochs=epochs, batch_size=32, lr=lr, seed=seed, progress=False)
    else:
        made.initialize(made.prepare(x[:2000]), rng)
    seconds = time.process_time() - began
    images = test.images / 255.0
    codes = made.encode(test.images)
    x_hat = made.decode(codes).astype(np.float64)
    figures = {
        "bits": made.bits_per_image,
        "parameters": sum(param.value.size for _, param in made.named_parameters()),
        "epochs": epochs,
        "seconds": round(seconds),
        "mse": float(((x_hat - images) ** 2).mean()),
        "sharp": vqnp.metrics.sharpness(x_hat, images),
        "perplexity": vqnp.perplexity(np.bincount(codes.ravel(), minlength=K)),
    }
    return figures | (places(scale, made, test.images, codes, seed) if K == 128 else {})


def places(scale, model: vqnp.VQVAE, images: np.ndarray, codes: np.ndarray, seed: int) -> dict:
    """What the codes of each position change, and what the same codes draw at another place."""
    rng, decode, few = np.random.default_rng(seed), decoder(model), images[: scale.swapped]
    a = vqnp.inspection.position_influence(model, few, rng).reshape(G, G, *images.shape[1:])
    k = codes.reshape(-1, G, G)
    found = locality(a, rng) | same_effect(decode, k, SIZE, rng, scale.pairs)
    found |= {
        "reached": float(np.mean([vqnp.perplexity(b) for b in a.reshape(G * G, -1) if b.any()])),
        "shift": shift_error(decode, k[: scale.pairs], SIZE),
        "shuffle": shuffle_error(decode, k[: scale.pairs], SIZE, rng),
        "pair": 100 * vqnp.inspection.swap_interaction(model, few, 2, rng),
        "all": 100 * vqnp.inspection.swap_interaction(model, few, G * G, rng),
    }
    return found | {"pictures": pack(pictures(decode, k, a)) if seed == 0 else ""}


def pictures(decode, k: np.ndarray, a: np.ndarray) -> np.ndarray:
    """4 reconstructions, 4 with codes moved to the right, 4 influences, one swap at 4 positions."""
    shown = k[:4]
    at = [(2, 2), (2, 4), (4, 2), (4, 4)]
    maps = np.stack([np.sqrt(a[p] / max(a[p].max(), 1e-12)) for p in at])
    counts = np.bincount(k[:, 1:-1, 1:-1].ravel(), minlength=k.max() + 1).argsort()[::-1]
    swapped = np.repeat(k[:1], 8, axis=0)
    for n, p in enumerate(at):
        swapped[n, p[0], p[1]], swapped[4 + n, p[0], p[1]] = counts[:2]
    effect = decode(swapped[4:]) - decode(swapped[:4])
    effect = 0.5 + 0.5 * effect / max(np.abs(effect).max(), 1e-12)
    return np.concatenate([decode(shown), decode(shifted(shown, (0, 1))), maps, effect])


def draw(rows: list[Row]) -> Figure:
    """Reconstructions, shifts, influences and effects; below, the measures, each run a point."""
    figure = new_figure(9.6, 6.7)
    grid = figure.add_gridspec(len(SHOWN), 4, left=0.105, right=0.99, top=0.955, bottom=0.505, wspace=0.05,
                               hspace=0.06)  # fmt: skip
    titles = ("reconstructions", "with codes moved to the right", "influence of 4 positions",
              "one swap of codes at them")  # fmt: skip
    shown = [row for row in rows if row.setting["model"] in SHOWN and row.setting["K"] == 128]
    for i, row in enumerate(shown):
        images = unpack(row["pictures"][0]).reshape(4, 4, 28, 28)
        for j, four in enumerate(images):
            axes = figure.add_subplot(grid[i, j])
            white = (1, 1, 0, 0.5)[j]
            framed = np.pad(four, ((0, 0), (1, 1), (1, 1)), constant_values=white)
            sheet = framed.swapaxes(0, 1).reshape(30, -1)
            axes.imshow(sheet, cmap=("gray", "gray", "Blues", "RdBu_r")[j], vmin=0, vmax=1,
                        interpolation="nearest")  # fmt: skip
            no_ticks(axes)
            if i == 0:
                axes.set_title(titles[j], fontsize=9, pad=4)
            if j == 0:
                axes.set_ylabel(row.setting["model"].replace("-", "\n"), fontsize=8.5, rotation=0, ha="right",
                                va="center")  # fmt: skip
    bottom = figure.add_gridspec(1, 4, left=0.07, right=0.99, top=0.435, bottom=0.145, wspace=0.38)
    panels = [figure.add_subplot(bottom[i]) for i in range(4)]
    at = [row for row in rows if row.setting["K"] == 128]
    for axes, title, unit, names in (
        (panels[1], "Influence near its patch", "% of the influence", ("best_near",)),
        (panels[2], "Error of moving codes", "% (100: as if not moved)", ("shift", "shuffle")),
        (panels[3], "Effect of one swap", "correlation", ("here", "there")),
    ):
        for n, name in enumerate(names):
            x = np.repeat(np.arange(len(at)), len(at[0][name]))
            axes.plot(x, np.concatenate([row[name] for row in at]), MARKS[n], color=COLOURS[n], markersize=5,
                      alpha=0.8, label=LABELS.get(name, ""))  # fmt: skip
        dress(axes, title, "", unit, integer_x=False)
        axes.set_xticks(range(len(at)), [row.setting["model"] for row in at], rotation=50, ha="right",
                        rotation_mode="anchor", fontsize=7.5)  # fmt: skip
        low, high = axes.get_ylim()
        axes.set_ylim(min(0, low), high * (1.3 if len(names) > 1 else 1))
        if len(names) > 1:
            axes.legend(fontsize=7.5, frameon=False, loc="upper left", borderaxespad=0)
    for n, model in enumerate(("CNN", "MLP-wide")):
        mine = sorted(select(rows, model=model), key=lambda row: row.setting["K"])
        spread(panels[0], [row.setting["K"] for row in mine], stack(mine, "mse"), model, n)
    log_settings(panels[0], sorted({K for _, K in SETTINGS}))
    dress(panels[0], "Error against codebook", "K, codes", "test MSE", integer_x=False)
    log_settings(panels[0], sorted({K for _, K in SETTINGS}))
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize=7.5, frameon=False)
    return figure


def main() -> None:
    """Models × sizes of the codebook × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 200, "epochs": 1, "channels": 8, "hidden": 16, "wide": 32, "swapped": 8,
               "pairs": 60},
        default={"images": 2000, "epochs": 1, "channels": 32, "hidden": 22, "wide": 512, "swapped": 40,
                 "pairs": 500},
        full={"images": 10000, "epochs": 3, "channels": 32, "hidden": 22, "wide": 512, "swapped": 100,
              "pairs": 2000},
    )  # fmt: skip
    chosen = [("CNN", 128), ("MLP-wide", 128)] if study.size == "quick" else SETTINGS
    rows = study.run([{"model": model, "K": K} for model, K in chosen], partial(measure, scale))
    columns = [
        Column("parameters", "parameters", ".0f"),
        Column("epochs", "epochs", ".0f"),
        Column("seconds", "seconds", ".0f"),
        Column("bits", "bits", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("sharp", "sharpness", ".2f"),
        Column("perplexity", "perplexity", ".0f"),
        Column("own", "influence in the own patch (%)", ".0f"),
        Column("own_near", "and its neighbours (%)", ".0f"),
        Column("best_near", "around the patch with most (%)", ".0f"),
        Column("reached", "pixels reached", ".0f"),
        Column("shift", "error of shifting (%)", ".0f"),
        Column("shuffle", "of permuting (%)", ".0f"),
        Column("here", "same swap, same place: correlation", ".2f"),
        Column("there", "another place", ".2f"),
        Column("other", "other codes", ".2f"),
        Column("pair", "error of adding two swaps (%)", ".1f"),
        Column("all", "of adding all (%)", ".0f"),
    ]
    caption = (
        "Five models (first seed): reconstructions of test images; the images of their codes shifted by one "
        "position; the pixels that four positions influence; the change that one swap of two codes makes at "
        "each of them (red: more ink). Below: errors, locality, and the effects of codes at other places."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
