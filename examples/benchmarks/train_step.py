"""A training step of an MLP VQ-VAE: vqnp compared with PyTorch, eager and compiled.

python examples/benchmarks/train_step.py            ten minutes; writes train_step.md, .json and .png
python examples/benchmarks/train_step.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. Every contender trains the same model from the same
parameters: 784-512-256-(16×16), K = 128 by moving averages, Adam. First the parameters of all are compared
after three steps. The time of a step includes everything: drawing and gathering the batch, forward, backward,
Adam, the codebook update, and the loss as a number.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size

import vqnp
from vqnp.bench import measure as bench
from vqnp.training.trainer import Schedule, Trainer

Array = np.ndarray[Any, Any]

SIZES = [(32,), (256,), (1024,)]
"""Images per step."""
QUICK = [(16,)]
IMAGES = 4096
PRODUCTS = "its matrix products"
LR, BETA, DECAY, EPSILON = 1e-3, 0.25, 0.99, 1e-5


def model() -> vqnp.VQVAE:
    """The same parameters in every process."""
    return vqnp.VQVAE.mlp(
        hidden=(512, 256), commitment_cost=BETA, decay=DECAY, epsilon=EPSILON,
        restart_dead_codes=0,  # a restart would draw random latents, which PyTorch's step does not
        rng=0,
    )  # fmt: skip


def images(n: int) -> Array:
    """Uniform noise: (n, 784) in float32."""
    return np.random.default_rng(0).random((n, 784), dtype=np.float32)


class Ours:
    """vqnp's trainer, with everything that it does for a user."""

    def __init__(self, x: Array, batch: int) -> None:
        self.model, self.batch = model(), batch
        self.trainer = Trainer(self.model, x, Schedule(1 << 40, batch, LR, "constant"))

    def step(self) -> float:
        trainer = self.trainer
        if trainer.step and trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
        before = trainer.losses.get("loss", 0.0)
        trainer.train_step()
        return (trainer.losses["loss"] - before) / self.batch

    def parameters(self) -> dict[str, Array]:
        arrays = vqnp.export.to_torch(self.model)
        return {name: a.copy() for name, a in arrays.items() if name != "quantizer.num_updates"}


class Theirs:
    """The same in PyTorch as its users write it, each part in the fastest form known to us."""

    def __init__(self, x: Array, batch: int, compiled: bool, fused: bool) -> None:
        import torch
        from torch import nn
        from torch.nn import functional as F

        ours = model()
        start = {name: torch.from_numpy(a.copy()) for name, a in vqnp.export.to_torch(ours).items()}

        def mlp(*sizes: int) -> nn.Sequential:
            layers: list[nn.Module] = [nn.Flatten()]  # as in vqnp's model, so that the names agree
            for I, O in zip(sizes, sizes[1:], strict=False):
                layers += [nn.Linear(I, O), nn.ReLU()]
            return nn.Sequential(*layers[:-1])

        class VQVAE(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = mlp(784, 512, 256, 256), mlp(256, 256, 512, 784)
                self.register_buffer("E", start["quantizer.embedding.weight"])
                self.register_buffer("N", start["quantizer.cluster_size"])
                self.register_buffer("m", start["quantizer.embedding_sum"])

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                z = self.encoder(x).view(-1, self.E.shape[1])
                with torch.no_grad():
                    k = torch.addmm((self.E * self.E).sum(1), z, self.E.T, alpha=-2).argmin(1)
                    e = self.E[k]
                x_hat = self.decoder((z + (e - z).detach()).view(len(x), -1))
                loss = F.mse_loss(x_hat, x) + BETA * F.mse_loss(z, e)
                with torch.no_grad():
                    n = torch.zeros_like(self.N).index_add_(0, k, torch.ones_like(z[:, 0]))
                    s = torch.zeros_like(self.m).index_add_(0, k, z)
                    self.N.mul_(DECAY).add_(n, alpha=1 - DECAY)
                    self.m.mul_(DECAY).add_(s, alpha=1 - DECAY)
                    total = self.N.sum()
                    smooth = (self.N + EPSILON) / (total + len(self.N) * EPSILON) * total
                    self.E.copy_(self.m / smooth[:, None])
                return loss

        self.torch, self.x, self.batch = torch, torch.from_numpy(x), batch
        self.net = VQVAE()
        weights = {name: a for name, a in start.items() if name.startswith(("encoder", "decoder"))}
        self.net.load_state_dict(weights, strict=False)
        if compiled:
            torch._dynamo.reset()  # or it would compile for dynamic sizes, after a batch of another size
        self.loss = torch.compile(self.net, dynamic=False) if compiled else self.net
        self.adam = torch.optim.Adam(self.net.parameters(), LR, fused=fused)
        self.order = torch.randperm(len(x))
        self.at = 0

    def step(self) -> float:
        if self.at >= len(self.x):
            self.order, self.at = self.torch.randperm(len(self.x)), 0
        rows = self.order[self.at : self.at + self.batch]
        self.at += self.batch
        self.adam.zero_grad()
        loss = self.loss(self.x[rows])
        loss.backward()
        self.adam.step()
        return float(loss.detach())

    def parameters(self) -> dict[str, Array]:
        names = {
            "E": "quantizer.embedding.weight",
            "N": "quantizer.cluster_size",
            "m": "quantizer.embedding_sum",
        }
        arrays = self.net.state_dict().items()
        return {names.get(name, name): a.detach().numpy().copy() for name, a in arrays}


PEERS = {
    "PyTorch eager": (False, False),
    "PyTorch eager, fused Adam": (False, True),
    "torch.compile": (True, False),
    "torch.compile, fused Adam": (True, True),
}
"""name: (compiled, fused Adam)"""


class Contest:
    """Picklable: batch size -> a step; the first call returns the parameters after three steps on a batch."""

    def __init__(self, name: str) -> None:
        self.name = name

    def trainer(self, x: Array, batch: int) -> Ours | Theirs:
        return Ours(x, batch) if self.name == OURS else Theirs(x, batch, *PEERS[self.name])

    def __call__(self, size: Size) -> harness.Run:
        batch = size[0]
        if self.name == PRODUCTS:
            return bench.training(batch)[1]
        trained = self.trainer(images(batch), batch)  # one batch of all images: the same for all
        timed = self.trainer(images(IMAGES), batch)
        calls = iter(["check"])

        def run() -> object:
            if next(calls, None):
                losses = [trained.step() for _ in range(3)]
                return {"loss of each step": np.array(losses), **trained.parameters()}
            return timed.step()

        return run


DIFFERENCES: dict[tuple[str, Size], float] = {}
"""Largest difference of a parameter after three steps, relative to the largest entry of its array."""


def same(size: Size, answers: dict[str, Any]) -> None:
    """After three steps the parameters agree up to float32 rounding as amplified by three steps of Adam."""
    ours = answers[OURS]
    for name, theirs in answers.items():
        if name in (PRODUCTS, OURS):
            continue
        apart = [float(np.abs(theirs[n] - ours[n]).max() / np.abs(ours[n]).max()) for n in theirs]
        DIFFERENCES[name, size] = max(apart)
        if set(theirs) != set(ours) or not max(apart) < 1e-2:
            raise SystemExit(
                f"{name} at {size}: its parameters differ by {max(apart):.1e}: {theirs.keys() ^ ours.keys()}"
            )


def table(timings: list[harness.Timing]) -> str:
    """A row for each size and number of threads."""
    names = [OURS, *PEERS, PRODUCTS]
    lines = [
        "| batch | threads | "
        + " | ".join(f"{name}, ms" for name in names)
        + " | fastest other / vqnp: median (quartiles) | matrix products / vqnp |",
        "|---" * (4 + len(names)) + "|",
    ]
    for (threads, (batch,)), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        cells = " | ".join(f"{1e3 * by_name[n].median:.3g}" for n in names)
        peer = reports.best_peer(group, yardsticks=(PRODUCTS,))
        gain = f"{reports.ratio(peer, by_name[OURS])}, {peer.contender}"
        share = reports.ratio(by_name[PRODUCTS], by_name[OURS])
        lines.append(f"| {batch} | {threads} | {cells} | {gain} | {share} |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "train_step")
    timings = harness.compete({name: Contest(name) for name in (OURS, *PEERS, PRODUCTS)}, args, same)
    worst = max(DIFFERENCES.values())
    text = f"""# A training step compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/train_step.py`; {args.rounds} rounds. The model is an MLP 784-512-256-(16×16) and
its mirror image, with K = 128 by moving averages, Adam, and float32; a step lasts from drawing the batch to
reporting the loss. The last column is the time of the step's matrix products alone in NumPy, as a share of
the whole step.

{table(timings)}

After three steps on one batch, no parameter and no loss differs by more than {worst:.0e} of the
largest entry of its array. (Adam's first steps are α g/|g|: if a gradient is only rounding error, so is its
sign.)
"""
    figure = reports.dots(
        timings,
        lambda t: 1e3 * t.median,
        lambda s: f"batch {s[0]}",
        "milliseconds per step (lower is better)",
        (PRODUCTS,),
    )
    reports.write(args, "train_step", text, timings, figure)


if __name__ == "__main__":
    main()
