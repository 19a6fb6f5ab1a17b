"""Do two checkouts train to the same parameters, bit for bit, and equally fast?

python tests/compare_results.py OLD NEW [ROUNDS]

Each runs `vqnp train --seed 0 --epochs 3` with its own code, for each kind of model and codebook, in turn, as
many times as ROUNDS says (once). Then NEW's vqnp.load reads both checkpoints, which also shows that old ones
still load. Exit status 1 if they differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = {
    "default": [],
    "gradient": ["--codebook", "gradient"],
    "vae": ["--model", "vae"],
    "gaussian vae": ["--model", "vae", "--likelihood", "gaussian"],
    "autoencoder": ["--model", "autoencoder"],
}

COMPARE = """
import sys
import numpy as np, vqnp
old, new = (vqnp.load(path).state_dict() for path in sys.argv[1:])
assert old.keys() == new.keys(), old.keys() ^ new.keys()
same = all(old[name].tobytes() == new[name].tobytes() for name in old)
size = lambda name: float(np.abs(old[name]).max()) or 1.0
apart = max(float(np.abs(old[n] - new[n]).max()) / size(n) for n in old)
print(f"{len(old)} arrays,", "the same bits" if same else f"apart by {apart:.2g} of their largest entry")
sys.exit(not same)
"""


def python(checkout: Path, *args: str) -> tuple[int, float]:
    """Run Python with a checkout's own vqnp: its exit status, and the seconds that it took."""
    env = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    start = time.perf_counter()
    status = subprocess.run([sys.executable, *args], env=env, stdout=subprocess.DEVNULL).returncode
    return status, time.perf_counter() - start


def main(old: Path, new: Path, rounds: int) -> int:
    """Train with both in turn, compare, print a line for each kind of run."""
    different = False
    with tempfile.TemporaryDirectory() as folder:
        for name, options in RUNS.items():
            ratios = []
            for i in range(rounds):
                outs, seconds = [], []
                for checkout in (old, new):
                    outs.append(Path(folder, name, str(i), checkout.resolve().name))
                    command = ["-m", "vqnp", "train", "--quiet", "--seed", "0", "--epochs", "3", *options]
                    status, took = python(checkout, *command, "--out", str(outs[-1]))
                    if status:
                        return 2
                    seconds.append(took)
                ratios.append(seconds[1] / seconds[0])
            env = {**os.environ, "PYTHONPATH": str(new.resolve())}
            compared = subprocess.run([sys.executable, "-c", COMPARE, *map(str, outs)], env=env, text=True,
                                      stdout=subprocess.PIPE)  # fmt: skip
            different |= compared.returncode != 0
            times = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            print(f"{name}: {compared.stdout.strip()}; seconds, new / old: {times}", flush=True)
    return int(different)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
