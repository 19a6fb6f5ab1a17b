"""The diagnosis of a codebook: known cases, what is no collapse, and laws."""

import csv
import io
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from helpers import refused
from hypothesis import given

from vqnp.metrics import Diagnosis, diagnose
from vqnp.metrics.diagnosis import BANDS

LEVELS = [band[1] for band in BANDS]


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
    "named since": {"perplexity": [90, 60, 25, 9, 5], "reconstruction_loss": FALLING_MSE},
    "rows of fit": [
        {"epoch": i + 1, "reconstruction_loss": m, "perplexity": p}
        for i, (p, m) in enumerate(zip([90, 60, 25, 9, 5], FALLING_MSE, strict=True))
    ],
    "risen before": {"perplexity": [20, 90, 60, 9, 5], "mse": FALLING_MSE},
    "never high": {"perplexity": [20, 14, 11, 7, 5], "mse": FALLING_MSE},
    "before the last": {"perplexity": [90, 85, 85], "mse": [0.09, 0.05, 0.05]},
    "test errors that fall": {
        "perplexity": [90, 60, 25, 9, 5], "mse": FALLING_MSE, "test_mse": [0.1, 0.06, 0.04, 0.03, 0.025],
    },
    "a bad last error": {"perplexity": [90, 60, 25, 9, 5], "mse": [0.09, 0.05, 0.03, 0.03, 0.2]},
    "noisy errors": {"perplexity": [90, 60, 25, 9, 5], "mse": [0.09, 0.095, 0.05, 0.06, 0.05]},
}


@pytest.mark.parametrize("form", FALLS_TO_5)
@pytest.mark.parametrize("K", [128, 512])
def test_reconstruction_falling_while_perplexity_drops_to_5(form, K):
    d = diagnose(5, K, FALLS_TO_5[form])
    assert d.level == "few codes dominate"
    assert d.sentence.endswith("while the reconstruction error fell too: few codes do most of the work")
    assert "to 5.0 while the reconstruction error fell" in d.sentence
    assert d.advice == "look for the cause, such as the commitment cost; restart dead codes"
    assert str(d).startswith(f"{d.level}: perplexity 5.0 of {K} codes, utilization {100 * 5 / K:.1f} %: ")


OVERFITTING = "collapse by overfitting to few codes"


@pytest.mark.parametrize(("last", "level"), [(0.062, "few codes dominate"), (0.064, OVERFITTING)])
@pytest.mark.parametrize("form", ["columns", "rows"])
def test_it_is_overfitting_only_if_the_test_error_rises(last, level, form):
    tests = [0.06, 0.05, 0.05, 0.06, last]
    columns = {"perplexity": [90, 60, 25, 9, 5], "mse": FALLING_MSE, "test_mse": tests}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    d = diagnose(5, 128, rows if form == "rows" else columns)
    assert d.level == level and ("overfitting" in d.sentence) is ("overfitting" in level)


@pytest.mark.parametrize("course", [[450], [450, 60], [60, 58], [60]])
def test_in_the_first_two_epochs_it_is_too_early_for_a_collapse(course):
    mse = [0.05, 0.04][: len(course)]
    for history in (course, {"perplexity": course, "mse": mse}):
        d = diagnose(60, 512, history)
        assert d.level == "too early" and "at least 3 epochs" in d.advice
        assert diagnose(480, 512, history).level == "healthy"
    assert diagnose(60, 512, [*course, 60, 60]).level != "too early"


def test_a_beta_of_0_is_not_healthy_however_well_the_codes_are_used():
    d = diagnose(110, 128, commitment_cost=0.0)
    assert d.level == "no commitment" and "spreading" in d.sentence
    assert diagnose(110, 128, commitment_cost=0.25) == diagnose(110, 128)
    assert diagnose(20, 128, commitment_cost=0.0) == diagnose(20, 128)
    assert diagnose(110, 128, mse=0.1, variance=0.1, commitment_cost=0.0).level == "no reconstruction"


HIGH_THEN_LOW = {
    "perplexities": [450, 430, 200, 80, 60],
    "array": np.array([450.0, 430, 200, 80, 60]),
    "rows": [{"epoch": i, "perplexity": p} for i, p in enumerate([450, 430, 200, 80, 60])],
    "columns": {"perplexity": (450, 430, 200, 80, 60)},
    "errors that stay": {"perplexity": [450, 430, 200, 80, 60], "mse": [0.02, 0.021, 0.02, 0.0199, 0.0199]},
    "errors that rise": {"perplexity": [450, 430, 200, 80, 60], "mse": [0.02, 0.021, 0.022, 0.03, 0.04]},
    "three epochs": [450, 450, 60],
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
    assert d.level == "few codes dominate" and "fell with fewer codes" in d.sentence
    assert d.advice.startswith("look for the cause")


def test_few_codes_from_the_start_are_plain_severe_collapse():
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
def test_the_bands(value, level):
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
    assert diagnose(5, 128, rows).level == "few codes dominate"
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


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ((513, 512), "perplexity", "[1, 512]", "513.0"),
        ((0.99, 512), "perplexity", "[1, 512]", "0.99"),
        ((math.nan, 512), "perplexity", "(-inf, inf)", "nan"),
        ((64, 0), "num_embeddings", "an integer of at least 1", "0"),
        ((64, 512.5), "num_embeddings", "an integer of at least 1", "512.5"),
        ((64, 512, [64, 600]), "history's perplexity in epoch 2", "[1, 512]", "600.0"),
        ((64, 512, [math.nan]), "history's perplexity in epoch 1", "(-inf, inf)", "nan"),
        ((64, 512, {"perplexity": [64], "mse": [-1]}), "history's mse in epoch 1", "[0, inf)", "-1.0"),
        ((64, 512, {"perplexity": [64, 64], "mse": [0.1]}), "history", "2 values of", "1"),
        ((64, 512, {"mse": [0.1]}), "history", "'perplexity'", "KeyError: 'perplexity'"),
        ((64, 512, [{"loss": 1}]), "history", "'perplexity'", "KeyError: 'perplexity'"),
        ((64, 512, "high"), "history", "'perplexity'", "ValueError: could not convert string to float: 'h'"),
        ((64, 512, 7), "history", "'perplexity'", "TypeError: 'int' object is not iterable"),
    ],
)
def test_bad_diagnose(args, argument, needed, got):
    with refused(argument, needed, got, where="diagnose"):
        diagnose(*args)


def test_a_spike_in_the_last_epoch_is_no_peak():
    assert "during training" not in diagnose(40, 128, [5, 5, 5, 5, 100]).level
