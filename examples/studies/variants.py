"""How does each variant and bug of a VQ layer affect training?

docs/crosscheck-variants.md says how public VQ layers differ. Here the same small VQ-VAE
is trained with each variant that can change training and compared with the default of its kind of codebook,
with the same initial parameters and, unless the variant draws random numbers of its own, the same batches.
Codes are initialized to random latents, and restarts of dead codes are off, unless that is the variant.
Two more rows are controls and no variants: β = 0, and β = 0 without straight-through, where the encoder
receives no gradient at all and stays random. Before training, the cross-check is run on each layer and must
identify the variant, so that what is trained is what that page describes.

python examples/studies/variants.py           about a minute and a half
python examples/studies/variants.py --full    the figures of docs/studies/variants.md
"""

from functools import cache, partial

import numpy as np
from _planted import planted, settings
from _study import Column, Row, Study, select
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import vqnp
from vqnp.crosscheck import QuantizerAdapter, check
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, dress, log_settings, new_figure
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged


@cache
def named(base: str, dimension: str, variant: str) -> str:
    """Whether the cross-check identifies the variant of this layer: "yes", or an error before training."""
    if dimension in ("none", "chance", "without"):
        return "-"
    if base != "ema-zero":  # the encoder's offset and the trainer's restarts are not part of the layer
        base = base[:3] if base.startswith("ema") else base
    kind, options = planted(base, dimension, variant)
    found = check(QuantizerAdapter(kind, **options)).fingerprint[dimension]
    if found != variant:
        raise SystemExit(f"variants: the cross-check must find {dimension} = {variant}; it found {found}")
    return "yes"


def measure(scale, seed: int, base: str, dimension: str, variant: str) -> dict:
    """Train once; the length of the longest code at any step and at the end, and test results."""
    train, test = vqnp.load_splits("digits")
    kind, options = planted(base, dimension, variant)
    rng = np.random.default_rng(seed)
    usual = vqnp.VQVAE.mlp(hidden=(scale.hidden,), num_embeddings=scale.K, rng=rng)
    quantizer = kind(scale.K, usual.embedding_dim, rng=rng, **options)
    model = vqnp.VQVAE(usual.encoder, quantizer, usual.decoder)
    batches = seed + 1000 * (dimension == "chance")
    schedule = Schedule(scale.epochs, scale.batch_size, seed=batches)
    trainer = Trainer(model, train.images[: scale.images], schedule)
    trainer.initialize()
    longest, end, training = 0.0, "finished", np.nan
    try:
        while trainer.step < trainer.steps:
            trainer.train_step()
            longest = max(longest, length(quantizer.embeddings))
            if trainer.step % trainer.steps_per_epoch == 0:
                training = trainer.end_epoch(None)["reconstruction_loss"]
    except TrainingDiverged:
        end = "diverged"
    wrong = (quantizer.wrong, quantizer.seen) if hasattr(quantizer, "wrong") else None
    result = model.evaluate(test.images)
    z = model.latents(test.images)
    pixels, mean = test.images / 255, train.images[: scale.images].mean(axis=0) / 255
    figures = {
        "mse": result.mse,
        "training": training,
        "perplexity": result.perplexity,
        "dead": scale.K - result.codes_used,
        "longest": longest,
        "last": length(quantizer.embeddings),
        "latents": float(np.sqrt((z.astype(np.float64) ** 2).sum(axis=-1)).mean()),
        "mean_image": float(((pixels - mean) ** 2).mean()),
        "end": end,
        "named": named(base, dimension, variant) if scale.checked else "-",
    }
    return figures | ({"wrong": 100 * wrong[0] / wrong[1]} if wrong else {})


def length(E: np.ndarray) -> float:
    """max_j ‖e_j‖."""
    return float(np.sqrt((E.astype(np.float64) ** 2).sum(axis=1)).max())


def compare(rows: list[Row]) -> None:
    """ratio: test MSE over that of the default with the same seed; effect: whether it is beyond chance.

    Chance is the effect of other minibatches on a default; ratios of 2 and ½ count as equally large.
    """
    for row in rows:
        (default,) = select(rows, base=row.setting["base"], dimension="none")
        for run, other in zip(row.runs, default.runs, strict=True):
            run["ratio"] = float(f"{run['mse'] / other['mse']:.6g}")
            run["same"] = all(run[name] == other[name] for name in ("mse", "perplexity", "latents"))
    chance = np.concatenate([row["ratio"] for row in select(rows, dimension="chance")])
    limit = float(np.exp(np.abs(np.log(chance)).max()))
    for row in rows:
        ratio = row["ratio"]
        effect = "better" if (ratio < 1 / limit).all() else "as by chance"
        effect = "worse" if (ratio > limit).all() else effect
        effect = "not at all" if row["same"].all() else effect
        for run in row.runs:
            run["effect"] = "-" if row.setting["dimension"] in ("none", "chance") else effect
            run["chance"] = float(f"{100 * (limit - 1):.6g}")


HEADINGS = {
    "gradient": "codebook by gradient",
    "ema": "codebook by EMA",
    "ema-restarts": "EMA, dead codes restart",
    "ema-zero": "EMA from N = m = 0",
    "ema@100": "EMA, 100 off the origin",
    "ema@1000": "EMA, 1000 off the origin",
}
COLOURS = {"worse": ORANGE, "better": GREEN, "as by chance": BLUE, "not at all": GREY}


def draw(rows: list[Row], K: int) -> Figure:
    """A line for each variant: ratio to the default's error, and perplexity; a dot for each seed."""
    shown = [row for row in rows if row.setting["dimension"] != "none"]
    bases = list(dict.fromkeys(row.setting["base"] for row in shown))
    figure = new_figure(9.6, 0.19 * (len(shown) + 1.6 * len(bases)) + 1.3)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, 1])
    limit, y, ticks = 1 + shown[0].runs[0]["chance"] / 100, 0.0, []
    for base in bases:
        (default,) = select(rows, base=base, dimension="none")
        left.text(-0.02, y, HEADINGS[base], transform=left.get_yaxis_transform(), fontsize=8, ha="right",
                  va="center", fontweight="bold")  # fmt: skip
        top = y + 0.5
        for row in select(shown, base=base):
            y += 1
            ticks.append((y, "{dimension}: {variant}".format(**row.setting).replace("_", " ")))
            colour = COLOURS.get(row.runs[0]["effect"], "black")
            for axes, name in ((left, "ratio"), (right, "perplexity")):
                x = row[name]
                axes.plot([x.min(), x.max()], [y, y], color=colour, linewidth=1)
                axes.plot(x, [y] * len(x), "o", color=colour, markersize=4, markeredgewidth=0)
        right.plot([default["perplexity"].mean()] * 2, [top, y + 0.5], color="black", linewidth=1)
        y += 1.6
    left.axvspan(1 / limit, limit, color="#dddddd", linewidth=0, zorder=0)
    left.axvline(1, color="black", linewidth=1)
    dress(left, "Reconstruction", "test MSE, over the default's", "", integer_x=False)
    dress(right, "Codes in effective use", f"test perplexity of {K}; black: the default's", "", False)
    log_settings(left, [0.9, 1, 1.2, 1.5, 2])
    right.set_xlim(left=0)
    left.set_yticks([at for at, _ in ticks], [text for _, text in ticks], fontsize=8)
    left.set_ylim(y - 1, -0.8)
    mark = {"marker": "o", "markersize": 4}
    handles = [Line2D([], [], color=c, label=f"error: {e}", **mark) for e, c in COLOURS.items()]
    handles.insert(0, Patch(color="#dddddd", label="what other minibatches do to a default"))
    figure.legend(handles=handles, loc="lower center", ncols=5, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight() * 0.6, 1, 1))
    return figure


def main() -> None:
    """Variants × seeds, the defaults among them."""
    study = Study(__file__, __doc__)
    common = {"batch_size": 32, "hidden": 64, "K": 128}
    scale = study.pick(
        quick={"images": 300, "epochs": 1, **common, "checked": False},
        default={"images": 1200, "epochs": 5, **common, "checked": True},
        full={"images": 4500, "epochs": 8, **common, "checked": True},
    )
    rows = study.run(settings(study.size == "quick"), partial(measure, scale))
    compare(rows)
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("training", "in training", ".4f"),
        Column("ratio", "over the default's", ".2f"),
        Column("effect", "changes the error"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("longest", "longest code, at any step", ".3g"),
        Column("last", "at the end", ".3g"),
        Column("latents", "length of the latents", ".3g"),
        Column("wrong", "wrong codes (%)", ".3g"),
        Column("end", "run"),
        Column("named", "named by the cross-check"),
    ]
    caption = "What each variant does to a training, beside the default of its kind; a dot for each seed."
    study.write(rows, columns, draw(rows, study.scale["K"]), caption)


if __name__ == "__main__":
    main()
