"""Hypothesis profiles: "dev" for a desk, "ci" where CI is set; no deadline, as kernels compile."""

import os

import hypothesis

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")
