"""The convolutions of a VQ-VAE, layer by layer: vqnp compared with PyTorch in both of its layouts.

python examples/benchmarks/convolutions.py                 three minutes; writes convolutions.md, .json, .png
python examples/benchmarks/convolutions.py --threads 1 2   fifteen minutes
python examples/benchmarks/convolutions.py --quick         to test that it runs

Needs PyTorch. The layers are those of VQVAE.conv(channels=128, residual_channels=32, embedding_dim=16) on
28 × 28 images. First every result is compared with the plain form in float64. PyTorch's images are
(B, C, H, W); its layout channels_last stores them as vqnp does, its default one does not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import harness
import numpy as np
import reports
from harness import OURS, PEAK, Size

from vqnp.bench.measure import peak_of
from vqnp.kernels.memory import copy
from vqnp.ops import conv as ops

Array = np.ndarray[Any, Any]


class Layer(NamedTuple):
    """A convolution, or a transposed one, of S × S images: C channels to O."""

    name: str
    S: int
    C: int
    O: int
    kernel: int
    stride: int
    padding: int
    transposed: bool = False
    count: int = 1  # in the network

    @property
    def out(self) -> int:
        """The length of the output's sides."""
        if self.transposed:
            return (self.S - 1) * self.stride + self.kernel - 2 * self.padding
        return (self.S + 2 * self.padding - self.kernel) // self.stride + 1

    def work(self, batch: int) -> float:
        """2 operations per tap, pair of channels, and window."""
        windows = (self.S if self.transposed else self.out) ** 2
        return 2.0 * batch * windows * self.kernel**2 * self.C * self.O


LAYERS = (
    Layer("encoder, 4 × 4 / 2, 1 > 64", 28, 1, 64, 4, 2, 1),
    Layer("encoder, 4 × 4 / 2, 64 > 128", 14, 64, 128, 4, 2, 1),
    Layer("encoder, 3 × 3, 128 > 128", 7, 128, 128, 3, 1, 1),
    Layer("residual, 3 × 3, 128 > 32", 7, 128, 32, 3, 1, 1, count=4),
    Layer("residual, 1 × 1, 32 > 128", 7, 32, 128, 1, 1, 0, count=4),
    Layer("encoder, 1 × 1, 128 > 16", 7, 128, 16, 1, 1, 0),
    Layer("decoder, 3 × 3, 16 > 128", 7, 16, 128, 3, 1, 1),
    Layer("transposed, 4 × 4 / 2, 128 > 64", 7, 128, 64, 4, 2, 1, True),
    Layer("transposed, 4 × 4 / 2, 64 > 1", 14, 64, 1, 4, 2, 1, True),
)
PASSES = ("y", "dx", "dW, db")
SIZES = [(32, i, p) for i in range(len(LAYERS)) for p in range(3) if (i, p) != (0, 1)]
"""(B, layer, pass); the first layer's dx is not needed."""
QUICK = [(2, i, p) for i in (4, 8) for p in range(3)]
LAST, DEFAULT = "PyTorch, channels_last", "PyTorch, default layout"
TORCH = (LAST, DEFAULT)
TOLERANCE = 1e-4
"""Of the largest entry: chains of up to 6272 terms in float32; rounding gives about 1e-6."""


def data(size: Size, dtype: Any = np.float32) -> tuple[Layer, Array, Array, Array, Array]:
    """The layer, x: (B, S, S, C), W: (k, k, C, O), transposed (k, k, O, C), b: (O,), dy: (B, S', S', O)."""
    layer, B = LAYERS[size[1]], size[0]
    rng = np.random.default_rng(0)
    C, O, k = layer.C, layer.O, layer.kernel
    pair = (O, C) if layer.transposed else (C, O)
    shapes = (B, layer.S, layer.S, C), (k, k, *pair), (O,), (B, layer.out, layer.out, O)
    x, W, b, dy = (copy(rng.standard_normal(s, np.float32).astype(dtype)) for s in shapes)
    return layer, x, W, b, dy


def ours(size: Size) -> tuple[harness.Run, ...]:
    """dx alone is the adjoint map, applied to dy."""
    layer, x, W, b, dy = data(size)
    geometry = layer.stride, layer.padding
    if layer.transposed:
        forward, backward, adjoint = (
            ops.conv_transpose_forward, ops.conv_transpose_backward, ops.conv_forward,
        )  # fmt: skip
    else:
        forward, backward, adjoint = ops.conv_forward, ops.conv_backward, ops.conv_transpose_forward
    cache, zero = forward(x, W, b, *geometry)[1], np.zeros(layer.C, x.dtype)
    return (
        lambda: forward(x, W, b, *geometry)[0],
        lambda: adjoint(dy, W, zero, *geometry)[0],
        lambda: backward(dy, cache, need_dx=False)[1:],
    )


def torchs(size: Size, layout: str) -> tuple[harness.Run, ...]:
    """The functions that autograd calls, without its bookkeeping."""
    import torch
    from torch.nn import functional as F

    layer, *arrays = data(size)
    x, dy = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (arrays[0], arrays[3]))
    W, b = torch.from_numpy(arrays[1]).permute(3, 2, 0, 1), torch.from_numpy(arrays[2])
    kind = torch.channels_last if layout == LAST else torch.contiguous_format
    x, W, dy = (a.contiguous(memory_format=kind) for a in (x, W, dy))
    s, p = (layer.stride,) * 2, (layer.padding,) * 2
    function = F.conv_transpose2d if layer.transposed else F.conv2d

    def backward(dx: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, W, [layer.O], s, p, (1, 1), layer.transposed, (0, 0), 1, [dx, not dx, not dx]
        )

    return lambda: function(x, W, b, s, p), lambda: backward(True)[0], lambda: backward(False)[1:]


class Contest:
    """Picklable: size -> a call without arguments; its first answer is arrays in vqnp's layouts."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        if self.name == PEAK:
            return peak_of(harness.threads())[0]
        if self.name == OURS:
            return ours(size)[size[-1]]
        run = torchs(size, self.name)[size[-1]]
        if PASSES[size[-1]] == "dW, db":
            return harness.compared(
                run, lambda pair: (pair[0].permute(2, 3, 1, 0).numpy().copy(), pair[1].numpy().copy())
            )
        return harness.compared(run, lambda a: a.permute(0, 2, 3, 1).numpy().copy())


def right(size: Size, answers: dict[str, Any]) -> None:
    """Every answer is that of the plain forms in float64, up to rounding."""
    layer, x, W, b, dy = data(size, np.float64)
    geometry = layer.stride, layer.padding
    if layer.transposed:  # the adjoint of the convolution that maps dy to x
        back = ops.conv_plain_backward(x, dy, W, *geometry)
        y, dx = back[0] + b, ops.conv_plain(dy, W, np.zeros(layer.C), *geometry)
        dW, db = back[1], dy.sum(axis=(0, 1, 2))
    else:
        y = ops.conv_plain(x, W, b, *geometry)
        dx, dW, db = ops.conv_plain_backward(dy, x, W, *geometry)
    exact = ((y,), (dx,), (dW, db))[size[-1]]
    for name, answer in answers.items():
        if name == PEAK:
            continue
        for got, wanted in zip(answer if isinstance(answer, tuple) else (answer,), exact, strict=True):
            if not np.abs(got - wanted).max() <= TOLERANCE * np.abs(wanted).max():
                raise SystemExit(f"{name}, {layer.name}, {PASSES[size[-1]]}: wrong by more than rounding")


# The report.


def work(size: Size) -> float:
    return LAYERS[size[1]].work(size[0])


def rate(t: harness.Timing) -> float:
    """GFLOP/s."""
    return work(t.size) / t.median / 1e9


def table(timings: list[harness.Timing]) -> str:
    """A row for each layer, pass and number of threads."""
    names = (OURS, *TORCH)
    lines = [
        "| layer | pixels | MFLOP | | threads | " + " | ".join(names)
        + " | vqnp's share of the peak | better layout / vqnp: median (quartiles) |",
        "|---" * (7 + len(names)) + "|",
    ]  # fmt: skip
    for (threads, size), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        layer, mine = LAYERS[size[1]], by_name[OURS]
        turns = np.median(np.array(by_name[PEAK].seconds) / np.array(mine.seconds))
        reached = turns * work(size) / peak_of(threads)[1]
        rates = " | ".join(f"{rate(by_name[name]):.0f}" for name in names)
        lines.append(
            f"| {layer.name} | {layer.S}² | {work(size) / 1e6:.1f} | {PASSES[size[-1]]} | {threads} | "
            f"{rates} | {reached:.0%} | {reports.ratio(reports.best_peer(group), mine)} |"
        )
    return "\n".join(lines)


def totals(timings: list[harness.Timing]) -> str:
    """All convolutions of a training step: the medians, times how often the network has the layer."""
    lines = ["| threads | " + " | ".join((OURS, *TORCH)) + " |", "|---" * 4 + "|"]
    for threads in sorted({t.threads for t in timings}):
        sums = [
            sum(
                t.median * LAYERS[t.size[1]].count
                for t in timings
                if (t.contender, t.threads) == (name, threads)
            )
            for name in (OURS, *TORCH)
        ]
        lines.append(f"| {threads} | " + " | ".join(f"{1e3 * s:.1f} ms" for s in sums) + " |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "convolutions", threads=(1,))
    timings = harness.compete({name: Contest(name) for name in (OURS, *TORCH, PEAK)}, args, right)
    threads = " ".join(map(str, args.threads))
    text = f"""# Convolutions compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/convolutions.py --threads {threads}`; {args.rounds} rounds. GFLOP/s in float32
at batch {args.sizes[0][0]}, for y with its bias, dx, and dW with db. The last column says how many times as
fast vqnp is as PyTorch in the better of its two layouts. Whatever a pass does is counted: frames of zeros
around images, the transposition of W. Every result was first compared with the plain form in float64.

{table(timings)}

## All convolutions of a training step

Each layer as often as the network has it (residual ones four times), without activations, the quantizer, the
loss and Adam:

{totals(timings)}
"""
    figure = reports.dots(
        [t for t in timings if t.contender != PEAK], rate,
        lambda s: f"{LAYERS[s[1]].name}: {PASSES[s[2]]}", "GFLOP/s",
    )  # fmt: skip
    figure.subplots_adjust(left=0.3)
    reports.write(args, "convolutions", text, timings, figure)


if __name__ == "__main__":
    main()
