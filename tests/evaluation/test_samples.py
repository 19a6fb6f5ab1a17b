"""The quality of samples: real images come off well, others badly, and only digits are measured."""

import numpy as np
import pytest
from helpers import refused

from vqnp import load_splits, metrics
from vqnp.evaluation.classifier import digit_classifier
from vqnp.evaluation.samples import COLUMNS, SampleQuality, check_digits, sample_quality, table

N = 150


@pytest.fixture(scope="module")
def data():
    train, test = load_splits("digits")
    return train.images[:1000], test.images[:N], test.labels[:N], test.images[1000 : 1000 + N]


def test_each_figure_is_that_of_its_function(data):
    train, x, labels, y = data
    found = sample_quality(x, y, train, labels)
    h, g = (digit_classifier().features(each) for each in (x, y))
    assert found.frechet == metrics.frechet_distance(h, g)
    assert (found.precision, found.recall) == metrics.precision_recall(h, g)
    assert (found.density, found.coverage) == metrics.density_coverage(h, g)
    assert found.energy == pytest.approx(100 * metrics.energy_distance(x, y).coefficient, abs=1e-5)
    near = metrics.memorization(x, y, train)
    assert (found.nearest, found.near) == pytest.approx((near.samples, near.near), rel=1e-6)
    p = digit_classifier().probabilities(x)
    assert found.accuracy == (p.argmax(axis=1) == labels).mean()
    assert found.confidence == p.max(axis=1).mean() and found.images == N


@pytest.mark.slow
def test_every_figure_is_better_for_real_images_than_for_noisy_or_mixed_ones(data):
    train, x, labels, y = data
    real = sample_quality(x, y, train, labels)
    noisy = np.clip(x / 255 + np.random.default_rng(0).normal(0, 0.5, x.shape), 0, 1)
    mixed = (x / 255 + np.roll(x / 255, 1, 0)) / 2
    for worse in (sample_quality(noisy, y, train, labels), sample_quality(mixed, y, train, labels)):
        for name in ("precision", "density", "coverage", "accuracy", "confidence"):
            assert getattr(worse, name) < getattr(real, name), name
        for name in ("frechet", "energy"):
            assert getattr(worse, name) > getattr(real, name), name
    assert sample_quality(train[:N], y, train).nearest == 0 and np.isnan(sample_quality(x, y, train).accuracy)


def test_the_table_has_a_figure_under_each_heading():
    values = {name: 0.5 for name, _, _ in COLUMNS}
    some, without = SampleQuality(10, **values), SampleQuality(10, **{**values, "accuracy": np.nan})
    lines = table({"a": some, "b": without}).splitlines()
    assert len({len(line) for line in lines}) == 1 and max(map(len, lines)) <= 120
    assert lines[2].split().count("-") == 1 and len(lines[1].split()) == 1 + len(COLUMNS)
    assert without.as_dict()["accuracy"] is None and some.as_dict()["accuracy"] == 0.5


def test_images_that_the_classifier_does_not_know(data):
    train, x, labels, y = data
    needed = "digits that the classifier knows"
    check_digits("here", x, labels)
    with refused("the images", needed, "images without labels, shape (150, 28, 28)", where="here"):
        check_digits("here", x, None)
    with refused("the images", needed, "shape (150, 14, 14)", where="here"):
        check_digits("here", x[:, ::2, ::2], labels)
    with refused("the images", needed, "of which it recognizes", where="here"):
        check_digits("here", x[:, ::-1], labels)
    with refused("samples", "at least 10 images", "shape (3, 28, 28)", where="sample_quality"):
        sample_quality(x[:3], y, train)
    with refused("labels", "in [0, 10)", "10", where="sample_quality"):
        sample_quality(x, y, train, np.full(N, 10))
