"""Is an EMA codebook better than one trained by gradient?

EMA codebooks are said to train more steadily, to use more codes and to have fewer dead ones. Here both kinds
of codebook are trained on the same digits at six sizes and from two initializations: the customary small
random codes, U(−1/K, 1/K), and random latents of the training set. Restarts of dead codes are off, because
they would hide which codes die.

python examples/studies/ema_vs_gradient.py           about a minute
python examples/studies/ema_vs_gradient.py --full    the figures of docs/studies/ema_vs_gradient.md
"""

from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.plots.style import dress, log_settings, new_figure, plain_log, spread
from vqnp.training.trainer import Schedule, Trainer


def measure(scale, seed: int, start: str, codebook: str, K: int) -> dict:
    """Train once, step by step, and record the quantization loss of each step."""
    train, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(
        num_embeddings=K, hidden=(scale.hidden,), codebook=codebook, codebook_init=start,
        restart_dead_codes=0, rng=seed,
    )  # fmt: skip
    schedule = Schedule(scale.epochs, scale.batch_size, seed=seed)
    trainer = Trainer(model, train.images[: scale.images], schedule)
    trainer.initialize()
    losses = []  # of each step, that is, of one batch
    for _ in range(trainer.steps):
        before = quantization(trainer)
        trainer.train_step()
        losses.append((quantization(trainer) - before) / scale.batch_size)
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
    result = vqnp.evaluate(model, test.images)
    return {
        "mse": result.mse,
        "perplexity": result.perplexity,
        "dead": K - result.codes_used,
        "noise": noise(np.array(losses[len(losses) // 4 :])),
    }


def quantization(trainer: Trainer) -> float:
    """Codebook and commitment loss, summed over the images of this epoch so far."""
    return sum(trainer.losses.get(name, 0.0) for name in ("codebook_loss", "commitment_loss"))


def noise(losses: np.ndarray) -> float:
    """100 √(⟨(L_{t+1} − L_t)²⟩ / 2) / ⟨L⟩, in percent: a trend over many steps does not count as noise."""
    return float(100 * np.sqrt(np.mean(np.diff(losses) ** 2) / 2) / losses.mean())


def draw(rows: list[Row], sizes: list[int]) -> Figure:
    """Four figures of merit against K; a line for each codebook and start."""
    figure = new_figure(9.6, 6.4)
    panels = figure.subplots(2, 2)
    wanted = (
        ("perplexity", "Codes in effective use", "test perplexity"),
        ("dead", "Codes that no test image uses", "dead codes"),
        ("mse", "Reconstruction", "test MSE"),
        ("noise", "Noise of the quantization loss from step to step", "% of the loss"),
    )
    for axes, (name, title, unit) in zip(panels.flat, wanted, strict=True):
        for start, first in (("uniform", 0), ("data", 2)):
            for i, codebook in enumerate(("ema", "gradient")):
                y = stack(select(rows, start=start, codebook=codebook), name)
                kind = "EMA" if codebook == "ema" else "gradient"
                spread(axes, sizes, y, f"{kind}, {start} start", first + i)
        dress(axes, title, "K, codes in the codebook", unit, integer_x=False)
        log_settings(axes, sizes)
        if name == "perplexity":
            plain_log(axes)
            axes.plot(sizes, sizes, color="#777777", linewidth=1, linestyle="--", label="all K codes alike")
    panels[0, 0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def main() -> None:
    """Sizes × codebooks × starts × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 1, "batch_size": 50, "hidden": 32, "sizes": [32, 64]},
        default={"images": 4000, "epochs": 6, "batch_size": 50, "hidden": 128, "sizes": [32, 128, 512, 1024]},
        full={
            "images": 10000, "epochs": 12, "batch_size": 50, "hidden": 256,
            "sizes": [32, 64, 128, 256, 512, 1024],
        },
    )  # fmt: skip
    settings = [
        {"start": start, "codebook": codebook, "K": K}
        for start in ("uniform", "data")
        for codebook in ("ema", "gradient")
        for K in scale.sizes
    ]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("noise", "loss noise (%)", ".1f"),
    ]
    caption = "EMA and gradient codebooks of 32 to 1024 codes, from two starts, without restarts."
    study.write(rows, columns, draw(rows, study.scale["sizes"]), caption)


if __name__ == "__main__":
    main()
