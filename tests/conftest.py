"""What holds for every test: hypothesis profiles, random numbers, the slow marker; figures are never shown.

Hypothesis has no deadline, as kernels compile. It writes 10 examples a test for -m "not slow"; else 25, or
where CI is set 200, the same in every run.
"""

import os
from pathlib import Path

import hypothesis
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")  # figures are written, never shown

hypothesis.settings.register_profile("fast", deadline=None, max_examples=10)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=25)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200)

SLOW = Path(__file__).parent / "crosscheck"
"""A folder whose every test is slow; elsewhere a test is marked where it stands: @pytest.mark.slow."""
RUNS = {"runs", "trained"}
"""Fixtures that wait for processes or for a training: a test that asks for one is slow too."""


FIRST = {"test_examples.py", "test_bugs.py", "test_cli.py"}
"""Files that take a minute or more: they begin first, so that no core waits for one of them at the end."""


def fast(config):
    return config.option.markexpr == "not slow"


def pytest_addoption(parser):
    needed = "damaged files that tests/test_fuzz.py reads, and a 33rd as many wrong calls of the command line"
    parser.addoption("--mutants", type=int, default=300, help=needed)
    needed = "trainings that tests/test_cli.py kills; it interrupts a fifth as many, and begins as many twice"
    parser.addoption("--kills", type=int, default=4, help=needed)
    needed = "drawn trainings that tests/training/test_mpi.py compares with those of one process"
    parser.addoption("--draws", type=int, default=3, help=needed)
    needed = "trainings of which it kills a rank, and resumes"
    parser.addoption("--rank-kills", type=int, default=1, help=needed)
    needed = "the numbers of ranks on which it runs vqnp train"
    parser.addoption("--mpi-ranks", type=int, nargs="+", default=[2], help=needed)


def pytest_configure(config):
    named = config.getoption("hypothesis_profile", None)
    usual = "fast" if fast(config) else "ci" if os.environ.get("CI") else "dev"
    hypothesis.settings.load_profile(named or usual)


def pytest_ignore_collect(collection_path, config):
    """The fast tests do not even import the slow folder: PyTorch and JAX take seconds."""
    return True if collection_path == SLOW and fast(config) else None


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in FIRST)
    for item in items:
        if item.path.is_relative_to(SLOW) or RUNS & set(item.fixturenames):
            item.add_marker("slow")


@pytest.fixture
def rng(request):
    """A generator of each test's own, seeded by its name: the same numbers in every run and any order."""
    return np.random.default_rng(list(request.node.nodeid.encode()))
