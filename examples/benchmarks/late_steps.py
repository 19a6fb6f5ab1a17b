"""A training step at first and after many epochs: subnormal numbers in Adam's moments, and their cost.

python examples/benchmarks/late_steps.py            ten minutes; writes late_steps.md, .json and .png
python examples/benchmarks/late_steps.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. vqnp, and PyTorch with its fused Adam with and without
torch.set_flush_denormal(True), train the default model of `vqnp train` on the embedded digits, from the
same parameters. Of each there are two processes: one takes its first steps while it is timed, the other has
trained for --epochs before. Each round times all of them in turn.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size
from matplotlib.figure import Figure
from steps import Form, Ours, Theirs, apart
from train_step import model

import vqnp
from vqnp.plots.style import BLUE, new_figure

Array = np.ndarray[Any, Any]

PYTORCH, FLUSHED = "PyTorch, fused Adam", "PyTorch, fused Adam, set_flush_denormal(True)"
CONTENDERS = (OURS, PYTORCH, FLUSHED)
HIDDEN = (512,)
"""As in VQVAE.mlp and `vqnp train`."""
SIZES = [(8000, 32)]
"""Images, and how many of them a step takes. (The harness warms up with 16 images.)"""
QUICK = [(64, 16)]
STATES: dict[tuple[str, int], list[dict[str, float]]] = {}
"""By contender and epochs: the state after these, for each number of threads."""


def images(n: int) -> Array:
    """The first n training images of the embedded digits: (n, 784) in float32, from 0 to 1."""
    train, _ = vqnp.load_splits("digits")
    return (train.images[:n].reshape(-1, 784) / np.float32(255)).astype(np.float32)


def subnormal(a: Array) -> Array:
    """Where float32 numbers are subnormal, from their bits: no exponent, but a fraction.

    After set_flush_denormal a comparison takes them for 0, and would find none.
    """
    bits = np.ascontiguousarray(a).view(np.uint32)
    return ((bits & 0x7F800000) == 0) & ((bits & 0x007FFFFF) != 0)


class Trained:
    """A contender, its Adam's moments, and how often it has stepped."""

    def __init__(self, name: str, x: Array, batch: int) -> None:
        net = model(HIDDEN)
        net.initialize((x[:2048].reshape(-1, 28, 28),), np.random.default_rng(0))  # the codes, from images
        if name == FLUSHED:
            import torch

            if not torch.set_flush_denormal(True):
                raise RuntimeError("this processor cannot flush subnormal numbers")
        self.net = Ours(net, x, batch) if name == OURS else Theirs(net, x, batch, Form())
        self.steps_per_epoch = -(-len(x) // batch)

    def moments(self, letter: str) -> Array:
        """m or v of all parameters, in one array."""
        if isinstance(self.net, Ours):
            arrays = getattr(self.net.trainer.optimizer, letter).values()
        else:
            name = {"m": "exp_avg", "v": "exp_avg_sq"}[letter]
            arrays = [state[name].numpy() for state in self.net.adam.state.values()]
        return np.concatenate([a.reshape(-1) for a in arrays])

    def train(self, epochs: int) -> dict[str, float]:
        """Shares of subnormal numbers and of zeros in m and v after some epochs, and the last one's loss."""
        losses = [self.net.step() for _ in range(max(1, epochs * self.steps_per_epoch))]
        shares = {"loss": float(np.mean(losses[-self.steps_per_epoch :]))}
        for letter in "mv":
            a = self.moments(letter)
            shares[f"{letter} subnormal"] = float(subnormal(a).mean())
            shares[f"{letter} zero"] = float(((a.view(np.uint32) & 0x7FFFFFFF) == 0).mean())
        return shares


class Contest:
    """Picklable: (images, batch) -> a step; the first call trains before, and returns the state after it."""

    def __init__(self, name: str, epochs: int) -> None:
        self.name, self.epochs = name, epochs

    def __call__(self, size: Size) -> harness.Run:
        n, batch = size
        x = images(n)
        calls = iter(["check"])
        trained = Trained(self.name, x, batch)

        def run() -> object:
            if not next(calls, None):
                return trained.net.step()
            first = Trained(self.name, x[:batch], batch).net.before_adam()
            return {"first": first, "state": trained.train(self.epochs)}

        return run


def stage(name: str, epochs: int) -> str:
    """A contender's name in the record: with how long it has trained."""
    return f"{name}: {f'after {epochs} epochs' if epochs else 'at first'}"


def same(size: Size, answers: dict[str, Any]) -> None:
    """The first batch gives all the same loss, gradients and averages."""
    ours = next(iter(answers.values()))
    for name, answer in answers.items():
        contender, _, when = name.partition(": ")
        epochs = int(when.split()[1]) if when.startswith("after") else 0
        STATES.setdefault((contender, epochs), []).append(answer["state"])
        difference = apart(answer["first"], ours["first"])
        if not difference < 1e-2:
            raise SystemExit(f"{name}: its first gradients differ by {difference:.1e}")


def table(timings: list[harness.Timing], epochs: int) -> str:
    """Times: a row for each contender and number of threads."""
    lines = [
        f"| threads | | at first, ms | after {epochs} epochs, ms | after / at first: median (quartiles) |",
        "|---|---|---|---|---|",
    ]
    for (threads, _), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        for name in CONTENDERS:
            early, late = by_name[stage(name, 0)], by_name[stage(name, epochs)]
            cells = f"{1e3 * early.median:.3g} | {1e3 * late.median:.3g} | {reports.ratio(late, early)}"
            lines.append(f"| {threads} | {name} | {cells} |")
    return "\n".join(lines)


def shares(epochs: int) -> str:
    """What Adam's moments hold after the epochs: a row for each contender; the medians over the threads."""
    columns = ("m subnormal", "m zero", "v subnormal", "v zero")
    lines = [
        "| | " + " | ".join(columns) + " | loss of the last epoch |", "|---" * (len(columns) + 2) + "|",
    ]  # fmt: skip
    for name in CONTENDERS:
        states = STATES[name, epochs]
        middle = {key: float(np.median([s[key] for s in states])) for key in states[0]}
        cells = " | ".join(f"{100 * middle[c]:.1f} %" for c in columns)
        lines.append(f"| {name} | {cells} | {middle['loss']:.5f} |")
    return "\n".join(lines)


def arrows(timings: list[harness.Timing], epochs: int) -> Figure:
    """A panel for each number of threads: from the early time to the late one."""
    threads = sorted({t.threads for t in timings})
    figure = new_figure(9.0, 2.6)
    panels = figure.subplots(1, len(threads), sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.3, right=0.98, top=0.88, bottom=0.32, wspace=0.05)
    for axes, count in zip(panels, threads, strict=True):
        ms = {t.contender: 1e3 * t.median for t in timings if t.threads == count}
        for y, name in enumerate(CONTENDERS):
            early, late = ms[stage(name, 0)], ms[stage(name, epochs)]
            axes.plot([early, late], [y, y], color="0.7", zorder=1)
            labels = (None, None) if y else ("at first", f"after {epochs} epochs")
            axes.plot(early, y, "o", color=BLUE, markerfacecolor="white", label=labels[0])
            axes.plot(late, y, "o", color=BLUE, label=labels[1])
        axes.set_title(f"{count} thread{'s' * (count > 1)}", fontsize=10)
        axes.set_xlabel("milliseconds per step", fontsize=9)
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_xlim(left=0)
    names = [name.replace("Adam, ", "Adam,\n") for name in CONTENDERS]
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="lower center", ncols=2, fontsize=8, frameon=False
    )
    return figure


def main() -> None:
    args = harness.arguments(
        __doc__ or "", SIZES, QUICK, "late_steps", epochs=(60, "how long the late ones have trained")
    )
    epochs = min(args.epochs, 2) if args.quick else args.epochs
    if epochs < 1:
        raise SystemExit("--epochs must be at least 1")
    makers = {stage(name, e): Contest(name, e) for name in CONTENDERS for e in (0, epochs)}
    timings = harness.compete(makers, args, same)
    (n, batch), *_ = args.sizes
    text = f"""# A training step late in training

{reports.about("torch")}

`python examples/benchmarks/late_steps.py --epochs {epochs}`; {args.rounds} rounds. The model of `vqnp train`
without options (an MLP 784-512-(16×16) and its mirror image, K = 128 by moving averages, float32), on {n:,}
digits, {batch} at a time, with Adam at a constant α = 0.001 and no restarts. A step lasts from drawing the
batch to reporting the loss.

A parameter whose gradient stays 0, since its unit has died or its pixel is black in almost all images, keeps
an m and a v that only decay: into the subnormal numbers, in which they remain unless they are flushed to 0
([why, and what vqnp does](../math/subnormal.md)). How many there are does not depend on the machine, up to
rounding. What they cost does: processors differ widely in how long they take for an operation on one, so
the times below are those of this processor, and of no other.

## What Adam's moments hold after {epochs} epochs

{shares(epochs)}

With `torch.set_flush_denormal(True)` the processor itself replaces subnormal numbers by 0.

v decays a hundred times more slowly than m: by 0.999 in a step, not by 0.9. It takes some 70,000 steps to get
there.

## What a step takes

{table(timings, epochs)}

The processes "at first" continue to train while they are timed.
"""
    moments = [{"contender": name, "epochs": e, "states": states} for (name, e), states in STATES.items()]
    reports.write(args, "late_steps", text, timings, arrows(timings, epochs), moments=moments)


if __name__ == "__main__":
    main()
