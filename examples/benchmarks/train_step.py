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

import harness
import reports
import steps
from harness import OURS, Size
from steps import Form

import vqnp
from vqnp.bench import measure as bench

SIZES = [(32,), (256,), (1024,)]
"""Images per step."""
QUICK = [(16,)]
PRODUCTS = "its matrix products"
PEERS = {
    "PyTorch eager": Form(fused=False),
    "PyTorch eager, fused Adam": Form(),
    "torch.compile": Form(compiled=True, fused=False),
    "torch.compile, fused Adam": Form(compiled=True),
}


def model(hidden: tuple[int, ...] = (512, 256)) -> vqnp.VQVAE:
    """The same parameters in every process."""
    return vqnp.VQVAE.mlp(hidden=hidden, **steps.SETTINGS)


class Products:
    """Picklable: batch size -> the products of a step alone."""

    def __call__(self, size: Size) -> harness.Run:
        return bench.training(size[0])[1]


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "train_step")
    makers = {name: steps.Contest(name, model, PEERS) for name in (OURS, *PEERS)}
    check = steps.Comparison()
    timings = harness.compete({**makers, PRODUCTS: Products()}, args, check)
    text = f"""# A training step compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/train_step.py`; {args.rounds} rounds. The model is an MLP 784-512-256-(16×16) and
its mirror image, with K = 128 by moving averages, Adam, and float32; a step lasts from drawing the batch to
reporting the loss. The last column is the time of the step's matrix products alone, with vqnp's kernels and
without Adam, as a share of the whole step.

{steps.table(timings, PEERS, PRODUCTS)}

{check.text()}
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
