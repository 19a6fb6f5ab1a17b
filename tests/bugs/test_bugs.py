"""The tests can fail: each bug of the museum, planted in a copy of the package, is caught by name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from museum import CORE, CROSSCHECKED, MUSEUM

import vqnp

ROOT = Path(__file__).parents[2]
PACKAGE = Path(vqnp.__file__).parent


def run_checks(folder, compiled=False):
    """pytest on the core checks against the package in folder, compiled or on its plain twins."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    environment["NUMBA_DISABLE_JIT"] = "0" if compiled else "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=line",
               "--rootdir", str(ROOT), str(ROOT / CORE)]  # fmt: skip
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True).stdout


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "vqnp", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    return tmp_path


@pytest.mark.parametrize("compiled", [False, True])
def test_the_package_as_it_is_passes(copy, compiled):
    out = run_checks(copy, compiled)
    assert re.search(r"^\d+ passed", out, re.M) and "failed" not in out, out


@pytest.mark.parametrize("bug", MUSEUM, ids=lambda bug: bug.name)
def test_caught(bug, copy):
    path = copy / "vqnp" / bug.file
    text = path.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1, f"{bug.file} no longer has the line, or has it twice: {bug.right}"
    path.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
    out = run_checks(copy, compiled=bug.file in ("kernels/nearest.py", "kernels/tile.py"))
    failed = set(re.findall(r"^FAILED .*?::(\w+)", out, re.M))
    assert bug.caught_by in failed, f"not caught by {bug.caught_by}; failed: {failed or out}"
    if bug.name in CROSSCHECKED:
        assert "test_crosscheck" in failed, f"not caught by vqnp.crosscheck; failed: {failed}"
