"""What do the decay γ, Laplace smoothing and the start of the averages do to a codebook?

Said of γ: 0.95 to 0.99, commonly 0.99; of smoothing: it prevents a division by zero. Public code also
starts the averages in four ways, which differ in what becomes of codes that the first batches do not use.
Here are γ from 0.9 to 0.999 with and without smoothing, then the four starts, each from two codebooks:
small random codes ("uniform") and random latents ("data"). Restarts of dead codes are off.

python examples/studies/decay_and_smoothing.py           about a minute
python examples/studies/decay_and_smoothing.py --full    the figures of docs/studies/decay_and_smoothing.md
"""

from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.style import AMBER, BLUE, dress, new_figure, plain_log, spread
from vqnp.trainer import Schedule, Trainer

STARTS = ("consistent", "zero_counts", "independent", "zero")


def measure(scale, seed: int, init: str, decay: float, smoothing: str, start: str) -> dict:
    """Train once; look at the codes that the first batch leaves unused, after that step and at the end."""
    train, test = vqnp.load_splits("digits")
    options = {"start": start, "smoothing": smoothing, "zero_debias": start == "zero"}
    model = vqnp.VQVAE(
        num_embeddings=scale.K, hidden=(scale.hidden,), codebook_init=init, decay=decay,
        quantizer_options=options, rng=seed,
    )  # fmt: skip
    schedule = Schedule(scale.epochs, scale.batch_size, restart_dead_codes=0, seed=seed)
    trainer = Trainer(model, train.images[: scale.images], schedule)
    trainer.begin()
    before = lengths(model)
    trainer.train_step()
    unused = trainer.counts == 0
    grown = float(np.median(lengths(model)[unused] / before[unused])) if unused.any() else float("nan")
    while trainer.step < trainer.steps:
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(None)
    result = vqnp.evaluate(model, test.images)
    alive = result.counts > 0
    return {
        "mse": result.mse,
        "perplexity": result.perplexity,
        "dead": int((~alive).sum()),
        "unused": int(unused.sum()),
        "grown": grown,
        "revived": 100 * float(alive[unused].mean()) if unused.any() else float("nan"),
    }


def lengths(model: vqnp.VQVAE) -> np.ndarray:
    """‖e_j‖ for each code."""
    return np.linalg.norm(model.quantizer.embeddings.astype(np.float64), axis=1)


def draw(rows: list[Row], decays: list[float], K: int) -> Figure:
    """Above, figures against γ with and without smoothing; below, the four starts as bars."""
    figure = new_figure(9.6, 6.2)
    panels = figure.subplots(2, 3)
    wanted = (
        ("perplexity", "Codes in effective use", f"test perplexity of {K}"),
        ("dead", "Codes that no test image uses", f"dead codes of {K}"),
        ("mse", "Reconstruction", "test MSE"),
    )
    x = range(len(decays))
    for axes, (name, title, unit) in zip(panels[0], wanted, strict=True):
        for i, smoothing in enumerate(("laplace", "none")):
            chosen = select(rows, init="data", start="consistent", smoothing=smoothing)
            label = "Laplace smoothing" if smoothing == "laplace" else "no smoothing"
            spread(axes, x, stack(chosen, name), label, i)
        dress(axes, title, "decay γ", unit, integer_x=False)
        axes.set_xticks(list(x), [f"{decay:g}" for decay in decays])
        axes.set_ylim(bottom=0)
    panels[0, 0].legend(fontsize=8, frameon=False)
    wanted = (
        ("grown", "Unused codes after the first step", "length, relative to before"),
        ("perplexity", "Codes in effective use at the end", f"test perplexity of {K}"),
        ("mse", "Reconstruction at the end", "test MSE"),
    )
    for axes, (name, title, unit) in zip(panels[1], wanted, strict=True):
        for i, (init, colour) in enumerate((("uniform", BLUE), ("data", AMBER))):
            chosen = [select(rows, init=init, decay=0.99, smoothing="laplace", start=s)[0] for s in STARTS]
            y = stack(chosen, name)
            place = np.arange(len(STARTS)) + 0.38 * (i - 0.5)
            ends = [y.mean(axis=0) - y.min(axis=0), y.max(axis=0) - y.mean(axis=0)]
            axes.bar(
                place, y.mean(axis=0), 0.36, yerr=ends, color=colour, label=f"{init} codebook", capsize=2
            )
            if name == "grown":
                for at, value in zip(place, y.mean(axis=0), strict=True):
                    if value == 0:
                        axes.annotate("0", (at, 0.2), ha="center", fontsize=8)
        dress(axes, title, "start of the averages", unit, integer_x=False)
        axes.set_xticks(range(len(STARTS)), [s.replace("_", "\n") for s in STARTS], fontsize=8)
        if name == "grown":
            plain_log(axes)
            axes.set_ylim(0.1, 1e12)
    panels[1, 0].legend(fontsize=8, frameon=False, loc="upper right")
    figure.tight_layout()
    return figure


def main() -> None:
    """γ × smoothing, then starts × codebooks, × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 1, "batch_size": 20, "hidden": 32, "K": 256, "decays": [0.9, 0.99]},
        default={
            "images": 3000, "epochs": 6, "batch_size": 20, "hidden": 128, "K": 512,
            "decays": [0.9, 0.99, 0.999],
        },
        full={
            "images": 5000, "epochs": 10, "batch_size": 32, "hidden": 128, "K": 512,
            "decays": [0.9, 0.95, 0.98, 0.99, 0.999],
        },
    )  # fmt: skip
    settings = [
        {"init": "data", "decay": decay, "smoothing": smoothing, "start": "consistent"}
        for smoothing in ("laplace", "none")
        for decay in scale.decays
    ]
    settings += [
        {"init": init, "decay": 0.99, "smoothing": "laplace", "start": start}
        for init in ("uniform", "data")
        for start in STARTS
        if (init, start) != ("data", "consistent")  # it is above
    ]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("unused", "unused in the first batch", ".0f"),
        Column("grown", "their length after it", ".3g"),
        Column("revived", "of them used at the end (%)", ".0f"),
    ]
    caption = (
        "Above: decays from 0.9 to 0.999 (consistent start, codes from data). "
        "Below: the four starts of the averages at a decay of 0.99."
    )
    study.write(rows, columns, draw(rows, study.scale["decays"], study.scale["K"]), caption)


if __name__ == "__main__":
    main()
