"""Train the same VAE in vqnp and in PyTorch with several seeds, and compare their test losses.

python examples/vae_parity.py                            3 seeds of 2 epochs on 2,000 digits, under a minute
python examples/vae_parity.py --full                     5 seeds of 20 epochs; writes docs/vae_parity.md

Needs PyTorch. Each run has its own initial weights, minibatches and noise, so no two agree number for number.
The means over seeds must agree to within 2 standard deviations (over seeds); otherwise the script fails.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import vqnp
from vqnp.optim import cosine
from vqnp.plots.style import BLUE, ORANGE, save_figure

BATCH, LR = 32, 1e-3
FEW = 3
"""Number of seeds from which a standard deviation is reliable enough for a verdict."""
MEASURES = {
    "reconstruction": "reconstruction, nats per image",
    "kl": "KL, nats per image",
    "mse": "MSE of the mean",
}


class TorchVAE(torch.nn.Module):
    """The default VAE as PyTorch people write it: Sequential, chunk, rsample, kl_divergence."""

    def __init__(self, P: int = 784, H: int = 512, D: int = 256) -> None:
        super().__init__()
        flatten, linear, relu = torch.nn.Flatten, torch.nn.Linear, torch.nn.ReLU
        self.encoder = torch.nn.Sequential(flatten(), linear(P, H), relu(), linear(H, 2 * D))
        self.decoder = torch.nn.Sequential(flatten(), linear(D, H), relu(), linear(H, P))

    def terms(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """-log p(x|z) at a draw and the KL, each: (B,), and the reconstruction at the mean: (B, P)."""
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        q = torch.distributions.Normal(mu, (logvar / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mu), 1.0)
        a = self.decoder(q.rsample())
        nll = torch.nn.functional.binary_cross_entropy_with_logits(a, x, reduction="none").sum(-1)
        kl = torch.distributions.kl_divergence(q, prior).sum(-1)
        return nll, kl, torch.sigmoid(self.decoder(mu))


def train_vqnp(train: np.ndarray, test: np.ndarray, epochs: int, seed: int) -> dict[str, float]:
    """The test figures of one run."""
    model = vqnp.VAE.mlp(rng=seed)
    vqnp.fit(model, train, epochs=epochs, batch_size=BATCH, lr=LR, seed=seed, progress=False)
    result = vqnp.evaluate(model, test)
    return {"reconstruction": result.reconstruction_loss, "kl": result.kl, "mse": result.mse}


def train_torch(train: np.ndarray, test: np.ndarray, epochs: int, seed: int) -> dict[str, float]:
    """The same in PyTorch: autograd, its Adam, its generator; initial weights from vqnp's distribution."""
    torch.manual_seed(seed)
    start = vqnp.VAE.mlp(rng=1000 + seed)  # PyTorch's own initialization is √3 times narrower
    net = TorchVAE()
    net.load_state_dict({n: torch.from_numpy(a) for n, a in vqnp.export.to_torch(start).items()})
    x, y = (torch.from_numpy(a.reshape(len(a), -1).astype("f") / 255) for a in (train, test))
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    steps, step = epochs * -(-len(x) // BATCH), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            nll, kl, _ = net.terms(x[rows])
            optimizer.zero_grad()
            (nll + kl).mean().backward()
            optimizer.param_groups[0]["lr"] = cosine(step, steps, LR)
            optimizer.step()
            step += 1
    with torch.no_grad():
        nll, kl, mean = net.terms(y)
    mse = float(((mean - y) ** 2).mean())
    return {"reconstruction": float(nll.mean()), "kl": float(kl.mean()), "mse": mse}


def compare(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The difference of the means, and the standard deviation over seeds, pooled over both."""
    pooled = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
    return float(ours.mean() - theirs.mean()), float(pooled)


def table(found: dict[str, dict[str, np.ndarray]]) -> str:
    """A row for each measure: mean (range) of both, difference, spread."""
    lines = [
        "| on the test images | vqnp | PyTorch | difference of the means | standard deviation over seeds |",
        "|---|---|---|---|---|",
    ]
    for name, label in MEASURES.items():
        digits = 5 if name == "mse" else 2
        ours, theirs = found["vqnp"][name], found["PyTorch"][name]
        both = " | ".join(
            f"{a.mean():.{digits}f} ({a.min():.{digits}f} to {a.max():.{digits}f})" for a in (ours, theirs)
        )
        difference, spread = compare(ours, theirs)
        lines.append(f"| {label} | {both} | {difference:+.{digits}f} | {spread:.{digits}f} |")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """A dot per seed, a line for the mean; a panel for each measure."""
    figure = Figure(figsize=(9.6, 3.0))
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.12, top=0.86, wspace=0.38)
    for axes, (name, label) in zip(figure.subplots(1, 3), MEASURES.items(), strict=True):
        for i, (who, colour) in enumerate((("vqnp", BLUE), ("PyTorch", ORANGE))):
            values = found[who][name]
            places = i + np.linspace(-0.12, 0.12, len(values))
            axes.plot(places, values, "o", color=colour, markersize=5)
            axes.plot([i - 0.25, i + 0.25], [values.mean()] * 2, color=colour, linewidth=1.5)
        axes.set_xticks([0, 1], ["vqnp", "PyTorch"])
        axes.set_xlim(-0.5, 1.5)
        axes.set_title(label, fontsize=10)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    save_figure(figure, path)


PAGE = """# A VAE in vqnp and in PyTorch

Written by `python examples/vae_parity.py --full`.

The default VAE (784-512-256-512-784, with 256 latent units; Bernoulli likelihood), {epochs} epochs on {n}
digits, {seeds} seeds each. Each run has its own weights, minibatches and noise; the two libraries share only
the distribution of the initial weights, Adam's settings and the learning rate schedule. PyTorch's figures are
computed in PyTorch.

{table}

{verdict}

![Three panels: reconstruction, KL and MSE for each seed, in vqnp and in PyTorch](vae_parity.png)

*Each dot is a seed, each line the mean over seeds. The axes do not start at 0.*

In float64 the gradients of the two agree to 1e-12: `tests/crosscheck/test_torch.py`.
The mathematics is in [gaussian](math/gaussian.md).
"""


def main() -> None:
    """Train, print the table, draw; fail if means differ by over two standard deviations (over seeds)."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--full", action="store_true", help="the figures of the docs; some ten minutes")
    parser.add_argument("--seeds", type=int, help="(default: 3, or 5 with --full)")
    parser.add_argument("--epochs", type=int, help="(default: 2, or 20 with --full)")
    parser.add_argument("--images", type=int, help="training images (default: 2000, or all with --full)")
    parser.add_argument("--out", type=Path, help="the picture (default: vae_parity.png)")
    args = parser.parse_args()
    seeds, epochs = args.seeds or (5 if args.full else 3), args.epochs or (20 if args.full else 2)
    train, test = (part.images for part in vqnp.load_splits("digits"))
    train = train[: args.images or (len(train) if args.full else 2000)]
    runs: dict[str, list[dict[str, float]]] = {"vqnp": [], "PyTorch": []}
    for seed in range(seeds):
        runs["vqnp"].append(train_vqnp(train, test, epochs, seed))
        runs["PyTorch"].append(train_torch(train, test, epochs, seed))
    found = {who: {m: np.array([run[m] for run in rows]) for m in MEASURES} for who, rows in runs.items()}
    if seeds < 2:
        raise SystemExit("vae_parity: --seeds must be at least 2, to have a standard deviation")
    print(table(found))
    apart = [
        m
        for m in MEASURES
        if abs(compare(found["vqnp"][m], found["PyTorch"][m])[0])
        > 2 * compare(found["vqnp"][m], found["PyTorch"][m])[1]
    ]
    within = "Every difference between the means is within 2 standard deviations (over seeds)."
    verdict = f"More than 2 standard deviations (over seeds) apart: {', '.join(apart)}." if apart else within
    print(f"\n{verdict}")
    folder = Path(__file__).parents[1] / "docs" if args.full else Path()
    folder.mkdir(exist_ok=True)
    picture = args.out or folder / "vae_parity.png"
    draw(found, picture)
    print(f"wrote {picture}")
    if args.full:
        page = PAGE.format(
            epochs=epochs, n=f"{len(train):,}", seeds=seeds, table=table(found), verdict=verdict
        )
        (folder / "vae_parity.md").write_text(page, encoding="utf-8")
        print(f"wrote {folder / 'vae_parity.md'}")
    if apart and seeds >= FEW:
        raise SystemExit(f"vae_parity: {verdict}")


if __name__ == "__main__":
    main()
