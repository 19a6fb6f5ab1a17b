"""Is an EMA codebook better than one trained by gradient?

EMA codebooks are said to train more steadily, to use more codes and to have fewer dead ones. Here both kinds
of codebook are trained on the same digits at six sizes and from two initializations: the customary small
random codes, U(−1/K, 1/K), and random latents of the training set. From small random codes and at the largest
size, the gradient codebook also has a learning rate of its own: `step` multiplies every step that Adam makes
with it. Restarts of dead codes are off, because they would hide which codes die.

python examples/studies/ema_vs_gradient.py           about a minute
python examples/studies/ema_vs_gradient.py --full    the figures of docs/studies/ema_vs_gradient.md
"""

from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.kernels.statistics import code_statistics
from vqnp.optim import Adam
from vqnp.plots.style import COLOURS, MARKS, dress, log_settings, new_figure, plain_log, spread
from vqnp.training.trainer import Schedule, Trainer


def measure(scale, seed: int, start: str, codebook: str, K: int, step: float) -> dict:
    """Train once; how far codes go towards their means, the noise of the loss and that of the codes."""
    train, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(
        num_embeddings=K, hidden=(scale.hidden,), codebook=codebook, codebook_init=start,
        restart_dead_codes=0, rng=seed,
    )  # fmt: skip
    schedule = Schedule(scale.epochs, scale.batch_size, seed=seed)
    trainer = Trainer(model, train.images[: scale.images], schedule)
    trainer.initialize()
    losses, ways = [], np.zeros(2)
    while trainer.step < trainer.steps:
        before, old = quantization(trainer), model.quantizer.embeddings.copy()
        looked = trainer.step < trainer.steps_per_epoch and trainer.step % 5 == 0
        z = model.encoder.forward(trainer.take()[0])[0] if looked else None
        trainer.train_step()
        if codebook == "gradient":
            lengthen(model.quantizer, old, step)
        if looked:
            ways += way(z, old, model.quantizer.embeddings)
        losses.append((quantization(trainer) - before) / scale.batch_size)
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
    result = vqnp.evaluate(model, test.images)
    z = model.latents(train.images[: scale.images])
    return {
        "mse": result.mse,
        "perplexity": result.perplexity,
        "dead": K - result.codes_used,
        "share": 100 * ways[0] / ways[1],
        "noise": noise(np.array(losses[len(losses) // 4 :])),
        "jitter": jitter(model.quantizer, z, step if codebook == "gradient" else 1.0, seed),
    }


def lengthen(quantizer, old: np.ndarray, step: float) -> None:
    """E ← old + step · (E − old): the last step of the codebook, made `step` times as long."""
    E = quantizer.embeddings
    E[...] = old + E.dtype.type(step) * (E - old)


def way(z: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Σ⟨e' − e, z̄ − e⟩ and Σ‖z̄ − e‖² over the chosen codes; z̄: the mean of a code's latents in the batch.

    Their quotient is the share of the way to its mean that a code goes in a step.
    """
    n, s = code_statistics(z, vqnp.nearest_code(z, old), len(old))
    used = n > 0
    wanted = s[used] / n[used, None] - old[used]
    return np.array([((new - old)[used] * wanted).sum(), (wanted**2).sum()])


def jitter(quantizer, z: np.ndarray, step: float, seed: int, steps: int = 100) -> float:
    """100 √⟨‖Δe‖²⟩ / √⟨‖z − e‖²⟩ in percent, with the latents held fixed: the encoder is frozen.

    z: (n, M, D). The first `steps` steps let the codebook settle; codes that are used in the others count.
    """
    rng, adam, moves, gaps = np.random.default_rng(seed), Adam(quantizer.named_parameters()), [], []
    counts = np.zeros(len(quantizer.embeddings))
    for t in range(2 * steps):
        batch, old = z[rng.integers(len(z), size=50)], quantizer.embeddings.copy()
        z_q, _, _, k, cache = quantizer.forward(batch)
        adam.zero_grad()
        quantizer.backward(np.zeros_like(z_q), cache)
        adam.step()
        quantizer.after_step(batch, k, rng)
        if quantizer.has_codebook_loss:
            lengthen(quantizer, old, step)
        if t >= steps:
            counts += np.bincount(k.reshape(-1), minlength=len(counts))
            moves.append(((quantizer.embeddings - old) ** 2).sum(axis=1))
            gaps.append(((batch - z_q) ** 2).sum(axis=-1).mean())
    return float(100 * np.sqrt(np.mean(moves, axis=0)[counts > 0].mean() / np.mean(gaps)))


def quantization(trainer: Trainer) -> float:
    """Codebook and commitment loss, summed over the images of this epoch so far."""
    return sum(trainer.losses.get(name, 0.0) for name in ("codebook_loss", "commitment_loss"))


def noise(losses: np.ndarray) -> float:
    """100 √(⟨(L_{t+1} − L_t)²⟩ / 2) / ⟨L⟩, in percent: a trend over many steps does not count as noise."""
    return float(100 * np.sqrt(np.mean(np.diff(losses) ** 2) / 2) / losses.mean())


KINDS = (("uniform", "ema"), ("uniform", "gradient"), ("data", "ema"), ("data", "gradient"))
WANTED = (
    ("perplexity", "Codes in effective use", "test perplexity"),
    ("dead", "Codes that no test image uses", "dead codes"),
    ("mse", "Reconstruction", "test MSE"),
)


def draw(rows: list[Row], sizes: list[int]) -> Figure:
    """Above, against K; below, from small random codes at the largest K, against the share of the way."""
    figure = new_figure(9.6, 6.0)
    panels = figure.subplots(2, 3)
    stepped = [row for row in select(rows, start="uniform", K=sizes[-1]) if "share" in row.runs[0]]
    stepped.sort(key=lambda row: row.setting["step"])
    for column, (name, title, unit) in enumerate(WANTED):
        above, below = panels[:, column]
        for i, (start, codebook) in enumerate(KINDS):
            chosen = select(rows, start=start, codebook=codebook)
            label = f"{'EMA' if codebook == 'ema' else 'gradient'}, {start} start"
            spread(above, sizes, stack([row for row in chosen if row.setting["step"] == 1], name), label, i)
            for row in stepped if start == "uniform" else ():
                if row.setting["codebook"] == codebook:
                    below.plot(row["share"], row[name], MARKS[i], color=COLOURS[i], markersize=5)
                    if codebook == "gradient" or name == "perplexity":
                        text = "EMA" if codebook == "ema" else f"×{row.setting['step']:g}"
                        below.annotate(text, (row["share"].mean(), row[name].mean()), (0, 6),
                                       textcoords="offset points", fontsize=8, ha="center")  # fmt: skip
        dress(above, title, "K, codes in the codebook", unit, integer_x=False)
        log_settings(above, sizes)
        dress(below, f"Uniform start, K = {sizes[-1]}", "% of the way to its mean, in a step", unit, False)
        below.set_xscale("log")
        plain_log(below, "x")
        if name == "perplexity":
            plain_log(above)
        if name != "mse":
            below.set_ylim(bottom=0, top=1.15 * sizes[-1])
    panels[0, 0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def main() -> None:
    """Sizes × codebooks × starts, and at the largest size the steps of the codebook, × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 1, "batch_size": 50, "hidden": 32, "sizes": [32, 64], "steps": [10]},
        default={
            "images": 4000, "epochs": 6, "batch_size": 50, "hidden": 128, "sizes": [32, 128, 512],
            "steps": [3, 10, 30],
        },
        full={
            "images": 10000, "epochs": 12, "batch_size": 50, "hidden": 256,
            "sizes": [32, 64, 128, 256, 512, 1024], "steps": [3, 10, 30],
        },
    )  # fmt: skip
    settings = [
        {"start": start, "codebook": codebook, "K": K, "step": 1}
        for start, codebook in KINDS
        for K in scale.sizes
    ]
    settings += [
        {"start": "uniform", "codebook": "gradient", "K": scale.sizes[-1], "step": step}
        for step in scale.steps
    ]
    rows = study.run(settings, partial(measure, scale), before={"step": 1})
    columns = [
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("share", "share of the way to its mean, in a step (%)", ".2g"),
        Column("noise", "loss noise (%)", ".1f"),
        Column("jitter", "step of a code, encoder frozen (% of the quantization error)", ".2g"),
    ]
    caption = (
        "EMA and gradient codebooks from two starts, without restarts; below, gradient codebooks with "
        "learning rates of their own, by how far a code moves in a step of the first epoch."
    )
    study.write(rows, columns, draw(rows, study.scale["sizes"]), caption)


if __name__ == "__main__":
    main()
