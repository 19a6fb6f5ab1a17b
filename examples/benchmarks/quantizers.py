"""Quantizers compared with vector-quantize-pytorch, with the time of a copy, and with that of nearest_code.

python examples/benchmarks/quantizers.py            three minutes; writes quantizers.md, .json and .png
python examples/benchmarks/quantizers.py --quick    to test that it runs

Needs the bench extra: pip install -e '.[bench]'. First the codes, the vectors and the gradients of both
libraries are compared.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import reports
from harness import OURS, Size
from layers import TASKS, Task, by_vq_pytorch, by_vqnp, data

import vqnp
from vqnp.kernels.threads import in_blocks

Array = np.ndarray[Any, Any]

THEIRS, COPY, SEARCH = "vector-quantize-pytorch", "one copy", "n × nearest_code"
WITHOUT_SEARCH = ("finite scalar", "lookup-free")
SLOW = [i for i, task in enumerate(TASKS) if task.quantizer == "residual" or task.training and task.D == 7]
"""For which vector-quantize-pytorch needs seconds at 200,000 vectors."""
SIZES = [(100_000 if i in SLOW else 200_000, i) for i in range(len(TASKS))]
LARGE = [i for i, task in enumerate(TASKS) if task.quantizer in WITHOUT_SEARCH and not task.training]
SIZES += [(2_000_000, i) for i in LARGE]
"""(N, the task); the arrays of the first fit into a large cache, those of the second do not."""
QUICK = [(512, i) for i in range(len(TASKS))]


class Contest:
    """Picklable: size -> a call without arguments."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, size: Size) -> harness.Run:
        N, i = size
        task = TASKS[i]
        z, dz_q, E = data(task, N)
        if self.name == COPY:
            return copy(task, N)
        if self.name == SEARCH:
            return lambda: [vqnp.nearest_code(z, e) for e in E]
        return (by_vqnp if self.name == OURS else by_vq_pytorch)(task, z, dz_q)


def traffic(task: Task, N: int) -> int:
    """The bytes that must be read and written: z, z_q and k; in training again z, and dz_q and dz."""
    return 4 * N * task.D * (5 if task.training else 2) + 8 * N


def copy(task: Task, N: int) -> harness.Run:
    """Half of these bytes copied to as many, on all threads, into memory that is there."""
    source = np.zeros(traffic(task, N) // 2, np.uint8)
    target = np.ones_like(source)

    def part(i: int, j: int) -> None:
        target[i:j] = source[i:j]

    return lambda: in_blocks(part, source.size, 8)


def skip(name: str, size: Size) -> bool:
    """A yardstick is for the quantizers that it is about."""
    without_search = TASKS[size[1]].quantizer in WITHOUT_SEARCH
    return name == (SEARCH if without_search else COPY)


# What the two libraries have in common, and what not.

DIFFERENCES: dict[tuple[str, str], float] = {}
"""By quantizer: the share of codes that differ, and the largest differences of what is compared."""


def same(size: Size, answers: dict[str, Any]) -> None:
    """The codes but for ties, and where they agree the vectors; in training loss, gradient and codebook."""
    task, ours, theirs = TASKS[size[1]], answers[OURS], answers[THEIRS]
    k, j = ours["k"], theirs["k"].astype(np.int64)
    if task.quantizer == "lookup-free":  # their first bit is the highest
        j = sum((j >> d & 1) << (task.D - 1 - d) for d in range(task.D))
    equal = (k == j).reshape(len(k), -1).all(axis=1)
    note(task, "codes", 1 - float(equal.mean()), 0.02 if task.quantizer == "finite scalar" else 1e-3)
    note(task, "z_q", distance(ours["z_q"][equal], theirs["z_q"][equal]), 1e-5)
    if not task.training:
        return
    dz, their_dz = ours["dz"], theirs["dz"]
    if task.quantizer == "finite scalar":  # its bound has 1 + ε in place of 1 − ε
        their_dz = their_dz * (0.999 / 1.001)
    if task.quantizer != "residual":  # whose gradient is multiplied by n there
        note(task, "dz", distance(dz[equal], their_dz[equal]), 1e-3)
        if task.quantizer != "finite scalar":
            note(task, "loss", distance(ours["loss"], theirs["loss"]), 1e-3)
    if "codebook" in ours:
        E = ours["codebook"]
        note(task, "codebook", distance(E, theirs["codebook"].reshape(E.shape)), 1e-2)


def distance(a: Array, b: Array) -> float:
    """The largest difference, relative to the largest entry."""
    return float(np.abs(a - b).max(initial=0) / np.abs(b).max(initial=1e-30))


def note(task: Task, what: str, difference: float, limit: float) -> None:
    """Keep the largest difference, and end the run if it is above the limit."""
    key = task.quantizer, what
    DIFFERENCES[key] = max(DIFFERENCES.get(key, 0.0), difference)
    if not difference <= limit:
        raise SystemExit(f"{task.quantizer}: {what} differs by {difference:.1e}")


# The report.


def name_of(size: Size) -> str:
    task = TASKS[size[1]]
    return f"{task.quantizer}, {'training' if task.training else 'inference'}, {size[0]:,}"


def label(size: Size) -> str:
    """name_of in the room that a figure has."""
    short = {"finite scalar": "FSQ", "lookup-free": "LFQ"}
    name, use, *_ = name_of(size).split(", ")
    return f"{short.get(name, name)}, {use}, {size[0] / 1e6:g} M"


def table(timings: list[harness.Timing]) -> str:
    """A row for each quantizer, use and number of threads."""
    lines = [
        "| quantizer, N | threads | vqnp, ms | vector-quantize-pytorch, ms "
        "| its time / vqnp's: median (quartiles) "
        "| yardstick | its ms | vqnp's time / its: median (quartiles) | extra memory: vqnp, other |",
        "|---" * 9 + "|",
    ]
    for (threads, size), group in reports.grouped(timings).items():
        by_name = {t.contender: t for t in group}
        ours, theirs = by_name[OURS], by_name[THEIRS]
        (yardstick,) = (t for t in group if t.contender in (COPY, SEARCH))
        n = TASKS[size[1]].n
        what = COPY if yardstick.contender == COPY else "nearest_code" if n == 1 else f"{n} × nearest_code"
        memory = ", ".join(reports.mega(t.extra_bytes) for t in (ours, theirs))
        lines.append(
            f"| {name_of(size)} | {threads} | {1e3 * ours.median:.3g} | {1e3 * theirs.median:.4g} | "
            f"{reports.ratio(theirs, ours)} | {what} | {1e3 * yardstick.median:.3g} | "
            f"{reports.ratio(ours, yardstick)} | {memory} |"
        )
    return "\n".join(lines)


def differences() -> str:
    """What `same` found."""
    found: dict[str, list[str]] = {}
    for (quantizer, what), value in DIFFERENCES.items():
        found.setdefault(quantizer, []).append(f"{what} {value:.1e}")
    return "\n".join(f"- {quantizer}: {', '.join(values)}" for quantizer, values in found.items())


def main() -> None:
    args = harness.arguments(__doc__ or "", SIZES, QUICK, "quantizers")
    contenders = {name: Contest(name) for name in (OURS, THEIRS, COPY, SEARCH)}
    timings = harness.compete(contenders, args, same, skip)
    sizes = "; ".join(
        f"{t.quantizer}: D = {t.D}, " + (f"{t.n} × {t.K} codes" if t.n > 1 else f"{t.K} codes")
        for t in TASKS if not t.training
    )  # fmt: skip
    text = f"""# Quantizers compared with vector-quantize-pytorch

{reports.about("torch", "vector-quantize-pytorch")}

`python examples/benchmarks/quantizers.py --rounds {args.rounds} --seconds {args.seconds}`; standard normal
vectors in float32.
{sizes}.

Inference gives codes and vectors. Training is a step of the layer alone: its losses, and the gradient at z
for random gradients at z_q. The averages of the residual and the cosine codebooks are updated, without
restarts; SimVQ's matrix gets its gradient; the lookup-free entropies are the exact ones. `one copy` copies as
many bytes as must be read and written; `nearest_code` is the search alone, without losses or gradients.
The arrays of 200,000 vectors stay in this processor's cache, those of 2,000,000 do not.

{table(timings)}

## What was compared before

The share of vectors with another code; where the codes agree, the largest difference of the vectors; in
training also that of gradients, losses and codebooks, relative to the largest entry:

{differences()}

The finite scalars of vector-quantize-pytorch have slightly wider bounds, and its residual layer multiplies
the gradient by the number of depths, so these gradients are not compared.
"""
    figure = reports.dots(timings, lambda t: 1e3 * t.median, label, "ms", (COPY, SEARCH))
    reports.write(args, "quantizers", text, timings, figure)


if __name__ == "__main__":
    main()
