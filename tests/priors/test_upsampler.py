"""A transformer that is given the codes above as features: gradients, causality, sampling as trained."""

import numpy as np
import pytest
from helpers import refused, same

from vqnp import load, save
from vqnp.gradcheck import gradcheck_module
from vqnp.priors import HierarchicalPrior, Upsampler


@pytest.fixture
def case(rng):
    """An upsampler of 3 to 12 codes, all of whose parameters matter, within a prior of both levels."""
    options = {"channels": 4, "layers": 2, "heads": 2, "dropout": 0.0, "num_classes": 2, "dtype": "float64"}
    prior = HierarchicalPrior.of("upsampler", (3, 5), ((3,), (12,)), rng=0, **options)
    for param in prior.parameters():
        param.value += 0.3 * rng.standard_normal(param.value.shape)
    return prior, rng.integers(0, 3, (3, 3)), rng.integers(0, 5, (3, 12))


@pytest.mark.slow
def test_it_has_its_gradients(case):
    prior, top, bottom = case
    batch = prior.prepare(((top, bottom), [0, 1, 1]))

    def forward(_):
        losses, cache = prior.loss(batch)
        return losses["loss"], cache

    def backward(dL, cache):
        prior.backward(cache, dL)
        return np.zeros(1)

    gradcheck_module(prior, np.zeros(1), rng=1, forward=forward, backward=backward).raise_if_failed()


@pytest.mark.parametrize("cuts", [range(1, 11), (4,), (1, 2, 7)])
def test_it_samples_as_it_was_trained(case, cuts):
    prior, top, bottom = case
    level, labels = prior.levels[1], np.array([0, 1, 2])
    state, first = level.begin(labels, (top,))
    parts = [first[:, None], *(level.extend(state, k) for k in np.split(bottom[:, :11], list(cuts), axis=1))]
    full = level.logits_forward(bottom, labels, None, (top,))[0]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-12, atol=1e-12)


def test_a_position_sees_earlier_codes_and_all_codes_near_it_above(case):
    prior, top, bottom = case
    level = prior.levels[1]
    full = level.logits(bottom, None, (top,))
    for m in range(12):
        changed = bottom.copy()
        changed[:, m] = (bottom[:, m] + 1) % 5
        moved = (level.logits(changed, None, (top,)) != full).any(axis=(0, 2))
        assert not moved[: m + 1].any() and moved[m + 1 :].all()
    other = np.where([True, False, False], (top + 1) % 3, top)
    moved = (level.logits(bottom, None, (other,)) != full).any(axis=(0, 2))
    assert moved.all()  # below it by its features, further on by the codes' attention


def test_it_is_saved_and_read(case, tmp_path):
    prior, *_ = case
    save(tmp_path / "prior.npz", prior)
    again = load(tmp_path / "prior.npz")
    assert same(again, prior) and isinstance(again.levels[1], Upsampler)
    for ours, theirs in zip(again.sample(2, 0), prior.sample(2, 0), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_grids_that_do_not_divide_are_refused():
    with refused("above", "must have grids that divide the grid of 10 codes", "3"):
        Upsampler(4, (10,), 4, 1, 1, above=((3, (3,)),))
    with refused("above", "must have at least one level"):
        Upsampler(4, (10,), 4, 1, 1)
