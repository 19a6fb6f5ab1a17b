"""What does codebook collapse look like as it happens, and what helps?

The usual description: perplexity starts high and drops, while the reconstruction may still improve; a smaller
codebook, another β, restarts of dead codes or a better initialization help. Here a model is set up to
collapse: a gradient codebook of 256 codes initialized to random latents, with β = 1 and no restarts. Then one
thing is changed at a time. Perplexity and error are measured on test images at several steps, and vqnp's
diagnosis is computed at each of them.

python examples/studies/collapse.py           about a minute
python examples/studies/collapse.py --full    the figures of docs/studies/collapse.md
"""

from functools import partial

from _study import Column, Row, Study
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import vqnp
from vqnp.plots.style import AMBER, GREEN, GREY, ORANGE, PURPLE, dress, log_settings, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

REMEDIES = {
    "none": {},
    "k-means": {"codebook_init": "kmeans"},
    "small-random": {"codebook_init": "uniform"},
    "restarts": {"restart_dead_codes": 0.05},
    "K=32": {"num_embeddings": 32},
    "beta=0.25": {"commitment_cost": 0.25},
    "EMA": {"codebook": "ema"},
}
LEVELS = {
    "severe collapse": ORANGE,
    "collapse by overfitting to few codes": PURPLE,
    "collapse during training": AMBER,
    "partial collapse": "#F0E442",
    "uneven use": "#9AD1F0",
    "healthy": GREEN,
}


def measure(scale, seed: int, remedy: str) -> dict:
    """Train once; at some steps compute perplexity, error and diagnosis on test images."""
    train, test = vqnp.load_splits("digits")
    options = {"num_embeddings": scale.K, "codebook": "gradient", "commitment_cost": scale.beta}
    options |= {"restart_dead_codes": 0} | REMEDIES[remedy]
    schedule = Schedule(scale.epochs, scale.batch_size, seed=seed)
    model = vqnp.VQVAE.mlp(hidden=(scale.hidden,), rng=seed, **options)
    trainer = Trainer(model, train.images[: scale.images], schedule)
    trainer.initialize()
    history, levels = [], []
    for until in scale.steps:
        while trainer.step < min(until, trainer.steps):
            trainer.train_step()
            if trainer.step % trainer.steps_per_epoch == 0:
                trainer.end_epoch()
        now = vqnp.evaluate(model, test.images[:1000])
        history.append({"perplexity": now.perplexity, "reconstruction_loss": now.mse})
        levels.append(vqnp.diagnose(now.perplexity, model.num_embeddings, history).level)
    K = model.num_embeddings
    return {
        "start": 100 * history[0]["perplexity"] / K,
        "lowest": 100 * min(row["perplexity"] for row in history) / K,
        "utilization": 100 * now.utilization,
        "perplexity": now.perplexity,
        "dead": K - now.codes_used,
        "mse": now.mse,
        "diagnosis": levels[-1],
        "utilizations": [100 * row["perplexity"] / K for row in history],
        "errors": [row["reconstruction_loss"] for row in history],
        "levels": levels,
    }


def draw(rows: list[Row], steps: list[int]) -> Figure:
    """Utilization and error against steps; below, the diagnosis at each step (first seed)."""
    figure = new_figure(9.6, 7.2)
    grid = figure.add_gridspec(2, 2, height_ratios=[1.25, 1], hspace=0.4, wspace=0.22,
                               left=0.1, right=0.985, top=0.95, bottom=0.15)  # fmt: skip
    x = [max(step, 2) for step in steps]  # a logarithmic axis has no 0
    for place, (name, title, unit) in enumerate(
        (
            ("utilizations", "Utilization of the codebook", "test perplexity, % of K"),
            ("errors", "Reconstruction", "test MSE"),
        )
    ):
        axes = figure.add_subplot(grid[0, place])
        for i, row in enumerate(rows):
            spread(axes, x, row[name], row.setting["remedy"], i)
        dress(axes, title, "training steps (logarithmic)", unit, integer_x=False)
        log_settings(axes, x)
        axes.set_xticks(x, [str(step) for step in steps])
        axes.set_ylim(bottom=0)
        if place == 1:
            axes.legend(fontsize=8, frameon=False, loc="lower left", title="remedy", title_fontsize=8)
    strips(figure.add_subplot(grid[1, :]), rows, steps)
    handles = [Patch(color=colour, label=level) for level, colour in LEVELS.items()]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def strips(axes: Axes, rows: list[Row], steps: list[int]) -> None:
    """A row of coloured cells for each remedy, a column for each step."""
    for i, row in enumerate(rows):
        for j, level in enumerate(row["levels"][0]):
            axes.barh(i, 0.94, left=j - 0.47, height=0.8, color=LEVELS.get(level, GREY))
    dress(axes, "The diagnosis at each of these steps (first seed)", "training steps", "", integer_x=False)
    axes.set_xticks(range(len(steps)), [str(step) for step in steps])
    axes.set_yticks(range(len(rows)), [row.setting["remedy"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(-0.5, len(steps) - 0.5)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Remedies × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={
            "images": 300, "epochs": 2, "batch_size": 50, "hidden": 32, "K": 256, "beta": 1.0,
            "steps": [0, 3, 12],
        },
        default={
            "images": 4000, "epochs": 8, "batch_size": 50, "hidden": 128, "K": 256, "beta": 1.0,
            "steps": [0, 5, 10, 20, 40, 80, 160, 320, 640],
        },
        full={
            "images": 10000, "epochs": 12, "batch_size": 50, "hidden": 256, "K": 256, "beta": 1.0,
            "steps": [0, 5, 10, 20, 40, 80, 160, 320, 640, 1200, 2400],
        },
    )  # fmt: skip
    rows = study.run([{"remedy": remedy} for remedy in REMEDIES], partial(measure, scale))
    columns = [
        Column("start", "utilization at the start (%)", ".0f"),
        Column("lowest", "lowest (%)", ".0f"),
        Column("utilization", "at the end (%)", ".0f"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("diagnosis", "diagnosis at the end"),
    ]
    caption = "A codebook that collapses within its first steps, and what six remedies do, one at a time."
    study.write(rows, columns, draw(rows, study.scale["steps"]), caption)


if __name__ == "__main__":
    main()
