"""Every variant of moving averages planted in a NumPy layer, alone and in pairs: each is named, no other."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from vqnp.crosscheck import assert_conforms, check

from .crosscheck_laws import named_and_no_other, plants_of, sizes
from .planted_numpy import PLANTS, RIGHT, NumpyEMA

decays = st.floats(0.5, 0.999)
epsilons = st.floats(-7, -2).map(lambda power: 10.0**power)
AVERAGES = {"start", "zero_debias", "write_back", "smoothing"}


def right_for(plants):
    """What the rest is, beside the plants: who waits for data has no codebook to begin with."""
    return RIGHT | {"beta_on": "none"} | ({"codebook_init": "waits"} if "kmeans_start" in plants else {})


def hidden(plants, decay, epsilon, restarts):
    """Dimensions in which the answers may not differ; restarts: how many the layer has made."""
    v = RIGHT | plants
    # Shrunk by a large epsilon, codes in use leave vectors to the codes at the origin, which tie.
    origin = v["start"] == "zero" and epsilon > 0.01 * (1 - decay)
    # m/N: 1 - decay^t cancels but through epsilon. A restart ends the long trajectory, which would tell.
    ends = v["smoothing"] == "none" or v["dead_codes"] != "never"
    # Of few codes in few dimensions, each may get a vector now and then, so that none is ever restarted.
    dead_codes = set() if restarts else {"dead_codes"}
    return dead_codes | (AVERAGES if origin or ends else {"zero_debias"})


def compatible(plants):
    """Not both: no codebook before the data, and one of some law; no smoothing, and that written back."""
    nothing_to_write = plants.get("write_back") == "yes" and plants.get("smoothing") == "none"
    return not {"kmeans_start", "codebook_init"} <= set(plants) and not nothing_to_write


def distinct(plants, decay):
    """Where old averages fade in a few steps, a restart that leaves them is as good as one that does not."""
    return plants.get("dead_codes") != "undone" or decay > 0.95


@settings(max_examples=settings().max_examples // 3)
@example({"start": "independent", "smoothing": "none"}, (3, 2), 1.0, 0.5, 1e-2, 0)
@example({"dead_codes": "restart"}, (3, 2), 1.0, 0.5, 1e-3, 2)
@example({"dead_codes": "restart"}, (3, 2), 1.0, 0.96875, 1e-2, 15)  # no code is unused for twenty batches
@example({"start": "zero_counts", "zero_debias": "yes"}, (3, 2), 1.0, 0.9989999999999999, 1e-3, 0)
@given(
    plants=plants_of(PLANTS).filter(compatible),
    size=sizes,
    beta=st.floats(0.05, 3),
    decay=decays,
    epsilon=epsilons,
    seed=st.integers(0, 999),
)
def test_each_plant_is_named_and_no_other(plants, size, beta, decay, epsilon, seed):
    assume(distinct(plants, decay))
    K, D = size
    layer = NumpyEMA(beta, decay, epsilon, seed=seed, **plants)
    report = check(layer, seed=seed, num_embeddings=K, embedding_dim=D)
    unsure = hidden(plants, decay, epsilon, layer.restarts)
    named_and_no_other(report, right_for(plants), plants, unsure=unsure)
    assert not report.faults
    told = report.constants
    assert np.isclose(told["beta"], beta, rtol=1e-6)
    assert told["decay"] is None or np.isclose(told["decay"], decay, rtol=1e-4)
    assert told["epsilon"] is None or np.isclose(told["epsilon"], epsilon, rtol=0.02)


@settings(max_examples=settings().max_examples // 8)
@given(
    size=sizes,
    decay=decays,
    epsilon=epsilons,
    seed=st.integers(0, 999),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_no_alarm_on_a_right_layer(size, decay, epsilon, seed, dtype):
    K, D = size
    layer = NumpyEMA(0.25, decay, epsilon, dtype, seed=seed)
    report = assert_conforms(
        layer, decay=decay, epsilon=epsilon, seed=seed, num_embeddings=K, embedding_dim=D
    )
    named_and_no_other(report, right_for({}), {})


@settings(max_examples=settings().max_examples // 10)
@example({"start": "independent", "write_back": "yes"}, (11, 6), 0.99, 1e-5, 0)
@example({"start": "zero", "zero_debias": "yes"}, (11, 6), 0.99, 1e-5, 1)
@given(
    plants=plants_of({d: PLANTS[d] for d in sorted(AVERAGES)}).filter(compatible),
    size=sizes,
    decay=st.floats(0.9, 0.999),
    epsilon=epsilons,
    seed=st.integers(0, 999),
)
def test_in_float32_no_average_is_taken_for_another(plants, size, decay, epsilon, seed):
    K, D = size
    layer = NumpyEMA(0.25, decay, epsilon, np.float32, seed=seed, **plants)
    report = check(layer, seed=seed, num_embeddings=K, embedding_dim=D)
    named_and_no_other(report, right_for(plants), plants, unsure=AVERAGES)
    assert report.constants["decay"] is None or np.isclose(report.constants["decay"], decay, atol=1e-3)


def test_the_famous_averages_are_named_in_float32():
    """As zalandoresearch/pytorch-vq-vae has them, and Sonnet: of the latter's N and m both are looked at."""
    zalando = NumpyEMA(dtype=np.float32, start="independent", write_back="yes")
    told = check(zalando).fingerprint
    assert (told["start"], told["write_back"], told["zero_debias"]) == ("independent", "yes", "no")
    sonnet = NumpyEMA(dtype=np.float32, start="zero", zero_debias="yes")
    assert check(sonnet, seed=1).fingerprint["start"] == "zero"


@pytest.mark.parametrize(
    "dimension", ["reduction", "codes", "start", "write_back", "smoothing"]
)
def test_a_planted_variant_does_not_conform_unless_it_is_allowed(dimension):
    for variant in PLANTS[dimension]:
        with pytest.raises(AssertionError, match="NOT OK"):
            assert_conforms(NumpyEMA(**{dimension: variant}))
        if variant not in ("mixed", "independent", "one_count_independent"):  # an m that nobody can repeat
            report = assert_conforms(
                NumpyEMA(**{dimension: variant}), allow={dimension: variant}, epsilon=1e-5
            )
            assert report.reference["variants"] == {dimension: variant}


@pytest.mark.parametrize(("dimension", "variant"), [("dead_codes", "undone"), ("kmeans_start", "collapses")])
def test_a_behaviour_that_no_number_shows_fails_too(dimension, variant):
    layer = NumpyEMA(**{dimension: variant})
    with pytest.raises(AssertionError, match="stays? +.* fail"):
        assert_conforms(layer)
    assert_conforms(layer, allow={dimension: variant})
