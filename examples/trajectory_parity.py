"""Train one model in vqnp and in PyTorch, from the same start on the same batches; draw how far they diverge.

python examples/trajectory_parity.py                     200 steps in float64 and in float32, half a minute
python examples/trajectory_parity.py --steps 20 --out quick.png

Needs PyTorch. In float64 the difference must stay at the level of rounding; otherwise this script
fails.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from weights_travel import TorchVQVAE, loss

import vqnp
from vqnp.nn import Sequential
from vqnp.plots.style import BLUE, GREEN, GREY, ORANGE, save_figure
from vqnp.training.trainer import Schedule, Trainer

BATCH = 32
LIMIT = 1e-10
"""Largest relative difference allowed in float64. Adam's first step moves θ by α g/(|g| + ε), which amplifies
the rounding error of a gradient of 1e-9 by up to α/ε = 1e5; 2e-13 was measured."""


class TorchTrainer:
    """The same step in PyTorch: autograd for the gradients, torch.optim.Adam, the EMA by one-hot products."""

    def __init__(self, model: vqnp.VQVAE) -> None:
        self.model, self.net = model, TorchVQVAE(model)
        start = {name: torch.from_numpy(a) for name, a in vqnp.export.to_torch(model).items()}
        self.net.load_state_dict({name: start[name] for name in self.net.state_dict()})
        self.ema = isinstance(model.quantizer, vqnp.EMAVectorQuantizer)
        if self.ema:
            self.net.quantizer.embedding.requires_grad_(False)
            self.N, self.m = start["quantizer.cluster_size"], start["quantizer.embedding_sum"]
        self.optimizer = torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad])

    def step(self, x: torch.Tensor, lr: float) -> tuple[float, np.ndarray, np.ndarray]:
        """L, z, k of this batch, before the step."""
        quantizer = self.model.quantizer
        L, z, k = loss(self.net, x, quantizer.commitment_cost, not self.ema)
        self.optimizer.zero_grad()
        L.backward()
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        if self.ema:
            self._update(z.detach().flatten(0, 1), k.flatten(), quantizer.decay, quantizer.epsilon)
        return L.item(), z.detach().numpy(), k.numpy()

    def _update(self, z: torch.Tensor, k: torch.Tensor, decay: float, epsilon: float) -> None:
        """N ← γN + (1−γ)n, m ← γm + (1−γ)s, E = m/Ñ."""
        onehot = torch.nn.functional.one_hot(k, len(self.N)).to(z.dtype)
        self.N = decay * self.N + (1 - decay) * onehot.sum(0)
        self.m = decay * self.m + (1 - decay) * onehot.T @ z
        total = self.N.sum()
        smooth = (self.N + epsilon) / (total + len(self.N) * epsilon) * total
        self.net.quantizer.embedding.weight.copy_(self.m / smooth[:, None])


def run(images: np.ndarray, steps: int, dtype: str, codebook: str) -> dict[str, np.ndarray]:
    """Train both for some steps, and record at each step, by name: (steps,).

    loss, parameters: relative differences; for parameters that of the worst array, relative to its largest
    entry;
    shift: max ‖Δz‖ + max ‖Δe‖, the distance between the latents and the codes of the two;
    margin: half of the smallest ‖z − e₂‖ − ‖z − e₁‖, where e₁ and e₂ are the nearest and the second nearest
    code of z: by the triangle inequality no code differs while shift is below margin;
    codes, units: the number of codes that differ, and of hidden units of the encoder that are active in one
    of the two only.
    """
    model = vqnp.VQVAE.mlp(
        codebook=codebook,
        restart_dead_codes=0,  # a restart draws random latents
        dtype=dtype,
    )
    epochs = -(-steps // -(-len(images) // BATCH))
    ours = Trainer(model, images, Schedule(epochs, BATCH))
    ours.initialize()
    theirs = TorchTrainer(model)
    rows = []
    for step in range(steps):
        (x,) = ours.take()
        losses, (*_, z, k) = model.loss((x,))
        E = model.quantizer.embeddings.copy()
        E_theirs = theirs.net.quantizer.embedding.weight.detach().numpy().copy()
        d = np.sqrt(((z[..., None, :].astype("d") - E) ** 2).sum(-1))
        nearest, second = np.partition(d, 1, axis=-1)[..., :2].T
        on = Sequential(*model.encoder.layers[:2]).forward(x)[0] > 0
        on_theirs = theirs.net.encoder[:2](torch.from_numpy(x)).detach().numpy() > 0
        ours.train_step()
        L, z_theirs, k_theirs = theirs.step(torch.from_numpy(x), ours.lr(step))
        state = theirs.net.state_dict()
        pairs = [(a, state[name].numpy()) for name, a in vqnp.export.to_torch(model).items() if name in state]
        rows.append(
            {
                "loss": abs(float(losses["loss"]) - L) / L,
                "parameters": max(np.abs(a - b).max() / np.abs(a).max() for a, b in pairs),
                "shift": longest(z - z_theirs) + longest(E - E_theirs),
                "margin": (second - nearest).min() / 2,
                "codes": np.count_nonzero(k != k_theirs),
                "units": np.count_nonzero(on != on_theirs),
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def longest(v: np.ndarray) -> float:
    """max ‖v‖ over the vectors of the last axis."""
    return float(np.sqrt((v.astype("d") ** 2).sum(-1)).max())


def first(counts: np.ndarray) -> str:
    """The first step, counted from 1, with a count above 0."""
    steps = np.flatnonzero(counts)
    return f"step {steps[0] + 1}" if len(steps) else "never"


def panel(axes: Axes, r: dict[str, np.ndarray], title: str) -> None:
    """One run: four curves, and the step at which the first code differs."""
    steps = np.arange(1, len(r["loss"]) + 1)
    axes.plot(
        steps, r["margin"], color=GREEN, linewidth=1, label="half the gap to the second nearest code (least)"
    )
    axes.plot(
        steps, r["shift"], color=ORANGE, label="distance of latents and codes in vqnp and PyTorch (largest)"
    )
    axes.plot(steps, r["parameters"], color=BLUE, label="parameters, relative to the largest entry")
    some = r["loss"] > 0  # a difference of 0 cannot be drawn on a logarithmic axis
    axes.plot(
        steps[some], r["loss"][some], ".", color=GREY, markersize=3, label="loss, relative, if not 0"
    )
    if r["codes"].any():
        at = int(np.flatnonzero(r["codes"])[0]) + 1
        axes.axvline(at, color="black", linewidth=0.8, linestyle=":")
        note = f"first code that differs: step {at}"
        axes.annotate(
            note,
            (at, 0.03),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_yscale("log")
    axes.set_ylim(1e-17, 10)
    axes.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1])
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Four runs: a row of figures for each, a picture of all; fail if float64 is not at rounding level."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=200, help="(default: 200)")
    parser.add_argument("--out", type=Path, default=Path("trajectory.png"), help="(default: trajectory.png)")
    args = parser.parse_args()

    images = vqnp.load_splits("digits")[0].images
    figure = Figure(figsize=(9.6, 6.4))
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    figure.subplots_adjust(left=0.07, right=0.985, bottom=0.17, top=0.95, hspace=0.2, wspace=0.08)
    columns = ("dtype", "codebook", "parameters", "loss", "shift", "margin")
    print(f"| {' | '.join(columns)} | codes that differ | ReLU units that differ |")
    print("|---|---|---|---|---|---|---|---|")
    exact = []
    for row, dtype in zip(grid, ("float64", "float32"), strict=True):
        for axes, codebook in zip(row, ("ema", "gradient"), strict=True):
            r = run(images, args.steps, dtype, codebook)
            apart = " | ".join(f"{r[name].max():.1e}" for name in ("parameters", "loss", "shift"))
            counts = " | ".join(f"{r[name].sum()}, first: {first(r[name])}" for name in ("codes", "units"))
            print(f"| {dtype} | {codebook} | {apart} | {r['margin'].min():.1e} | {counts} |", flush=True)
            panel(axes, r, f"{dtype}, codebook by {'moving averages' if codebook == 'ema' else 'gradient'}")
            if dtype == "float64":
                exact += [r["parameters"].max(), r["loss"].max(), r["codes"].max()]
    for axes in grid[1]:
        axes.set_xlabel("training step", fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel("vqnp and PyTorch: difference", fontsize=9)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="lower center", ncols=2, fontsize=8, frameon=False
    )
    save_figure(figure, args.out)
    print(f"\nwrote {args.out}")
    if not max(exact) <= LIMIT or np.isnan(exact).any():
        raise SystemExit(f"float64 differs by {np.max(exact):.1e}, which is more than rounding ({LIMIT:g})")


if __name__ == "__main__":
    main()
