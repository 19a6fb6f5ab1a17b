"""Perplexity is its equation and keeps its bounds to the last bit; the diagnosis answers as the deck does."""

import csv
import io
import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from hypothesis import example, given

from vqnp._check import InputError
from vqnp.metrics.codebook import bits_per_image, dead_codes, perplexity, utilization
from vqnp.metrics.diagnosis import BANDS, Diagnosis, diagnose

LEVELS = [band[1] for band in BANDS]

COUNTS = st.lists(st.integers(0, 2**62), min_size=1, max_size=40).filter(any)
WEIGHTS = st.lists(
    st.floats(0, 1, allow_subnormal=True) | st.floats(0, 1e300), min_size=1, max_size=40
).filter(any)


# --- perplexity ---


@given(COUNTS)
def test_perplexity_is_its_equation(counts):
    assert perplexity(counts) == pytest.approx(oracles.perplexity(counts), rel=1e-12)
    assert perplexity(np.array(counts)) == perplexity(counts)


@given(st.lists(st.floats(1e-300, 1), min_size=1, max_size=40))
def test_perplexity_of_probabilities(p):
    assert perplexity(p) == pytest.approx(oracles.perplexity(p), rel=1e-12)


@given(COUNTS | WEIGHTS)
@example([5e-324, 1.0])
@example([5e-324, 5e-324, 1e-323])
@example([1.7e308, 1.7e308, 1.6e308])
@example([2**62, 2**62 - 1])
@example([1, 2**62])
@example([1.0, 1.0, 1.0, 1.000000000000094, 1.000000000000094])
@example([1 / 3, 1 / 3, 1 - 2 / 3])
def test_bounds_hold_to_the_last_bit(counts):
    used = sum(n > 0 for n in counts)
    value = perplexity(counts)
    assert type(value) is float and 1 <= value <= used <= len(counts)
    assert 0 < utilization(counts) <= 1 and len(dead_codes(counts)) == len(counts) - used


@given(st.integers(1, 300), st.integers(0, 50), st.integers(1, 2**62) | st.floats(5e-324, 1e300))
def test_uniform_use_is_exact(U, dead, n):
    counts = np.array([n] * U + [0] * dead)
    assert perplexity(counts) == U
    assert utilization(counts) == U / (U + dead)


@given(COUNTS | WEIGHTS, st.randoms())
def test_order_and_unused_codes_do_not_matter(counts, random):
    shuffled = [*counts, 0, 0]
    random.shuffle(shuffled)
    assert perplexity(shuffled) == perplexity(counts)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40).filter(any), st.integers(1, 2**20))
def test_scale_does_not_matter(counts, factor):
    assert perplexity(np.array(counts) * factor) == pytest.approx(perplexity(counts), rel=1e-13)
    assert perplexity(np.array(counts) / sum(counts)) == pytest.approx(perplexity(counts), rel=1e-12)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40).filter(any))
def test_splitting_every_code_in_two_halves_doubles_it(counts):
    assert perplexity(counts + counts) == pytest.approx(2 * perplexity(counts), rel=1e-13)


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=40).filter(any))
def test_merging_two_codes_never_raises_it(counts):
    merged = [counts[0] + counts[1], *counts[2:]]
    assert perplexity(merged) <= perplexity(counts) * (1 + 1e-13)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=64))
def test_of_a_batch_it_is_at_most_the_batch_size(codes):
    assert perplexity(np.bincount(codes, minlength=16)) <= min(16, len(codes))


def test_known_values():
    assert perplexity([7, 0, 0]) == 1 and perplexity([0.0, 1e-300]) == 1 and perplexity([5]) == 1
    assert perplexity([1, 1, 2]) == pytest.approx(2 * math.sqrt(2), rel=1e-15)
    assert perplexity([9, 1]) == pytest.approx(10 / 9**0.9, rel=1e-15)
    assert perplexity(np.array([3, 3, 0, 3], np.uint8)) == 3
    assert perplexity(np.array([0.5, 0.25, 0.25], np.float32)) == pytest.approx(2 * math.sqrt(2), rel=1e-15)
    # one vector of 2⁶² elsewhere: 1 + 44.0 / 2⁶², and that is 1 in float64
    assert perplexity([2**62, 1]) == 1


def test_the_1e10_of_public_code_is_not_in_it():
    """exp(−Σ p log(p + 1e-10)) is smaller by a factor of about 1 − U·1e-10."""

    def with_constant(counts):
        p = counts / counts.sum()
        return np.exp(-(p * np.log(p + 1e-10)).sum())

    for counts in (np.ones(1), np.ones(512), np.arange(1.0, 4001)):
        theirs = with_constant(counts) / perplexity(counts)
        assert theirs == pytest.approx(1 - len(counts) * 1e-10, rel=1e-12 * len(counts))
        assert perplexity(counts) == pytest.approx(oracles.perplexity(counts), rel=1e-12)
    assert with_constant(np.ones(1)) < 1 == perplexity(np.ones(1))


BAD_COUNTS = {
    "counts must be finite and not negative; got -1 at index 2": [1, 0, -1, -2],
    "counts must be finite and not negative; got nan at index 1": [1, math.nan],
    "counts must be finite and not negative; got inf at index 0": [math.inf, 1],
    "counts must have shape (K,) with K of at least 1; got shape (0,)": [],
    "counts must have shape (K,) with K of at least 1; got shape (2, 2)": [[1, 2], [3, 4]],
    "counts must have shape (K,); got a nested sequence": [[1, 2], [3]],
    "counts must be integers or floats; got bool": [True, False],
    "counts must be integers or floats; got <U1": ["1", "2"],
    "counts must be integers or floats; got complex128": [1j],
    "counts must be integers or floats; got object": [None, 1],
}


@pytest.mark.parametrize("sentence", BAD_COUNTS)
@pytest.mark.parametrize("function", [perplexity, utilization, dead_codes], ids=lambda f: f.__name__)
def test_bad_counts(function, sentence):
    with pytest.raises(InputError) as error:
        function(BAD_COUNTS[sentence])
    assert str(error.value) == f"{function.__name__}: {sentence}"


def test_no_codes_at_all():
    for function in (perplexity, utilization):
        with pytest.raises(InputError, match="^perplexity: counts must have at least one above 0; got all"):
            function([0, 0, 0])
    assert dead_codes([0, 0, 0]).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match=r"^perplexity: counts must have shape \(K,\).*; got shape \(\)$"):
        perplexity(3.0)


# --- utilization, dead codes, bits ---


def test_utilization_from_counts_or_from_a_perplexity():
    assert utilization([3, 3, 0, 0]) == 0.5 == utilization(2, 4) == utilization(np.float32(2), np.int64(4))
    assert utilization([3, 3, 0, 0], 4) == 0.5 and type(utilization(np.float64(2), np.int64(4))) is float
    assert utilization(64, 512) == 0.125 and utilization(8 * (1 + 1e-12), 8) == 1
    uneven = [999_997, 1, 1, 1]  # all are used, but as good as one
    assert utilization(uneven) == utilization(perplexity(uneven), 4) < 0.251


@pytest.mark.parametrize(
    "args, sentence",
    [
        ((3.0,), "num_embeddings must be given with a perplexity; got None"),
        ((9, 8), "perplexity must be in [1, 8]; got 9.0"),
        ((0.5, 8), "perplexity must be in [1, 8]; got 0.5"),
        ((math.nan, 8), "perplexity must be in (-inf, inf); got nan"),
        (("3", 8), "perplexity must be a number in (-inf, inf); got '3'"),
        ((3, 0), "num_embeddings must be an integer of at least 1; got 0"),
        (([1, 2, 3], 8), "num_embeddings must be 3, the number of counts; got 8"),
    ],
)
def test_bad_utilization(args, sentence):
    with pytest.raises(InputError) as error:
        utilization(*args)
    assert str(error.value) == f"utilization: {sentence}"


def test_dead_codes():
    dead = dead_codes([0, 2, 0, 1e-300, 0.0])
    assert dead.tolist() == [0, 2, 4] and dead.dtype == np.int64
    assert dead_codes(np.ones(3)).shape == (0,)


def test_bits_per_image():
    assert bits_per_image(16, 128) == 112 and bits_per_image(49, 1) == 0
    assert bits_per_image(3, 10) == pytest.approx(3 * math.log2(10))
    with pytest.raises(InputError, match="^bits_per_image: num_latents must be an integer of at least 1"):
        bits_per_image(0, 8)
    with pytest.raises(InputError, match="^bits_per_image: num_embeddings must be an integer"):
        bits_per_image(8, 2.5)


# --- the diagnosis: the deck's cases ---


def test_64_of_512_is_severe_collapse():
    d = diagnose(64, 512)
    assert (d.level, d.perplexity, d.num_embeddings, d.utilization) == ("severe collapse", 64.0, 512, 0.125)
    assert str(d).startswith("severe collapse: perplexity 64.0 of 512 codes, utilization 12.5 %: a few codes")
    assert str(d).endswith(f"utilization 12.5 %: {d.sentence}. Advice: {d.advice}.")


def test_480_of_512_is_healthy():
    d = diagnose(480, 512)
    assert d.level == "healthy" and "excellent" in d.sentence
    assert str(d).startswith("healthy: perplexity 480.0 of 512 codes, utilization 93.8 %: excellent use")


def test_15_of_128_is_severe_collapse():
    d = diagnose(15, 128)
    assert str(d).startswith("severe collapse: perplexity 15.0 of 128 codes, utilization 11.7 %: ")
    assert d.advice.startswith("consider a smaller codebook or more training")


FALLING_MSE = [0.09, 0.05, 0.03, 0.02, 0.015]
FALLS_TO_5 = {
    "columns": {"perplexity": [90, 60, 25, 9, 5], "mse": FALLING_MSE},
    "rows": [{"perplexity": p, "mse": m} for p, m in zip([90, 60, 25, 9, 5], FALLING_MSE, strict=True)],
    "arrays": {"perplexity": np.array([90.0, 60, 25, 9, 5]), "mse": np.array(FALLING_MSE)},
    "risen before": {"perplexity": [20, 90, 60, 9, 5], "mse": FALLING_MSE},
    "never high": {"perplexity": [20, 14, 11, 7, 5], "mse": FALLING_MSE},
    "two epochs": {"perplexity": [90, 5], "mse": [0.09, 0.05]},
    "before the last": {"perplexity": [90, 85], "mse": [0.09, 0.05]},
    "a bad last error": {"perplexity": [90, 60, 25, 9, 5], "mse": [0.09, 0.05, 0.03, 0.03, 0.2]},
    "noisy errors": {"perplexity": [90, 60, 25, 9, 5], "mse": [0.09, 0.095, 0.05, 0.06, 0.05]},
}


@pytest.mark.parametrize("form", FALLS_TO_5)
@pytest.mark.parametrize("K", [128, 512])
def test_reconstruction_falling_while_perplexity_drops_to_5(form, K):
    d = diagnose(5, K, FALLS_TO_5[form])
    assert d.level == "collapse by overfitting to few codes"
    assert d.sentence.endswith("the model is overfitting to few codes")
    assert "to 5.0 while the reconstruction error fell" in d.sentence
    assert d.advice == "reduce the codebook or adjust the commitment cost"
    assert str(d).startswith(f"{d.level}: perplexity 5.0 of {K} codes, utilization {100 * 5 / K:.1f} %: ")


HIGH_THEN_LOW = {
    "perplexities": [450, 430, 200, 80, 60],
    "array": np.array([450.0, 430, 200, 80, 60]),
    "rows": [{"epoch": i, "perplexity": p} for i, p in enumerate([450, 430, 200, 80, 60])],
    "columns": {"perplexity": (450, 430, 200, 80, 60)},
    "errors that stay": {"perplexity": [450, 430, 200, 80, 60], "mse": [0.02, 0.021, 0.02, 0.0199, 0.0199]},
    "errors that rise": {"perplexity": [450, 430, 200, 80, 60], "mse": [0.02, 0.021, 0.022, 0.03, 0.04]},
    "two epochs": [450, 60],
    "one epoch": [450],
    "noise on the way": [300, 450, 430, 440, 90, 150, 60, 70, 60],
}


@pytest.mark.parametrize("form", HIGH_THEN_LOW)
def test_high_perplexity_that_drops(form):
    d = diagnose(60, 512, HIGH_THEN_LOW[form])
    assert d.level == "collapse during training"
    assert d.sentence.startswith("perplexity fell from 4") and d.sentence.endswith(
        "to 60.0: some codes came to dominate while others went unused"
    )
    assert "restart dead codes" in d.advice


def test_a_drop_that_leaves_many_codes_is_no_overfitting_to_few():
    d = diagnose(300, 512, {"perplexity": [500, 480, 310, 300], "mse": [0.04, 0.03, 0.02, 0.01]})
    assert d.level == "collapse during training"


# --- the diagnosis: what is no collapse ---

NO_COLLAPSE = {
    "a rise and a plateau": (420, [60, 200, 350, 410, 425, 420]),
    "a wobble": (420, [400, 420, 120, 425, 420]),
    "a wobble in the last epoch": (280, [400, 420, 410, 425, 280]),
    "a spike": (100, [90, 100, 450, 105, 100]),
    "a slow decline": (400, [480, 460, 440, 420, 400]),
    "noise": (415, [400, 430, 395, 440, 415]),
    "one epoch": (300, [300]),
    "no epoch": (300, []),
    "a recovery": (400, [450, 60, 50, 300, 400]),
    "low throughout": (70, [80, 75, 70, 72, 70]),
    "never high": (40, [80, 75, 40, 42, 40]),
}


@pytest.mark.parametrize("name", NO_COLLAPSE)
def test_a_history_without_collapse_changes_nothing(name):
    value, course = NO_COLLAPSE[name]
    assert diagnose(value, 512, course) == diagnose(value, 512)
    assert diagnose(value, 512, {"perplexity": course, "mse": [0.02] * len(course)}) == diagnose(value, 512)


def test_still_rising_asks_for_patience():
    d = diagnose(40, 512, {"perplexity": [3, 8, 20, 40], "mse": [0.07, 0.05, 0.04, 0.03]})
    assert d.level == "severe collapse" and "still rising, from 3.0 in the first epoch" in d.sentence
    assert d.advice.startswith("more training")


def test_slowly_fewer_codes_while_reconstruction_improves():
    d = diagnose(50, 512, {"perplexity": [60, 55, 52, 50], "mse": [0.07, 0.05, 0.04, 0.03]})
    assert d.level == "severe collapse" and "overfitting to few codes" in d.sentence
    assert d.advice == "reduce the codebook or adjust the commitment cost"


def test_few_codes_from_the_start_are_the_decks_severe_collapse():
    d = diagnose(52, 512, {"perplexity": [50, 52, 51, 52], "mse": [0.07, 0.05, 0.04, 0.03]})
    assert d == diagnose(52, 512) and "smaller codebook or more training" in d.advice


# --- the diagnosis: laws and bad input ---


@given(st.integers(2, 2000), st.floats(0, 1), st.floats(0, 1))
def test_without_a_history_the_level_rises_with_perplexity(K, a, b):
    low, high = sorted(1 + share * (K - 1) for share in (a, b))
    assert LEVELS.index(diagnose(low, K).level) <= LEVELS.index(diagnose(high, K).level)
    assert diagnose(1, K).level == "severe collapse" and diagnose(K, K).level == "healthy"


@pytest.mark.parametrize(
    "value, level",
    [
        (19.99, "severe collapse"),
        (20, "partial collapse"),
        (49.99, "partial collapse"),
        (50, "uneven use"),
        (79.99, "uneven use"),
        (80, "healthy"),
    ],
)
def test_the_bands_of_the_docstring(value, level):
    assert diagnose(value, 100).level == level


@given(st.integers(1, 600), st.lists(st.floats(0, 1), max_size=12), st.floats(0, 1), st.data())
def test_any_history_gets_an_answer(K, shares, share, data):
    course = [1 + s * (K - 1) for s in shares]
    errors = data.draw(st.lists(st.floats(0, 1e6), min_size=len(course), max_size=len(course)))
    value = 1 + share * (K - 1)
    columns = diagnose(value, K, {"perplexity": course, "mse": errors})
    rows = diagnose(value, K, [{"perplexity": p, "mse": e} for p, e in zip(course, errors, strict=True)])
    assert columns == rows and isinstance(columns, Diagnosis) and "\n" not in str(columns)
    assert columns.sentence and columns.advice and columns.perplexity == value


def test_the_smallest_codebooks():
    d = diagnose(1, 1, [1, 1, 1])
    assert d.utilization == 1 and d.level == "no choice"
    assert str(d).startswith("no choice: perplexity 1.0 of 1 code, utilization 100.0 %: ")
    assert d.sentence == "one code carries no information"
    assert diagnose(1, 2).level == "severe collapse" and diagnose(2, 2).level == "healthy"
    assert diagnose(1.1, 2, [2, 1.9, 1.2, 1.1]).level == "collapse during training"


def test_a_table_read_by_csv_is_a_history():
    table = "epoch,perplexity,mse\n1,90,0.09\n2,60,0.05\n3,9.5,0.03\n4,5,0.02\n"
    rows = list(csv.DictReader(io.StringIO(table)))
    assert diagnose(5, 128, rows).level == "collapse by overfitting to few codes"
    assert diagnose(5, 128, iter(rows)) == diagnose(5, 128, rows)


def test_as_dict_and_frozen():
    d = diagnose(np.float32(64), np.int64(512))
    assert d.as_dict() == {
        "level": "severe collapse",
        "perplexity": 64.0,
        "num_embeddings": 512,
        "utilization": 0.125,
        "sentence": d.sentence,
        "advice": d.advice,
    }
    assert type(d.perplexity) is float and type(d.num_embeddings) is int
    with pytest.raises(AttributeError):
        d.level = "healthy"


def test_rounding_outside_the_range_is_forgiven():
    assert diagnose(512 * (1 + 1e-10), 512).perplexity == 512 and diagnose(1 - 1e-10, 512).perplexity == 1


FORMS = "history must be rows with 'perplexity' and 'mse', or sequences of those names, or perplexities; got "


@pytest.mark.parametrize(
    "args, sentence",
    [
        ((513, 512), "perplexity must be in [1, 512]; got 513.0"),
        ((0.99, 512), "perplexity must be in [1, 512]; got 0.99"),
        ((math.nan, 512), "perplexity must be in (-inf, inf); got nan"),
        ((64, 0), "num_embeddings must be an integer of at least 1; got 0"),
        ((64, 512.5), "num_embeddings must be an integer of at least 1; got 512.5"),
        ((64, 512, [64, 600]), "history's perplexity in epoch 2 must be in [1, 512]; got 600.0"),
        ((64, 512, [math.nan]), "history's perplexity in epoch 1 must be in (-inf, inf); got nan"),
        (
            (64, 512, {"perplexity": [64], "mse": [-1]}),
            "history's mse in epoch 1 must be in [0, inf); got -1.0",
        ),
        (
            (64, 512, {"perplexity": [64, 64], "mse": [0.1]}),
            "history must have 2 values of 'mse', as of 'perplexity'; got 1",
        ),
        ((64, 512, {"mse": [0.1]}), FORMS + "KeyError: 'perplexity'"),
        ((64, 512, [{"loss": 1}]), FORMS + "KeyError: 'perplexity'"),
        ((64, 512, "high"), FORMS + "ValueError: could not convert string to float: 'h'"),
        ((64, 512, 7), FORMS + "TypeError: 'int' object is not iterable"),
    ],
)
def test_bad_diagnose(args, sentence):
    with pytest.raises(InputError) as error:
        diagnose(*args)
    assert str(error.value).startswith(f"diagnose: {sentence}")


def test_a_spike_in_the_last_epoch_is_no_peak():
    assert "during training" not in diagnose(40, 128, [5, 5, 5, 5, 100]).level
