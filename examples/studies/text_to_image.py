"""Does an image show what its caption says, even a combination that was never seen?

The usual answer: a Transformer over text and image codes learns what words mean, guidance makes it follow the
text more closely, and more data and a larger network help. Here an image is one handwritten digit of 16 × 16
pixels in one of six colours, cut out of an image of the data set captioned-digits, with a caption such as "a
green four". Ten of the sixty combinations of a digit and a colour are in no training image. A VQ-VAE turns an
image into 4 × 4 codes. Images are drawn for captions of combinations that were trained on ("known") and of
those that were not ("held out"). An image is right if a classifier finds the caption's digit in it and its
mean colour is nearest to the caption's colour. The same share is measured for reconstructions of real images
and, to see what chance gives, for samples compared with the captions of other samples. A code of the VQ-VAE
depends on its patch of 4 × 4 pixels alone ("patch") or, as published, on its surroundings too ("wide"). There
is one VQ-VAE for each seed and each of these two receptive fields, always trained on the same number of
images. All its priors are trained on its codes, with the same number of steps, however many images they are
given.

python examples/studies/text_to_image.py           about a minute
python examples/studies/text_to_image.py --full    the figures of docs/studies/text_to_image.md
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from _pictures import pack, unpack
from _study import Column, Row, Study, select, stack
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import vqnp
from vqnp.data.captioned_digits import CELL, COLOURS, HELD_OUT, NUMBERS, PLACES, SIDE, generate, objects_of
from vqnp.data.vocabulary import Vocabulary
from vqnp.evaluation import caption_accuracy
from vqnp.plots.style import BLUE, ORANGE, dress, new_figure, no_ticks, spread
from vqnp.priors import TextTransformer

SPLITS = {"known": "test", "held_out": "held-out"}
GUIDANCE = (1, 2, 3, 4)
TEMPERATURES = {"plain": 1.0, "cold": 0.3}
FIELDS = ("patch", "wide")
RERANK = 4


def digits(split: str, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """One object of each of the first n images, the held-out one if there is any, and its caption.

    -> (n, 16, 16, 3) uint8, n captions
    """
    cells, texts = [], []
    for image, caption in zip(*generate(split, n), strict=True):
        objects = objects_of(caption)
        one = next((each for each in objects if each.held_out), objects[0])
        r, c = PLACES[one.place]
        cells.append(image[r : r + CELL, c : c + CELL])
        texts.append(f"a {one.colour} {NUMBERS[one.digit]}")
    return np.stack(cells), tuple(texts)


def right(cells: np.ndarray, captions) -> dict[str, float]:
    """The share of the images of which digit and colour are right, and each."""
    r, c = PLACES["middle"]
    images = np.zeros((len(cells), SIDE, SIDE, 3), np.float32)
    images[:, r : r + CELL, c : c + CELL] = vqnp.data.to_float(cells)
    return caption_accuracy(images, captions).as_dict()


def train(scale, folder: str, seed: int, field: str) -> dict:
    """Train a convolutional VQ-VAE and save it with the codes of all images that a prior may see."""
    images, captions = digits("train", max(scale.amounts))
    net = vqnp.VQVAE.conv(
        images.shape[1:], channels=scale.channels, residual_channels=scale.channels // 2,
        num_embeddings=scale.codes, receptive_field=field, rng=seed,
    )  # fmt: skip
    vqnp.fit(net, images[: scale.images], epochs=scale.model_epochs, lr=2e-3, seed=seed, progress=False)
    vqnp.save(Path(folder) / f"{field}{seed}.npz", net)
    np.savez(Path(folder) / f"{field}{seed}-codes.npz", codes=net.encode(images), captions=captions)
    return {"parameters": net.num_parameters()}


def measure(scale, folder: str, seed: int, field: str, images: int, width: int) -> dict:
    """Train a prior on some of the images; bits, and what is right in samples and reconstructions."""
    net = vqnp.load(Path(folder) / f"{field}{seed}.npz")
    with np.load(Path(folder) / f"{field}{seed}-codes.npz") as saved:
        codes, captions = saved["codes"][:images], [str(text) for text in saved["captions"][:images]]
    words = Vocabulary.of(captions)
    prior = TextTransformer(
        net.num_embeddings, net.grid_shape, words.words, words.length, width, scale.layers,
        max(1, width // 16), dropout=0.0, rng=seed,
    )  # fmt: skip
    began = time.process_time()
    vqnp.fit(prior, (codes, captions), epochs=max(1, scale.shown // images), batch_size=16, lr=3e-3,
             weight_decay=0.01, clip=1.0, seed=seed, progress=False)  # fmt: skip
    figures = {"seconds": time.process_time() - began, "parameters": prior.num_parameters()}
    n = scale.captions
    figures["train_bits"] = prior.evaluate((codes[:n], captions[:n])).bits_per_image
    base = (field, images, width) == ("patch", scale.images, scale.width)
    for kind, split in SPLITS.items():
        real, texts = digits(split, n)
        k = net.encode(real)
        side = CELL // k.shape[1]
        black = real.reshape(n, k.shape[1], side, k.shape[2], side, 3).max(axis=(2, 4, 5)) == 0
        bits = prior.nll(k, texts) / np.log(2)
        figures[f"{kind}_bits"] = bits.sum() / n
        figures[f"{kind}_black_bits"] = bits[black].sum() / n
        figures[f"{kind}_black_codes"] = len(np.unique(k[black]))
        figures[f"{kind}_real"] = right(real, texts)["right"]
        figures[f"{kind}_reconstruction"] = right(net.reconstruct(real), texts)["right"]
        for way in (f"{name}_{s}" for name in TEMPERATURES for s in GUIDANCE if base or s < 3):
            name, s = way.split("_")
            T = TEMPERATURES[name]
            drawn = vqnp.generate(net, prior, n, seed, texts, temperature=T, guidance=int(s))
            shares = right(drawn, texts)
            figures[f"{kind}_{way}"] = shares["right"]
            figures |= {f"{kind}_{way}_{part}": shares[part] for part in ("digit", "colour")}
            if way == "plain_1":
                others = [texts[i] for i in np.random.default_rng(seed).permutation(n)]
                figures[f"{kind}_chance"] = right(drawn, others)["right"]
        if base:
            best = vqnp.generate(net, prior, n, seed, texts, rerank=RERANK)
            figures[f"{kind}_rerank"] = right(best, texts)["right"]
    if seed == 0 and base:
        texts = [f"a {colour} {number}" for colour in COLOURS for number in NUMBERS]
        figures["drawn"] = pack(vqnp.generate(net, prior, len(texts), 0, texts, guidance=2))
    return {"drawn": ""} | figures


def draw(rows: list[Row], scale) -> Figure:
    """Accuracy against guidance, number of images and width; a digit of each combination."""
    figure = new_figure(9.6, 6.8)
    patch = select(rows, field="patch")
    base = select(patch, images=scale.images, width=scale.width)[0]
    panels = [figure.add_axes((left, 0.62, 0.25, 0.31)) for left in (0.07, 0.395, 0.72)]
    for name, style in (("cold", "-"), ("plain", "--")):
        values = {kind: np.stack([base[f"{kind}_{name}_{s}"] for s in GUIDANCE], axis=1) for kind in SPLITS}
        curves(panels[0], list(GUIDANCE), values, f"T = {TEMPERATURES[name]:g}", style)
    dress(panels[0], "Digit and colour right", "guidance", "")
    amounts = sorted(select(patch, width=scale.width), key=lambda row: row.setting["images"])
    widths = sorted(select(patch, images=scale.images), key=lambda row: row.setting["width"])
    for axes, chosen, name in ((panels[1], amounts, "images"), (panels[2], widths, "width")):
        for way, style in (("plain_2", "-"), ("plain_1", "--")):
            values = {kind: stack(chosen, f"{kind}_{way}") for kind in SPLITS}
            curves(axes, [row.setting[name] for row in chosen], values, f"guidance {way[-1]}", style)
        label = {"images": "training images", "width": "width of the prior"}[name]
        dress(axes, "Digit and colour right", f"{label} (T = 1)", "", integer_x=False)
        axes.set_xscale("log", base=2)
        axes.set_xticks([row.setting[name] for row in chosen], [f"{row.setting[name]}" for row in chosen])
        axes.minorticks_off()
    for axes in panels:
        for kind, colour in zip(SPLITS, (BLUE, ORANGE), strict=True):
            axes.axhline(base[f"{kind}_reconstruction"].mean(), color=colour, linewidth=1, linestyle=":")
        axes.axhline(base["known_chance"].mean(), color="gray", linewidth=1, linestyle=":")
        axes.set_ylim(0, 1.03)
    for axes in panels[:2]:
        axes.legend(fontsize=7, frameon=False, handlelength=4, labelspacing=0.3, loc=(0.2, 0.03))
    axes = figure.add_axes((0.12, 0.02, 0.76, 0.5))
    grid(axes, unpack(base["drawn"][0], 16).reshape(-1, 16, 16, 3))
    return figure


def curves(axes: Axes, x: list, values: dict, label: str, style: str) -> None:
    """The share of objects that are right, of known and of held-out combinations."""
    for index, (kind, y) in enumerate(values.items()):
        spread(axes, x, y, f"{kind.replace('_', ' ')}, {label}", index)
        axes.lines[-1].set_linestyle(style)


def grid(axes: Axes, cells: np.ndarray) -> None:
    """A row for each colour, a column for each digit; a frame around what is held out."""
    step, rows, columns = 18, len(COLOURS), len(NUMBERS)
    sheet = np.ones((rows * step + 2, columns * step + 2, 3))
    for n, cell in enumerate(cells):
        r, c = divmod(n, columns)
        sheet[r * step + 2 : r * step + 18, c * step + 2 : c * step + 18] = cell
    axes.imshow(sheet, interpolation="nearest")
    no_ticks(axes)
    axes.set_xticks([c * step + 9.5 for c in range(columns)], NUMBERS, fontsize=8)
    axes.set_yticks([r * step + 9.5 for r in range(rows)], list(COLOURS), fontsize=8)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    for digit, colour in HELD_OUT:
        corner = digit * step + 0.5, list(COLOURS).index(colour) * step + 0.5
        axes.add_patch(Rectangle(corner, step, step, fill=False, edgecolor=ORANGE, linewidth=2.5))


def main() -> None:
    """Fields, numbers of images and widths × seeds, about the codes of one VQ-VAE for each field and seed."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 100, "amounts": [100], "width": 16, "widths": [16], "channels": 4, "codes": 16,
               "model_epochs": 1, "layers": 1, "shown": 100, "captions": 10},
        default={"images": 5000, "amounts": [5000], "width": 48, "widths": [48], "channels": 32,
                 "codes": 256, "model_epochs": 5, "layers": 3, "shown": 15000, "captions": 200},
        full={"images": 10000, "amounts": [1000, 10000, 20000], "width": 64, "widths": [16, 32, 64],
              "channels": 32, "codes": 256, "model_epochs": 4, "layers": 3, "shown": 20000, "captions": 400},
    )  # fmt: skip
    settings = [{"field": field, "images": scale.images, "width": scale.width} for field in FIELDS]
    settings += [settings[0] | {"images": n} for n in scale.amounts if n != scale.images]
    settings += [settings[0] | {"width": w} for w in scale.widths if w != scale.width]
    with tempfile.TemporaryDirectory() as folder:
        study.run([{"field": field} for field in FIELDS], partial(train, scale, folder))
        rows = study.run(settings, partial(measure, scale, folder))
    columns = [
        Column("seconds", "seconds", ".0f"), Column("known_black_codes", "codes of black patches", ".0f"),
        Column("train_bits", "bits an image, train", ".0f"),
    ]  # fmt: skip
    for kind, words in (("known", "known"), ("held_out", "held out")):
        columns += [
            Column(f"{kind}_bits", f"bits, {words}", ".0f"),
            Column(f"{kind}_plain_1", f"{words}, right", ".2f"),
            Column(f"{kind}_plain_2", f"{words}, guidance 2", ".2f"),
            Column(f"{kind}_cold_2", f"{words}, guidance 2, T = 0.3", ".2f"),
            Column(f"{kind}_chance", f"{words}, chance", ".2f"),
            Column(f"{kind}_reconstruction", f"{words}, reconstructed", ".2f"),
        ]
    caption = (
        "Above: the share of images whose digit and colour are right, against guidance (patch, width "
        f"{scale.width}, {scale.images} images), the number of training images and the width of the prior; "
        "dotted: reconstructions of real images, and at the bottom chance. Below: one sample of each "
        "combination (first seed, guidance 2, T = 1); the combinations with a frame are held out."
    )
    study.write(rows, columns, draw(rows, scale), caption)


if __name__ == "__main__":
    main()
