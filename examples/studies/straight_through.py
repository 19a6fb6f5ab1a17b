"""What is the straight-through estimator worth, and how much of its gradient points the right way?

The usual answer: straight-through copies the decoder's gradient past the quantizer; it is biased, but it
works. How well would the same model work without it? Only the gradient that arrives at the encoder's output
differs here. It is one of these: the copied gradient, with or without the commitment loss; the gradient of
the commitment loss alone; none, so that the encoder keeps its random weights; the copied gradient of another
image of the batch; the sign of the copied gradient, its mean over the batch, or its rotation; or finite
differences, that is, a gradient fitted to the true change of the loss when a position gets its second nearest
code, or each of the eight nearest others. Each result is a share of the gain that straight-through makes over
the mean image: 0 stands for the error of the mean image, 1 for that of straight-through. There are networks
of several widths and depths, with 4 and 16 positions, and a convolutional network. In the models trained with
straight-through, the effects of other codes that the copied gradient predicts are compared with the true
ones; the gradient of another image shows what chance would give.

Predicted before the runs: (1) the commitment loss alone, the gradient of another image and the mean over the
batch are worse than a random encoder, (2) sign and rotation are within 0.1 of straight-through, (3) a
difference to one code is worse than straight-through, because it knows only one of the D directions of a
latent, and differences to eight codes are at least as good, because they are true, (4) a random encoder's
share falls to less than a half as the network widens, and (5) the sign of the predicted effect is right for
more than 80 % of the second nearest codes at the start, and for fewer as training goes on.

python examples/studies/straight_through.py           about a minute
python examples/studies/straight_through.py --full    the figures of docs/studies/straight_through.md
"""

from functools import partial

import numpy as np
from _gradients import Replaced, agreement
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import COLOURS, GREY, MARKS, dress, log_settings, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

K, BATCH = 128, 32
LR = {"conv": 3e-3}
"""Other than 1e-3."""

ALL = (
    "autoencoder", "straight-through", "sign", "rotation", "one-direction", "differences-1", "frozen",
    "batch-mean", "other-image", "commitment-only", "no-commitment",
)  # fmt: skip
PHASES = ("start", "middle", "end")
SLOW = "differences-8"
"""With 4 positions only."""
CONTROLS = ("differences-1-unscaled", "differences-1-improving", "other-image-no-commitment")
"""With the first network only. Are the scale, being pushed away, the commitment loss what does the damage?"""


def settings(scale) -> list[dict]:
    """All gradients for each network, some of them for other widths, and for a long training."""
    rows: list[dict] = []
    pairs = [(network, int(M)) for network, _, M in (pair.partition(":") for pair in scale.networks.split())]

    def add(network: str, M: int, epochs: int, gradients) -> None:
        new = ({"network": network, "M": M, "epochs": epochs, "gradient": g} for g in gradients)
        rows.extend(row for row in new if row not in rows)

    for network, M in pairs:
        conv = network == "conv"  # differences at 49 positions would take too long
        gradients = [g for g in ALL if not (conv and g == "differences-1")]
        gradients += (SLOW,) if M == 4 else () if rows else CONTROLS
        add(network, M, scale.conv_epochs if conv else scale.epochs, gradients)
    for width in scale.widths:
        add(str(width), 16, scale.wide_epochs, ("autoencoder", "straight-through", "frozen"))
    if scale.long_epochs:
        add(*pairs[0], scale.long_epochs, ALL[:7])
    return rows


def build(network: str, M: int, gradient: str, seed: int) -> vqnp.models.Model:
    """The same encoder and decoder for all gradients of a seed; the quantizer is that of VQVAE.mlp."""
    if network == "conv":
        usual = vqnp.VQVAE.conv(channels=16, residual_channels=8, residual_blocks=1, rng=seed)
    else:
        hidden = tuple(map(int, network.split("-")))
        usual = vqnp.VQVAE.mlp(num_latents=M, num_embeddings=K, hidden=hidden, rng=seed)
    if gradient == "autoencoder":
        return vqnp.Autoencoder(usual.encoder, usual.decoder)
    if gradient.endswith("no-commitment"):
        usual.quantizer.commitment_cost = 0.0
    if gradient == "rotation":
        usual.quantizer.estimator = "rotation"
    model = Replaced(usual.encoder, usual.quantizer, usual.decoder)
    model.gradient = gradient
    return model


def measure(scale, seed: int, network: str, M: int, epochs: int, gradient: str) -> dict:
    """Train once; with straight-through, compare its gradient with the effects of codes on the way."""
    train, test = vqnp.load_splits("digits")
    x, tested = train.images[: scale.images], test.images[: scale.tested]
    model = build(network, M, gradient, seed)
    trainer = Trainer(model, x, Schedule(epochs, BATCH, LR.get(network, 1e-3), seed=seed))
    trainer.initialize()
    figures, rng = {}, np.random.default_rng(seed)
    times = tuple(zip(PHASES, (0, epochs // 2, epochs), strict=True))
    for epoch in range(epochs + 1):
        if epoch:
            for _ in range(trainer.steps_per_epoch):
                trainer.train_step()
            trainer.end_epoch(None)
        for phase in [name for name, at in times if at == epoch and gradient == "straight-through"]:
            found = agreement(model, x[: max(scale.compared // M, 1)], rng)
            figures |= {f"{name}_{phase}": value for name, value in found.items()}
    result, z = vqnp.evaluate(model, tested), model.latents(tested[:500])
    floor = (tested / 255 - x.mean(axis=0) / 255) ** 2
    figures |= {"mse": result.mse, "mean_image": float(floor.mean())}
    figures["spread"] = float((z - z.mean(axis=0)).std())
    return figures | ({} if gradient == "autoencoder" else {"perplexity": result.perplexity})


def compare(rows: list[Row]) -> None:
    """share = (mean image's error − error) / (mean image's error − straight-through's), seed by seed."""
    for row in rows:
        group = {name: row.setting[name] for name in ("network", "M", "epochs")}
        (usual,) = select(rows, gradient="straight-through", **group)
        for run, other in zip(row.runs, usual.runs, strict=True):
            gain = other["mean_image"] - other["mse"]
            run["share"] = float(f"{(run['mean_image'] - run['mse']) / gain:.6g}") if gain else 0.0


ENDS = -0.3, 1.7
"""Shares outside are drawn at the edge, as arrows."""


def draw(rows: list[Row], widths: list[int], wide_epochs: int) -> Figure:
    """Shares by gradient and network; shares by width; how often the predicted effect has the right sign."""
    figure = new_figure(9.6, 4.8)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.7, 1, 1])
    whole = [row for row in rows if row.setting["gradient"] == "commitment-only"]  # one of each network
    networks = [{name: row.setting[name] for name in ("network", "M", "epochs")} for row in whole]
    names = [*ALL[:6], *CONTROLS[:2], SLOW, *ALL[6:9], CONTROLS[2], *ALL[9:]]
    names = [name for name in names if select(rows, gradient=name)]
    for i, network in enumerate(networks):
        for row in select(rows, **network):
            y = names.index(row.setting["gradient"]) + 0.14 * (i - (len(networks) - 1) / 2)
            low, x, high = (f(row["share"]) for f in (np.min, np.mean, np.max))
            mark = "<" if x < ENDS[0] else ">" if x > ENDS[1] else MARKS[i]
            left.plot(np.clip([low, high], *ENDS), [y, y], color=COLOURS[i], linewidth=1)
            left.plot(np.clip(x, *ENDS), y, mark, color=COLOURS[i], markersize=4, clip_on=False)
        kind = network["network"] if network["network"] == "conv" else f"MLP {network['network']}"
        left.plot([], [], MARKS[i], color=COLOURS[i], markersize=4, label=f"{kind}, M = {network['M']}")
        (row,) = select(rows, **network, gradient="straight-through")
        for suffix, style in (("", "-"), ("_other", ":")):
            y = [row[f"near_agree{suffix}_{phase}"].mean() for phase in PHASES]
            right.plot(PHASES, y, MARKS[i] + style, color=COLOURS[i], markersize=4, linewidth=1.2)
    left.set_yticks(range(len(names)), [label(name) for name in names], fontsize=8)
    left.set_xlim(*ENDS)
    left.invert_yaxis()
    left.grid(axis="y", color="#dddddd", linewidth=0.5)
    dress(left, "What the encoder receives", "share of the gain (0: mean image)", "", integer_x=False)
    for i, gradient in enumerate(("autoencoder", "straight-through", "frozen")):
        mine = [select(rows, network=str(w), M=16, epochs=wide_epochs, gradient=gradient)[0] for w in widths]
        spread(middle, widths, stack(mine, "share"), label(gradient), (4, 0, 1)[i])
    dress(middle, f"M = 16, {wide_epochs} epochs", "hidden units", "share of the gain", integer_x=False)
    log_settings(middle, widths)
    middle.set_ylim(0)
    for line in (left.axvline, middle.axhline):
        for share in (0, 1):
            line(share, color=GREY, linewidth=1, zorder=0)
    right.plot([], [], "-", color="black", label="own gradient")
    right.plot([], [], ":", color="black", label="another image's")
    right.axhline(50, color=GREY, linewidth=1, zorder=0)
    dress(right, "Sign of a code's effect", "training", "% predicted correctly", integer_x=False)
    right.set_ylim(0, 100)
    for axes in (middle, right):
        axes.legend(fontsize=7, frameon=False, loc="lower left")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return figure


LABELS = {
    "autoencoder": "no quantizer", "frozen": "none: random encoder", "batch-mean": "mean over the batch",
    "other-image": "another image's", "one-direction": "copied, one direction",
    "other-image-no-commitment": "another image's, β = 0", "differences-1": "differences to 1 code",
    "differences-8": "differences to 8 codes", "differences-1-unscaled": "not scaled, to 1 code",
    "differences-1-improving": "improvements, to 1 code", "commitment-only": "commitment loss alone",
    "no-commitment": "straight-through, β = 0",
}  # fmt: skip


def label(gradient: str) -> str:
    """The name of a gradient in the figure."""
    return LABELS.get(gradient, gradient)


def main() -> None:
    """Networks × gradients × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 100, "tested": 100, "compared": 32, "networks": "8:16 conv:49", "epochs": 2,
               "conv_epochs": 1, "widths": [4, 8], "wide_epochs": 1, "long_epochs": 0},
        default={"images": 1500, "tested": 1000, "compared": 512, "networks": "64:16 64:4", "epochs": 8,
                 "conv_epochs": 0, "widths": [32, 128], "wide_epochs": 20, "long_epochs": 0},
        full={"images": 3000, "tested": 2000, "compared": 1024,
              "networks": "64:16 64:4 64-64:16 256:16 conv:49", "epochs": 12, "conv_epochs": 3,
              "widths": [16, 32, 64, 128, 256], "wide_epochs": 30, "long_epochs": 60},
    )  # fmt: skip
    rows = study.run(settings(scale), partial(measure, scale))
    compare(rows)
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("share", "share of the gain", ".2f"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("spread", "spread of latents", ".2g"),
        Column("near_agree_start", "right sign for the next code (%), start", ".0f"),
        Column("near_agree_other_start", "by another image's gradient", ".0f"),
        Column("near_agree_middle", "middle", ".0f"),
        Column("near_agree_end", "end", ".0f"),
        Column("near_agree_other_end", "by another image's", ".0f"),
        Column("tenth_agree_end", "a tenth of the way, end", ".0f"),
        Column("better_end", "the next code is better (%), end", ".0f"),
        Column("near_cosine_end", "cosine with the effects of the next codes, end", ".2f"),
        Column("fit_cosine_end", "with the gradient fitted to 2D codes, end", ".2f"),
    ]
    caption = (
        "Left: what other gradients are worth, as shares of the gain from the mean image to straight-through "
        "(lines: the range over the seeds; arrows: outside the axis). Middle: shares by width. Right: how "
        "often the sign of the effect of the second nearest code is predicted; dotted: by another image's "
        "gradient."
    )
    figure = draw(rows, study.scale["widths"], study.scale["wide_epochs"])
    study.write(rows, columns, figure, caption)


if __name__ == "__main__":
    main()
