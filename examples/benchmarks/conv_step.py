"""A training step of a convolutional VQ-VAE: vqnp compared with PyTorch in four forms.

python examples/benchmarks/conv_step.py            ten minutes; writes conv_step.md, .json and .png
python examples/benchmarks/conv_step.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. Every contender trains the model of
VQVAE.conv(channels=128, residual_channels=32, embedding_dim=16) on 28 × 28 images, from the same parameters.
PyTorch is eager or compiled, in its default layout of images or in channels_last, always with fused Adam.
First the loss and the gradients of one batch, and the codebook after it, are compared, as in train_step.py.
Then the memory that each needs is measured, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import harness
import reports
import steps
from harness import OURS, Size
from steps import Form

import vqnp

SIZES = [(32, 128, 32)]
"""Images per step, channels, residual channels."""
QUICK = [(4, 8, 4)]
PEERS = {
    "PyTorch eager": Form(),
    "PyTorch eager, channels_last": Form(channels_last=True),
    "torch.compile": Form(compiled=True),
    "torch.compile, channels_last": Form(compiled=True, channels_last=True),
}
IMAGES = 1024
STEPS_OBSERVED = 20


def model(channels: int, residual_channels: int) -> vqnp.VQVAE:
    """The same parameters in every process."""
    return vqnp.VQVAE.conv(
        channels=channels, residual_channels=residual_channels, embedding_dim=16, **steps.SETTINGS
    )


def contest(name: str) -> steps.Contest:
    return steps.Contest(name, model, PEERS, IMAGES)


class Memory:
    """Picklable: size -> the contender trains for some steps, whose peak harness.worker observes.

    The answer is the largest number of resident bytes of the whole process in the first steps, which include
    compilation; the worker's number is that of the later steps, minus what was there before the model.
    """

    def __init__(self, name: str) -> None:
        self.contest = contest(name)

    def __call__(self, size: Size) -> harness.Run:
        def run() -> int:
            trainer = self.contest.trainer(steps.images(IMAGES), size)
            for _ in range(3):
                trainer.step()
            whole = harness.memory("VmHWM")
            harness.give_back_memory()
            harness.memory()  # resets the peak
            for _ in range(STEPS_OBSERVED):
                trainer.step()
            return whole

        return run


def memory(names: Sequence[str], size: Size) -> dict[str, tuple[int, int | None]]:
    """(the whole process, the model and its steps) of each contender, in processes with one thread.

    Each has trained a model before, with up to 16 images a step, so that all libraries are loaded.
    """
    with harness.started({name: Memory(name) for name in names}, 1) as processes:
        return {p.name: p.ask(size) for p in processes}


def memory_table(found: dict[str, tuple[int, int | None]]) -> str:
    """A row for each contender."""
    lines = ["| | model and steps | whole process, with compilation |", "|---|---|---|"]
    for name, (whole, own) in found.items():
        lines.append(f"| {name} | {reports.mega(own)} | {reports.mega(whole or None)} |")
    return "\n".join(lines)


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "conv_step")
    check = steps.Comparison()
    names = [OURS, *PEERS]
    if args.quick:
        names.remove("torch.compile")  # most of the time is compilation
    timings = harness.compete({name: contest(name) for name in names}, args, check)
    found = memory(names[: 2 if args.quick else None], args.sizes[0])
    batch, channels, inner = args.sizes[0]
    text = f"""# A convolutional training step compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/conv_step.py`; {args.rounds} rounds. The model is
`VQVAE.conv(channels={channels}, residual_channels={inner}, embedding_dim=16)` on 28 × 28 images: two
halvings, two residual blocks, 7 × 7 latents of 16 dimensions, K = 128 by moving averages; float32, Adam
(PyTorch's is fused). A step lasts from drawing the batch to reporting the loss.

{steps.table(timings, {name: PEERS[name] for name in names[1:]})}

{check.text()}

## Memory

The largest number of resident bytes. "Model and steps": during {STEPS_OBSERVED} steps after the first three,
minus what the process had before the model was made and after its libraries were loaded by another one:
parameters, Adam's moments, {IMAGES} images ({IMAGES * 784 * 4 / 1e6:.1f} MB), activations, temporaries, and
what allocators keep. "Whole process": everything, libraries included, in the first steps. Batch {batch}, one
thread.

{memory_table(found)}
"""
    figure = reports.dots(
        timings,
        lambda t: 1e3 * t.median,
        lambda s: f"batch {s[0]}",
        "milliseconds per step (lower is better)",
        (),
    )
    reports.write(args, "conv_step", text, timings, figure, memory=found)


if __name__ == "__main__":
    main()
