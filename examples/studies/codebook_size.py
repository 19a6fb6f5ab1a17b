"""When is a smaller codebook better, and when a larger one?

The usual advice is a small K for little data and simple networks, and a large K for varied data and strong
networks, and a small one is said to train faster and to be used better. Here the number of training images,
the width of the network and K vary. All models are trained for the same number of steps, with vqnp's defaults
(EMA, codes initialized from data, restarts of dead codes), some also without restarts, which hide what a
large codebook is feared for. With M = 16 codes for an image, a larger K means more bits; so three models have
the same 112 bits: `28 × log₂ 16 = 16 × log₂ 128 = 14 × log₂ 256`, and latents of about 256 numbers.

python examples/studies/codebook_size.py           about a minute
python examples/studies/codebook_size.py --full    the figures of docs/studies/codebook_size.md
"""

import math
from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import COLOURS, MARKS, dress, log_settings, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

EQUAL = ((28, 16), (16, 128), (14, 256))
"""M and K of the models with the same number of bits, M log₂ K = 112."""

TARGET = 0.03
"""The test MSE to which the steps are counted."""


def measure(scale, seed: int, hidden: int, images: int, M: int, K: int, restarts: str) -> dict:
    """Train once, for a fixed number of steps; error on training images and on new ones."""
    train, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(
        num_latents=M, embedding_dim=256 // M, num_embeddings=K, hidden=(hidden,),
        **({} if restarts == "on" else {"restart_dead_codes": 0}), rng=seed,
    )  # fmt: skip
    seen = train.images[:images]
    epochs = math.ceil(scale.steps * scale.batch_size / images)
    trainer = Trainer(model, seen, Schedule(epochs, scale.batch_size, seed=seed))
    trainer.initialize()
    reached = trainer.steps
    while trainer.step < trainer.steps:
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
        if trainer.step % scale.every == 0 and reached == trainer.steps:
            if vqnp.evaluate(model, test.images[:500]).mse <= TARGET:
                reached = trainer.step
    result = vqnp.evaluate(model, test.images)
    return {
        "mse": result.mse,
        "train_mse": vqnp.evaluate(model, seen[:2000]).mse,
        "perplexity": result.perplexity,
        "utilization": 100 * result.utilization,
        "dead": K - result.codes_used,
        "reached": reached,
    }


def draw(rows: list[Row], widths: list[int], sizes: list[int], numbers: list[int]) -> Figure:
    """Test and training error and utilization against K; a row for each width, a line for each data size."""
    figure = new_figure(9.6, 3.0 * (len(widths) + 1))
    panels = figure.subplots(len(widths) + 1, 3, squeeze=False)
    equal_bits(panels[-1], rows)
    wanted = (
        ("mse", "Error on new images", "test MSE"),
        ("train_mse", "Error on training images", "training MSE"),
        ("utilization", "Utilization of the codebook", "test perplexity, % of K"),
    )
    for line, hidden in zip(panels[:-1], widths, strict=True):
        for axes, (name, title, unit) in zip(line, wanted, strict=True):
            for i, n in enumerate(numbers):
                y = stack(select(rows, hidden=hidden, images=n, M=16, restarts="on"), name)[:, : len(sizes)]
                spread(axes, sizes, y, f"{n:,} images", i)
            dress(axes, f"{title}, {hidden} hidden", "K, codes in the codebook", unit, integer_x=False)
            log_settings(axes, sizes)
            axes.set_ylim(0, 105 if name == "utilization" else None)
    panels[0, 1].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def equal_bits(line: np.ndarray, rows: list[Row]) -> None:
    """Three models of 112 bits, with and without restarts; a dot for each seed."""
    wanted = (
        ("mse", "112 bits: error on new images", "test MSE"),
        ("reached", f"112 bits: steps to a test MSE of {TARGET:g}", "steps"),
        ("utilization", "112 bits: utilization", "test perplexity, % of K"),
    )
    for axes, (name, title, unit) in zip(line, wanted, strict=True):
        for i, restarts in enumerate(("on", "off")):
            for j, (M, K) in enumerate(EQUAL):
                for row in select(rows, M=M, K=K, restarts=restarts, hidden=rows[-1].setting["hidden"]):
                    y = row[name]
                    label = f"restarts {restarts}" if j == 0 else None
                    axes.plot([j + 0.16 * (i - 0.5)] * len(y), y, MARKS[i], color=COLOURS[i], markersize=5,
                              label=label)  # fmt: skip
        dress(axes, title, "M × K", unit, integer_x=False)
        axes.set_xticks(range(len(EQUAL)), [f"{M} × {K}" for M, K in EQUAL])
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    line[0].legend(fontsize=8, frameon=False, loc="lower left")


def main() -> None:
    """Widths × numbers of images × sizes × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={
            "steps": 20, "every": 10, "batch_size": 50, "widths": [32], "numbers": [200, 500],
            "sizes": [16, 64],
        },
        default={
            "steps": 500, "every": 20, "batch_size": 50, "widths": [32, 128], "numbers": [500, 5000],
            "sizes": [16, 128, 1024],
        },
        full={
            "steps": 1200, "every": 20, "batch_size": 50, "widths": [64, 256], "numbers": [200, 1000, 10000],
            "sizes": [16, 64, 256, 1024],
        },
    )  # fmt: skip
    settings = [
        {"hidden": hidden, "images": n, "M": 16, "K": K, "restarts": "on"}
        for hidden in scale.widths
        for n in scale.numbers
        for K in scale.sizes
    ]
    wide, least, most = scale.widths[-1], scale.numbers[0], scale.numbers[-1]
    settings += [
        {"hidden": wide, "images": n, "M": 16, "K": K, "restarts": "off"}
        for n in (least, most)
        for K in scale.sizes[-1:]
    ]
    settings += [
        {"hidden": wide, "images": most, "M": M, "K": K, "restarts": restarts}
        for restarts in ("on", "off")
        for M, K in EQUAL
        if {"hidden": wide, "images": most, "M": M, "K": K, "restarts": restarts} not in settings
    ]
    rows = study.run(settings, partial(measure, scale), before={"M": 16, "restarts": "on"})
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("train_mse", "training MSE", ".4f"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("utilization", "utilization (%)", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("reached", f"steps to a test MSE of {TARGET:g}; all, if not reached", ".0f"),
    ]
    caption = (
        "Error and use of the codebook against its size, for narrow and wide networks, few and many images; "
        "below, three models of 112 bits."
    )
    figure = draw(rows, study.scale["widths"], study.scale["sizes"], study.scale["numbers"])
    study.write(rows, columns, figure, caption)


if __name__ == "__main__":
    main()
