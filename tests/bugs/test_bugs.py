"""The tests can fail: each bug of the museum, planted in a copy of the package, is caught by name."""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ahead import begun

import vqnp

from .museum import MUSEUM
from .planting import plant

ROOT = Path(__file__).parents[2]
CHECKS = ROOT / "tests" / "test_smoke.py"
PACKAGE = Path(vqnp.__file__).parent


def copied(folder):
    """A copy of the package, with the bytecode that is there: of a file that is changed it is made anew."""
    shutil.copytree(PACKAGE, folder / "vqnp", ignore=shutil.ignore_patterns("*.npz", "*.nb?"))
    return folder / "vqnp"


def run_checks(folder, compiled=False, names=()):
    """pytest on the smoke test, or on its tests of these names, on the package in folder, compiled or not."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    environment["NUMBA_DISABLE_JIT"] = "0" if compiled else "1"
    checks = [f"{CHECKS}::{name}" for name in names] or [str(CHECKS)]
    bare = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--noconftest"]  # they use none of it
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-rfE", "--tb=line", "--rootdir", str(ROOT)]
    command += bare + checks
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True).stdout


def run_with(bug, folder):
    """The check that must catch it, and the cross-check if that must too, on a copy that has the bug."""
    module, function = bug.place.split(":")
    path = copied(folder).joinpath(*module.split(".")).with_suffix(".py")
    source = path.read_text(encoding="utf-8")
    path.write_text(plant(source, function, bug.right, bug.wrong), encoding="utf-8")
    names = [bug.caught_by, *([bug.asked] if bug.asked else [])]
    return run_checks(folder, module.startswith("kernels.nearest"), dict.fromkeys(names))


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


@cache
def unparsed(source):
    """What plant makes of a source without a bug, once for all the bugs of a file."""
    return ast.unparse(ast.parse(source)) + "\n"


@pytest.mark.parametrize("bug", MUSEUM, ids=lambda bug: bug.name)
def test_the_function_has_the_fragment(bug):
    """Without running it: what a contributor who rewrites a function is to see at once."""
    module, function = bug.place.split(":")
    source = PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    assert plant(source, function, bug.right, bug.wrong) != unparsed(source)


def test_a_fragment_is_found_however_it_is_formatted():
    source = "class A:\n\n    def f(x):\n        y = (x *  # twice\n             2)\n        return y + 1\n"
    planted = "class A:\n\n    def f(x):\n        y = x * 3\n        return y + 1\n"
    assert plant(source, "A.f", "x * 2", "x * 3") == planted
    assert "y =" not in plant(source, "A.f", "y = x * 2", "")


@pytest.mark.parametrize(("function", "right"), [("A.f", "x * 3"), ("A.f", "x"), ("A.g", "x * 2")])
def test_a_fragment_that_is_absent_or_there_twice_is_an_error(function, right):
    with pytest.raises(AssertionError):
        plant("class A:\n    def f(x):\n        return x * 2 + x\n", function, right, "0")


@pytest.mark.parametrize("compiled", [False, True])
def test_the_package_as_it_is_passes(compiled, runs):
    out = runs["test_the_package_as_it_is_passes", compiled].result()
    assert re.search(r"^\d+ passed", out, re.M) and "failed" not in out, out


@pytest.mark.parametrize("bug", MUSEUM, ids=lambda bug: bug.name)
def test_caught(bug, runs):
    out = runs["test_caught", bug].result()
    assert not re.search("(Name|Import|Syntax|Attribute)Error", out), f"the planted code does not run: {out}"
    failed = set(re.findall(r"^FAILED .*?::(\w+)", out, re.M))
    assert bug.caught_by in failed, f"not caught by {bug.caught_by}; failed: {failed or out}"
    if bug.asked:
        assert bug.asked in failed, f"not caught by vqnp.crosscheck ({bug.asked}); failed: {failed}"
