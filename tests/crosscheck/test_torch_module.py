"""Every variant and bug planted in a PyTorch layer, alone and in pairs: the fingerprint names each, no other.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import at_most

from vqnp.crosscheck import assert_conforms, check
from vqnp.crosscheck.variants.table import BENIGN, TITLES, VARIANTS

from .crosscheck_laws import named_and_no_other, plants_of, sizes

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
from .planted_numpy import PLANTS as EMA_PLANTS
from .planted_torch import PLANTS, RIGHT, TorchAdapter

betas = st.floats(0.05, 0.45) | st.floats(0.55, 0.95) | st.floats(1.05, 3)
"""Off 0, 1/2 and 1, where two placings of beta are one."""


def compatible(plants, beta=0.25):
    """Whether both are to be seen: of two some hide each other, in any layer."""
    v = RIGHT | plants
    late = v["loss_from"] == "straight_through"
    return not (
        (late and (v["beta_on"] in ("none", "undetached") or v["straight_through"] != "copy"))
        or (v["beta_on"] == "complement" and beta > 1)  # a weight of 1 - beta < 0 is nobody's
        or (v["distance"] in ("cosine", "other") and v["ties"] != "lowest")
        # z_q then hangs on E, so that a late loss has the gradients of an early one, but for dz
        or (late and v["leak"] == "yes")
    )


def right_for(report, dtype):
    """In few dimensions float32 may decide all near-ties rightly: then it is exact, as far as can be seen."""
    rounds = dtype is np.float32 and report.fingerprint["distance"] != "exact"
    return RIGHT | {"distance": "direct_float32"} if rounds else RIGHT


@settings(max_examples=100)
@given(plants=plants_of(PLANTS), size=sizes, beta=betas, seed=st.integers(0, 999))
def test_each_plant_is_named_and_no_other(plants, size, beta, seed):
    assume(compatible(plants, beta))
    K, D = size
    report = check(TorchAdapter(beta, **plants), seed=seed, num_embeddings=K, embedding_dim=D)
    named_and_no_other(report, RIGHT, plants)
    assert not report.faults
    value = report.constants["beta"]
    assert value is None or np.isclose(value, beta, rtol=1e-6)
    assert "scale" not in report.constants


@at_most(30)
@given(plants=plants_of(PLANTS), size=sizes, beta=betas, seed=st.integers(0, 999))
def test_in_float32(plants, size, beta, seed):
    assume(compatible(plants, beta))
    K, D = size
    adapter = TorchAdapter(beta, np.float32, **plants)
    report = check(adapter, seed=seed, num_embeddings=K, embedding_dim=D)
    named_and_no_other(report, right_for(report, np.float32), plants, unsure={"perplexity", "distance"})


@at_most(20)
@given(
    size=sizes,
    beta=st.floats(0, 3),
    seed=st.integers(0, 999),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_no_alarm_on_a_right_layer(size, beta, seed, dtype):
    K, D = size
    report = assert_conforms(
        TorchAdapter(beta, dtype), beta=beta, seed=seed, num_embeddings=K, embedding_dim=D
    )
    named_and_no_other(report, right_for(report, dtype), {})


@pytest.mark.parametrize("dimension", [d for d in PLANTS if d not in ("distance", "ties")])
def test_a_planted_variant_does_not_conform_unless_it_is_allowed(dimension):
    for variant in PLANTS[dimension]:
        adapter = TorchAdapter(**{dimension: variant})
        if variant in BENIGN.get(dimension, ()):
            report = assert_conforms(adapter)
            assert report.fingerprint[dimension] == variant and len(report.notes) == 1
            continue
        with pytest.raises(AssertionError, match="NOT OK"):
            assert_conforms(adapter)
        if variant != "other":
            report = assert_conforms(adapter, allow={dimension: variant}, beta=0.25)
            assert report.reference["variants"] == {dimension: variant}


def test_the_confusion_table_has_a_row_for_each_plant():
    page = (Path(__file__).parents[2] / "docs" / "crosscheck-confusion.md").read_text(encoding="utf-8")
    for layer, plants in (("PyTorch", PLANTS), ("NumPy, EMA", EMA_PLANTS)):
        for dimension, variants in plants.items():
            for variant in variants:
                what = f"{TITLES[dimension]} {VARIANTS[dimension][variant].label}"
                assert f"| {layer} | {what} |" in page, "run tests/crosscheck/make_confusion.py"
