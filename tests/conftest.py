"""Hypothesis profiles: "dev" for a desk, "ci" where CI is set; no deadline, as kernels compile."""

import os

import hypothesis
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")  # figures are written, never shown

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def rng(request):
    """A generator of each test's own, seeded by its name: the same numbers in every run and any order."""
    return np.random.default_rng(list(request.node.nodeid.encode()))
