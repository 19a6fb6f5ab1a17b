"""Which quantizer reconstructs best at equal bits?

The usual answer: newer quantizers use all codes and so reconstruct better than a vector quantizer. Here each
has 7 bits at each position, in the same two networks: convolutions with 7 × 7 positions (343 bits), and an
MLP with 7 × 7 or 4 × 4 (112 bits). Each has the settings of its own publication, the common ones otherwise: β
= 0.25, averages with a decay of 0.99, codes that start at random latents, restarts of rarely used codes.
Where 7 bits cannot be had, the number of bits is the nearest below, and a vector quantizer with fewer codes
shows what the difference amounts to. Other controls: a vector quantizer with 3 dimensions, as many as FSQ
has, and lookup-free quantization without its entropy loss. The errors are given in pixels and in the features
of vqnp's classifier of digits, since the two may differ in their order.

python examples/studies/quantizers.py           about a minute
python examples/studies/quantizers.py --full    the figures of docs/studies/quantizers.md
"""

import math
import time
from functools import partial

import numpy as np
from _networks import LR, RESTART, network
from _study import Column, Row, Study
from matplotlib.figure import Figure

import vqnp
from vqnp import nn
from vqnp.evaluation import digit_classifier
from vqnp.plots.style import COLOURS, MARKS, dress, new_figure, plain_log
from vqnp.training.trainer import Schedule, Trainer

QUANTIZERS = (
    "vector-EMA", "vector-gradient", "rotation", "cosine", "SimVQ", "product-2x11", "residual-2x11",
    "residual-7x2", "FSQ-8-4-4", "FSQ-5-5-5", "LFQ", "BSQ", "Gumbel",
)  # fmt: skip
CONTROLS = {
    ("conv", 343): ("vector-EMA-D3",),
    ("MLP", 343): ("vector-EMA-K121", "vector-EMA-D3", "LFQ-no-entropy"),
}
PLACES = (("conv", 343), ("MLP", 343), ("MLP", 112))
K, D, BATCH = 128, 8, 32


def quantizer(name: str, where: str, steps: int, seed: int) -> nn.Quantizer:
    """The quantizer of a row of the table, for a training of so many steps in a network."""
    rng = np.random.default_rng([seed, 1])
    own = {"codebook_init": "data", "restart_dead_codes": RESTART[where], "rng": rng}
    if name.startswith("vector-EMA"):
        codes, dim = 121 if name.endswith("K121") else K, 3 if name.endswith("D3") else D
        return nn.EMAVectorQuantizer(codes, dim, **own)
    if name.startswith("FSQ"):
        return nn.FiniteScalarQuantizer(tuple(map(int, name.split("-")[1:])))
    if name.startswith("residual"):
        count, codes = map(int, name.partition("-")[2].split("x"))
        return nn.ResidualVectorQuantizer(count, codes, D, **own)
    return {
        "vector-gradient": lambda: nn.VectorQuantizer(K, D, **own),
        "rotation": lambda: nn.EMAVectorQuantizer(K, D, estimator="rotation", **own),
        "cosine": lambda: nn.EMACosineVectorQuantizer(K, D, **own),
        "SimVQ": lambda: nn.SimVQ(K, D, rng=rng),
        "product-2x11": lambda: nn.ProductVectorQuantizer(11, D, 2, **own),
        "LFQ": lambda: nn.LookupFreeQuantizer(7),
        "LFQ-no-entropy": lambda: nn.LookupFreeQuantizer(7, entropy_weight=0),
        "BSQ": lambda: nn.LookupFreeQuantizer(7, commitment_cost=0, spherical=True),
        "Gumbel": lambda: nn.GumbelQuantizer(
            K, D, temperature_steps=int(0.8 * steps), kl_warmup=int(0.2 * steps), rng=rng
        ),
    }[name]()


def build(scale, where: str, bits: int, name: str, seed: int) -> vqnp.VQVAE:
    """The model of a row of the table."""
    steps = scale.epochs * math.ceil(scale.images / BATCH)
    return network(scale, where, bits, quantizer(name, where, steps, seed), seed)


def measure(scale, seed: int, network: str, bits: int, quantizer: str) -> dict:
    """Train once; the error in pixels and in features, and the use of the codes."""
    train, test = vqnp.load_splits("digits")
    model = build(scale, network, bits, quantizer, seed)
    vqnp.fit(model, train.images[: scale.images], epochs=scale.epochs, batch_size=BATCH, lr=LR[network],
             seed=seed, progress=False)  # fmt: skip
    images = test.images[: scale.tested]
    found = vqnp.evaluate(model, images)
    both = [digit_classifier().features(x) for x in (model.reconstruct(images), images)]
    used = found.perplexity if math.isnan(found.joint_perplexity) else found.joint_perplexity
    return {
        "exact": model.bits_per_image,
        "mse": found.mse,
        "feature": float(((both[0] - both[1]) ** 2).mean()),
        "frechet": vqnp.metrics.frechet_distance(*both),
        "used": math.log2(used),
        "parameters": sum(param.value.size for _, param in model.named_parameters()),
    }


def clock(scale, rows: list[Row]) -> None:
    """Add "step": ms of a training step, the median of some; each seed is another round of all rows."""
    images = vqnp.load_splits("digits")[0].images[: 10 * BATCH]
    trainers = []
    for row in rows:
        where, bits, name = (row.setting[n] for n in ("network", "bits", "quantizer"))
        model = build(scale, where, bits, name, 0)
        trainers.append(Trainer(model, images, Schedule(10**6, BATCH, lr=1e-4)))
        trainers[-1].initialize()
        trainers[-1].train_step()  # which compiles
    for seed in range(len(rows[0].runs)):
        for row, trainer in zip(rows, trainers, strict=True):
            seconds = []
            for _ in range(scale.timed):
                began = time.perf_counter()
                trainer.train_step()
                seconds.append(time.perf_counter() - began)
                if trainer.step % trainer.steps_per_epoch == 0:
                    trainer.end_epoch()
            row.runs[seed]["step"] = round(1000 * float(np.median(seconds)), 3)


def draw(rows: list[Row]) -> Figure:
    """A line for each quantizer, a colour for each network and number of bits; each run a point."""
    figure = new_figure(9.6, 6.0)
    panels = figure.subplots(1, 4, sharey=True)
    names = list(dict.fromkeys(row.setting["quantizer"] for row in rows))
    for axes, (name, title, unit) in zip(
        panels,
        (("mse", "Error", "test MSE"), ("feature", "Error of features", "mean square"),
         ("used", "Use of 7 bits", "bits a position"), ("step", "Time", "ms a step")),
        strict=True,
    ):  # fmt: skip
        for n, (where, bits) in enumerate(PLACES):
            mine = [r for r in rows if (r.setting["network"], r.setting["bits"]) == (where, bits)]
            for row in mine:
                y = names.index(row.setting["quantizer"]) + 0.18 * (n - 1.5)
                label = f"{where}, {bits} bits" if row is mine[0] else ""
                axes.plot(row[name], [y] * len(row[name]), MARKS[n], color=COLOURS[n], markersize=4,
                          alpha=0.7, label=label)  # fmt: skip
        dress(axes, title, unit, "", integer_x=False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        if name != "used":
            plain_log(axes, "x")
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=4, loc="lower center")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return figure


def main() -> None:
    """Networks × bits × quantizers × seeds."""
    study = Study(__file__, __doc__, full_seeds=3)
    scale = study.pick(
        quick={"images": 200, "epochs": 1, "channels": 8, "hidden": 16, "timed": 1,
               "tested": 200},
        default={"images": 2000, "epochs": 1, "channels": 16, "hidden": 128, "timed": 3,
                 "tested": 1000},
        full={"images": 5000, "epochs": 2, "channels": 32, "hidden": 256, "timed": 10,
              "tested": 1000},
    )  # fmt: skip
    places = PLACES[:1] if study.size == "quick" else PLACES[:2] if study.size == "default" else PLACES
    settings = [
        {"network": where, "bits": bits, "quantizer": name}
        for where, bits in places
        for name in QUANTIZERS + CONTROLS.get((where, bits), ())
    ]
    settings = settings[::3] if study.size == "quick" else settings
    rows = study.run(settings, partial(measure, scale))
    if study.clocked:
        clock(scale, rows)
    columns = [
        Column("exact", "exact bits", ".1f"),
        Column("mse", "test MSE", ".5f"),
        Column("feature", "error of features", ".4f"),
        Column("frechet", "Fréchet distance", ".3f"),
        Column("used", "bits used of a position", ".2f"),
        Column("step", "ms a step", ".1f"),
        Column("parameters", "parameters", ".0f"),
    ]
    caption = (
        "Thirteen quantizers and three controls (at the bottom) at equal bits, in two networks: error of "
        "pixels, error of features, used bits, and the time of a training step. Each run is a point."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
