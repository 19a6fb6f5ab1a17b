"""The tests can fail: each bug of the museum, planted in a copy of the package, is caught by name."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from museum import CORE, CROSSCHECKED, MUSEUM

import vqnp

ROOT = Path(__file__).parents[2]
PACKAGE = Path(vqnp.__file__).parent


def copied(folder):
    """A copy of the package, with the bytecode that is there: of a file that is changed it is made anew."""
    shutil.copytree(PACKAGE, folder / "vqnp", ignore=shutil.ignore_patterns("*.npz", "*.nb?"))
    return folder / "vqnp"


def run_checks(folder, compiled=False):
    """pytest on the core checks against the package in folder, compiled or on its plain twins."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    environment["NUMBA_DISABLE_JIT"] = "0" if compiled else "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=line",
               "--rootdir", str(ROOT), str(ROOT / CORE)]  # fmt: skip
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True).stdout


def run_with(bug, folder):
    """The checks on a copy in which the bug is planted."""
    path = copied(folder) / bug.file
    text = path.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1, f"{bug.file} no longer has the line, or has it twice: {bug.right}"
    path.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
    return run_checks(folder, compiled=bug.file in ("kernels/nearest.py", "kernels/tile.py"))


def test_the_readme_counts_them():
    assert f" {len(MUSEUM)} bugs" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """A future of the checks' output for each bug whose test was asked for: as many at a time as cores."""
    asked = (getattr(item, "callspec", None) for item in request.session.items)
    bugs = [spec.params["bug"] for spec in asked if spec and "bug" in spec.params]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {bug.name: pool.submit(run_with, bug, tmp_path_factory.mktemp("bug")) for bug in bugs}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_package_as_it_is_passes(tmp_path, compiled):
    copied(tmp_path)
    out = run_checks(tmp_path, compiled)
    assert re.search(r"^\d+ passed", out, re.M) and "failed" not in out, out


@pytest.mark.parametrize("bug", MUSEUM, ids=lambda bug: bug.name)
def test_caught(bug, runs):
    out = runs[bug.name].result()
    failed = set(re.findall(r"^FAILED .*?::(\w+)", out, re.M))
    assert bug.caught_by in failed, f"not caught by {bug.caught_by}; failed: {failed or out}"
    if bug.name in CROSSCHECKED:
        assert "test_crosscheck" in failed, f"not caught by vqnp.crosscheck; failed: {failed}"
