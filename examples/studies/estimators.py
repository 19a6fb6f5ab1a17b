"""How should the gradient pass a quantizer: copied, rotated, or through draws?

The usual answer: straight-through copies the decoder's gradient to the encoder as if the quantizer were not
there, which is biased, though it works; the rotation trick lets it depend on where in a code's cell the
vector is, and uses more codes; the Gumbel-softmax has a true gradient of a relaxed problem, but it is noisy.
Here all of them train the same MLP with 7 × 7 codes out of 128, 343 bits. Straight-through and rotation are
compared with averaged codebooks and with trained ones, with the usual help (codes that start at random
latents, restarts) and plainly (small random codes, no restarts). Three controls: the rotation's turn alone,
its change of length alone, and no gradient, so that only the commitment loss trains the encoder. In the
trained models the gradients themselves are compared: how far a rotation turns them, how well they predict
what another code at one position would change, and how much of them is noise.

python examples/studies/estimators.py           about a minute
python examples/studies/estimators.py --full    the figures of docs/studies/estimators.md
"""

import math
from functools import partial

import numpy as np
from _networks import LR, RESTART, network
from _study import Column, Row, Study
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import vqnp
from vqnp import nn
from vqnp.evaluation import digit_classifier
from vqnp.ops import rotate_backward, rotate_forward
from vqnp.plots.style import BLUE, ORANGE, dress, new_figure

K, D, BATCH, BITS = 128, 8, 32, 343
GUMBEL = ("Gumbel-soft", "Gumbel-hard")
WAYS = (
    *((estimator, codebook, start) for start in ("helped", "plain") for codebook in ("EMA", "gradient")
      for estimator in ("straight-through", "rotation")),
    *((name, "EMA", "helped") for name in ("turn-only", "length-only", "none")),
    *((name, "gradient", "plain") for name in GUMBEL),
)  # fmt: skip
"""Estimator, how the codebook is trained, how it starts."""


class NoGradient(nn.EMAVectorQuantizer):
    """The quantizer through which no gradient of the decoder passes: dz = dL · ∂(commitment)/∂z."""

    def backward(self, dz_q, cache, dL=1.0, need_dx=True):
        """That of the superclass for dz_q = 0."""
        return super().backward(np.zeros_like(dz_q), cache, dL, need_dx)


class PartOfRotation(nn.EMAVectorQuantizer):
    """The rotation trick's turn alone, dz = c Rᵀ dz_q, or its length alone, dz = λ dz_q."""

    turns = False

    def forward(self, z, rng=None, step=0):
        """That of the superclass; z and z_q are kept."""
        z_q, *rest, cache = super().forward(z, rng, step)
        return z_q, *rest, (cache, z, z_q)

    def backward(self, dz_q, cache, dL=1.0, need_dx=True):
        """That of the superclass, for dz_q turned or stretched."""
        own, z, z_q = cache
        rotated = rotate_backward(dz_q, rotate_forward(z, z_q)[1])
        lengths = [np.linalg.norm(a, axis=-1, keepdims=True) for a in (dz_q, rotated)]
        factor = lengths[1] / np.maximum(lengths[0], 1e-30)
        part = rotated / np.maximum(factor, 1e-30) if self.turns else dz_q * factor
        return super().backward(part.astype(dz_q.dtype), own, dL, need_dx)


class TurnOnly(PartOfRotation):
    """dz has the direction of the rotated gradient and the length of dz_q."""

    turns = True


KINDS = {"none": NoGradient, "turn-only": TurnOnly, "length-only": PartOfRotation}


def quantizer(where: str, estimator: str, codebook: str, start: str, steps: int, seed: int) -> nn.Quantizer:
    """The quantizer of a row of the table."""
    rng = np.random.default_rng([seed, 1])
    if estimator in GUMBEL:
        schedule = {"temperature_steps": int(0.8 * steps), "kl_warmup": int(0.2 * steps)}
        return nn.GumbelQuantizer(K, D, draw=estimator.partition("-")[2], rng=rng, **schedule)
    kind = KINDS.get(estimator, nn.EMAVectorQuantizer)
    kind = kind if codebook == "EMA" else nn.VectorQuantizer
    helped = {"codebook_init": "data", "restart_dead_codes": RESTART[where]} if start == "helped" else {}
    how = "rotation" if estimator == "rotation" else "straight_through"
    return kind(K, D, estimator=how, rng=rng, **helped)


def build(scale, where: str, estimator: str, codebook: str, start: str, seed: int) -> vqnp.VQVAE:
    """The model of a row of the table."""
    own = quantizer(where, estimator, codebook, start, number_of_steps(scale), seed)
    return network(scale, where, BITS, own, seed)


def number_of_steps(scale) -> int:
    """Steps of a whole training."""
    return scale.epochs * math.ceil(scale.images / BATCH)


def measure(scale, seed: int, network: str, estimator: str, codebook: str, start: str) -> dict:
    """Train once; errors, use of the codes; the gradients in the trained model."""
    train, test = vqnp.load_splits("digits")
    steps = number_of_steps(scale)
    model = build(scale, network, estimator, codebook, start, seed)
    x = train.images[: scale.images]
    vqnp.fit(model, x, epochs=scale.epochs, batch_size=BATCH, lr=LR[network], seed=seed, progress=False)
    images = test.images[: scale.tested]
    found = vqnp.evaluate(model, images)
    both = [digit_classifier().features(each) for each in (model.reconstruct(images), images)]
    figures = {
        "mse": found.mse,
        "feature": float(((both[0] - both[1]) ** 2).mean()),
        "used": math.log2(found.perplexity),
        "codes": found.codes_used,
        "noise": noise(model, x, steps, scale.batches, seed),
    }
    if estimator in GUMBEL:
        figures["draws"] = noise(model, x[:BATCH], steps, scale.batches, seed)
    return figures | predictions(model, images, steps, seed)


def noise(model, x: np.ndarray, steps: int, batches: int, seed: int) -> float:
    """√⟨‖g − ḡ‖²⟩ / ‖ḡ‖ of the encoder's gradient g, over batches of x; of one batch, over draws."""
    rng, (arrays,) = np.random.default_rng(seed), model.prepare(x)
    g = []
    for _ in range(batches):
        model.zero_grad()
        rows = rng.choice(len(arrays), BATCH, replace=False)
        _, cache = model.loss((arrays[rows],), rng, steps)
        model.backward(cache)
        g.append(np.concatenate([param.grad.ravel() for _, param in model.encoder.named_parameters()]))
    g = np.array(g, np.float64)
    return float(np.sqrt(((g - g.mean(axis=0)) ** 2).sum(axis=1).mean()) / np.linalg.norm(g.mean(axis=0)))


def predictions(model, images: np.ndarray, steps: int, seed: int) -> dict:
    """How well dz·(e_j − e_k) predicts the change of an image's error when one of its codes k becomes j.

    j is the second nearest code, or the second likeliest, or a random one; dz is the decoder's gradient as
    it is, and as rotated. Correlations over images, each with a random position.
    """
    rng, (x,) = np.random.default_rng(seed), model.prepare(images)
    z, _ = model.encoder.forward(x)
    gumbel = isinstance(model.quantizer, nn.GumbelQuantizer)
    z_q, *_ = model.quantizer.forward(z, rng if gumbel else None, steps)
    x_hat, cache = model.decoder.forward(z_q)
    dz_q = model.decoder.backward(2 * (x_hat - x) / x[0].size, cache)
    E, k, rows = model.quantizer.embeddings, model.encode(images), np.arange(len(x))
    flat = [a.reshape(len(x), -1, D) for a in (z, z_q, dz_q)]
    at = rng.integers(flat[0].shape[1], size=len(x))
    z, z_q, dz_q = (a[rows, at].astype(np.float64) for a in flat)
    now = k.reshape(len(x), -1)[rows, at]
    score = -((z[:, None] - E) ** 2).sum(axis=-1)
    if gumbel:
        score = model.quantizer.logits.forward(z.astype(np.float32))[0]
    score[rows, now] = -np.inf
    others = {"near": score.argmax(axis=1), "random": (now + rng.integers(1, K, len(x))) % K}
    gradients = {"copied": dz_q}
    if not gumbel:
        gradients["rotated"] = rotate_backward(dz_q, rotate_forward(z, z_q)[1])
    figures = {}
    before = error(model, x, k)
    for name, j in others.items():
        changed = k.reshape(len(x), -1).copy()
        changed[rows, at] = j
        change = error(model, x, changed.reshape(k.shape)) - before
        for how, dz in gradients.items():
            figures[f"{name}_{how}"] = float(np.corrcoef((dz * (E[j] - E[now])).sum(axis=1), change)[0, 1])
    if not gumbel:
        lengths = [np.linalg.norm(a, axis=1) for a in (dz_q, gradients["rotated"])]
        cosine = (dz_q * gradients["rotated"]).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-30)
        figures["turn"] = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
        figures["length"] = float(np.median(lengths[1] / np.maximum(lengths[0], 1e-30)))
    return figures


def error(model, x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The squared error of each image decoded from codes: (n,)."""
    x_hat = model.decoder.forward(model.quantizer.decode(k))[0].astype(np.float64)
    return ((x_hat - x) ** 2).reshape(len(x), -1).mean(axis=1)


MARKS = {"near_copied": ("copied", "rotated"), "noise": ("between batches", "between draws")}
"""What the two marks of a panel are."""


def draw(rows: list[Row]) -> Figure:
    """A line for each way of training, each run a point."""
    figure = new_figure(9.6, 5.2)
    panels = figure.subplots(1, 4, sharey=True)
    names = [name(row) for row in rows]
    for axes, (result, title, unit) in zip(
        panels,
        (("mse", "Error", "test MSE"), ("used", "Use of 7 bits", "bits a position"),
         ("near_copied", "Effect of the next code", "correlation"),
         ("noise", "Noise of the gradient", "of its length")),
        strict=True,
    ):  # fmt: skip
        for y, row in enumerate(rows):
            axes.plot(row[result], [y] * len(row[result]), "o", color=BLUE, markersize=4, alpha=0.7)
            if result == "near_copied" and "near_rotated" in row.runs[0]:
                other = "near_rotated"
            elif result == "noise" and "draws" in row.runs[0]:
                other = "draws"
            else:
                continue
            axes.plot(row[other], [y] * len(row[other]), "s", color=ORANGE, markersize=4, alpha=0.7)
        dress(axes, title, unit, "", integer_x=False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        if result in MARKS:
            marks = {"linestyle": "", "markersize": 4, "alpha": 0.7}
            handles = [Line2D([], [], marker=marker, color=colour, label=label, **marks)
                       for (marker, colour), label in zip((("o", BLUE), ("s", ORANGE)), MARKS[result],
                                                          strict=True)]  # fmt: skip
            axes.legend(handles=handles, fontsize=7, frameon=False, ncols=2, columnspacing=1, handletextpad=0,
                        loc="upper center", bbox_to_anchor=(0.5, -0.12))
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    figure.tight_layout()
    return figure


def name(row: Row) -> str:
    """The label of a row."""
    estimator, codebook, start = (row.setting[n] for n in ("estimator", "codebook", "start"))
    if estimator in GUMBEL:
        return estimator
    return f"{estimator}, {codebook}" + (", plain" if start == "plain" else "")


def main() -> None:
    """Ways × seeds."""
    study = Study(__file__, __doc__, full_seeds=4)
    scale = study.pick(
        quick={"images": 200, "epochs": 1, "channels": 8, "hidden": 16, "batches": 2, "tested": 100},
        default={"images": 2000, "epochs": 1, "channels": 16, "hidden": 128, "batches": 8, "tested": 1000},
        full={"images": 5000, "epochs": 2, "channels": 32, "hidden": 256, "batches": 16, "tested": 1000},
    )  # fmt: skip
    settings = [
        {"network": "MLP", "estimator": estimator, "codebook": codebook, "start": start}
        for estimator, codebook, start in WAYS
    ]
    rows = study.run(settings, partial(measure, scale))
    columns = [
        Column("mse", "test MSE", ".5f"),
        Column("feature", "error of features", ".4f"),
        Column("used", "bits used of a position", ".2f"),
        Column("codes", "codes used", ".0f"),
        Column("turn", "a rotation turns the gradient by (°)", ".0f"),
        Column("length", "and changes its length by the factor", ".2f"),
        Column("near_copied", "prediction of the next code: copied", ".2f"),
        Column("near_rotated", "rotated", ".2f"),
        Column("random_copied", "of a random code: copied", ".2f"),
        Column("random_rotated", "rotated", ".2f"),
        Column("noise", "noise between batches", ".2f"),
        Column("draws", "between draws", ".2f"),
    ]
    caption = (
        "Straight-through, rotation, its parts, no gradient and the Gumbel-softmax: error, used bits, how "
        "well the gradient predicts the effect of the next code (orange: the rotated one), and its noise "
        "(orange: between draws). Each run is a point."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
