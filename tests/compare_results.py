"""Do two checkouts train to the same parameters, bit for bit? python tests/compare_results.py OLD NEW

Each runs `vqnp train --seed 0 --epochs 3` with its own code, for every kind of model and codebook; then
NEW's vqnp.load reads both checkpoints, so that it also shows that old ones still load. Exit status 1 if they
differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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


def python(checkout: Path, *args: str) -> int:
    """Run Python with a checkout's own vqnp."""
    env = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    return subprocess.run([sys.executable, *args], env=env).returncode


def main(old: Path, new: Path) -> int:
    """Train with both, compare, print a line for each run."""
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, options in RUNS.items():
            outs = []
            for checkout in (old, new):
                outs.append(Path(folder, name, checkout.resolve().name))
                command = ["-m", "vqnp", "train", "--quiet", "--seed", "0", "--epochs", "3", *options]
                if python(checkout, *command, "--out", str(outs[-1])):
                    return 2
            print(f"{name}: ", end="", flush=True)
            different += python(new, "-c", COMPARE, *map(str, outs))
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
