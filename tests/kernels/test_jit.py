"""The cache on disk: what is damaged in it, or was made of other sources, is compiled anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import vqnp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled"),
]

SCRIPT = """
import numpy as np
from vqnp.kernels.relu import relu_gradient
print(relu_gradient(np.array([3.0, 4.0], np.float32), np.array([0.0, 2.0], np.float32)).tolist())
"""


def run(folder):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"damaged", b"\x80\x04\x95", "half"])
def test_a_damaged_cache_is_compiled_anew(tmp_path, suffix, damage):
    whole = run(tmp_path)
    assert whole.stdout == "[0.0, 4.0]\n" and whole.stderr == ""
    files = list(tmp_path.rglob(f"*.{suffix}"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    again = run(tmp_path)
    assert again.returncode == 0 and again.stdout == whole.stdout, again.stderr
    assert again.stderr.count("numba's cache is damaged") == 1
    healed = run(tmp_path)
    assert healed.stdout == whole.stdout and healed.stderr == ""


CALLER = """
import numpy as np
from vqnp.kernels.gelu import gelu
print(gelu(np.array([0.5], np.float32))[0].tolist())
"""


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(tmp_path):
    """gelu.py takes e^x from exp.py, whose file numba does not look at."""
    package = tmp_path / "vqnp"
    ignored = shutil.ignore_patterns("*.npz", "__pycache__")
    shutil.copytree(Path(vqnp.__file__).parent, package, ignore=ignored)

    def answer():
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", CALLER]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path).stdout

    first, source = answer(), package / "kernels" / "exp.py"
    text = source.read_text(encoding="utf-8")
    right = "y = (p * r * r + r + np.float32(1)) * power"
    assert first.startswith("[0.34573") and right in text
    source.write_text(text.replace(right, right.replace("(1)", "(2)")), encoding="utf-8")
    assert answer() != first
    source.write_text(text, encoding="utf-8")
    assert answer() == first
