"""When is a smaller codebook better, and when a larger one?

The usual advice is a small K for little data and simple networks, and a large K for varied data and strong
networks. Here the number of training images, the width of the network and K vary. All models are trained for
the same number of steps, with vqnp's defaults (EMA, codes initialized from data, restarts of dead codes).

python examples/studies/codebook_size.py           about a minute
python examples/studies/codebook_size.py --full    the figures of docs/studies/codebook_size.md
"""

import math
from functools import partial

from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import dress, log_settings, new_figure, spread


def measure(scale, seed: int, hidden: int, images: int, K: int) -> dict:
    """Train once, for a fixed number of steps; error on training images and on new ones."""
    train, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(num_embeddings=K, hidden=(hidden,), rng=seed)
    seen = train.images[:images]
    epochs = math.ceil(scale.steps * scale.batch_size / images)
    vqnp.fit(model, seen, epochs=epochs, batch_size=scale.batch_size, seed=seed, progress=False)
    result = vqnp.evaluate(model, test.images)
    return {
        "mse": result.mse,
        "train_mse": vqnp.evaluate(model, seen[:2000]).mse,
        "perplexity": result.perplexity,
        "utilization": 100 * result.utilization,
        "dead": K - result.codes_used,
    }


def draw(rows: list[Row], widths: list[int], sizes: list[int], numbers: list[int]) -> Figure:
    """Test and training error and utilization against K; a row for each width, a line for each data size."""
    figure = new_figure(9.6, 3.0 * len(widths))
    panels = figure.subplots(len(widths), 3, squeeze=False)
    wanted = (
        ("mse", "Error on new images", "test MSE"),
        ("train_mse", "Error on training images", "training MSE"),
        ("utilization", "Utilization of the codebook", "test perplexity, % of K"),
    )
    for line, hidden in zip(panels, widths, strict=True):
        for axes, (name, title, unit) in zip(line, wanted, strict=True):
            for i, n in enumerate(numbers):
                y = stack(select(rows, hidden=hidden, images=n), name)
                spread(axes, sizes, y, f"{n:,} images", i)
            dress(axes, f"{title}, {hidden} hidden", "K, codes in the codebook", unit, integer_x=False)
            log_settings(axes, sizes)
            axes.set_ylim(0, 105 if name == "utilization" else None)
    panels[0, 1].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def main() -> None:
    """Widths × numbers of images × sizes × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"steps": 20, "batch_size": 50, "widths": [32], "numbers": [200, 500], "sizes": [16, 64]},
        default={
            "steps": 500, "batch_size": 50, "widths": [32, 128], "numbers": [500, 5000],
            "sizes": [16, 128, 1024],
        },
        full={
            "steps": 1200, "batch_size": 50, "widths": [64, 256], "numbers": [200, 1000, 10000],
            "sizes": [16, 64, 256, 1024],
        },
    )  # fmt: skip
    settings = [
        {"hidden": hidden, "images": n, "K": K}
        for hidden in scale.widths
        for n in scale.numbers
        for K in scale.sizes
    ]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("train_mse", "training MSE", ".4f"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("utilization", "utilization (%)", ".0f"),
        Column("dead", "dead codes", ".0f"),
    ]
    caption = (
        "Error and use of the codebook against its size, for narrow and wide networks, few and many images."
    )
    figure = draw(rows, study.scale["widths"], study.scale["sizes"], study.scale["numbers"])
    study.write(rows, columns, figure, caption)


if __name__ == "__main__":
    main()
