"""vqnp bench: how fast this machine is, and which share of its peak vqnp reaches."""

from __future__ import annotations

import argparse
from pathlib import Path

from vqnp._check import check_int
from vqnp.cli.options import Parser, say

HELP = "how fast this machine is, and how near to it vqnp comes"
DESCRIPTION = (
    "Time the machine's fused multiply-adds, NumPy's matrix products, the kernels, a training step and "
    "the start-up; print a table; write bench.json and bench.png. About a minute; let nothing else run."
)


def add_options(p: Parser) -> None:
    """--threads, --rounds, --out."""
    p.add_argument(
        "--threads",
        type=int,
        nargs="+",
        metavar="T",
        help="numbers of threads, each measured in a process of its own (default: 1, and all cores)",
    )
    p.add_argument(
        "--rounds", type=int, default=7, metavar="N", help="timings of each, for the median (default: 7)"
    )
    p.add_argument("--out", metavar="DIR", default="bench", help="the folder to write (default: bench)")


def run(args: argparse.Namespace) -> None:
    """Measure, for each number of threads; print the table; write the figures and the picture."""
    import json

    from vqnp._files import atomic
    from vqnp.bench import measure
    from vqnp.bench.report import bench_figure, table
    from vqnp.plots import save_figure

    rounds = check_int("--rounds", "N", args.rounds)
    about = measure.machine()
    cores = int(about["cores"])
    counts = getattr(args, "threads", sorted({1, cores}))
    for threads in counts:
        check_int("--threads", "T", threads, 1, cores)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for threads in counts:
        say(f"measuring with {threads} thread{'s' * (threads > 1)}")
        rows += measure.in_process(threads, rounds)
    rows += measure.start_up()
    print(table(rows, about))
    with atomic(folder / "bench.json") as file:
        text = json.dumps({"machine": about, "rows": [row._asdict() for row in rows]}, indent=1)
        file.write(text.encode())
    save_figure(bench_figure(rows, about), folder / "bench.png")
    print(f"\nwrote {folder / 'bench.json'}\nwrote {folder / 'bench.png'}")
