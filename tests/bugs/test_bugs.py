"""The tests can fail: each bug of the museum, planted in a copy of the package, is caught by name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ahead import begun
from museum import CORE, CROSSCHECKED, MUSEUM

import vqnp

ROOT = Path(__file__).parents[2]
PACKAGE = Path(vqnp.__file__).parent


def copied(folder):
    """A copy of the package, with the bytecode that is there: of a file that is changed it is made anew."""
    shutil.copytree(PACKAGE, folder / "vqnp", ignore=shutil.ignore_patterns("*.npz", "*.nb?"))
    return folder / "vqnp"


def run_checks(folder, compiled=False, names=()):
    """pytest on the core checks, or those of the names, against the package in folder, compiled or plain."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    environment["NUMBA_DISABLE_JIT"] = "0" if compiled else "1"
    checks = [f"{ROOT / CORE}::{name}" for name in names] or [str(ROOT / CORE)]
    bare = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--noconftest"]  # they use none of it
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=line", "--rootdir", str(ROOT), *bare]
    command += checks
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True).stdout


def run_with(bug, folder):
    """The check that must catch it, and the cross-check if that must too, on a copy that has the bug."""
    path = copied(folder) / bug.file
    text = path.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1, f"{bug.file} no longer has the line, or has it twice: {bug.right}"
    path.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
    names = [bug.caught_by, *(["test_crosscheck"] if bug.name in CROSSCHECKED else [])]
    return run_checks(folder, bug.file in ("kernels/nearest.py", "kernels/tile.py"), dict.fromkeys(names))


def run_whole(compiled, folder):
    """All checks on a copy without any bug."""
    copied(folder)
    return run_checks(folder, compiled)


@pytest.fixture(scope="module")
def runs(request):
    """The checks' output, on the package as it is and with each bug, to come."""
    with begun(request, test_the_package_as_it_is_passes=run_whole, test_caught=run_with) as futures:
        yield futures


def test_the_readme_counts_them():
    assert f" {len(MUSEUM)} bugs" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("compiled", [False, True])
def test_the_package_as_it_is_passes(compiled, runs):
    out = runs["test_the_package_as_it_is_passes", compiled].result()
    assert re.search(r"^\d+ passed", out, re.M) and "failed" not in out, out


@pytest.mark.parametrize("bug", MUSEUM, ids=lambda bug: bug.name)
def test_caught(bug, runs):
    out = runs["test_caught", bug].result()
    failed = set(re.findall(r"^FAILED .*?::(\w+)", out, re.M))
    assert bug.caught_by in failed, f"not caught by {bug.caught_by}; failed: {failed or out}"
    if bug.name in CROSSCHECKED:
        assert "test_crosscheck" in failed, f"not caught by vqnp.crosscheck; failed: {failed}"
