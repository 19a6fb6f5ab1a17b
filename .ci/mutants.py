"""A random draw of small changes of the source, with Cosmic Ray: which of them do the tests not notice?

.ci/run mutants [N] [--seed S] [--jobs J] [--only WORD] [--skip M]: N mutants (default 60) of SOURCES, each tried
with the fast tests of its file, in copies of what is committed. Prints the survivors as differences, to be read: some
change nothing that matters (the words of a message, an equal form), the others need a test.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

SOURCES = [
    f"vqnp/{name}"
    for name in (
        "ops", "nn", "models", "kernels", "metrics", "training", "optim.py", "checkpoint.py", "_files.py",
    )
]  # fmt: skip
MORE = {
    "vqnp/nn/": "tests/nn tests/test_contract.py", "vqnp/nn/quantizers": "tests/test_training.py",
    "vqnp/models": "tests/models tests/test_contract.py tests/nn/test_describe.py tests/nn/test_gumbel.py",
    "vqnp/kernels/nearest": "tests/kernels/test_nearest.py",
    "vqnp/kernels/product": "tests/kernels/test_product.py tests/kernels/test_tile.py",
    "vqnp/training": "tests/test_training.py tests/test_trainable.py tests/test_damaged.py tests/training",
    "vqnp/metrics": "tests/metrics", "vqnp/optim.py": "tests/test_optim.py tests/kernels/test_subnormal.py",
    "vqnp/checkpoint.py": "tests/test_checkpoint.py tests/test_damaged.py tests/format1",
    "vqnp/_files.py": "tests/test_files.py tests/test_damaged.py tests/data/test_stream.py",
    "vqnp/ops/_windows": "tests/ops/test_conv.py tests/ops/test_causal_conv.py", "vqnp/ops/__init__": "tests/ops",
    "vqnp/ops/spectral_loss": "tests/ops/test_stft.py", "vqnp/ops/bit_entropy": "tests/ops/test_lookup_free.py",
    "vqnp/ops/lloyd": "tests/ops/test_kmeans.py", "vqnp/kernels": "tests/kernels tests/test_optim.py",
}  # fmt: skip
"""By the beginning of a source's path: tests besides those of the same name and LAST."""
LAST = "tests/test_slips.py tests/test_smoke.py tests/test_defaults.py tests/test_survivors.py"

TOML = """[cosmic-ray]
module-path = {sources}
timeout = 1
excluded-modules = []
test-command = ""
[cosmic-ray.distributor]
name = "local"
"""
SECONDS = 600.0


def tests_of(path):
    """The tests that should notice a change of a file."""
    named = sorted(map(str, Path("tests").rglob(f"test_{path.stem.strip('_')}.py")))
    more = [words for start, words in MORE.items() if str(path).startswith(start)]
    return list(dict.fromkeys([*named, *" ".join([*more, LAST]).split()]))


def begin(work):
    """In each process: a copy of its own, in which it works."""
    folder = tempfile.mkdtemp(dir=work)
    subprocess.run(["git", "clone", "-q", ".", folder], check=True)
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def attempt(mutation):
    """Whether the tests notice the mutant, and the difference that it makes."""
    tests = " ".join(tests_of(mutation.module_path))
    options = "-x -q -n 0 -p no:cacheprovider -m 'not slow' --hypothesis-profile dev"
    pytest = f"{sys.executable} -m pytest {options} {tests}"
    with tempfile.TemporaryDirectory() as cache:
        if "kernels" in mutation.module_path.parts:  # whose change has everything compiled anew
            pytest = f"env NUMBA_CACHE_DIR={cache} {pytest}"
        result = mutate_and_test([mutation], pytest, SECONDS)
    return result.test_outcome != TestOutcome.SURVIVED, result.diff


def all_mutants(folder):
    """Every mutant of SOURCES, in an order that does not change."""
    (folder / "cr.toml").write_text(TOML.format(sources=SOURCES))
    session = str(folder / "cr.sqlite")
    subprocess.run([sys.executable, "-m", "cosmic_ray.cli", "init", str(folder / "cr.toml"), session], check=True)
    with use_db(session, WorkDB.Mode.open) as db:
        found = [item.mutations[0] for item in db.pending_work_items]
    return sorted(found, key=lambda m: (str(m.module_path), m.operator_name, str(m.operator_args), m.occurrence))


def main():
    """Draw, try, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=60, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", metavar="WORD", help="files whose path has this in it")
    parser.add_argument("--skip", type=int, default=0, help="how many of the draw have been tried before")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        every = [m for m in all_mutants(Path(work)) if args.only in str(m.module_path)]
        drawn = random.Random(args.seed).sample(every, min(args.count, len(every)))
        survived = 0
        with ProcessPoolExecutor(args.jobs, initializer=begin, initargs=(work,)) as pool:
            left = drawn[args.skip :]
            for number, (mutation, (killed, difference)) in enumerate(
                zip(left, pool.map(attempt, left)), args.skip + 1
            ):
                place = f"{mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name.split('/')[1]}"
                print(f"{number} of {len(drawn)}: {'noticed' if killed else 'SURVIVED'}: {place}", flush=True)
                if not killed:
                    survived += 1
                    print(difference, flush=True)
    print(f"\n{len(left)} of {len(every)} mutants tried, seed {args.seed}: {survived} survived")


if __name__ == "__main__":
    main()
