"""A transformer as a prior over 7 × 7 codes: training steps and sampling, compared with PyTorch.

python examples/benchmarks/prior_step.py            ten minutes; writes prior_step.md, .json and .png
python examples/benchmarks/prior_step.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. The prior is the default of vqnp prior: 128 channels, 4
blocks, 4 heads, dropout 0.1, for 49 codes of 128. PyTorch has the same parameters and uses
scaled_dot_product_attention, fused AdamW and, for sampling, a cache of keys and values. First the logits of
all contenders are compared. A training step is everything but the gathering of the batch: forward, backward,
clipping, AdamW, and the loss as a number. Sampling draws all codes of 100 grids, one position after another.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size

from vqnp.optim import Adam
from vqnp.priors import Transformer

Array = np.ndarray[Any, Any]

K, SHAPE = 128, (7, 7)
NETWORK = {"channels": 128, "layers": 4, "heads": 4, "dropout": 0.1}
SMALL = {"channels": 16, "layers": 1, "heads": 2, "dropout": 0.1}
LR, DECAY, CLIP = 1e-3, 0.01, 1.0
TRAINING, SAMPLING = 0, 1
SIZES = [(64, TRAINING, 128), (100, SAMPLING, 128)]
"""(grids, what is done, channels)."""
QUICK = [(4, TRAINING, 16), (3, SAMPLING, 16)]
WHAT = ("a training step", "sampling")
EAGER, COMPILED = "PyTorch eager", "torch.compile"
TOLERANCE = 1e-4
"""Largest difference of a logit; the logits of an untrained prior are about 0.3."""


def prior(channels: int) -> Transformer:
    """The same parameters in every process."""
    return Transformer(K, SHAPE, **(NETWORK if channels == NETWORK["channels"] else SMALL), rng=0)


def codes(grids: int) -> Array:
    return np.random.default_rng(0).integers(0, K, (grids, *SHAPE))


class Ours:
    def __init__(self, size: Size) -> None:
        self.prior, self.codes = prior(size[2]), codes(size[0])
        self.adam = Adam(self.prior.named_parameters(), LR, weight_decay=DECAY, clip=CLIP)
        self.rng = np.random.default_rng(0)
        self.batch = self.prior.prepare(self.codes)

    def logits(self) -> Array:
        return self.prior.logits(self.codes)

    def step(self) -> float:
        for p in self.prior.parameters():
            p.zero_grad(defer=True)
        losses, cache = self.prior.loss(self.batch, self.rng)
        self.prior.backward(cache)
        self.adam.step()
        return float(losses["loss"])

    def sample(self) -> Array:
        return self.prior.sample(len(self.codes), self.rng)


class Theirs:
    """The same prior in PyTorch, with vqnp's parameters."""

    def __init__(self, size: Size, compiled: bool) -> None:
        import torch

        torch.set_num_threads(harness.threads())
        torch.manual_seed(0)
        self.torch, ours, k = torch, prior(size[2]), codes(size[0])
        self.net = network(torch, ours)
        self.codes = torch.from_numpy(k.reshape(len(k), -1))
        matrices = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim == 1]
        groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=LR, fused=True)
        self.forward = torch.compile(self.net) if compiled else self.net

    def logits(self) -> Array:
        self.net.eval()
        with self.torch.no_grad():
            a = self.net(self.codes).numpy()
        self.net.train()
        return np.asarray(a.reshape(len(a), *SHAPE, K))

    def step(self) -> float:
        self.adam.zero_grad()
        a = self.forward(self.codes)
        loss = self.torch.nn.functional.cross_entropy(a.flatten(0, 1), self.codes.flatten())
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.adam.step()
        return float(loss)

    def sample(self) -> Array:
        self.net.eval()
        with self.torch.no_grad():
            k = self.net.sample(len(self.codes)).numpy()
        self.net.train()
        return np.asarray(k)


def network(torch: Any, ours: Transformer) -> Any:
    """A torch.nn.Module: codes (B, M) -> logits (B, M, K), and sample(n) with a cache."""
    from torch import nn
    from torch.nn import functional as F

    def array(name: str) -> Any:
        return torch.from_numpy(parameters[name].copy())

    def linear(name: str) -> Any:
        I, O = parameters[f"{name}.W"].shape
        layer = nn.Linear(I, O)
        layer.weight.data, layer.bias.data = array(f"{name}.W").T.contiguous(), array(f"{name}.b")
        return layer

    def norm(name: str) -> Any:
        layer = nn.LayerNorm(C)
        layer.weight.data, layer.bias.data = array(f"{name}.gamma"), array(f"{name}.beta")
        return layer

    parameters = {name: p.value for name, p in ours.named_parameters()}
    own = ours.config()
    C, H, p = own["channels"], own["heads"], own["dropout"]

    class Block(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.attention_norm, self.mlp_norm = norm(f"{name}.attention_norm"), norm(f"{name}.mlp_norm")
            self.qkv, self.out = linear(f"{name}.attention.qkv"), linear(f"{name}.attention.out")
            self.wide, self.narrow = linear(f"{name}.mlp.0"), linear(f"{name}.mlp.2")

        def heads(self, x: Any) -> Any:
            """q, k, v: (3, B, H, T, d)."""
            B, T, _ = x.shape
            qkv = self.qkv(self.attention_norm(x)).view(B, T, 3, H, C // H)
            return qkv.permute(2, 0, 3, 1, 4)

        def after(self, x: Any, o: Any) -> Any:
            B, T, _ = x.shape
            o = self.out(o.transpose(1, 2).reshape(B, T, C))
            x = x + F.dropout(o, p, self.training)
            h = self.narrow(F.gelu(self.wide(self.mlp_norm(x))))
            return x + F.dropout(h, p, self.training)

        def forward(self, x: Any) -> Any:
            q, k, v = self.heads(x)
            return self.after(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

        def extend(self, x: Any, keys: Any, values: Any, i: int) -> Any:
            q, keys[:, :, i : i + 1], values[:, :, i : i + 1] = self.heads(x)
            known = keys[:, :, : i + 1], values[:, :, : i + 1]
            return self.after(x, F.scaled_dot_product_attention(q, *known))

    class Prior(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding.from_pretrained(array("embedding.E"), freeze=False)
            self.start, self.positions = nn.Parameter(array("start")), nn.Parameter(array("positions"))
            self.blocks = nn.ModuleList([Block(f"blocks.{i}") for i in range(own["layers"])])
            self.norm, self.head = norm("norm"), linear("head")

        def forward(self, k: Any) -> Any:
            start = self.start.expand(len(k), 1, C)
            x = torch.cat([start, self.embedding(k[:, :-1])], dim=1) + self.positions
            x = F.dropout(x, p, self.training)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

        def sample(self, n: int) -> Any:
            M = len(self.positions)
            cache = [torch.empty(2, n, H, M, C // H) for _ in self.blocks]
            x, drawn = self.start.expand(n, 1, C), []
            for i in range(M):
                x = x + self.positions[i]
                for block, (keys, values) in zip(self.blocks, cache, strict=True):
                    x = block.extend(x, keys, values, i)
                p = torch.softmax(self.head(self.norm(x))[:, 0], dim=-1)
                drawn.append(torch.multinomial(p, 1))
                x = self.embedding(drawn[-1])
            return torch.cat(drawn, dim=1)

    return Prior()


class Contest:
    """Picklable: size -> a training step or a call of sample; the first call returns the logits."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        one = Ours(size) if self.name == OURS else Theirs(size, self.name == COMPILED)
        calls = iter(["check"])

        def run() -> object:
            if next(calls, None):
                return one.logits()
            return one.step() if size[1] == TRAINING else one.sample()

        return run


def same(size: Size, answers: dict[str, Any]) -> None:
    for name, a in answers.items():
        if not (off := np.abs(a - answers[OURS]).max()) < TOLERANCE:
            raise SystemExit(f"{name}: a logit differs by {off:.1e}")


def table(timings: list[harness.Timing]) -> str:
    names = (OURS, EAGER, COMPILED)
    lines = [
        "| what | grids | threads | " + " | ".join(f"{name}, ms" for name in names)
        + " | fastest other / vqnp: median (quartiles) |",
        "|---" * 7 + "|",
    ]  # fmt: skip
    for (threads, (grids, what, _)), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        cells = " | ".join(f"{1e3 * by_name[n].median:.3g}" if n in by_name else "" for n in names)
        peer = reports.best_peer(group)
        gain = f"{reports.ratio(peer, by_name[OURS])}, {peer.contender}"
        lines.append(f"| {WHAT[what]} | {grids} | {threads} | {cells} | {gain} |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "prior_step")
    timings = harness.compete(
        {name: Contest(name) for name in (OURS, EAGER, COMPILED)}, args, same,
        skip=lambda name, size: name == COMPILED and size[1] == SAMPLING,
    )  # fmt: skip
    text = f"""# A transformer as a prior, compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/prior_step.py`; {args.rounds} rounds. 7 × 7 codes of 128, 128 channels, 4 blocks,
4 heads, dropout 0.1, float32, AdamW (PyTorch's is fused) with clipping. Sampling keeps keys and values in
both; compiled sampling is not measured, since each position has another shape.

{table(timings)}
"""
    figure = reports.dots(
        timings, lambda t: 1e3 * t.median, lambda s: f"{WHAT[s[1]]}, {s[0]} grids", "milliseconds"
    )
    reports.write(args, "prior_step", text, timings, figure)


if __name__ == "__main__":
    main()
