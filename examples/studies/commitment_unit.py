"""Does the commitment cost β have a unit?

Nearly everybody uses β = 0.25, but the loss is computed in many ways. The commitment loss may be a mean over
all entries or a sum over the D numbers of a code, and the squared error that it is weighed against may be
divided by the variance of the data, or computed from pixels between 0 and 255. Here β* is the weight that the
commitment loss has when it is a mean over all entries and the error is a mean squared error of pixels between
0 and 1. The same models are trained with the same β*, written in four ways; then with codes of 4 and 64
numbers in place of 16, and with a gradient codebook. If only β* counts, all curves coincide.

python examples/studies/commitment_unit.py           about a minute
python examples/studies/commitment_unit.py --full    the figures of docs/studies/commitment_unit.md
"""

from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.nn import EMAVectorQuantizer, VectorQuantizer
from vqnp.plots.style import dress, log_settings, new_figure, plain_log, spread

SONNET = 0.25 * 0.0953
"""0.25 beside an error divided by the variance of these images, 0.0953."""

WAYS = ("mean", "sum-over-D", "error-over-variance", "pixels-to-255")
FACTORS = {"error-over-variance": 1 / 0.0953, "pixels-to-255": 255.0**2}
CURVES = [("EMA", 16, way) for way in WAYS]
CURVES += [("EMA", 4, "mean"), ("EMA", 64, "mean"), ("gradient", 16, "mean")]


class Weighed(vqnp.VQVAE):
    """L = f ⟨(x̂ − x)²⟩ + the quantizer's losses."""

    factor = 1.0

    def _error(self, x_hat, x):
        loss, cache = super()._error(x_hat, x)
        return x.dtype.type(self.factor) * loss, cache

    def _error_backward(self, dL, cache):
        return super()._error_backward(self.factor * dL, cache)


def measure(scale, seed: int, codebook: str, D: int, way: str, beta: float) -> dict:
    """Train once with the β* of the setting, written in its way."""
    train, test = vqnp.load_splits("digits")
    rng = np.random.default_rng(seed)
    usual = vqnp.VQVAE.mlp(num_latents=256 // D, embedding_dim=D, hidden=(scale.hidden,), rng=rng)
    factor = FACTORS.get(way, 1.0)
    cost = factor * beta / (D if way == "sum-over-D" else 1)
    kind = EMAVectorQuantizer if codebook == "EMA" else VectorQuantizer
    reduction = "mean_of_sums" if way == "sum-over-D" else "mean"
    quantizer = kind(scale.K, D, cost, reduction=reduction, codebook_init="data", rng=rng)
    model = Weighed(usual.encoder, quantizer, usual.decoder)
    model.factor = factor
    vqnp.fit(
        model, train.images[: scale.images], epochs=scale.epochs, batch_size=50, seed=seed, progress=False
    )  # fmt: skip
    result, z = vqnp.evaluate(model, test.images), model.latents(test.images[:1000])
    return {
        "written": cost,
        "mse": result.mse,
        "perplexity": result.perplexity,
        "spread": float((z - z.mean(axis=0)).std()),
    }


def draw(rows: list[Row], betas: list[float]) -> Figure:
    """Error, perplexity and spread against β, as written and as β*."""
    figure = new_figure(9.6, 6.2)
    panels = figure.subplots(2, 3)
    wanted = (
        ("mse", "Reconstruction", "test MSE"),
        ("perplexity", "Codes in effective use", "test perplexity"),
        ("spread", "Spread of the latents", "standard deviation"),
    )
    for column, (name, title, unit) in enumerate(wanted):
        for i, (codebook, D, way) in enumerate(CURVES):
            mine = select(rows, codebook=codebook, D=D, way=way)
            y = stack(mine, name)
            for axes, x in (
                (panels[0, column], [row["written"].mean() for row in mine]),
                (panels[1, column], betas),
            ):
                spread(axes, x, y, f"{codebook}, D = {D}, {way.replace('-', ' ')}", i)
        top, bottom = panels[:, column]
        dress(top, title, "β as it is written", unit, integer_x=False)
        top.set_xscale("log")
        dress(bottom, title, "β*, in one unit", unit, integer_x=False)
        log_settings(bottom, betas)
        bottom.set_xticks(betas, [f"{beta:.2g}" for beta in betas], fontsize=7)
        bottom.axvspan(0.1, 2.0, color="#eeeeee", linewidth=0, zorder=0)
        bottom.axvline(SONNET, color="#777777", linewidth=1, linestyle="--")
        for axes in (top, bottom):
            if name == "spread":
                axes.set_yscale("log")
                plain_log(axes)
            else:
                axes.set_ylim(bottom=0)
    panels[1, 0].annotate("Sonnet's\n0.25", (SONNET, 0.002), (-3, 0), textcoords="offset points", fontsize=7,
                          ha="right")  # fmt: skip
    panels[1, 0].annotate("the paper's\n0.1 to 2", (0.45, 0.002), fontsize=7, ha="center")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    return figure


def main() -> None:
    """Ways of writing × β* × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 200, "epochs": 1, "hidden": 16, "K": 16, "betas": [0.1, 1.0]},
        default={"images": 1000, "epochs": 8, "hidden": 64, "K": 128, "betas": [0.01, 0.25, 4.0]},
        full={"images": 1500, "epochs": 10, "hidden": 128, "K": 128,
              "betas": [0.01, 0.25, 1.0, 4.0]},
    )  # fmt: skip
    settings = [
        {"codebook": codebook, "D": D, "way": way, "beta": beta}
        for codebook, D, way in CURVES
        for beta in scale.betas
    ]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("written", "β as it is written", ".4g"),
        Column("mse", "test MSE", ".4f"),
        Column("perplexity", "test perplexity", ".0f"),
        Column("spread", "spread of latents", ".2g"),
    ]
    caption = (
        "The same commitment cost, written in four ways, and with other codes: above against the number that "
        "is written, below against β* in one unit."
    )
    study.write(rows, columns, draw(rows, study.scale["betas"]), caption)


if __name__ == "__main__":
    main()
