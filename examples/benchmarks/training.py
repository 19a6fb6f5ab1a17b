"""A whole training with the defaults of `vqnp train`: vqnp compared with PyTorch as most people run it.

python examples/benchmarks/training.py            ten minutes; writes training.md, .json and .png
python examples/benchmarks/training.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. The model and the contenders are those of late_steps.py.
Each round every contender trains one epoch, in turn, so that a slow minute of the machine affects them all;
the sum over the rounds is the time of the training.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size
from late_steps import CONTENDERS, Trained, images
from matplotlib.figure import Figure
from steps import apart

from vqnp.plots.style import COLOURS, new_figure

SIZES = [(8000, 32)]
"""Images, and how many of them a step takes."""
QUICK = [(64, 16)]


class Epochs:
    """Picklable: (images, batch) -> a call that trains an epoch; the first returns the first gradients."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        n, batch = size
        x = images(n)
        trained = Trained(self.name, x, batch)
        calls = iter(["first"])

        def run() -> object:
            if next(calls, None):
                return Trained(self.name, x[:batch], batch).net.before_adam()
            return [trained.net.step() for _ in range(trained.steps_per_epoch)]

        return run


def same(size: Size, answers: dict[str, Any]) -> None:
    """The first batch gives all the same loss, gradients and averages."""
    for name, answer in answers.items():
        difference = apart(answer, answers[OURS])
        if not difference < 1e-2:
            raise SystemExit(f"{name}: its first gradients differ by {difference:.1e}")


def table(timings: list[harness.Timing]) -> str:
    """A row for each number of threads and contender."""
    lines = [
        "| threads | | whole training, s | divided by vqnp's "
        "| an epoch divided by vqnp's: median (quartiles) |",
        "|---|---|---|---|---|",
    ]
    for (threads, _), group in reports.grouped(timings).items():
        ours = next(t for t in group if t.contender == OURS)
        for t in group:
            seconds, cell = sum(t.seconds), reports.ratio(t, ours)
            ratio = seconds / sum(ours.seconds)
            lines.append(f"| {threads} | {t.contender} | {seconds:.1f} | {ratio:.2f} | {cell} |")
    return "\n".join(lines)


def curves(timings: list[harness.Timing]) -> Figure:
    """A panel for each number of threads: the seconds of each epoch."""
    threads = sorted({t.threads for t in timings})
    figure = new_figure(9.0, 2.8)
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.07, right=0.98, top=0.88, bottom=0.33, wspace=0.05)
    for axes, count in zip(panels, threads, strict=True):
        for i, t in enumerate(t for t in timings if t.threads == count):
            axes.plot(np.arange(1, 1 + len(t.seconds)), t.seconds, color=COLOURS[i], label=t.contender)
        axes.set_title(f"{count} thread{'s' * (count > 1)}", fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds", fontsize=9)
    panels[0].set_ylim(bottom=0)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=8, frameon=False
    )
    return figure


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "training", epochs=(60, "how many are timed"))
    args.rounds, args.seconds = min(args.epochs, 2) if args.quick else args.epochs, 1e-9
    if args.rounds < 1:
        raise SystemExit("--epochs must be at least 1")
    timings = harness.compete({name: Epochs(name) for name in CONTENDERS}, args, same)
    (n, batch), *_ = args.sizes
    text = f"""# A whole training compared with PyTorch

{reports.about("torch")}

`python examples/benchmarks/training.py --epochs {args.rounds}`. The model of `vqnp train` without
options (an MLP 784-512-(16×16) and its mirror image, K = 128 by moving averages, float32), on {n:,} digits,
{batch} at a time, with Adam at a constant α = 0.001 and no restarts; after two epochs that are not timed,
{args.rounds} that are. In each round every contender trains one epoch, in turn. A step lasts from drawing
the batch to reporting the loss. What `set_flush_denormal` does is explained with
[the steps late in a training](late_steps.md).

{table(timings)}
"""
    reports.write(args, "training", text, timings, curves(timings))


if __name__ == "__main__":
    main()
