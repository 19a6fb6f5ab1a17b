"""A training step of an MLP VQ-VAE: vqnp compared with PyTorch, eager and compiled.

python examples/benchmarks/train_step.py            ten minutes; writes train_step.md, .json and .png
python examples/benchmarks/train_step.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. Every contender trains the same model from the same
parameters: 784-512-256-(16×16), K = 128 by moving averages, Adam. First the loss and the gradients of one
batch, and the codebook after it, are compared; a contender whose results differ is left out. The time of a
step includes everything: drawing and gathering the batch, forward, backward, Adam, the codebook update, and
the loss as a number.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size
from tqdm import tqdm

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
TOLERANCE = 1e-2
"""Largest ‖a − b‖/‖b‖ of a gradient, the loss or a moving average. Rounding gives about 1e-6. A latent midway
between two codes may get the one or the other: among the batch's 16 B latents that changes a gradient by
about 1/√(16 B), which is 8e-3 at B = 1024. (It is rarer at smaller B.)"""


def model(hidden: tuple[int, ...] = (512, 256)) -> vqnp.VQVAE:
    """The same parameters in every process."""
    return vqnp.VQVAE.mlp(
        hidden=hidden, commitment_cost=BETA, decay=DECAY, epsilon=EPSILON,
        restart_dead_codes=0,  # a restart would draw random latents, which PyTorch's step does not
        rng=0,
    )  # fmt: skip


def images(n: int) -> Array:
    """Uniform noise: (n, 784) in float32."""
    return np.random.default_rng(0).random((n, 784), dtype=np.float32)


class Ours:
    """vqnp's trainer, with everything that it does for a user."""

    def __init__(self, net: vqnp.VQVAE, x: Array, batch: int) -> None:
        self.model, self.batch = net, batch
        self.trainer = Trainer(net, x, Schedule(1 << 40, batch, LR, "constant"))

    def step(self) -> float:
        trainer = self.trainer
        if trainer.step and trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
        before, seen = trainer.losses.get("loss", 0.0), trainer.seen
        trainer.train_step()
        return (trainer.losses["loss"] - before) / (trainer.seen - seen)

    def before_adam(self) -> dict[str, Array]:
        """The loss, the gradients and the new averages of the first batch, by their names in PyTorch."""
        net = self.model
        losses, cache = net.loss(self.trainer.take())
        net.zero_grad()
        net.backward(cache)
        net.after_step(cache, self.trainer.rng)
        for _, param in net.named_parameters():
            param.value[...] = param.grad  # so that export transposes them as it does weights
        arrays = {name: a.copy() for name, a in vqnp.export.to_torch(net).items()}
        del arrays["quantizer.num_updates"]
        return {"loss": np.asarray(losses["loss"]), **arrays}


class Theirs:
    """The same in PyTorch as its users write it, each part in the fastest form known to us."""

    def __init__(self, ours: vqnp.VQVAE, x: Array, batch: int, compiled: bool, fused: bool) -> None:
        import torch
        from torch import nn
        from torch.nn import functional as F

        start = {name: torch.from_numpy(a.copy()) for name, a in vqnp.export.to_torch(ours).items()}

        def mlp(part: str) -> nn.Sequential:
            W = [a for name, a in start.items() if name.startswith(part) and a.ndim == 2]
            sizes = [W[0].shape[1], *(len(a) for a in W)]
            layers: list[nn.Module] = [nn.Flatten()]  # as in vqnp's model, so that the names agree
            for I, O in zip(sizes, sizes[1:], strict=False):
                layers += [nn.Linear(I, O), nn.ReLU()]
            return nn.Sequential(*layers[:-1])

        class VQVAE(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = mlp("encoder"), mlp("decoder")
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

    def _loss(self) -> Any:
        """The next batch's, with its gradients."""
        if self.at >= len(self.x):
            self.order, self.at = self.torch.randperm(len(self.x)), 0
        rows = self.order[self.at : self.at + self.batch]
        self.at += self.batch
        self.adam.zero_grad()
        loss = self.loss(self.x[rows])
        loss.backward()
        return loss.detach()

    def step(self) -> float:
        loss = self._loss()
        self.adam.step()
        return float(loss)

    def before_adam(self) -> dict[str, Array]:
        """The loss, the gradients and the new averages of the first batch."""
        loss = self._loss()
        names = {"E": "embedding.weight", "N": "cluster_size", "m": "embedding_sum"}
        arrays = {f"quantizer.{names[name]}": a.numpy().copy() for name, a in self.net.named_buffers()}
        arrays |= {name: p.grad.numpy().copy() for name, p in self.net.named_parameters()}
        return {"loss": loss.numpy(), **arrays}


PEERS = {
    "PyTorch eager": (False, False),
    "PyTorch eager, fused Adam": (False, True),
    "torch.compile": (True, False),
    "torch.compile, fused Adam": (True, True),
}
"""name: (compiled, fused Adam)"""


class Contest:
    """Picklable: batch size -> a step; the first call returns a step's results before Adam."""

    def __init__(self, name: str) -> None:
        self.name = name

    def trainer(self, x: Array, batch: int) -> Ours | Theirs:
        return Ours(model(), x, batch) if self.name == OURS else Theirs(model(), x, batch, *PEERS[self.name])

    def __call__(self, size: Size) -> harness.Run:
        batch = size[0]
        if self.name == PRODUCTS:
            return bench.training(batch)[1]
        checked = self.trainer(images(batch), batch)  # one batch of all images: the same for all
        timed = self.trainer(images(IMAGES), batch)
        calls = iter(["check"])

        def run() -> object:
            return checked.before_adam() if next(calls, None) else timed.step()

        return run


DIFFERENCES: dict[tuple[str, Size], float] = {}
"""Of those not left out, the largest ‖a − b‖/‖b‖ of the loss, a gradient or an average."""
LEFT_OUT: list[str] = []


def apart(theirs: dict[str, Array], ours: dict[str, Array]) -> float:
    """The largest ‖a − b‖/‖b‖ over the arrays of two contenders; infinite if their names differ."""
    if theirs.keys() != ours.keys():
        return np.inf
    off = [np.linalg.norm(theirs[n].astype(float) - ours[n]) / np.linalg.norm(ours[n]) for n in ours]
    return float(np.max(off))  # NaN, if there is one


def same(size: Size, answers: dict[str, Any]) -> list[str]:
    """The contenders to leave out: before Adam, something differs from ours by more than TOLERANCE.

    After Adam nothing could be said: its first steps are α g/|g|, and if a gradient is only rounding error,
    so is its sign.
    """
    wrong = []
    for name, theirs in answers.items():
        if name not in (PRODUCTS, OURS):
            difference = apart(theirs, answers[OURS])
            if difference <= TOLERANCE:
                DIFFERENCES[name, size] = difference
            else:
                wrong.append(name)
                LEFT_OUT.append(f"{name} at batch {size[0]} is left out: it differs by {difference:.1e}.")
                tqdm.write(LEFT_OUT[-1])
    return wrong


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
        cells = " | ".join(f"{1e3 * by_name[n].median:.3g}" if n in by_name else "wrong" for n in names)
        gain = "none"
        if any(n in by_name for n in PEERS):
            peer = reports.best_peer(group, yardsticks=(PRODUCTS,))
            gain = f"{reports.ratio(peer, by_name[OURS])}, {peer.contender}"
        share = reports.ratio(by_name[PRODUCTS], by_name[OURS])
        lines.append(f"| {batch} | {threads} | {cells} | {gain} | {share} |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "train_step")
    timings = harness.compete({name: Contest(name) for name in (OURS, *PEERS, PRODUCTS)}, args, same)
    worst = max(DIFFERENCES.values(), default=0.0)
    left_out = "".join(f"\n{line}" for line in dict.fromkeys(LEFT_OUT))
    text = f"""# A training step compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/train_step.py`; {args.rounds} rounds. The model is an MLP 784-512-256-(16×16) and
its mirror image, with K = 128 by moving averages, Adam, and float32; a step lasts from drawing the batch to
reporting the loss. The last column is the time of the step's matrix products alone in NumPy, as a share of
the whole step.

{table(timings)}

Before Adam's first step, neither the loss, nor a gradient, nor a moving average of the codebook differs from
vqnp's by more than {worst:.0e} of its norm. (Later the parameters cannot be compared: Adam's first steps are
α g/|g|, and if a gradient is only rounding error, so is its sign.){left_out}
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
