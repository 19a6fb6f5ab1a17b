"""Every script in examples/ runs, and each is listed here with arguments that make it quick."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "make_digits.py": ["--help"],  # tests/data/test_data_digits.py runs it where MNIST is at hand
    "quickstart.py": ["--epochs", "1"],
    "results.py": ["--epochs", "1", "--seeds", "1"],
    "studies/codebook_size.py": ["--quick"],
    "studies/collapse.py": ["--quick"],
    "studies/commitment.py": ["--quick"],
    "studies/decay_and_smoothing.py": ["--quick"],
    "studies/ema_vs_gradient.py": ["--quick"],
    "trajectory_parity.py": ["--steps", "20"],
    "weights_travel.py": ["--steps", "5"],
}
NEED_TORCH = ("trajectory_parity.py", "weights_travel.py")


def test_every_example_is_listed():
    scripts = {path for path in EXAMPLES.rglob("*.py") if not path.name.startswith("_")}  # those are parts
    assert {path.relative_to(EXAMPLES).as_posix() for path in scripts} == set(QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_it_runs(name, tmp_path):
    if name in NEED_TORCH and not os.environ.get("VQNP_REQUIRE_TORCH"):
        if importlib.util.find_spec("torch") is None:
            pytest.skip("PyTorch is not installed (the crosscheck extra)")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *QUICK[name]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and "Traceback" not in done.stderr
