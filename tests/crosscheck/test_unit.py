"""β* is what the layer's encoder receives, in units of the gradient of a mean over all entries."""

import json

import numpy as np
import pytest

import vqnp
from vqnp.crosscheck import QuantizerAdapter, check
from vqnp.crosscheck.report.unit import commitment_weight, weight_found
from vqnp.crosscheck.variants.formulas import PLACES, SCALES
from vqnp.crosscheck.variants.quantizers import planted


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reduction", SCALES)
@pytest.mark.parametrize("N", [1, 7])
def test_it_is_the_gradient_of_the_layer_in_units_of_a_mean(place, reduction, N):
    kind, options = planted(vqnp.VectorQuantizer, {"beta_on": place, "reduction": reduction}, scale=0.5)
    layer = kind(5, 3, 0.4, **options, rng=0, dtype=np.float64)
    z = np.random.default_rng(1).standard_normal((N, 3))
    z_q, _, _, k, cache = layer.forward(z)
    dz = layer.backward(np.zeros_like(z_q), cache)
    weight = commitment_weight(0.4, place, reduction, D=3, scale=0.5)
    value = weight.value * (N if weight.grows else 1)
    assert np.allclose(dz, value * 2 * (z - z_q) / z.size, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ({}, "0.25"),
        ({"beta_on": "codebook"}, "1"),
        ({"reduction": "mean_of_sums"}, "1.5"),
        ({"reduction": "sum"}, "1.5 times the number of vectors in a batch"),
    ],
)
def test_the_report_prints_it_and_writes_it_as_json(variants, told):
    kind, options = planted(vqnp.VectorQuantizer, variants)
    report = check(QuantizerAdapter(kind, **options))
    assert f"commitment weight:  {told}, as the weight of a mean" in str(report)
    written = json.loads(report.to_json())["commitment_weight"]
    assert f"{written['value']:.6g}" == told.split()[0] and written["grows"] is ("times" in told)


@pytest.mark.slow
def test_it_is_not_told_of_a_loss_after_straight_through():
    kind, options = planted(vqnp.VectorQuantizer, {"loss_from": "straight_through"})
    report = check(QuantizerAdapter(kind, **options))
    assert report.commitment is None and json.loads(report.to_json())["commitment_weight"] is None


@pytest.mark.parametrize("beta", [None, np.nan, np.inf])
def test_no_weight_is_told_of_a_beta_that_is_none(beta):
    told = {"beta_on": "commitment", "reduction": "mean", "loss_from": "codes"}
    assert weight_found({"beta": beta}, told, 4) is None and weight_found({"beta": 0.5}, told, 4).value == 0.5
    assert weight_found({"beta": 0.5}, {}, 4) is None
