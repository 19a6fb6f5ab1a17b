"""What does the commitment cost β do, from far too low to far too high?

The usual answer: with too low a β the latents drift away from the codes, with too high a β the reconstruction
suffers, and 0.25 is the usual value. Here β is 0, or goes from 0.003 to 4, with both kinds of codebook. The
codes are initialized to random latents, and restarts of dead codes are off.

python examples/studies/commitment.py           about a minute
python examples/studies/commitment.py --full    the figures of docs/studies/commitment.md
"""

from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import dress, log_settings, new_figure, plain_log, spread


def measure(scale, seed: int, codebook: str, beta: float) -> dict:
    """Train once; after each epoch measure how far the latents of the same test images have moved."""
    train, test = vqnp.load_splits("digits")
    options = {"codebook": codebook, "commitment_cost": beta, "restart_dead_codes": 0}
    model = vqnp.VQVAE.mlp(hidden=(scale.hidden,), **options, rng=seed)
    seen = test.images[:500]
    before, moves = model.latents(seen), []

    def look(_history: list) -> None:
        nonlocal before
        now = model.latents(seen)
        moves.append(rms(now - before) / rms(now - now.mean(axis=0)))
        before = now

    vqnp.fit(
        model, train.images[: scale.images], epochs=scale.epochs, batch_size=50, seed=seed, progress=False,
        on_epoch=look,
    )  # fmt: skip
    z = model.latents(test.images)
    k = model.quantizer.encode(z)
    e = model.quantizer.decode(k)
    result = vqnp.evaluate(model, test.images)
    # Decode the latents themselves: how much of the error is due to quantization?
    (pixels,) = model.prepare(test.images)
    unquantized = float(((model.decode_latents(z) - pixels) ** 2).mean())
    return {
        "mse": result.mse,
        "unquantized": unquantized,
        "size": rms(z - z.mean(axis=0)),
        "gap": 100 * rms(z - e) / rms(z - z.mean(axis=0)),
        "drift": 100 * float(np.mean(moves[1:] or moves)),
        "perplexity": result.perplexity,
        "dead": model.num_embeddings - result.codes_used,
    }


def rms(a: np.ndarray) -> float:
    """√⟨a²⟩."""
    return float(np.sqrt(np.mean(a.astype(np.float64) ** 2)))


def draw(rows: list[Row], betas: list[float]) -> Figure:
    """Six figures of merit against β; a line for each codebook."""
    figure = new_figure(9.6, 5.8)
    panels = figure.subplots(2, 3)
    x = [betas[1] ** 2 / betas[2], *betas[1:]]  # a logarithmic axis has no 0
    wanted = (
        ("mse", "Reconstruction", "test MSE"),
        ("gap", "Distance of latents from their codes", "% of the latents' spread"),
        ("drift", "Drift of the latents", "% of their spread per epoch"),
        ("perplexity", "Codes in effective use", "test perplexity of 128"),
        ("dead", "Codes that no test image uses", "dead codes of 128"),
        ("size", "Spread of the latents", "standard deviation"),
    )
    for axes, (name, title, unit) in zip(panels.flat, wanted, strict=True):
        for i, codebook in enumerate(("ema", "gradient")):
            y = stack(select(rows, codebook=codebook), name)
            spread(axes, x[1:], y[:, 1:], "EMA" if codebook == "ema" else "gradient", i)
            spread(axes, x[:1], y[:, :1], "", i)
        axes.axvline(0.25, color="#777777", linewidth=1, linestyle="--")
        dress(axes, title, "commitment cost β", unit, integer_x=False)
        log_settings(axes, x)
        axes.set_xticks(x, [f"{beta:g}" for beta in betas], fontsize=6)
        if name == "size":
            plain_log(axes)
        else:
            axes.set_ylim(bottom=0)
    panels[0, 0].legend(fontsize=8, frameon=False)
    panels[0, 0].annotate("0.25", (0.25, 0), (3, 4), textcoords="offset points", fontsize=8, color="#777777")
    figure.tight_layout()
    return figure


def main() -> None:
    """β × codebooks × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 2, "hidden": 32, "betas": [0.0, 0.25, 1.0]},
        default={"images": 4000, "epochs": 8, "hidden": 128, "betas": [0.0, 0.01, 0.1, 0.25, 1.0, 4.0]},
        full={
            "images": 10000, "epochs": 10, "hidden": 256,
            "betas": [0.0, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0],
        },
    )  # fmt: skip
    settings = [{"codebook": c, "beta": beta} for c in ("ema", "gradient") for beta in scale.betas]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("mse", "test MSE", ".4f"),
        Column("unquantized", "test MSE, not quantized", ".4f"),
        Column("gap", "latent to code (% of spread)", ".0f"),
        Column("drift", "drift an epoch (%)", ".0f"),
        Column("size", "spread of latents", ".2f"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
    ]
    caption = "Commitment costs of 0 and from 0.003 to 4, with EMA and gradient codebooks of 128 codes."
    study.write(rows, columns, draw(rows, study.scale["betas"]), caption)


if __name__ == "__main__":
    main()
