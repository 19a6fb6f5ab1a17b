"""When does a VAE stop using its latent, and can the same happen to a VQ-VAE?

The usual answer: when the KL term has too large a weight, the posterior of a VAE collapses onto the prior and
the latent carries no information, whereas discrete codes force the decoder of a VQ-VAE to use them. Here both
have the same networks and a latent of the same size, 256 numbers (in the VQ-VAE, 16 codes of 16 numbers
each). The parameter that varies is the KL weight w of the VAE and the commitment cost β of the VQ-VAE, both
from 0.1 to 30; the VAE is also trained with a warm-up of w over half of the training. Restarts of dead codes
are off. A VQ-VAE that was not trained is a control. The information that the latents of 2000 test images
carry about the image is bounded in bits: from below by the estimated mutual information (for codes, H(k) of
whole rows), from above by the KL (for codes, the sum of H(k_m) over positions).

python examples/studies/vae_collapse.py           about a minute
python examples/studies/vae_collapse.py --full    the figures of docs/studies/vae_collapse.md
"""

import math
from dataclasses import asdict
from functools import partial

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import GREY, dress, log_settings, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

MODELS = ("VAE", "VAE-warm-up", "VQ-VAE")
UNTRAINED = {"model": "VQ-VAE-untrained", "knob": 0.25}
"""A control: what the measures say of random networks, with codes from their latents."""
BIT = math.log(2)
"""A bit in nats."""

SHOWN = 8
"""Number of test images in the figure."""


def measure(scale, seed: int, model: str, knob: float) -> dict:
    """Train once; the information in the latents of test images, and how the decoder uses it."""
    train, test = vqnp.load_splits("digits")
    steps = scale.epochs * -(-scale.images // scale.batch_size)
    if model.startswith("VQ-VAE"):
        made = vqnp.VQVAE.mlp(hidden=(scale.hidden,), commitment_cost=knob, restart_dead_codes=0, rng=seed)
    else:
        warmup = steps // 2 if model == "VAE-warm-up" else 0
        made = vqnp.VAE.mlp(hidden=(scale.hidden,), kl_weight=knob, kl_warmup=warmup, rng=seed)
    schedule = Schedule(scale.epochs, scale.batch_size, seed=seed)
    if model == UNTRAINED["model"]:
        Trainer(made, train.images[: scale.images], schedule).initialize()
    else:
        vqnp.fit(made, train.images[: scale.images], **asdict(schedule), progress=False)
    images, rng = test.images, np.random.default_rng(seed)
    z, (x,) = made.encode(images), made.prepare(images)
    x_hat = made.decode(z)
    # Each image gets the latent of another: a random cyclic permutation, so that none keeps its own.
    order = rng.permutation(len(z))
    other = np.empty_like(x_hat)
    other[order] = x_hat[np.roll(order, 1)]
    figures = {
        "mse": error(x_hat, x),
        "swapped": error(other, x),
        "variation": 100 * float(x_hat.var(axis=0).sum() / x.var(axis=0).sum()),
        "pictures": pack(x_hat[:SHOWN]) if seed == 0 else "",
        "mean_image": error(x.mean(axis=0, keepdims=True), x),
        "limit": math.log2(len(x)),
    }
    return figures | (of_codes(made, z) if "VQ" in model else of_posterior(made, images, x, rng))


def of_codes(model: vqnp.VQVAE, k: np.ndarray) -> dict:
    """I(x; k) = H(k), bounded from n images, and how many codes are in use."""
    information = vqnp.metrics.code_information(k, model.num_embeddings)
    counts = np.bincount(k.ravel(), minlength=model.num_embeddings)
    return {
        "lower": information.joint,
        "upper": information.upper,
        "perplexity": vqnp.perplexity(counts),
        "dead": len(vqnp.metrics.dead_codes(counts)),
    }


def of_posterior(model: vqnp.VAE, images: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> dict:
    """I(x; z), bounded by its estimate and the KL; the units; the error at a draw instead of the mean."""
    mu, logvar = model.posterior(images)
    eps = rng.standard_normal(mu.shape, model.dtype)
    information = vqnp.metrics.mutual_information(mu, logvar, eps)
    result = vqnp.evaluate(model, images)
    return {
        "lower": max(information.information, 0.0) / BIT,
        "upper": information.kl / BIT,
        "active": result.active_units,
        "unit": float(result.kl_per_unit.max()) / BIT,
        "draw": error(model.decode(mu + np.exp(logvar / 2) * eps), x),
        "loss": result.reconstruction_loss + model.kl_weight * result.kl,
    }


def error(x_hat: np.ndarray, x: np.ndarray) -> float:
    """MSE = ⟨(x̂ − x)²⟩."""
    return float(((x_hat.astype(np.float64) - x) ** 2).mean())


def draw(rows: list[Row], knobs: list[float]) -> Figure:
    """Five figures of merit against the knob, and reconstructions at each of its values (first seed)."""
    figure = new_figure(9.6, 5.7 + 0.42 * (len(knobs) + 1))
    grid = figure.add_gridspec(3, 12, height_ratios=[2.1, 2.1, 0.42 * (len(knobs) + 1)], hspace=0.45,
                               wspace=6, left=0.075, right=0.985, top=0.96, bottom=0.01)  # fmt: skip
    wanted = (
        ("lower", "Information about the image, at least", "bits"),
        ("upper", "Information about the image, at most", "bits"),
        ("active", "Active units of the VAE", "units of 256"),
        ("mse", "Reconstruction (VAE: at the mean)", "test MSE"),
        ("variation", "Variance of the reconstructions", "variance, % of the originals'"),
        ("swapped", "Given the latent of another image", "test MSE"),
    )
    for place, (name, title, unit) in enumerate(wanted):
        axes = figure.add_subplot(grid[place // 3, 4 * (place % 3) : 4 * (place % 3) + 4])
        for i, model in enumerate(MODELS):
            ours = select(rows, model=model)
            if name in ours[0].runs[0]:
                spread(axes, [row.setting["knob"] for row in ours], stack(ours, name), model, i)
        if name in ("lower", "mse", "swapped"):
            level = rows[0]["limit" if name == "lower" else "mean_image"][0]
            text = "limit: log₂ 2000" if name == "lower" else "the mean image"
            axes.axhline(level, color=GREY, linewidth=1, linestyle="--")
            offset = (0, -10 if name == "swapped" else 3)
            axes.annotate(text, (knobs[0], level), offset, textcoords="offset points", fontsize=8, color=GREY)
        dress(axes, title, "KL weight w, or commitment cost β", unit, integer_x=False)
        log_settings(axes, knobs)
        axes.set_ylim(0, 12.5 if name == "lower" else None)
        if name == "upper":
            axes.legend(fontsize=8, frameon=False)
    originals = vqnp.load_splits("digits")[1].images[:SHOWN] / 255
    for place, model in enumerate(("VAE", "VQ-VAE")):
        sheet = [unpack(row.runs[0]["pictures"]) for row in select(rows, model=model)]
        axes = figure.add_subplot(grid[2, 6 * place : 6 * place + 6])
        letter = "β" if model == "VQ-VAE" else "w"
        labels = ["original", *(f"{letter} = {knob:g}" for knob in knobs)]
        strip(axes, [originals, *sheet], labels)
        axes.set_title(f"{model} (first seed)", fontsize=10)
    return figure


def main() -> None:
    """Models × knobs × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 2, "batch_size": 50, "hidden": 32, "knobs": [0.1, 10.0]},
        default={
            "images": 3000, "epochs": 6, "batch_size": 50, "hidden": 64, "knobs": [0.1, 1.0, 3.0, 10.0, 30.0],
        },
        full={
            "images": 10000, "epochs": 8, "batch_size": 50, "hidden": 128,
            "knobs": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
        },
    )  # fmt: skip
    settings = [{"model": model, "knob": knob} for model in MODELS for knob in scale.knobs]
    settings = [s for s in settings if s["model"] != "VAE-warm-up" or s["knob"] >= 1] + [UNTRAINED]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("draw", "test MSE, z drawn", ".4f"),
        Column("swapped", "another image's latent", ".4f"),
        Column("variation", "variance of reconstructions (%)", ".0f"),
        Column("lower", "said of the image: at least (bits)", ".1f"),
        Column("upper", "at most (bits)", ".1f"),
        Column("active", "active units of 256", ".0f"),
        Column("unit", "largest KL of a unit (bits)", ".2f"),
        Column("loss", "test loss (nats)", ".1f"),
        Column("perplexity", "test perplexity of 128", ".0f"),
        Column("dead", "dead codes", ".0f"),
    ]
    caption = "A VAE under KL weights, and a VQ-VAE under commitment costs, from 0.1 to 30."
    study.write(rows, columns, draw(rows, study.scale["knobs"]), caption)


if __name__ == "__main__":
    main()
