"""Each known mistake, planted in a small NumPy model, is found and named; right models raise no alarm."""

import numpy as np
import pytest

from vqnp.crosscheck import check_autoregressive
from vqnp.crosscheck.autoregressive.table import VARIANTS

from .planted import Attention, PixelCNN, softmax

RIGHT = {"repeat": "deterministic", "batch": "independent", "order": "causal", "field": "complete"}
WHOLE = RIGHT | {"start": "own", "cache": "agrees", "sampling": "softmax"}
K = 6

# What is planted in the attention, what is to be found in that dimension, and what cannot be asked then.
ATTENTION = {
    "no shift": {"order": "no_shift", "start": None, "cache": None},
    "shifted twice": {"field": "shifted_twice", "cache": "other"},
    "no mask": {"order": "no_mask", "cache": None},
    "reversed": {"order": "reversed", "field": None, "cache": None},
    "off by one": {"order": "mask_off", "cache": None},
    "off by two": {"order": "mask_off", "cache": None},
    "norm": {"order": "norm_over_positions", "cache": None},
    "batch norm": {"batch": "dependent", "order": "batch_norm", "cache": None},
    "batch": {"batch": "dependent", "cache": None},
    "dropout": {"repeat": "random", **dict.fromkeys(("batch", "order", "field", "start", "cache"))},
    "start": {"start": "shared"},
    "cache kept": {"cache": "state_kept"},
    "positions restart": {"cache": "positions_restart"},
    "prefix ignored": {"cache": "prefix_ignored"},
    "upper left": {"cache": "mask_upper_left"},
    "mask skipped": {"cache": "mask_skipped"},
    "another scale": {"cache": "other"},
}
slow = pytest.mark.slow
SETTINGS = [((9,), np.float64, 1), ((3, 4), np.float32, 3), pytest.param((9,), np.float32, 2, marks=slow)]
each_setting = pytest.mark.parametrize(("shape", "dtype", "seed"), SETTINGS)


def whole(model, **options):
    """Everything is asked, with whatever the model has."""
    given = {"cached": (model.begin, model.extend), "starting_with": model, "probabilities": softmax}
    return check_autoregressive(model, model.shape, model.K, **(given | options))


@each_setting
def test_attention_that_is_right_conforms(shape, dtype, seed):
    report = whole(Attention(shape, K, dtype=dtype, seed=seed))
    assert report.fingerprint == WHOLE and report.verdict == "conforms" and report.ok, report
    assert report.dtype == np.dtype(dtype).name and not report.advice() and not report.faults


@each_setting
@pytest.mark.parametrize("bug", ATTENTION)
def test_each_mistake_of_attention_is_named(bug, shape, dtype, seed):
    expected = WHOLE | ATTENTION[bug]
    if bug == "no shift" and len(shape) == 2:
        expected["order"] = "own_code"  # it takes one size only: a convolution could look the same
    report = whole(Attention(shape, K, bug, dtype=dtype, seed=seed))
    assert report.fingerprint == expected, report
    assert report.verdict == "does not conform" and not report.faults


def test_attention_over_the_batch_is_named():
    report = check_autoregressive(Attention((9,), K, "axes"), (9,), K)
    assert report.fingerprint["batch"] == "axes_exchanged" and report.fingerprint["order"] == "causal"


def test_a_start_token_that_is_a_code_is_found_alone_where_positions_have_no_vectors():
    for bug, variant in (("start", "shared"), (None, None)):
        report = check_autoregressive(Attention((7,), K, bug, positions="none"), 7, K)
        assert report.fingerprint["start"] == variant
    assert "after code 2" in str(check_autoregressive(Attention((7,), K, "start", positions="none"), 7, K))


PIXELS = {
    None: {1: {"field": "blind_spot"}, 2: {}},
    "mask B first": {1: {"order": "mask_b_first", "field": "blind_spot"}, 2: {"order": "mask_b_first"}},
    "mask A": {1: {"field": "mask_a_everywhere"}},
    "row zeroed": {1: {"field": "own_row"}},
    "no mask": {1: {"order": "no_mask"}},
    "current row": {2: {"order": "current_row"}},
    "columns": {1: {"order": "by_columns", "field": None}, 2: {"order": "by_columns", "field": None}},
    "norm": {1: {"order": "norm_over_positions"}, 2: {"order": "norm_over_positions"}},
}


@pytest.mark.parametrize(("bug", "stacks"), [(bug, stacks) for bug in PIXELS for stacks in PIXELS[bug]])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=slow)])
def test_each_mistake_of_convolutions_is_named(bug, stacks, seed):
    layers = 3 if stacks == 1 or bug == "norm" else 6
    report = check_autoregressive(PixelCNN(K, bug, stacks=stacks, layers=layers, seed=seed), (5, 6), K)
    expected = RIGHT | PIXELS[bug][stacks]
    assert {d: report.fingerprint[d] for d in expected} == expected, report


def test_too_few_layers_are_no_mistake():
    report = check_autoregressive(PixelCNN(K, layers=2), (9, 9), K)
    assert report.fingerprint["field"] == "window" and report.ok and "beyond the reach" in str(report)


# Counted exactly by propagating supports: percent of pairs unseen, and positions that see all.
COUNTED = [
    (1, 7, 2, 7, 11.6, 21), (1, 7, 14, 7, 4.7, None), (1, 5, 7, 7, 8.9, None), (1, 3, 7, 7, 14.9, None),
    (2, 7, 7, 7, 0, 49), (2, 3, 5, 7, 0, 49), pytest.param(1, 7, 2, 14, 62.1, None, marks=slow),
    pytest.param(2, 7, 7, 14, 11.9, None, marks=slow),
]  # fmt: skip


@pytest.mark.parametrize(("stacks", "first", "layers", "size", "percent", "complete"), COUNTED)
def test_blind_spots_are_those_that_are_counted(stacks, first, layers, size, percent, complete):
    model = PixelCNN(4, stacks=stacks, first=first, layers=layers, C=3)
    report = check_autoregressive(model, (size, size), 4, probes=2 if size > 7 else 4)
    found = report.influence
    assert 100 * found.unseen.sum() / found.before.sum() == pytest.approx(percent, abs=0.05)
    assert not found.leaks.any()
    field = "blind_spot" if stacks == 1 else "window" if percent else "complete"
    assert report.fingerprint["field"] == field
    if complete is not None:
        assert (~found.unseen.any(axis=1)).sum() == complete


# Other right models.


def markov(order=1, K=5):
    """log p(k_m | k_{m−1}), and a first distribution."""
    table = np.random.default_rng(order).standard_normal((order, K, K))
    first = np.random.default_rng(0).standard_normal(K)

    def logits(codes):
        k = codes.reshape(len(codes), -1)
        a = np.broadcast_to(first, (*k.shape, K)).copy()
        for n in range(order):
            a[:, n + 1 :] += table[n][k[:, : k.shape[1] - n - 1]]
        return a.reshape(*codes.shape, K)

    return logits


@pytest.mark.parametrize("shape", [(8,), (3, 4), (2, 2, 3)])
def test_a_markov_chain_sees_its_order(shape):
    for order in (1, 2):
        report = check_autoregressive(markov(order), shape, 5)
        assert report.fingerprint["field"] == "window" and report.ok, report


def test_logits_of_the_next_code_one_row_more_and_another_axis():
    model = Attention((8,), K)
    padded = Attention((9,), K)

    def one_more(codes):
        return padded(np.concatenate([codes, codes[:, :1]], axis=1))

    def following(codes):
        return one_more(codes)[:, 1:]

    def channels_first(codes):
        return np.moveaxis(model(codes), -1, 1)

    for function, predicts in ((one_more, "this"), (following, "next"), (channels_first, "this")):
        report = check_autoregressive(function, (8,), K, predicts=predicts)
        assert report.ok and report.fingerprint["field"] == "complete", report
    report = check_autoregressive(following, (8,), K)
    assert report.fingerprint["order"] == "no_shift"
    report = check_autoregressive(model, (8,), K, predicts="next")
    assert report.fingerprint["order"] == "causal" and report.fingerprint["field"] == "shifted_twice"
    square = check_autoregressive(Attention((K,), K), K, K)  # both axes have K entries: the last one is taken
    assert square.ok


def test_channels_of_one_place_are_in_order_or_not():
    r = np.random.default_rng(0)
    W = r.standard_normal((12, 12, 4, 4))

    def model(leak):
        seen = np.tri(12, k=-1, dtype=bool)
        place = np.arange(12) // 3
        if leak:
            seen |= place[:, None] == place

        def logits(codes):
            one = np.eye(4)[codes.reshape(len(codes), -1)]
            a = np.einsum("bjc,ijcd->bid", one, np.where(seen[..., None, None], W, 0))
            return a.reshape(*codes.shape, 4)

        return logits

    assert check_autoregressive(model(False), (2, 2, 3), 4).fingerprint["order"] == "causal"
    assert check_autoregressive(model(True), (2, 2, 3), 4).fingerprint["order"] == "channels"


# Rounding.


def masked_after_softmax(dtype, soft=None):
    """Attention whose mask comes after the softmax, so that later keys leave a trace of rounding."""
    r = np.random.default_rng(3)
    E, start, W = (r.standard_normal(s).astype(dtype) for s in ((K, 8), (8,), (8, K)))

    def logits(codes):
        x = np.concatenate([np.broadcast_to(start, (len(codes), 1, 8)), E[codes[:, :-1]]], axis=1)
        s = x @ x.swapaxes(1, 2)
        T = x.shape[1]
        if soft is not None:
            p = softmax(np.where(np.tri(T, dtype=bool), s, s + dtype(soft)))
        else:
            p = softmax(s) * np.tri(T, dtype=dtype)
            p = p / p.sum(axis=-1, keepdims=True)
        return (p @ x) @ W

    return logits


def test_rounding_is_no_leak_and_a_soft_mask_is_one():
    report = check_autoregressive(masked_after_softmax(np.float32), 9, K)
    ratio = report.influence.ratio[~np.tri(9, k=-1, dtype=bool)]
    assert 0 < ratio.max() < 1e-5 and report.fingerprint["order"] == "causal"
    for dtype, soft in ((np.float64, -30), (np.float32, -8)):
        leaking = check_autoregressive(masked_after_softmax(dtype, soft), 9, K)
        assert leaking.fingerprint["order"] not in ("causal", None), leaking

    def mixed(codes):  # computed in float32, returned as float64
        return masked_after_softmax(np.float32)(codes).astype(np.float64)

    assert check_autoregressive(mixed, 9, K, dtype="float32").fingerprint["order"] == "causal"


def test_every_variant_is_planted_somewhere():
    """Here, in the tests of the samplers, or with PyTorch."""
    planted = {(d, v) for found in ATTENTION.values() for d, v in found.items()}
    planted |= {(d, v) for by in PIXELS.values() for found in by.values() for d, v in found.items()}
    planted |= {("batch", "axes_exchanged"), ("order", "channels"), ("field", "window"), *WHOLE.items()}
    elsewhere = {
        ("repeat", "stateful"), ("order", "own_code"), ("order", "everything"), ("order", "other"),
        ("field", "gaps"), *(("sampling", v) for v in VARIANTS["sampling"]),
    }  # fmt: skip
    assert {(d, v) for d in VARIANTS for v in VARIANTS[d]} == {p for p in planted if p[1]} | elsewhere
