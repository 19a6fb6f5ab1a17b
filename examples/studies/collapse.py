"""What does codebook collapse look like as it happens, what causes it, and what helps?

The usual description: perplexity starts high and drops, while the reconstruction may still improve; a smaller
codebook, another β, restarts of dead codes, a better initialization or more training help. Here a model that
works (a gradient codebook of 256 codes that start at random latents, β = 0.25, no restarts) is spoilt in five
ways, one at a time, and each remedy is tried against each cause. The error is compared with the best of all
trainings with as many codes, images and epochs; beyond chance (other minibatches change an error by up to
8.42 % in `variants`) a model counts as damaged. vqnp's diagnosis is computed after every epoch: a false alarm
is one about a model that is not damaged at the end, a miss is silence about one that is.

python examples/studies/collapse.py           about a minute
python examples/studies/collapse.py --full    the figures of docs/studies/collapse.md
"""

from functools import partial

import numpy as np
from _study import Column, Row, Study, select
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vqnp
from vqnp.metrics.diagnosis import ALARMS
from vqnp.plots.style import dress, log_settings, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

CHANCE = 1.0842
"""The largest effect of other minibatches on an error in the study `variants`."""
USUAL = {
    "codebook": "gradient", "codebook_init": "data", "commitment_cost": 0.25, "restart_dead_codes": 0,
    "num_embeddings": 256, "lr": 1e-3, "step": 1.0, "longer": 1, "images": None,
}  # fmt: skip
CAUSES = {
    "none": {},
    "beta=1": {"commitment_cost": 1.0},
    "beta=0": {"commitment_cost": 0.0},
    "small-random": {"codebook_init": "uniform"},
    "lr=0.01": {"lr": 0.01},
    "K=1024-for-200-images": {"num_embeddings": 1024, "images": 200},
}
REMEDIES = {
    "none": {},
    "start": {"codebook_init": "data"},
    "restarts": {"restart_dead_codes": 0.05},
    "EMA": {"codebook": "ema"},
    "codebook-x10": {"step": 10.0},
    "K/4": {},
    "longer-x3": {"longer": 3},
}
"""start: the other of the two starts, which is small random codes where the codes start at latents."""


def options(cause: str, remedy: str) -> dict:
    """The usual options, spoilt, then treated."""
    made = USUAL | CAUSES[cause]
    change = dict(REMEDIES[remedy])
    if remedy == "start" and made["codebook_init"] == "data":
        change = {"codebook_init": "uniform"}
    if remedy == "codebook-x10":
        change = {"step": 10 * made["step"]}
    if remedy == "K/4":
        change = {"num_embeddings": made["num_embeddings"] // 4}
    return made | change


def measure(scale, seed: int, cause: str, remedy: str) -> dict:
    """Train once; utilization at some of the first steps, diagnosis after every epoch, results at the end."""
    train, test = vqnp.load_splits("digits")
    o = options(cause, remedy)
    step, lr, longer, images = (o.pop(name) for name in ("step", "lr", "longer", "images"))
    x, shown = train.images[: images or scale.images], test.images[:1000]
    epochs = scale.epochs * longer * (len(train.images[: scale.images]) // len(x))
    model = vqnp.VQVAE.mlp(hidden=(scale.hidden,), rng=seed, **o)
    trainer = Trainer(model, x, Schedule(epochs, scale.batch_size, lr, seed=seed))
    trainer.initialize()
    variance, K = float((shown / 255.0).var(axis=0).mean()), model.num_embeddings
    first, levels, low, every = [], [], [], epochs // (scale.epochs * longer)
    while trainer.step < trainer.steps:
        if trainer.step in scale.steps:
            first.append(100 * vqnp.evaluate(model, shown).utilization)
        old = model.quantizer.embeddings.copy()
        trainer.train_step()
        if model.quantizer.has_codebook_loss and step != 1:
            E = model.quantizer.embeddings
            E[...] = old + E.dtype.type(step) * (E - old)
        if trainer.step % trainer.steps_per_epoch == 0:
            looked = (len(trainer.history) + 1) % every == 0
            row = trainer.end_epoch(shown if looked else None)
            if looked:
                history = trainer.history[every - 1 :: every]  # as many steps each, however few the images
                now = vqnp.diagnose(
                    row["test_perplexity"], K, history, mse=row["test_mse"], variance=variance,
                    commitment_cost=o["commitment_cost"],
                )  # fmt: skip
                levels.append(now.level)
                low.append(float(now.utilization < 0.5))
    result, z = vqnp.evaluate(model, test.images), model.latents(shown)
    return {
        "start": first[0],
        "lowest": min(first),
        "utilization": 100 * result.utilization,
        "dead": K - result.codes_used,
        "mse": result.mse,
        "spread": float((z - z.mean(axis=0)).std()),
        "diagnosis": levels[-1],
        "utilizations": first,
        "levels": levels,
        "low": low,
        "group": f"{K} {len(x)} {longer}",
    }


def judge(rows: list[Row]) -> None:
    """over: the error over the best of its group; verdict: of the diagnosis at the end; rates: by epoch."""
    best: dict[str, float] = {}
    for row in rows:
        group = row.runs[0]["group"]
        best[group] = min(best.get(group, np.inf), row["mse"].mean())
    runs = [run for row in rows for run in row.runs]
    for run in runs:
        run["over"] = float(f"{run['mse'] / best[run['group']]:.6g}")
        damaged, alarm = run["over"] > CHANCE, run["diagnosis"] in ALARMS
        names = {(True, True): "hit", (True, False): "miss", (False, True): "false alarm"}
        run["verdict"] = names.get((damaged, alarm), "quiet")
    sick, well = ([run for run in runs if (run["over"] > CHANCE) is kind] for kind in (True, False))
    epochs = min(len(run["levels"]) for run in runs)

    def below(some: list[dict], epoch: int) -> float:
        return float(f"{100 * np.mean([run['low'][epoch] for run in some]):.6g}") if some else 0.0

    def rate(some: list[dict], alarmed: bool, epoch: int) -> float:
        hits = [(run["levels"][epoch] in ALARMS) is alarmed for run in some]
        return float(f"{100 * np.mean(hits):.6g}") if hits else 0.0

    rates = {
        "damaged": len(sick), "undamaged": len(well),
        "false_alarms": rate(well, True, -1), "misses": rate(sick, False, -1),
        "false_by_epoch": [rate(well, True, e) for e in range(epochs)],
        "missed_by_epoch": [rate(sick, False, e) for e in range(epochs)],
        "low_by_epoch": [below(well, e) for e in range(epochs)],
    }  # fmt: skip
    for run in runs:
        run |= rates


def draw(rows: list[Row], steps: list[int]) -> Figure:
    """The first steps and the rates of the diagnosis by epoch; below, causes × remedies."""
    figure = new_figure(9.6, 7.4)
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.25], hspace=0.38, wspace=0.22,
                               left=0.17, right=0.985, top=0.95, bottom=0.05)  # fmt: skip
    axes = figure.add_subplot(grid[0, 0])
    x = [max(step, 2) for step in steps]  # a logarithmic axis has no 0
    for i, row in enumerate(select(rows, remedy="none")):
        spread(axes, x, row["utilizations"], row.setting["cause"], i)
    dress(axes, "The first steps", "training steps (logarithmic)", "utilization (%)", integer_x=False)
    log_settings(axes, x)
    axes.set_xticks(x, [str(step) for step in steps], fontsize=7)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=7, frameon=False, title="cause", title_fontsize=7, ncols=2)
    axes = figure.add_subplot(grid[0, 1])
    run = rows[0].runs[0]
    epochs = range(1, len(run["false_by_epoch"]) + 1)
    axes.plot(epochs, run["false_by_epoch"], marker="o", markersize=4, label="false alarms (undamaged)")
    axes.plot(epochs, run["low_by_epoch"], "--", label="undamaged models with a utilization below 50 %")
    axes.plot(epochs, run["missed_by_epoch"], marker="s", markersize=4, label="misses (damaged)")
    dress(axes, "The diagnosis, after each epoch", "epoch", "% of models")
    axes.set_ylim(0, 145)
    axes.set_yticks(range(0, 101, 20))
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    table(figure.add_subplot(grid[1, :]), rows)
    return figure


def table(axes: Axes, rows: list[Row]) -> None:
    """A cell for each cause and remedy: error over the best (colour, number), and dead codes."""
    causes, remedies = list(CAUSES), list(REMEDIES)
    for row in rows:
        i, j = causes.index(row.setting["cause"]), remedies.index(row.setting["remedy"])
        over, dead = row["over"].mean(), row["dead"].mean()
        shade = float(np.clip(np.log(over) / np.log(3), 0, 1))
        axes.barh(i, 0.96, left=j - 0.48, height=0.92, color=(1, 1 - 0.55 * shade, 1 - 0.85 * shade))
        quiet = sum(run["diagnosis"] not in ALARMS for run in row.runs)
        mark = "" if quiet else " !"
        axes.text(j, i, f"×{over:.2f}{mark}\n{dead:.0f} dead", ha="center", va="center", fontsize=7)
    title = "Test error over that of the best; ! : the diagnosis asks for a change, with every seed"
    dress(axes, title, "", "", integer_x=False)
    axes.set_xticks(range(len(remedies)), remedies, fontsize=8)
    axes.set_yticks(range(len(causes)), [cause.replace("-for-", "\nfor ") for cause in causes], fontsize=8)
    axes.set_ylabel("cause")
    axes.xaxis.tick_top()
    axes.set_title(title, fontsize=10, pad=22)
    axes.invert_yaxis()
    axes.set_xlim(-0.5, len(remedies) - 0.5)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Causes × remedies × seeds, without those whose remedy only takes the cause away."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 400, "epochs": 1, "batch_size": 50, "hidden": 16, "steps": [0, 3], "causes": 2,
               "remedies": 3},
        default={"images": 2000, "epochs": 4, "batch_size": 50, "hidden": 64, "steps": [0, 5, 20, 80, 150],
                 "causes": 4, "remedies": 5},
        full={"images": 2000, "epochs": 10, "batch_size": 50, "hidden": 128,
              "steps": [0, 5, 10, 20, 40, 80, 160, 399], "causes": 6, "remedies": 7},
    )  # fmt: skip
    settings = []
    for cause in [*CAUSES][: scale.causes]:
        for remedy in [*REMEDIES][: scale.remedies]:
            if cause == "none" or options(cause, remedy) != USUAL:
                settings.append({"cause": cause, "remedy": remedy})
    rows = study.run(settings, partial(measure, scale))
    judge(rows)
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("over", "over the best", ".2f"),
        Column("utilization", "utilization (%)", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("spread", "spread of latents", ".2g"),
        Column("diagnosis", "diagnosis at the end"),
        Column("verdict", "which is a"),
    ]
    caption = "Five causes of a bad codebook, six remedies, and how often the diagnosis is right."
    study.write(rows, columns, draw(rows, study.scale["steps"]), caption)


if __name__ == "__main__":
    main()
