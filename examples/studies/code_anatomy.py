"""What do the codes represent: digits, parts of digits, or neither?

The usual answer: the most used codes represent common patterns or prototypes; each class of digits uses a
subset of the codes, of which some are shared and some its own; codes are parts that can be combined. Here the
number of codes per image, M, goes from 1 to 49, and the size of the codebook, K, from 16 to 128. The model,
an MLP or a convolutional network (CNN), is trained without labels. Numbers of classes and of pixels are
effective numbers (exponentials of an entropy). Controls: the class predicted from the pixels, and the effects
of swaps in an autoencoder and a VAE whose latents are cut into 16 blocks of 16 numbers, and in a VQ-VAE that
was not trained.

python examples/studies/code_anatomy.py           about a minute
python examples/studies/code_anatomy.py --full    the figures of docs/studies/code_anatomy.md
"""

from functools import partial
from itertools import combinations

import numpy as np
from _classes import accuracy, sharing
from _parts import adding, elsewhere, explained, often_and_rare, pictures, replaced
from _pictures import unpack
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import GREY, dress, log_settings, new_figure, no_ticks, spread
from vqnp.training.trainer import Schedule, Trainer

SHOWN = {"M": 16, "K": 32}
"""The setting whose heat maps, codes and swaps the figure shows."""


def measure(scale, seed: int, network: str, M: int, K: int) -> dict:
    """Train once; which classes use which codes, how codes predict the class, and how they affect images."""
    train, test = vqnp.load_splits("digits")
    x, c = train.images[: scale.images], train.labels[: scale.images].astype(int)
    if network in CONTROLS:
        return CONTROLS[network](scale, seed, x, c, test)
    if network == "CNN":
        H = scale.channels
        model = vqnp.VQVAE.conv(channels=H, residual_channels=H // 2, num_embeddings=K, rng=seed)
    else:
        model = vqnp.VQVAE.mlp(num_latents=M, num_embeddings=K, hidden=(scale.hidden,), rng=seed)
    vqnp.fit(model, x, epochs=scale.epochs, batch_size=50, seed=seed, progress=False)
    k, rng = model.encode(x), np.random.default_rng(seed)
    influence = vqnp.inspection.position_influence(model, x[:500], rng)
    found, overlap = sharing(k, c, K)
    chance, apart = sharing(k, rng.permutation(c), K)
    pairs = sorted(combinations(range(10), 2), key=lambda pair: -overlap[pair])
    found |= {f"chance_{name}": value for name, value in chance.items()}
    found |= accuracy(k, c, model.encode(test.images), test.labels, K)
    found |= {f"overlap_{a}{b}": overlap[a, b] for a, b in pairs}
    found |= {
        "mse": vqnp.evaluate(model, test.images).mse,
        "closest": "/".join(map(str, pairs[0])),
        "farthest": "/".join(map(str, pairs[-1])),
        "chance_overlap": float(np.mean([apart[pair] for pair in pairs])),
        "explained": explained(k.reshape(len(k), -1)[:, :16], x.reshape(len(x), -1) / np.float32(255)),
        "reached": np.mean([vqnp.perplexity(a) for a in influence.reshape(M, -1)]),
        "varied": vqnp.perplexity((x / 255.0).var(axis=0).ravel()),
    } | often_and_rare(model, x) | replaced(model, k, rng)
    if M > 1:
        few = test.images[: scale.swapped]
        found |= {
            "pair": 100 * vqnp.inspection.swap_interaction(model, few, 2, rng),
            "all": 100 * vqnp.inspection.swap_interaction(model, few, M, rng),
            "agreement": vqnp.inspection.swap_agreement(model, few, rng),
            "elsewhere": elsewhere(model, k),
        }
    shown = network == "MLP" and SHOWN == {"M": M, "K": K}
    return found | (pictures(model, x, c, test.images) if shown else {})


def from_pixels(scale, seed: int, x: np.ndarray, c: np.ndarray, test) -> dict:
    """Naive Bayes on pixels that are 0 or 1, as on the codes."""
    halves = (x // 128).astype(int), c, (test.images // 128).astype(int), test.labels
    return {"every": accuracy(*halves, 2)["every"]}


def nearest_image(scale, seed: int, x: np.ndarray, c: np.ndarray, test) -> dict:
    """The class of the nearest training image."""
    seen, new = (a.reshape(len(a), -1).astype(np.float32) for a in (x, test.images))
    return {"every": 100 * float((c[vqnp.nearest_code(new, seen)] == test.labels).mean())}


def swapped(kind: str, scale, seed: int, x: np.ndarray, c: np.ndarray, test) -> dict:
    """The effects of swapping blocks of the latent of another kind of model, or of an untrained one."""
    few, rng = test.images[: scale.swapped], np.random.default_rng(seed)
    if kind == "untrained":
        model = vqnp.VQVAE.mlp(hidden=(scale.hidden,), rng=seed)
        Trainer(model, x, Schedule(1, 50, seed=seed)).initialize()
        z = model.quantizer.decode(model.encode(few))
        return adding(model.decode_latents, z, rng)
    model = getattr(vqnp, kind).mlp(hidden=(scale.hidden,), rng=seed)
    vqnp.fit(model, x, epochs=scale.epochs, batch_size=50, seed=seed, progress=False)
    z = model.latents(few).reshape(len(few), 16, -1)
    return adding(lambda z: model.decode(z.reshape(len(z), -1)), z, rng)


CONTROLS = {"pixels": from_pixels, "nearest-image": nearest_image} | {
    kind: partial(swapped, kind) for kind in ("Autoencoder", "VAE", "untrained")
}


def draw(rows: list[Row], latents: list[int], K: int) -> Figure:
    """Heat maps; the most used codes; a swap; below, figures of merit against M."""
    shown = select(rows, **SHOWN)[0]
    figure = new_figure(9.6, 10.4)
    grid = figure.add_gridspec(4, 1, height_ratios=[1.15, 0.95, 0.75, 1.25], hspace=0.45,
                               left=0.07, right=0.935, top=0.965, bottom=0.055)  # fmt: skip
    figure.text(0.5, 0.722, "The ten most used codes, with their share of all uses", ha="center", fontsize=10)
    figure.text(0.5, 0.488, "A swap of two codes", ha="center", fontsize=10)
    maps = grid[0].subgridspec(1, 3, width_ratios=[1, 1, 0.025], wspace=0.12)
    for i, (name, title) in enumerate((
        ("map", "All 16 positions together"),
        ("map_at", f"Position {shown['position'][0]}, the most informative"),
    )):  # fmt: skip
        p = shown[name][0]
        order = np.lexsort((-p.max(axis=0), p.argmax(axis=0), p.max(axis=0) == 0))
        axes = figure.add_subplot(maps[i])
        image = axes.imshow(p[:, order], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        dress(axes, title, "32 codes, sorted by the class that uses them most", "class" if i == 0 else "")
        axes.set_xticks([])
        axes.set_yticks(range(10))
    bar = figure.colorbar(image, cax=figure.add_subplot(maps[2]))
    bar.set_label("share of the code's use", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    codes = grid[1].subgridspec(2, 10, wspace=0.06, hspace=0.08)
    looks = ("contexts", "images\nthat use it", "gray"), ("effects", "what it\nchanges", "RdBu_r")
    for i, (name, label, colours) in enumerate(looks):
        for j, picture in enumerate(unpack(shown[name][0])):
            axes = figure.add_subplot(codes[i, j])
            axes.imshow(picture, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
            no_ticks(axes)
            if i == 0:
                axes.set_title(f"{shown['uses'][0][j]:.1f} %", fontsize=8, pad=3)
            if j == 0:
                axes.set_ylabel(label, fontsize=8)
    swap = grid[2].subgridspec(1, 6, wspace=0.06)
    titles = ("A", "B", "A, one code of B's", "A, another of B's", "A, both", "the two effects added")
    for j, (title, picture) in enumerate(zip(titles, unpack(shown["swap"][0]), strict=True)):
        axes = figure.add_subplot(swap[j])
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=9, pad=3)
        no_ticks(axes)
    lines = grid[3].subgridspec(1, 3, wspace=0.32)
    several = [M for M in latents if M > 1]
    for i, (title, unit, curves) in enumerate((
        ("Predicting the class from codes", "test accuracy (%)",
         (("every", "all, with positions"), ("bag", "all, without positions"), ("one", "one code"))),
        ("Classes that share a code", "effective number of classes",
         (("bag_classes", "over all positions"), ("at_classes", "at one position"))),
        ("Effects of swaps", "% of the swaps' energy",
         (("all", "all swaps, error of adding"), ("pair", "two swaps, error of adding"))),
    )):  # fmt: skip
        axes = figure.add_subplot(lines[i])
        x = several if i == 2 else latents
        for n, (name, label) in enumerate(curves):
            spread(axes, x, stack([select(rows, network="MLP", M=M, K=K)[0] for M in x], name), label, n)
        dress(axes, f"{title} (K = {K})", "M, codes per image", unit, integer_x=False)
        log_settings(axes, x)
        axes.set_ylim(0, (103, 10.4, None)[i])
        if i < 2:
            axes.axhline(10, color=GREY, linewidth=1, linestyle="--")
            axes.annotate("chance", (x[0], 10), (0, -9 if i else 3), textcoords="offset points", fontsize=7.5,
                          color=GREY)  # fmt: skip
        axes.legend(fontsize=7.5, frameon=False, loc="lower left" if i == 0 else "best",
                    bbox_to_anchor=(0, 0.14) if i == 0 else None)  # fmt: skip
    return figure


def main() -> None:
    """Codes per image × sizes of the codebook × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 500, "epochs": 2, "hidden": 32, "channels": 8, "swapped": 100, "latents": [4, 16],
               "K": 128, "sizes": [32]},
        default={"images": 5000, "epochs": 6, "hidden": 128, "channels": 16, "swapped": 500,
                 "latents": [1, 4, 16, 49], "K": 128, "sizes": [32]},
        full={"images": 10000, "epochs": 10, "hidden": 256, "channels": 64, "swapped": 1000,
              "latents": [1, 4, 16, 49], "K": 128, "sizes": [16, 32]},
    )  # fmt: skip
    settings = [("MLP", M, scale.K) for M in scale.latents] + [("MLP", 16, K) for K in scale.sizes]
    settings += [("CNN", 49, scale.K), ("pixels", 784, 2), ("nearest-image", 784, 256)]
    settings += [(kind, 16, 0) for kind in ("Autoencoder", "VAE", "untrained")]
    rows = study.run([{"network": n, "M": M, "K": K} for n, M, K in settings], partial(measure, scale))
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("bag_classes", "classes that share a code", ".1f"),
        Column("at_classes", "the same, at one position", ".1f"),
        Column("one", "accuracy from one code (%)", ".0f"),
        Column("bag", "from all, not where (%)", ".0f"),
        Column("every", "from all, and where (%)", ".0f"),
        Column("explained", "pixel variance that one code explains (%)", ".0f"),
        Column("pair", "error of adding two swaps (%)", ".1f"),
        Column("all", "of adding all (%)", ".0f"),
        Column("agreement", "same swap, two images: correlation", ".2f"),
        Column("reached", "pixels reached", ".0f"),
        Column("closest", "classes closest"),
    ]
    caption = (
        "Who uses which codes (16 an image, of 32; first seed); the ten most used (red: ink that the code "
        "adds, blue: takes away); a swap of the two that change most; figures of merit against M."
    )
    study.write(rows, columns, draw(rows, study.scale["latents"], study.scale["K"]), caption)


if __name__ == "__main__":
    main()
