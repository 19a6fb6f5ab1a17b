"""The cache on disk: what is damaged in it is compiled anew, with one warning."""

import os
import subprocess
import sys

import numba
import pytest

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
