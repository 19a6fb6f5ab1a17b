"""Every script in examples/ runs, and each is listed here with arguments that make it quick."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ahead import begun

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "benchmarks/code_statistics.py": ["--quick", "--threads", "1"],
    "benchmarks/conv_step.py": ["--quick", "--threads", "1"],
    "benchmarks/convolutions.py": ["--quick", "--threads", "1"],
    "benchmarks/elementwise.py": ["--quick", "--threads", "1"],
    "benchmarks/late_steps.py": ["--quick", "--threads", "1"],
    "benchmarks/mpi_step.py": ["--quick"],
    "benchmarks/nearest.py": ["--quick", "--threads", "1"],
    "benchmarks/prior_step.py": ["--quick", "--threads", "1"],
    "benchmarks/products.py": ["--quick", "--threads", "1"],
    "benchmarks/quantizers.py": ["--quick", "--threads", "1"],
    "benchmarks/scaling.py": ["--quick", "--threads", "1"],
    "benchmarks/train_step.py": ["--quick", "--threads", "1"],
    "benchmarks/training.py": ["--quick", "--threads", "1"],
    "crosscheck_vq_pytorch.py": [],
    "dead_units.py": ["--epochs", "1", "--kill", "40"],
    "draw_captions.py": ["--help"],  # it needs a trained run
    "draw_product.py": [],
    "make_classifier.py": ["--epochs", "1", "--images", "128", "--out", "classifier.npz"],
    "make_digits.py": ["--help"],  # tests/data/test_digits.py runs it where MNIST is at hand
    "make_emoji.py": ["--help"],  # tests/data/test_captioned.py runs it
    "make_spoken_digits.py": ["--help"],
    "one_page.py": ["1", "320"],
    "quickstart.py": ["--epochs", "1"],
    "receptive_fields.py": [],
    "results.py": ["--epochs", "1", "--seeds", "1"],
    "sound.py": ["--quick"],
    "studies/checkerboard.py": ["--quick"],
    "studies/code_anatomy.py": ["--quick"],
    "studies/codebook_size.py": ["--quick"],
    "studies/collapse.py": ["--quick"],
    "studies/commitment.py": ["--quick"],
    "studies/commitment_unit.py": ["--quick"],
    "studies/convolution.py": ["--quick"],
    "studies/decay_and_smoothing.py": ["--quick"],
    "studies/decoder_strength.py": ["--quick"],
    "studies/ema_vs_gradient.py": ["--quick"],
    "studies/estimators.py": ["--quick"],
    "studies/hierarchy.py": ["--quick"],
    "studies/interpolation.py": ["--quick"],
    "studies/memorisation.py": ["--quick"],
    "studies/priors.py": ["--quick"],
    "studies/quantizers.py": ["--quick"],
    "studies/random_codes.py": ["--quick"],
    "studies/rate_distortion.py": ["--quick"],
    "studies/sampling.py": ["--quick"],
    "studies/sharpness.py": ["--quick"],
    "studies/straight_through.py": ["--quick"],
    "studies/text_to_image.py": ["--quick"],
    "studies/vae_collapse.py": ["--quick"],
    "studies/variants.py": ["--quick"],
    "train_by_hand.py": ["--epochs", "1"],
    "trajectory_parity.py": ["--steps", "20"],
    "vae_parity.py": ["--seeds", "2", "--epochs", "1", "--images", "320"],
    "weights_travel.py": ["--steps", "5"],
}
SHARED = ("figures", "harness", "layers", "reports", "searches", "steps", "wrong_codes")
MODULES = {f"benchmarks/{name}.py" for name in SHARED}
"""What the scripts share."""
BENCH = ("faiss", "torch", "scipy", "sklearn")
NEEDS = {
    "benchmarks/code_statistics.py": BENCH,
    "benchmarks/conv_step.py": ("torch",),
    "benchmarks/convolutions.py": ("torch",),
    "benchmarks/late_steps.py": ("torch",),
    "benchmarks/mpi_step.py": ("mpi4py",),
    "benchmarks/training.py": ("torch",),
    "benchmarks/nearest.py": BENCH,
    "benchmarks/prior_step.py": ("torch",),
    "benchmarks/products.py": ("torch",),
    "benchmarks/quantizers.py": ("torch", "vector_quantize_pytorch"),
    "benchmarks/train_step.py": BENCH,
    "crosscheck_vq_pytorch.py": ("torch", "vector_quantize_pytorch"),
    "studies/rate_distortion.py": ("faiss",),
    "trajectory_parity.py": ("torch",),
    "vae_parity.py": ("torch",),
    "weights_travel.py": ("torch",),
}
"""Packages of the extras bench and crosscheck; VQNP_REQUIRE_TORCH says that they are to be there."""


def test_every_example_is_listed():
    scripts = {path for path in EXAMPLES.rglob("*.py") if not path.name.startswith("_")}  # those are parts
    assert {path.relative_to(EXAMPLES).as_posix() for path in scripts} == set(QUICK) | MODULES


def absent(name):
    """Packages for want of which a script is passed over."""
    if os.environ.get("VQNP_REQUIRE_TORCH"):
        return []
    return [package for package in NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]


def run(name, folder):
    command = [sys.executable, EXAMPLES / name, *QUICK[name]]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # several at a time
    if not absent(name):
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def runs(request):
    """Each script's run, to come."""
    with begun(request, test_it_runs=run) as futures:
        yield futures


@pytest.mark.parametrize("name", QUICK)
def test_it_runs(name, runs):
    if absent(name):
        pytest.skip(f"not installed: {', '.join(absent(name))} (the extras bench, crosscheck and mpi)")
    done = runs["test_it_runs", name].result()
    assert done.returncode == 0, done.stderr
    assert done.stdout and "Traceback" not in done.stderr
