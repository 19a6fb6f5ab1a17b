"""Is a VQ-VAE sharper than a VAE, and does a continuous latent cause blur?

The usual answer: an autoencoder reconstructs sharply, a VAE blurs because it averages in its continuous
latent space, and a VQ-VAE is sharp because its codes are discrete. Here all models have the same networks,
the same images, the same number of epochs and a latent of 256 numbers: one vector, or M codes of 256/M
numbers each out of a codebook of 128. The VAE has a Bernoulli or a Gaussian likelihood (with a standard
deviation of 0.1) and several KL weights w. It is decoded at the mean of its posterior and at a draw from it.
The activations are tanh. Sharpness is the gradient energy of the reconstructions relative to that of the
originals. The models called "matched" have exactly as many bits: w is adjusted in every step until the KL is
that of the VQ-VAE, 28 or 112 bits, and they are trained for 8, 30 and 60 epochs on fewer images.

python examples/studies/sharpness.py           about a minute
python examples/studies/sharpness.py --full    the figures of docs/studies/sharpness.md
"""

import math
from functools import partial

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study, select
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import vqnp
from vqnp.metrics import gradient_energy, sharpness
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, dress, log_settings, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

MODELS = {
    "autoencoder": ("D=256", "D=16"),
    "VAE-Bernoulli": ("w=0.2", "w=1"),
    "VAE-Gaussian": ("w=1", "w=4"),
    "VQ-VAE": ("M=64", "M=16", "M=4"),
    "VAE-Bernoulli-long": ("w=0.2", "w=1"),
    "VQ-VAE-long": ("M=16",),
}
LONG = 2
"""Factor on the number of epochs of the models called long."""
SHOWN = 6
"""The number of digits in the figure."""
MATCHED = {"VAE-matched": ("28-bits", "112-bits"), "VQ-VAE-matched": ("M=4", "M=16")}
LOOKS = {"VAE-Gaussian": (ORANGE, "s"), "VAE-Bernoulli": (BLUE, "o"), "VQ-VAE": (GREEN, "^"),
         "autoencoder": (GREY, "D")}  # fmt: skip
SPECTRA = (("autoencoder", "D=256"), ("VQ-VAE", "M=64"), ("VQ-VAE", "M=16"), ("VAE-Bernoulli", "w=0.2"),
           ("VAE-Bernoulli", "w=1"), ("VAE-Gaussian", "w=4"))  # fmt: skip


def build(model: str, variant: str, hidden: int, seed: int) -> vqnp.Autoencoder | vqnp.VQVAE:
    """The model of a row of the table."""
    value = float(variant.partition("=")[2] or 1)
    kind, _, rest = model.partition("-")
    shared = {"hidden": (hidden,), "activation": "tanh", "rng": seed}
    if kind == "VAE":
        likelihood = rest.partition("-")[0].lower().replace("matched", "bernoulli")
        return vqnp.VAE.mlp(likelihood=likelihood, kl_weight=value, **shared)
    if kind == "VQ":
        return vqnp.VQVAE.mlp(num_latents=int(value), embedding_dim=256 // int(value), **shared)
    return vqnp.Autoencoder.mlp(latent_dim=int(value), **shared)


def train_to(model: vqnp.VAE, images: np.ndarray, epochs: int, bits: float, seed: int) -> None:
    """Train, and after every step multiply w by (KL/target)^0.02, so that the KL becomes the target."""
    trainer = Trainer(model, images, Schedule(epochs, 50, seed=seed))
    target = bits * math.log(2)
    while trainer.step < trainer.steps:
        seen, total = trainer.seen, trainer.losses.get("kl", 0.0)
        trainer.train_step()
        kl = (trainer.losses["kl"] - total) / (trainer.seen - seen)
        model.kl_weight *= max(kl / target, 0.1) ** 0.02
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()


def measure(scale, seed: int, model: str, variant: str, epochs: int) -> dict:
    """Train once; error, sharpness and spectrum of test images decoded at the mean, and at a draw."""
    train, test = vqnp.load_splits("digits")
    made = build(model, variant, scale.hidden, seed)
    images = train.images[: scale.fewer if model.endswith("matched") else scale.images]
    if model == "VAE-matched":
        train_to(made, images, epochs, float(variant.partition("-")[0]), seed)
    else:
        vqnp.fit(made, images, epochs=epochs, batch_size=50, seed=seed, progress=False)
    x, rng = test.images / 255.0, np.random.default_rng(seed)
    figures = compare(made.reconstruct(test.images), x, "")
    shown = [made.reconstruct(test.images[: scale.shown])]
    if isinstance(made, vqnp.VAE):
        mu, logvar = made.posterior(test.images)
        drawn = made.decode(mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, made.dtype))
        figures |= compare(drawn, x, "draw_")
        figures |= {
            "bits": float(vqnp.metrics.kl_per_unit(mu, logvar).sum()) / math.log(2),
            "sampled": gradient_energy(made.sample(len(x), rng)) / gradient_energy(x),
        }
        shown.append(drawn[: scale.shown])
    elif isinstance(made, vqnp.VQVAE):
        figures |= {"bits": made.bits_per_image}
    pictures = [x[: scale.shown], *shown]
    kept = seed == 0 and not model.endswith("matched")
    return figures | {"pictures": pack(np.concatenate(pictures)) if kept else ""}


def compare(x_hat: np.ndarray, x: np.ndarray, prefix: str) -> dict:
    """Error, sharpness, spectrum; and the sharpness of a conditional mean that has the same error.

    If x̂ is the mean of the x that share a latent, x − x̂ is uncorrelated with it: G(x̂) = G(x) − G(x − x̂).
    """
    x_hat = x_hat.astype(np.float64)
    mse = float(((x_hat - x) ** 2).mean())
    missing = 4 * gradient_energy((x_hat - x + 1) / 2)  # G of what lies in [−1, 1]
    spectrum = vqnp.metrics.relative_spectrum(x_hat, x)[1]
    figures = {
        "mse": mse,
        "psnr": vqnp.metrics.psnr(mse),
        "sharp": sharpness(x_hat, x),
        "as_mean": 1 - missing / gradient_energy(x),
        "fine": float(spectrum[10]),
        "spectrum": spectrum.tolist(),
    }
    return {prefix + name: value for name, value in figures.items()}


def draw(rows: list[Row], shown: int) -> Figure:
    """The same digits by each model; spectra; sharpness and error against bits; one against the other."""
    figure = new_figure(9.6, 12.4)
    top = figure.add_gridspec(1, 2, width_ratios=[1.25, 1], wspace=0.2,
                              left=0.135, right=0.985, top=0.975, bottom=0.585)  # fmt: skip
    bottom = figure.add_gridspec(1, 3, left=0.07, right=0.985, top=0.495, bottom=0.29, wspace=0.33)
    matched([figure.add_subplot(grid) for grid in
             figure.add_gridspec(1, 2, left=0.07, right=0.985, top=0.225, bottom=0.045, wspace=0.2)], rows)
    names, strips = ["test images"], []
    for row in (row for row in rows if row.setting["model"] in LOOKS):
        images = unpack(row["pictures"][0])
        strips = strips or [images[:shown][:SHOWN]]
        strips.append(images[shown : 2 * shown][:SHOWN])
        names.append(f"{row.setting['model']} {row.setting['variant']}")
    axes = figure.add_subplot(top[0])
    strip(axes, strips, names)
    axes.set_title("Reconstructions (a VAE's at the mean)", fontsize=10)
    spectra(figure.add_subplot(top[1]), rows)
    against(figure, bottom, rows)
    return figure


def spectra(axes, rows: list[Row]) -> None:
    """Relative spectra of some models, with the range over the seeds."""
    for i, (model, variant) in enumerate(SPECTRA):
        S = select(rows, model=model, variant=variant)[0]["spectrum"]
        spread(axes, range(S.shape[1]), S, f"{model} {variant}", i)
    dress(axes, "Power kept", "spatial frequency (cycles per image)", "relative to the test images")
    axes.set_ylim(0, 1.2)
    axes.legend(fontsize=8, frameon=False, loc="upper right")


def against(figure: Figure, grid, rows: list[Row]) -> None:
    """Sharpness and error against bits; sharpness against error, of every run."""
    panels = [figure.add_subplot(grid[i]) for i in range(3)]
    for model, (colour, marker) in LOOKS.items():
        mine = select(rows, model=model)
        for prefix in ("", "draw_") if model.startswith("VAE") else ("",):
            label = model + (" at a draw" if prefix else " at the mean" if model.startswith("VAE") else "")
            style = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.2,
                     "markerfacecolor": "white" if prefix else colour,
                     "linestyle": "--" if prefix else "-"}  # fmt: skip
            mse, sharp = (np.stack([row[prefix + name] for row in mine]) for name in ("mse", "sharp"))
            panels[2].plot(mse.ravel(), sharp.ravel(), **style | {"linestyle": ""}, label=label)
            if model == "autoencoder":
                for axes, y in zip(panels, (sharp, mse), strict=False):
                    axes.axhline(y[0].mean(), color=GREY, linewidth=1, linestyle=":")
                    axes.annotate(f"autoencoder {mine[0].setting['variant']}", (0.03, y[0].mean()), (0, -3),
                                  axes.get_yaxis_transform(), "offset points", va="top", color=GREY,
                                  fontsize=8)  # fmt: skip
                continue
            bits = [row["bits"].mean() for row in mine]
            for axes, y in zip(panels, (sharp, mse), strict=False):
                axes.fill_between(bits, y.min(axis=1), y.max(axis=1), color=colour, alpha=0.2, linewidth=0)
                axes.plot(bits, y.mean(axis=1), **style)
    dress(panels[0], "Sharpness against rate", "bits per image", "gradient energy kept", integer_x=False)
    dress(panels[1], "Error against rate", "bits per image", "test MSE", integer_x=False)
    dress(panels[2], "Sharpness against error", "test MSE", "gradient energy kept", integer_x=False)
    for axes in panels[:2]:
        log_settings(axes, (30, 100, 300))
    for axes in panels:
        axes.set_ylim(bottom=0)
    panels[2].set_xlim(left=0)
    panels[2].xaxis.set_major_locator(MaxNLocator(4))
    handles, labels = panels[2].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=6, fontsize=8, frameon=False, loc="center",
                  bbox_to_anchor=(0.5, 0.525), columnspacing=0.9, handletextpad=0.1)  # fmt: skip


def matched(panels: list, rows: list[Row]) -> None:
    """Sharpness and error against epochs, at exactly 28 and 112 bits."""
    wanted = (
        ("sharp", "Equal bits: sharpness", "gradient energy kept"),
        ("mse", "Equal bits: error", "test MSE"),
    )
    lengths = sorted({row.setting["epochs"] for row in rows if "matched" in row.setting["model"]})
    for axes, (name, title, unit) in zip(panels, wanted, strict=True):
        for model, prefix, label in (
            ("VQ-VAE-matched", "", "VQ-VAE"),
            ("VAE-matched", "", "VAE, mean"),
            ("VAE-matched", "draw_", "VAE, draw"),
        ):
            colour, marker = LOOKS["VQ-VAE" if model[1] == "Q" else "VAE-Bernoulli"]
            for variant, bits in zip(MATCHED[model], (28, 112), strict=True):
                mine = select(rows, model=model, variant=variant)
                x = [row.setting["epochs"] for row in mine]
                for row in mine:
                    y = row[prefix + name]
                    axes.plot([row.setting["epochs"]] * len(y), y, marker, color=colour, markersize=4,
                              markerfacecolor="white" if prefix else colour)  # fmt: skip
                mean = [row[prefix + name].mean() for row in mine]
                axes.plot(x, mean, color=colour, linewidth=1.2, linestyle="--" if prefix else "-",
                          label=label if bits == 28 else None)  # fmt: skip
                if not prefix:
                    axes.annotate(f"{bits} bits", (x[-1], mean[-1]), (4, 0), textcoords="offset points",
                                  fontsize=8, color=colour, va="center")  # fmt: skip
        dress(axes, title, "epochs", unit)
        log_settings(axes, lengths)
        axes.set_ylim(bottom=0)
        axes.set_xlim(right=axes.get_xlim()[1] * 1.15)
    panels[0].legend(fontsize=8, frameon=False, loc="lower right")


def main() -> None:
    """Models × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 2, "hidden": 32, "shown": 8, "fewer": 300, "lengths": [2]},
        default={"images": 5000, "epochs": 5, "hidden": 128, "shown": 8, "fewer": 1000, "lengths": [5, 20]},
        full={"images": 10000, "epochs": 8, "hidden": 256, "shown": 8, "fewer": 3000, "lengths": [8, 30, 60]},
    )
    settings = [
        {"model": model, "variant": v, "epochs": scale.epochs * (LONG if model.endswith("long") else 1)}
        for model, variants in MODELS.items()
        for v in variants
    ]
    settings += [
        {"model": model, "variant": v, "epochs": epochs}
        for epochs in scale.lengths
        for model, variants in MATCHED.items()
        for v in variants
    ]

    def before(setting: dict) -> dict:
        return {"epochs": scale.epochs * (LONG if setting["model"].endswith("long") else 1)}

    rows = study.run(settings, partial(measure, scale), before)
    columns = [
        Column("bits", "bits an image", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("psnr", "PSNR (dB)", ".1f"),
        Column("sharp", "sharpness", ".2f"),
        Column("draw_mse", "MSE at a draw", ".4f"),
        Column("draw_sharp", "sharpness at a draw", ".2f"),
        Column("as_mean", "sharpness of a mean with that error", ".2f"),
        Column("fine", "power kept at 10 cycles", ".2f"),
        Column("sampled", "sharpness of samples", ".2f"),
    ]
    caption = (
        "The same digits by autoencoder, VAE and VQ-VAE, all with latents of 256 numbers (one has 16); the "
        "spectra; sharpness and error against rate (dotted: the autoencoder) and against each other."
    )
    study.write(rows, columns, draw(rows, study.scale["shown"]), caption)


if __name__ == "__main__":
    main()
