"""A convolutional training step in shards: on one process, and on 1, 2 and 4 ranks of MPI, one thread each.

python examples/benchmarks/mpi_step.py            a minute or two; writes mpi_step.md and .json into --out
python examples/benchmarks/mpi_step.py --quick    to test that it runs; writes nothing

Needs the extra mpi. The model is VQVAE.conv() on 28 × 28 images, the batch has 64. In one process the
contenders take turns, step by step. Processes with other numbers of ranks take turns too, launch by launch.
Beside each median stands the time that the model of docs/scale.md predicts from what one rank needs:
T(R) = C/min(R, cores) + U max(1, R/cores) + messages(R).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import vqnp  # noqa: E402
from vqnp.training import Schedule, Trainer  # noqa: E402

BATCH, SHARDS, IMAGES = 64, 4, 512
FULL, QUICK = {}, {"channels": 8, "residual_channels": 4, "residual_blocks": 1}
RANKS = (1, 2, 4)


def trainer(shards: int, comm: Any, network: dict[str, int]) -> Trainer:
    x = np.random.default_rng(0).random((IMAGES, 28, 28)).astype(np.float32)
    one = Trainer(vqnp.VQVAE.conv(rng=0, **network), x, Schedule(1000, BATCH, shards=shards), None, comm)
    one.initialize()
    return one


def timed_step(one: Trainer) -> tuple[float, float]:
    """The seconds of a step, and those of them that the gradients of this rank's shards take."""
    inner, spent = one.shards._sum_own, 0.0

    def clocked(*arguments: Any) -> None:
        nonlocal spent
        begun = time.perf_counter()
        inner(*arguments)
        spent += time.perf_counter() - begun

    one.shards._sum_own = clocked  # type: ignore[method-assign]
    begun = time.perf_counter()
    one.train_step()
    took = time.perf_counter() - begun
    one.shards._sum_own = inner  # type: ignore[method-assign]
    if one.step % one.steps_per_epoch == 0:
        one.end_epoch()
    return took, spent


def message(comm: Any, count: int) -> float:
    """The seconds in which `count` bytes go to another rank: half a round trip, a median."""
    buffer, times = np.zeros(count, np.uint8), []
    for _ in range(30):
        comm.Barrier()
        begun = time.perf_counter()
        if comm.rank == 0:
            comm.Send(buffer, dest=1)
            comm.Recv(buffer, source=1)
        elif comm.rank == 1:
            comm.Recv(buffer, source=0)
            comm.Send(buffer, dest=0)
        times.append((time.perf_counter() - begun) / 2)
    return statistics.median(times)


def worker(steps: int, network: dict[str, int]) -> None:
    """In each rank: take steps; rank 0 prints what it measured as a line of JSON."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    contenders = {"MPI": trainer(SHARDS, comm, network)}
    if comm.size == 1:
        contenders["no MPI"] = trainer(SHARDS, None, network)
        contenders |= {f"shards {n}": trainer(n, None, network) for n in (1, 2, 8)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for step in range(steps + 3):
        for name, one in list(contenders.items())[:: 1 if step % 2 else -1]:  # each comes after every other
            comm.Barrier()
            took = timed_step(one)
            if step >= 3:  # the first ones compile
                times[name].append(took)
    found: dict[str, Any] = {"ranks": comm.size, "times": times}
    found["bytes"] = 4 * contenders["MPI"].model.num_parameters()
    if comm.size > 1:
        found["latency"], found["message"] = message(comm, 8), message(comm, found["bytes"])
    if comm.rank == 0:
        print("FOUND", json.dumps(found), flush=True)


def launch(ranks: int, arguments: list[str]) -> dict[str, Any]:
    mpiexec = shutil.which("mpiexec")
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "--worker", *arguments]
    if b"Open MPI" in subprocess.run([mpiexec, "--version"], capture_output=True).stdout:
        command[1:1] = ["--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not lines:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(lines[0].removeprefix("FOUND "))


def medians(launches: list[dict[str, Any]], name: str) -> list[float]:
    """Of the launches' steps: the median time in ms, and that of the gradients."""
    steps = [pair for one in launches for pair in one["times"].get(name, ())]
    return [1e3 * statistics.median(column) for column in zip(*steps, strict=True)]


def table(found: dict[int, list[dict[str, Any]]]) -> list[str]:
    cores = len(os.sched_getaffinity(0))
    alone, C = medians(found[1], "no MPI")
    U = alone - C
    plain = medians(found[1], "shards 1")[0]
    rows = ["| contender | ms a step | speed against one process, 4 shards | predicted, ms |"]
    rows.append("|---|---|---|---|")
    names = {"shards 1": "one process, 1 shard", "shards 2": "one process, 2 shards",
             "no MPI": "one process, 4 shards", "shards 8": "one process, 8 shards"}  # fmt: skip
    for name, words in names.items():
        ms = medians(found[1], name)[0]
        rows.append(f"| {words} | {ms:.1f} | {alone / ms:.3f} | |")
    for ranks in RANKS:
        ms = medians(found[ranks], "MPI")[0]
        sent = 0.0
        if ranks > 1:
            latency = statistics.median(one["latency"] for one in found[ranks])
            whole = statistics.median(one["message"] for one in found[ranks])
            sent = 1e3 * math.ceil(math.log2(ranks)) * (2 * whole + 2 * latency)
        predicted = C / min(ranks, cores) + U * max(1, ranks / cores) + sent
        words = f"{ranks} rank{'s' * (ranks > 1)}, 4 shards"
        rows.append(f"| {words} | {ms:.1f} | {alone / ms:.3f} | {predicted:.1f} |")
    two = found[2]
    rows += [
        "",
        f"C, the gradients of 4 shards: {C:.1f} ms. U, the rest of a step: {U:.2f} ms. The gradients have "
        f"{two[0]['bytes'] / 1e6:.2f} MB, which go to another rank in "
        f"{1e3 * statistics.median(one['message'] for one in two):.2f} ms; 8 bytes take "
        f"{1e6 * statistics.median(one['latency'] for one in two):.1f} µs. {cores} cores. "
        f"Four shards against one, on one process: {alone / plain - 1:+.1%}.",
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, help="a folder for mpi_step.md and mpi_step.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    rounds, steps = (1, 2) if args.quick else (args.rounds, args.steps)
    if args.worker:
        worker(steps, QUICK if args.quick else FULL)
        return
    arguments = ["--steps", str(steps), *(["--quick"] if args.quick else [])]
    found: dict[int, list[dict[str, Any]]] = {ranks: [] for ranks in RANKS}
    for _ in range(rounds):
        for ranks in RANKS:
            found[ranks].append(launch(ranks, arguments))
    text = "\n".join(table(found))
    print(text)
    if args.out and not args.quick:
        head = "# A convolutional training step on ranks of MPI\n\n`python examples/benchmarks/mpi_step.py`; "
        head += f"{rounds} rounds of {steps} steps, batch {BATCH}, one thread a rank, medians.\n\n"
        (args.out / "mpi_step.md").write_text(f"{head}{text}\n")
        (args.out / "mpi_step.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
