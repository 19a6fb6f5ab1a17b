"""mpiexec -n R vqnp train: real ranks, one of which may be killed. Skipped without the extra mpi.

By hand, several minutes: pytest -n 0 tests/training/test_mpi.py --draws 100 --rank-kills 20 --mpi-ranks 1 2 4
"""

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vqnp.cli import main

MPIEXEC = shutil.which("mpiexec")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs the extra mpi"
    ),
]
PROGRAM = Path(__file__).with_name("mpi_program.py")
MOST_SECONDS_TO_END = 60
"""Within which the others end when a rank is killed: it takes one on an idle machine."""


def mpiexec(ranks, *command, **options):
    """The command on so many ranks, also for root and on fewer cores, each rank with one thread."""
    words = [MPIEXEC, "-n", str(ranks)]
    if b"Open MPI" in subprocess.run([MPIEXEC, "--version"], capture_output=True).stdout:
        words[1:1] = ["--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]
    env = os.environ | {"NUMBA_NUM_THREADS": "1", "TMPDIR": "/tmp"}  # sockets need a short path
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*words, *command], env=env, **pipes, **options)


def vqnp(*arguments):
    return [sys.executable, "-m", "vqnp", *map(str, arguments)]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (70, 8, 8), np.uint8))
    return ["--data", "x.npy", "--network", "conv", "--channels", 4, "--residual-channels", 2,
            "--residual-blocks", 1, "--num-embeddings", 8, "--embedding-dim", 2, "--quiet"]  # fmt: skip


def test_drawn_trainings_have_the_bits_of_one_process(request):
    """Models, priors, batches, shards, ranks, and a stop after which other ranks continue."""
    draws, ranks = request.config.getoption("draws"), max(request.config.getoption("mpi_ranks"))
    process = mpiexec(ranks, sys.executable, str(PROGRAM), str(draws), "0")
    output, _ = process.communicate(timeout=300 + 20 * draws)
    assert process.returncode == 0 and f"equal bits in {draws} of {draws} draws" in output, output


def test_the_command_gives_the_same_files_on_any_ranks(request, data):
    """checkpoint.npz and metrics.csv, byte for byte, with no option but mpiexec's; a prior's too."""
    assert main([str(w) for w in ["train", *data, "--epochs", 2, "--shards", 4, "--out", "alone"]]) == 0
    small = ["--width", 8, "--layers", 1, "--heads", 2, "--epochs", 1, "--quiet"]
    for ranks in request.config.getoption("mpi_ranks"):
        process = mpiexec(ranks, *vqnp("train", *data, "--epochs", 2, "--out", f"on-{ranks}"))
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0 and output.count("writing on") == 1, output
        for name in ("checkpoint.npz", "metrics.csv"):
            assert Path(f"on-{ranks}", name).read_bytes() == Path("alone", name).read_bytes(), (ranks, name)
    process = mpiexec(ranks, *vqnp("prior", f"on-{ranks}", *small))
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert main([str(w) for w in ["prior", "alone", *small, "--shards", 4]]) == 0
    assert Path(f"on-{ranks}/prior.npz").read_bytes() == Path("alone/prior.npz").read_bytes()


def test_a_killed_rank_ends_all_with_a_sentence_and_the_run_is_resumed(request, data):
    """At a random moment, of a random rank; --rank-kills 20 kills so many. Then one process resumes."""
    words = ["train", *data, "--epochs", 100, "--shards", 4, "--out"]
    assert main([*map(str, words), "whole"]) == 0
    kills = request.config.getoption("rank_kills")
    for number in range(kills):
        chance = random.Random(number)
        ranks, out = chance.choice([2, 3, 4]) if number else 2, f"killed-{number}"
        process, victim = mpiexec(ranks, *vqnp(*words, out)), chance.randrange(ranks)
        while not Path(out, "metrics.csv").exists():  # after the first epoch
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(chance.random() / 4)
        os.kill(children(process.pid)[victim], signal.SIGKILL)
        output, _ = process.communicate(timeout=MOST_SECONDS_TO_END)
        sentence = f"another rank has ended; continue with: vqnp train --out {out} --resume"
        assert process.returncode and sentence in output, output
        assert main(["train", "--out", out, "--resume", "--quiet"]) == 0
        for name in ("checkpoint.npz", "metrics.csv"):
            assert Path(out, name).read_bytes() == Path("whole", name).read_bytes(), (number, name)
    print(f"{kills} runs of which a rank was killed, and resumed to the same bits")


def children(pid):
    """The processes that a process has started, oldest first: the ranks of an mpiexec."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
