"""What the studies measure by means of their own: known cases, and the one thing that each has to tell."""

import json
import re

import collapse
import commitment_unit
import decay_and_smoothing as smoothing
import ema_vs_gradient as ema
import numpy as np
import pytest
import sharpness
from _planted import planted
from _study import DOCS, Row

import vqnp
from vqnp.gradcheck import gradcheck_module
from vqnp.nn import EMAVectorQuantizer, VectorQuantizer


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_share_of_the_way_to_its_mean_that_a_code_goes_by_ema(decay, rng):
    """e' = e + (1 − γ) n/N' (z̄ − e): with one code, that is its share."""
    layer = EMAVectorQuantizer(1, 3, decay=decay, epsilon=0, rng=0, dtype=np.float64)
    z, old = rng.standard_normal((7, 3)), layer.embeddings.copy()
    layer.after_step(z, np.zeros(7, np.int64), rng)
    moved, wanted = ema.way(z, old, layer.embeddings)
    assert np.isclose(moved / wanted, (1 - decay) * 7 / (decay + (1 - decay) * 7))
    assert ema.way(z, old, old)[0] == 0 and np.isclose(*ema.way(z, old, z.mean(axis=0)[None]))


def test_a_longer_step_of_the_codebook_is_as_many_times_as_long():
    layer = VectorQuantizer(4, 2, rng=0)
    old, to = layer.embeddings.copy(), layer.embeddings + np.float32(1)
    layer.embeddings[...] = to
    ema.lengthen(layer, old, 30)
    assert np.allclose(layer.embeddings, old + 30 * (to - old), rtol=1e-5)


def test_longer_steps_are_seen_as_noise_of_the_codes_while_the_encoder_is_frozen(rng):
    z = rng.standard_normal((100, 2, 2), np.float32)
    usual, longer = (ema.jitter(VectorQuantizer(5, 2, codebook_init="normal", rng=0), z, f, 0, steps=60)
                     for f in (1.0, 10.0))  # fmt: skip
    assert 3 * usual < longer


def test_a_code_returns_only_after_its_count_has_faded():
    returns = smoothing.Returns(3, 0.5, epsilon=0.1)  # 0.5⁴ < 0.1 < 0.5³
    counts, lengths = np.array([1, 1, 0]), np.array([1.0, 1.0, 0.2])
    for _ in range(4):
        returns.see(counts, lengths, 1.0)
    returns.see(np.array([1, 1, 1]), lengths, 1.0)
    assert (returns.total, returns.near) == (1, 1)
    returns.see(counts, lengths, 1.0)
    returns.see(np.array([1, 1, 1]), lengths, 1.0)
    assert returns.total == 1, "one step is not long"


def test_a_shift_moves_by_its_length_and_back(rng):
    shift, x = smoothing.Shift(3, 4), rng.standard_normal((5, 2, 4))
    y, _ = shift.forward(x)
    assert np.allclose(np.linalg.norm(y - x, axis=-1), 3)
    assert np.allclose(smoothing.Shift(-3, 4).forward(y)[0], x)
    gradcheck_module(shift, x, rng=rng).raise_if_failed()


@pytest.mark.parametrize("base", ["ema", "gradient"])
def test_without_commitment_and_straight_through_the_encoder_receives_nothing(base, rng):
    z = rng.standard_normal((6, 3))
    received = {}
    for variant in ("commitment", "encoder"):
        kind, options = planted(base, "without", variant)
        layer = kind(4, 3, **options | {"codebook_init": "uniform"}, rng=0, dtype=np.float64)
        z_q, *_, cache = layer.forward(z)
        received[variant] = layer.backward(np.ones_like(z_q), cache)
    assert (received["commitment"] == 1).all() and not received["encoder"].any()


def test_the_verdict_on_a_diagnosis_needs_the_best_of_its_group():
    def row(mse, level, group="a"):
        return Row({}, [{"mse": mse, "diagnosis": level, "levels": ["healthy", level], "low": [0, 1],
                         "group": group}])  # fmt: skip

    rows = [row(1.0, "healthy"), row(1.05, "few codes dominate"), row(2.0, "uneven use"),
            row(1.1, "severe collapse"), row(5.0, "healthy", "b")]  # fmt: skip
    collapse.judge(rows)
    assert [r.runs[0]["verdict"] for r in rows] == ["quiet", "false alarm", "miss", "hit", "quiet"]
    run = rows[0].runs[0]
    assert (run["damaged"], run["undamaged"]) == (2, 3)
    assert np.isclose(run["false_alarms"], 100 / 3, rtol=1e-5) and run["misses"] == 50
    assert run["false_by_epoch"][0] == 0 and run["missed_by_epoch"][0] == 100


def test_the_rates_in_the_docstring_of_diagnose_are_those_of_the_study():
    saved = json.loads((DOCS / "collapse.json").read_text(encoding="utf-8"))
    figures = saved["rows"][0]["figures"]
    text = " ".join(vqnp.diagnose.__doc__.split())
    told = [float(n) for n in re.findall(r"(\d+) (?:trainings|%) of", text)]
    runs = figures["damaged"]["mean"] + figures["undamaged"]["mean"]
    assert told[:3] == [runs, round(figures["misses"]["mean"]), round(figures["false_alarms"]["mean"])]


@pytest.mark.parametrize("way", ["error-over-variance", "pixels-to-255"])
def test_an_error_that_weighs_more_has_a_gradient_that_does(way, rng):
    usual = vqnp.VQVAE.mlp(hidden=(4,), num_embeddings=4, rng=0)
    model = commitment_unit.Weighed(usual.encoder, usual.quantizer, usual.decoder)
    model.factor = commitment_unit.FACTORS[way]
    x_hat, x = (rng.random((2, 28, 28), np.float32) for _ in range(2))
    (plain, cache), (loss, weighed) = usual._error(x_hat, x), model._error(x_hat, x)
    assert np.isclose(loss, model.factor * plain, rtol=1e-5)
    assert np.allclose(model._error_backward(1.0, weighed), model.factor * usual._error_backward(1.0, cache))


@pytest.mark.slow
def test_the_kl_weight_follows_the_target(rng):
    images = vqnp.load_dataset("digits").images[:100]
    weights = []
    for bits in (1.0, 1000.0):
        model = sharpness.build("VAE-matched", "28-bits", 8, 0)
        sharpness.train_to(model, images, 2, bits, 0)
        weights.append(model.kl_weight)
    assert weights[0] > 1 > weights[1]
