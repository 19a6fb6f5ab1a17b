"""vqnp bench: the speed of this machine, and the share of its peak that vqnp reaches."""

import argparse
from pathlib import Path

from vqnp._check import check_int
from vqnp.cli.options import option, say

HELP = "measure this machine's speed, and the share of its peak that vqnp reaches"
DESCRIPTION = (
    "Time the machine's fused multiply-adds, NumPy's matrix products, the kernels, training steps and "
    "the start-up; print a table; write bench.json and bench.png. Takes about a minute, in which nothing "
    "else should run."
)
OPTIONS = (
    option(
        "--threads", type=int, nargs="+", metavar="T",
        help="numbers of threads, each measured in its own process (default: 1, and all cores)",
    ),
    option("--rounds", type=int, default=7, metavar="N", help="timings of each, for the median (default: 7)"),
    option("--out", metavar="DIR", default="bench", help="the folder to write (default: bench)"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Measure with each number of threads; print the table; write the figures and the picture."""
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
