"""No kernel reads or writes beyond the ends of its arrays, where a result would not show it."""

import subprocess
import sys
from pathlib import Path

import pytest

from vqnp.kernels.jit import JIT


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux") or not JIT, reason="mprotect, and compiled kernels")
def test_no_kernel_touches_memory_beyond_its_arrays():
    """The last line names the kernel that did."""
    command = [sys.executable, str(Path(__file__).with_name("guarded.py")), "16"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-100:] + done.stderr[-2000:]
    assert len(done.stdout.splitlines()) >= 16 * 15
