"""What do the decay γ, Laplace smoothing and the initial averages do to an EMA codebook?

The usual answer is that γ should be between 0.95 and 0.99, most often 0.99, and that smoothing prevents a
division by zero. Public code also initializes the averages in four ways, which differ in what happens to
codes that the first batches do not use. Here γ goes from 0.9 to 0.999, with and without smoothing; then the
four initial averages are compared, each from two codebooks: small random codes ("uniform") and random latents
("data"). Last, as a control, the encoder's last bias and the decoder's first are such that all latents lie
around a point 3 away from the origin (`offset`): nothing changes for them but the distance to the place to
which smoothing moves unused codes. Restarts of dead codes are off.

python examples/studies/decay_and_smoothing.py           about a minute
python examples/studies/decay_and_smoothing.py --full    the figures of docs/studies/decay_and_smoothing.md
"""

import math
from functools import partial

import numpy as np
from _study import Column, Row, Study, select, stack
from matplotlib.figure import Figure

import vqnp
from vqnp.crosscheck.variants.quantizers import PLANTS
from vqnp.nn import EMAVectorQuantizer, Flatten, Module, Reshape, Sequential, mlp
from vqnp.plots.style import BLUE, ORANGE, SKY, dress, new_figure, spread
from vqnp.training.trainer import Schedule, Trainer

STARTS = {
    "consistent": EMAVectorQuantizer,
    "zero_counts": PLANTS["start", "zero_counts"],
    "independent": PLANTS["start", "independent"],
    "zero": partial(EMAVectorQuantizer, zero_debias=True),
}
"""The quantizer with each start. Nobody should choose the second or the third: they are variants of the
cross-check."""


class Shift(Module):
    """y = x + v with the same v for all latents, ‖v‖ = |length|; x: (..., D) -> y: (..., D)."""

    def __init__(self, length: float, dim: int) -> None:
        self.length, self.dim = float(length), int(dim)

    def config(self) -> dict:
        return {"length": self.length, "dim": self.dim}

    def forward(self, x, rng=None, step=0):
        return x + x.dtype.type(self.length / np.sqrt(self.dim)), None

    def backward(self, dy, cache, need_dx=True):
        return dy if need_dx else None


class Returns:
    """Counts codes that are chosen again after so long that smoothing has shrunk an unused code; where."""

    def __init__(self, K: int, decay: float, epsilon: float = 1e-5) -> None:
        self.long = math.log(epsilon) / math.log(decay)  # after so many steps γᵗ is ε
        self.unused, self.total, self.near = np.zeros(K), 0, 0

    def see(self, counts: np.ndarray, lengths: np.ndarray, usual: float) -> None:
        """counts: (K,) of a step, lengths: (K,) of the codes before it, usual: mean length of latents."""
        back = (counts > 0) & (self.unused > self.long)
        self.total += int(back.sum())
        self.near += int((lengths[back] < usual / 2).sum())
        self.unused = np.where(counts > 0, 0, self.unused + 1)


def measure(scale, seed: int, init: str, decay: float, smoothing: str, start: str, offset: int) -> dict:
    """Train once; measure the codes that the first batch does not use, after that step and at the end."""
    train, test = vqnp.load_splits("digits")
    rng, H = np.random.default_rng(seed), scale.hidden
    encoder = Sequential(Flatten(), mlp((784, H, 256), "relu", rng), Reshape(16, 16), Shift(offset, 16))
    decoder = Sequential(Shift(-offset, 16), Flatten(), mlp((256, H, 784), "relu", rng), Reshape(28, 28))
    options = {"decay": decay, "smoothing": smoothing, "codebook_init": init}
    model = vqnp.VQVAE(encoder, STARTS[start](scale.K, 16, **options, rng=rng), decoder)
    schedule = Schedule(scale.epochs, scale.batch_size, seed=seed)
    trainer = Trainer(model, train.images[: scale.images], schedule)
    trainer.initialize()
    before, course, returns = lengths(model), [], Returns(scale.K, decay)
    usual = float(np.linalg.norm(model.latents(test.images[:200]), axis=-1).mean())
    while trainer.step < trainer.steps:
        last = trainer.statistics.get("quantizer", 0)
        last, now = np.array(last), lengths(model)
        trainer.train_step()
        returns.see(trainer.statistics["quantizer"] - last, now, usual)
        if trainer.step == 1:
            unused = trainer.statistics["quantizer"] == 0
            grown = float(np.median(lengths(model)[unused] / before[unused]))
        if trainer.step in scale.looks:
            z = model.latents(test.images[:200])
            usual = float(np.linalg.norm(z, axis=-1).mean())
            course.append(float(np.median(lengths(model)[unused])) / usual)
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
    result = vqnp.evaluate(model, test.images)
    alive = result.counts > 0
    return {
        "mse": result.mse,
        "perplexity": result.perplexity,
        "dead": int((~alive).sum()),
        "unused": int(unused.sum()),
        "grown": grown,
        "returns": returns.total,
        "near": returns.near,
        "revived": 100 * float(alive[unused].mean()),
        "course": course,
    }


def lengths(model: vqnp.VQVAE) -> np.ndarray:
    """‖e_j‖ for each code."""
    return np.linalg.norm(model.quantizer.embeddings.astype(np.float64), axis=1)


def draw(rows: list[Row], decays: list[float], looks: list[int], K: int) -> Figure:
    """Above, results against γ with and without smoothing; below, the four starts at γ = 0.99."""
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
            chosen = select(rows, init="data", start="consistent", smoothing=smoothing, offset=0)
            label = "Laplace smoothing" if smoothing == "laplace" else "no smoothing"
            spread(axes, x, stack(chosen, name), label, i)
        dress(axes, title, "decay γ", unit, integer_x=False)
        axes.set_xticks(list(x), [f"{decay:g}" for decay in decays])
        for i, smoothing in enumerate(("laplace", "none")):
            for row in select(rows, smoothing=smoothing, offset=3):
                at = decays.index(row.setting["decay"]) + 0.12
                axes.plot([at] * len(row[name]), row[name], "x", color=(BLUE, ORANGE)[i], markersize=6,
                          label="the same, 3 off the origin")  # fmt: skip
        if name == "perplexity":
            axes.set_ylim(bottom=0)
        elif name == "dead":
            axes.set_yscale("symlog", linthresh=10)
            axes.set_yticks([0, 5, 10, 30, 100, 300], ["0", "5", "10", "30", "100", "300"])
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
    panels[0, 0].legend(fontsize=8, frameon=False, loc="lower right")
    at_99 = {
        init: [select(rows, init=init, decay=0.99, smoothing="laplace", start=s, offset=0)[0] for s in STARTS]
        for init in ("uniform", "data")
    }
    for i, (start, row) in enumerate(zip(STARTS, at_99["data"], strict=True)):
        spread(panels[1, 0], looks, row["course"], start.replace("_", " "), i)
    title = "Codes not used in the first batch"
    dress(panels[1, 0], title, "training steps", "length, relative to latents", integer_x=False)
    panels[1, 0].set_yscale("symlog", linthresh=0.1)
    panels[1, 0].set_yticks([0, 1, 100, 10_000, 1_000_000], ["0", "1", "100", "10⁴", "10⁶"])
    panels[1, 0].minorticks_off()
    panels[1, 0].set_ylim(bottom=-0.05)
    panels[1, 0].legend(
        fontsize=8, frameon=False, loc="upper right", title="start, from data", title_fontsize=8
    )
    wanted = (
        ("perplexity", "Codes in effective use at the end", f"test perplexity of {K}"),
        ("mse", "Reconstruction at the end", "test MSE"),
    )
    for axes, (name, title, unit) in zip(panels[1, 1:], wanted, strict=True):
        for i, (init, colour) in enumerate((("uniform", SKY), ("data", BLUE))):
            y = stack(at_99[init], name)
            place = np.arange(len(STARTS)) + 0.38 * (i - 0.5)
            ends = [y.mean(axis=0) - y.min(axis=0), y.max(axis=0) - y.mean(axis=0)]
            label = f"{init} codebook"
            axes.bar(place, y.mean(axis=0), 0.36, yerr=ends, color=colour, label=label, capsize=2)
        dress(axes, title, "start of the averages", unit, integer_x=False)
        axes.set_xticks(range(len(STARTS)), [s.replace("_", "\n") for s in STARTS], fontsize=8)
    panels[1, 2].set_ylim(top=1.25 * panels[1, 2].get_ylim()[1])  # room for the legend
    panels[1, 2].legend(fontsize=8, frameon=False, loc="upper left")
    figure.tight_layout()
    return figure


def main() -> None:
    """γ × smoothing, then starts × codebooks, × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={
            "images": 300, "epochs": 1, "batch_size": 20, "hidden": 32, "K": 256, "decays": [0.9, 0.99],
            "moved": [0.9], "looks": [1, 5, 10],
        },
        default={
            "images": 3000, "epochs": 6, "batch_size": 20, "hidden": 128, "K": 512,
            "decays": [0.9, 0.99, 0.999], "moved": [0.9],
            "looks": [1, 5, 20, 50, 100, 200, 400, 600, 800, 900],
        },
        full={
            "images": 5000, "epochs": 10, "batch_size": 32, "hidden": 128, "K": 512,
            "decays": [0.9, 0.95, 0.98, 0.99, 0.999], "moved": [0.9],
            "looks": [1, 5, 20, 50, 100, 200, 400, 600, 800, 1000, 1200, 1400, 1570],
        },
    )  # fmt: skip
    settings = [
        {"init": "data", "decay": decay, "smoothing": smoothing, "start": "consistent", "offset": offset}
        for offset, decays in ((0, scale.decays), (3, scale.moved))
        for smoothing in ("laplace", "none")
        for decay in decays
    ]
    settings += [
        {"init": init, "decay": 0.99, "smoothing": "laplace", "start": start, "offset": 0}
        for init in ("uniform", "data")
        for start in STARTS
        if (init, start) != ("data", "consistent")  # it is above
    ]
    rows = study.run(settings, partial(measure, scale), before={"offset": 0})
    columns = [
        Column("perplexity", "test perplexity", ".0f"),
        Column("dead", "dead codes", ".0f"),
        Column("mse", "test MSE", ".4f"),
        Column("unused", "unused in the first batch", ".0f"),
        Column("grown", "their length after it", ".3g"),
        Column("revived", "of them used at the end (%)", ".0f"),
        Column("returns", "codes used again after log ε / log γ steps", ".0f"),
        Column("near", "of these, shorter than half a latent", ".0f"),
    ]
    caption = (
        "Above: decays from 0.9 to 0.999 (consistent start, codes from data), and latents moved off the "
        "origin. "
        "Below: the four starts of the averages at a decay of 0.99."
    )
    figure = draw(rows, *(study.scale[name] for name in ("decays", "looks", "K")))
    study.write(rows, columns, figure, caption)


if __name__ == "__main__":
    main()
