"""What the benchmarks of training steps share: vqnp's trainer, the same model in PyTorch, their comparison.

Every contender trains the same VQ-VAE from the same parameters. Before anything is timed, the loss and the
gradients of one batch, and the codebook after it, are compared. A step includes everything: drawing and
gathering the batch, forward, backward, Adam, the codebook update, and the loss as a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import harness
import numpy as np
import reports
from harness import OURS, Size
from tqdm import tqdm

import vqnp
from vqnp import nn as layers
from vqnp.training.trainer import Schedule, Trainer

Array = np.ndarray[Any, Any]

LR, BETA, DECAY, EPSILON = 1e-3, 0.25, 0.99, 1e-5
SETTINGS: dict[str, Any] = {
    "commitment_cost": BETA, "decay": DECAY, "epsilon": EPSILON,
    "restart_dead_codes": 0,  # a restart would draw random latents, which PyTorch's step does not
    "rng": 0,  # the same parameters in every process
}  # fmt: skip
"""Arguments of the model."""
IMAGES = 4096
TOLERANCE = 1e-2
"""Largest ‖a − b‖/‖b‖ of a gradient, the loss or a moving average. Rounding gives about 1e-6. A latent midway
between two codes may get the one or the other: among the MLP's 16 B latents of a batch that changes a
gradient by about 1/√(16 B), which is 8e-3 at B = 1024. (It is rarer at smaller B.)"""


class Form(NamedTuple):
    """How PyTorch runs the step."""

    compiled: bool = False
    fused: bool = True  # Adam
    channels_last: bool = False


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


def twin(module: vqnp.nn.Module, place: int = 1) -> Any:
    """The same layer in PyTorch, under the same names: place is where it stands in its Sequential.

    A ReLU works in place where nothing else needs its input, which is everywhere but first in a residual.
    """
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    if isinstance(module, layers.Sequential):
        return nn.Sequential(*(twin(layer, i) for i, layer in enumerate(module.layers)))
    if isinstance(module, layers.Residual):
        return Residual(twin(module.inner))
    if isinstance(module, layers.Flatten):
        return nn.Flatten()
    if isinstance(module, layers.Reshape):
        *S, C = module.shape  # to (28, 28, 1), which is (1, 28, 28) in PyTorch; any other shape is the last
        return nn.Unflatten(1, (C, *S)) if len(S) == 2 else nn.Identity()
    if isinstance(module, layers.Activation):
        return nn.ReLU(inplace=place > 0)
    if isinstance(module, layers.Linear):
        return nn.Linear(*module.W.value.shape)
    assert isinstance(module, (layers.Conv, layers.ConvTranspose))
    k, (C, O) = module.W.value.shape[:-2], module.W.value.shape[-2:]
    padding = [before for before, _ in module.padding]
    if isinstance(module, layers.Conv):
        return nn.Conv2d(C, O, k, module.stride, padding)
    return nn.ConvTranspose2d(O, C, k, module.stride, padding)


class Theirs:
    """The same in PyTorch as its users write it, each part in the fastest form known to us."""

    def __init__(self, ours: vqnp.VQVAE, x: Array, batch: int, form: Form) -> None:
        import torch
        from torch import nn
        from torch.nn import functional as F

        start = {name: torch.from_numpy(a.copy()) for name, a in vqnp.export.to_torch(ours).items()}

        class VQVAE(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = twin(ours.encoder), twin(ours.decoder)
                self.register_buffer("E", start["quantizer.embedding.weight"])
                self.register_buffer("N", start["quantizer.cluster_size"])
                self.register_buffer("m", start["quantizer.embedding_sum"])

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                h = self.encoder(x)
                planes = h.movedim(1, -1) if h.ndim == 4 else h  # of a CNN: (B, D, H, W) -> (B, H, W, D)
                z = planes.reshape(-1, self.E.shape[1])
                with torch.no_grad():
                    k = torch.addmm((self.E * self.E).sum(1), z, self.E.T, alpha=-2).argmin(1)
                    e = self.E[k]
                z_q = (z + (e - z).detach()).view(planes.shape)
                if h.ndim == 4:
                    z_q = z_q.movedim(-1, 1)
                    if not form.channels_last:
                        z_q = z_q.contiguous()  # or the decoder's layout would be channels_last
                x_hat = self.decoder(z_q)
                loss = F.mse_loss(x_hat.reshape(x.shape), x) + BETA * F.mse_loss(z, e)
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
        if form.channels_last:
            self.net.to(memory_format=torch.channels_last)  # activations take the layout of the weights
        if form.compiled:
            torch._dynamo.reset()  # or it would compile for dynamic sizes, after a batch of another size
        self.loss = torch.compile(self.net, dynamic=False) if form.compiled else self.net
        self.adam = torch.optim.Adam(self.net.parameters(), LR, fused=form.fused)
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


class Contest:
    """Picklable: size -> a step; the first call returns a step's results before Adam.

    size: (batch, ...), of which the others are arguments of make_model; peers: PyTorch's forms, by name
    """

    def __init__(
        self, name: str, make_model: Callable[..., vqnp.VQVAE], peers: Mapping[str, Form], n: int = IMAGES
    ) -> None:
        self.name, self.make_model, self.peers, self.images = name, make_model, peers, n

    def trainer(self, x: Array, size: Size) -> Ours | Theirs:
        batch, *arguments = size
        net = self.make_model(*arguments)
        return Ours(net, x, batch) if self.name == OURS else Theirs(net, x, batch, self.peers[self.name])

    def __call__(self, size: Size) -> harness.Run:
        checked = self.trainer(images(size[0]), size)  # one batch of all images: the same for all
        timed = self.trainer(images(self.images), size)
        calls = iter(["check"])

        def run() -> object:
            return checked.before_adam() if next(calls, None) else timed.step()

        return run


class Comparison:
    """The check of a contest: which contenders are left out, and how far the others are apart.

    After Adam nothing could be said: its first steps are α g/|g|, and if a gradient is only rounding error,
    so is its sign.
    """

    def __init__(self) -> None:
        self.differences: list[float] = []
        self.left_out: list[str] = []

    def __call__(self, size: Size, answers: dict[str, Any]) -> list[str]:
        """The contenders to leave out: before Adam, something differs from ours by more than TOLERANCE."""
        wrong = []
        for name, theirs in answers.items():
            if name == OURS or not isinstance(theirs, dict):  # a yardstick has no such answer
                continue
            difference = apart(theirs, answers[OURS])
            if difference <= TOLERANCE:
                self.differences.append(difference)
            else:
                wrong.append(name)
                line = f"{name} at batch {size[0]} is left out: it differs by {difference:.1e}."
                self.left_out.append(line)
                tqdm.write(line)
        return wrong

    def text(self) -> str:
        """What was compared, and with which result."""
        worst = max(self.differences, default=0.0)
        left_out = "".join(f"\n{line}" for line in dict.fromkeys(self.left_out))
        return f"""Before Adam's first step, neither the loss, nor a gradient, nor a moving average of the
codebook differs from vqnp's by more than {worst:.0e} of its norm. (Later the parameters cannot be compared:
Adam's first steps are α g/|g|, and if a gradient is only rounding error, so is its sign.){left_out}"""


def apart(theirs: dict[str, Array], ours: dict[str, Array]) -> float:
    """The largest ‖a − b‖/‖b‖ over the arrays of two contenders; infinite if their names differ."""
    if theirs.keys() != ours.keys():
        return np.inf
    off = [np.linalg.norm(theirs[n].astype(float) - ours[n]) / np.linalg.norm(ours[n]) for n in ours]
    return float(np.max(off))  # NaN, if there is one


def table(timings: list[harness.Timing], peers: Mapping[str, Form], yardstick: str = "") -> str:
    """A row for each size and number of threads; yardstick: a contender that is no training step."""
    names = [OURS, *peers, *([yardstick] if yardstick else [])]
    lines = [
        "| batch | threads | "
        + " | ".join(f"{name}, ms" for name in names)
        + " | fastest other / vqnp: median (quartiles) |"
        + (f" {yardstick} / vqnp |" if yardstick else ""),
        "|---" * (3 + len(names) + bool(yardstick)) + "|",
    ]
    for (threads, (batch, *_)), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        cells = " | ".join(f"{1e3 * by_name[n].median:.3g}" if n in by_name else "wrong" for n in names)
        gain = "none"
        if any(n in by_name for n in peers):
            peer = reports.best_peer(group, yardsticks=(yardstick,))
            gain = f"{reports.ratio(peer, by_name[OURS])}, {peer.contender}"
        share = f" {reports.ratio(by_name[yardstick], by_name[OURS])} |" if yardstick else ""
        lines.append(f"| {batch} | {threads} | {cells} | {gain} |{share}")
    return "\n".join(lines)
