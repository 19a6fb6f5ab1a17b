"""Does an image show what its caption says, also a combination that was never seen?

The usual answer: a Transformer over text and image codes learns what words mean, guidance makes it follow the
text more closely, and more data and a larger network help. Here the images are captioned digits: one or two
digits, each of a colour and in a place, such as "a green four left of a red one". Ten of the sixty
combinations of a digit and a colour are in no training image. Images are drawn for captions of new
combinations of known objects, and for captions with an object that is held out, of which only that object
counts. An object is right if a classifier finds its digit and the mean colour is the nearest to its colour.
The same classifier judges reconstructions of real images. Every prior is trained for the same number of
steps, whatever the number of images is.

python examples/studies/text_to_image.py           about a minute
python examples/studies/text_to_image.py --full    the figures of docs/studies/text_to_image.md
"""

import time
from functools import cache, partial

import numpy as np
from _pictures import pack, unpack
from _study import Column, Row, Study, select, stack
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import vqnp
from vqnp.data.captioned_digits import COLOURS, HELD_OUT, NUMBERS, generate
from vqnp.data.vocabulary import Vocabulary
from vqnp.evaluation import caption_accuracy
from vqnp.plots.style import BLUE, ORANGE, dress, new_figure, no_ticks, spread
from vqnp.priors import TextTransformer

SPLITS = {"known": "test", "held_out": "held-out"}
GUIDANCE = (1, 2, 4)
RERANK = 4
SHOWN = 2
"""The guidance of the images in the figure."""


def measure(scale, seed: int, images: int, width: int) -> dict:
    """Train a prior on some of the images; what is right with each guidance, and if the best are kept."""
    model, codes, captions = first_stage(scale, seed)
    words = Vocabulary.of(captions)
    prior = TextTransformer(
        model.num_embeddings, model.grid_shape, words.words, words.length, width, scale.layers,
        max(1, width // 32), rng=seed,
    )  # fmt: skip
    began = time.process_time()
    epochs = max(1, round(scale.epochs * scale.images / images))
    vqnp.fit(prior, (codes[:images], captions[:images]), epochs=epochs, batch_size=32, lr=scale.lr,
             weight_decay=0.01, clip=1.0, seed=seed, progress=False)  # fmt: skip
    figures = {"seconds": time.process_time() - began, "parameters": prior.num_parameters()}
    for kind, split in SPLITS.items():
        real, texts = generate(split, scale.captions)
        figures[f"{kind}_reconstruction"] = right(model.reconstruct(real), texts, split).right.mean()
        for s in GUIDANCE:
            accuracy = right(vqnp.generate(model, prior, len(texts), seed, texts, guidance=s), texts, split)
            figures[f"{kind}_{s}"] = accuracy.right.mean()
            figures[f"{kind}_colour_{s}"] = accuracy.colour.mean()
            figures[f"{kind}_place_{s}"] = accuracy.place.mean()
        best = vqnp.generate(model, prior, len(texts), seed, texts, rerank=RERANK)
        figures[f"{kind}_rerank"] = right(best, texts, split).right.mean()
    if seed == 0:
        texts = [f"a {colour} {number}" for colour in COLOURS for number in NUMBERS]
        drawn = vqnp.generate(model, prior, len(texts), seed, texts, guidance=SHOWN)
        figures["drawn"] = pack(drawn[:, 8:24, 8:24])
    return {"drawn": ""} | figures


def right(images: np.ndarray, captions: tuple, split: str):
    """What is right about the objects; of captions with a held-out combination, about this one."""
    accuracy = caption_accuracy(images, captions)
    return accuracy.among(accuracy.held_out) if split == "held-out" else accuracy


@cache
def first_stage(scale, seed: int) -> tuple:
    """A convolutional VQ-VAE, the codes of its training images, and their captions."""
    images, captions = generate("train", scale.images)
    model = vqnp.VQVAE.conv(
        (32, 32, 3), channels=scale.channels, residual_channels=scale.channels // 2,
        num_embeddings=scale.codes, rng=seed,
    )  # fmt: skip
    vqnp.fit(model, images, epochs=scale.model_epochs, lr=2e-3, seed=seed, progress=False)
    return model, model.encode(images), captions


def draw(rows: list[Row], scale) -> Figure:
    """Accuracy against guidance, number of images and width; a digit of each combination."""
    figure = new_figure(9.6, 6.8)
    base = select(rows, images=scale.images, width=max(scale.widths))[0]
    panels = [figure.add_axes((left, 0.62, 0.25, 0.31)) for left in (0.07, 0.395, 0.72)]
    guidance = {kind: np.stack([base[f"{kind}_{s}"] for s in GUIDANCE], axis=1) for kind in SPLITS}
    curves(panels[0], list(GUIDANCE), guidance, base, "guidance", legend=True)
    amounts = [row for row in rows if row.setting["width"] == base.setting["width"]]
    widths = [row for row in rows if row.setting["images"] == scale.images]
    for axes, chosen, name in ((panels[1], amounts, "images"), (panels[2], widths, "width")):
        chosen = sorted(chosen, key=lambda row: row.setting[name])
        values = {kind: stack(chosen, f"{kind}_{SHOWN}") for kind in SPLITS}
        label = {"images": "training images", "width": "width of the prior"}[name]
        curves(axes, [row.setting[name] for row in chosen], values, base, f"{label}, guidance {SHOWN}")
    axes = figure.add_axes((0.12, 0.02, 0.76, 0.5))
    grid(axes, unpack(base["drawn"][0], 16).reshape(-1, 16, 16, 3))
    return figure


def curves(axes: Axes, x: list, values: dict, base: Row, label: str, legend: bool = False) -> None:
    """The share of objects that are right, and that of reconstructions of real images."""
    for (kind, y), colour in zip(values.items(), (BLUE, ORANGE), strict=True):
        name = {"known": "known combinations", "held_out": "held-out combinations"}[kind]
        spread(axes, x, y, colour, name)
        axes.axhline(base[f"{kind}_reconstruction"].mean(), color=colour, linewidth=1, linestyle=":",
                     label=f"{name.split()[0]}, reconstructed")  # fmt: skip
    dress(axes, "Digit and colour right", label, "", integer_x=False)
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [str(each) for each in x])
    axes.minorticks_off()
    axes.set_ylim(0, 1.03)
    if legend:
        axes.legend(fontsize=7, frameon=False, loc="lower right")


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
    """Numbers of images and widths × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 200, "amounts": [200], "widths": [16], "channels": 8, "codes": 32,
               "model_epochs": 1, "layers": 1, "epochs": 1, "lr": 3e-3, "captions": 20},
        default={"images": 1000, "amounts": [1000], "widths": [32], "channels": 16, "codes": 128,
                 "model_epochs": 3, "layers": 2, "epochs": 3, "lr": 3e-3, "captions": 100},
        full={"images": 10000, "amounts": [2500, 5000, 10000], "widths": [32, 64, 96], "channels": 32,
              "codes": 256, "model_epochs": 6, "layers": 3, "epochs": 10, "lr": 3e-3, "captions": 500},
    )  # fmt: skip
    widest = max(scale.widths)
    settings = [{"images": n, "width": widest} for n in scale.amounts]
    settings += [{"images": scale.images, "width": w} for w in scale.widths if w != widest]
    rows = study.run(settings, partial(measure, scale))
    columns = [Column("parameters", "parameters", ".0f"), Column("seconds", "seconds", ".0f")]
    for kind, words in (("known", "known"), ("held_out", "held out")):
        columns += [Column(f"{kind}_{s}", f"{words}, guidance {s}", ".2f") for s in GUIDANCE]
        columns += [Column(f"{kind}_rerank", f"{words}, best of {RERANK}", ".2f"),
                    Column(f"{kind}_reconstruction", f"{words}, reconstructed", ".2f")]  # fmt: skip
    caption = (
        "Above: the share of objects whose digit and colour are right, against guidance, the number of "
        "training images and the width of the prior. Below: one sample of each combination with guidance "
        f"{SHOWN} (first seed); the combinations with a frame are held out."
    )
    study.write(rows, columns, draw(rows, scale), caption)


if __name__ == "__main__":
    main()
