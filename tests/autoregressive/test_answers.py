"""Whatever a function does goes into the report; the report says what was found; the calls are bounded."""

import json

import numpy as np
import pytest
from helpers import refused

from vqnp.crosscheck import check_autoregressive
from vqnp.crosscheck.autoregressive.sampling import meant
from vqnp.crosscheck.autoregressive.table import TITLES, VARIANTS
from vqnp.priors.sampling import Choice, probabilities

from .planted import Attention, PixelCNN, softmax

K = 8
RIGHT = Attention((6,), K)


def spoilt(f):
    """The right model, its logits put through f."""
    return lambda codes: f(RIGHT(codes))


def raising(codes):
    raise KeyError("nothing")


def changing(codes):
    codes[:] = 0
    return RIGHT(codes)


def with_a_nan(a):
    a[0, 2, 1] = np.nan
    return a


BAD = {
    "raised KeyError: 'nothing' (given shape (1, 6))": raising,
    "it changed them": changing,
    "must not be NaN or +∞; got nan at index (0, 2, 1)": spoilt(with_a_nan),
    "must be floats; got int64": spoilt(lambda a: a.astype(np.int64)),
    "which are probabilities": spoilt(softmax),
    "must have 6 positions of 8 logits for each of 1 items": spoilt(lambda a: a[:, :3]),
    "are logits of the last position alone returned?": spoilt(lambda a: a[:, -1:]),
    "got object": None,
    "raised SystemExit": lambda codes: exit(),
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_function_that_does_not_answer_is_a_fault(sentence):
    function = BAD[sentence]
    if sentence == "got object":
        function, sentence = (lambda codes: object()), "must be an array of numbers; got object"
    report = check_autoregressive(function, 6, K)
    assert sentence in " ".join(report.faults), report
    assert report.verdict == "does not conform" and sentence in str(report)


def test_what_is_returned_may_be_wrapped():
    class Output:
        def __init__(self, logits):
            self.logits = logits

    for wrap in (Output, lambda a: (a, None), lambda a: {"loss": 1, "logits": a}, lambda a: [a]):
        assert check_autoregressive(spoilt(wrap), 6, K).ok


def test_logits_of_no_code_and_of_minus_infinity():
    def padded(codes):
        a = RIGHT(codes)
        return np.concatenate([a, np.full_like(a[..., :1], -np.inf)], axis=-1)

    report = check_autoregressive(padded, 6, K)
    assert report.ok and "1 logit for ids that are no code" in report.notes[0]


def test_a_function_with_a_memory_is_stateful():
    class Model:
        seen = 0.0

        def __call__(self, codes):
            self.seen += 1
            return RIGHT(codes) + (self.seen > 2) * np.arange(K)

    report = check_autoregressive(Model(), 6, K)
    assert report.fingerprint["repeat"] == "stateful" and report.fingerprint["order"] is None


def test_logits_that_never_move_tell_nothing():
    report = check_autoregressive(lambda codes: np.zeros((*codes.shape, K)), (3, 4), K)
    assert report.verdict == "not enough was asked" and not report.ok
    assert "an untrained head of zeros?" in str(report)


def test_leaks_and_gaps_without_a_name_are_still_found():
    r = np.random.default_rng(0)
    W = r.standard_normal((9, 9, K, K))

    def logits(seen):
        kept = np.where(seen[..., None, None], W, 0)
        return lambda codes: np.einsum("bjc,ijcd->bid", np.eye(K)[codes], kept)

    seen = np.tri(9, k=-1, dtype=bool)
    one = seen.copy()
    one[2, 7] = True
    report = check_autoregressive(logits(one), 9, K)
    assert report.fingerprint["order"] == "other" and "code 7 for the logits of code 2" in str(report)
    assert report.map(2) == "##o    ! " and report.map() == report.map(2)
    gaps = seen.copy()
    gaps[:, 3] = False
    report = check_autoregressive(logits(gaps), 9, K)
    assert report.fingerprint["field"] == "gaps" and report.map(8) == "###.####o"


# Probabilities.


def sampler(temperature=1.0, top_k=None, top_p=None):
    return lambda a: probabilities(a, Choice(temperature, top_k, top_p))


def top_p_without_the_crossing(a, p=0.9, keep_one=False):
    q = softmax(a)
    order = np.argsort(-q, axis=-1)
    kept = np.cumsum(np.take_along_axis(q, order, -1), axis=-1) <= p
    kept[:, 0] |= keep_one
    out = np.zeros_like(q)
    np.put_along_axis(out, order, np.where(kept, np.take_along_axis(q, order, -1), 0), -1)
    with np.errstate(all="ignore"):
        return out / out.sum(axis=-1, keepdims=True)


SAMPLERS = [
    ("softmax", softmax, {}),
    ("softmax", sampler(0.7), {"temperature": 0.7}),
    ("softmax", sampler(1.3, 4), {"temperature": 1.3, "top_k": 4}),
    ("softmax", sampler(0.8, None, 0.9), {"temperature": 0.8, "top_p": 0.9}),
    ("softmax", sampler(1, 5, 0.7), {"top_k": 5, "top_p": 0.7}),
    ("temperature", sampler(0.7), {}),
    ("temperature", softmax, {"temperature": 1.5}),
    ("temperature", sampler(0.9, 4), {"top_k": 4}),
    ("empty", top_p_without_the_crossing, {"top_p": 0.9}),
    ("empty", lambda a: np.zeros_like(a), {}),
    ("top_p_crossing", lambda a: top_p_without_the_crossing(a, 0.9, True), {"top_p": 0.9}),
    ("top_k_less", sampler(1, 3), {"top_k": 4}),
    ("top_k_more", sampler(1, 5), {"top_k": 4}),
    ("top_k_more", sampler(0.1, 7), {"temperature": 0.1, "top_k": 6}),
    ("top_k_less", sampler(30, 5), {"temperature": 30, "top_k": 6}),
    ("not_normalised", lambda a: np.exp(a), {}),
    ("not_normalised", lambda a: np.where(a > a.mean(axis=-1, keepdims=True), softmax(a), 0), {"top_k": 4}),
    ("other", lambda a: softmax(a[:, ::-1]), {}),
    ("other", lambda a: np.full_like(a, 1 / a.shape[1]), {}),
]


@pytest.mark.parametrize(("variant", "function", "intended"), SAMPLERS)
@pytest.mark.parametrize("size", [K, pytest.param(200, marks=pytest.mark.slow)])
def test_probabilities_are_what_they_are_meant_to_be(variant, function, intended, size):
    model = Attention((4,), size)
    report = check_autoregressive(model, 4, size, probabilities=function, **intended)
    assert report.fingerprint["sampling"] == variant, report


def test_what_is_meant_is_what_the_priors_do(rng):
    a = rng.standard_normal((30, 11))
    for choice in (Choice(), Choice(0.5), Choice(1, 3), Choice(2, None, 0.8), Choice(0.7, 6, 0.5)):
        np.testing.assert_allclose(meant(a, *choice), probabilities(a, choice), atol=1e-12)
    assert {variant for variant, *_ in SAMPLERS} == set(VARIANTS["sampling"])


def test_a_sampler_of_another_shape_is_a_fault():
    report = check_autoregressive(RIGHT, 6, K, probabilities=lambda a: a[:, :2])
    assert "probabilities: must return floats of shape (12, 8); got float32 of shape (12, 2)" in report.faults


# The cached functions.


def test_cached_functions_of_every_form():
    def pure_extend(state, codes):
        state = {**state, "past": list(state["past"])}
        return RIGHT.extend(state, codes), state

    def turned(state, codes):
        return pure_extend(state, codes)[::-1]

    def by_chunks(codes, chunks):
        state, first = RIGHT.begin(len(codes))
        parts, at = [first[:, None]], 0
        for n in chunks:
            parts.append(RIGHT.extend(state, codes[:, at : at + n]))
            at += n
        return np.concatenate(parts, axis=1)

    without_first = (lambda B: RIGHT.begin(B)[0]), RIGHT.extend
    codes_only = lambda codes, chunks: by_chunks(codes, chunks)[:, 1:]  # noqa: E731
    for cached in ((RIGHT.begin, pure_extend), (RIGHT.begin, turned), by_chunks, without_first, codes_only):
        report = check_autoregressive(RIGHT, 6, K, cached=cached)
        assert report.fingerprint["cache"] == "agrees" and report.ok, report


def test_a_cached_function_that_does_not_answer_is_a_fault():
    report = check_autoregressive(RIGHT, 6, K, cached=(RIGHT.begin, lambda state, codes: codes))
    assert report.fingerprint["cache"] is None
    assert "extend: must return logits of shape (2, 5, 8); got shape (2, 5)" in report.faults


# The report.


def test_the_report_of_a_blind_spot():
    model = PixelCNN(4, stacks=1, first=3, layers=3)
    report = check_autoregressive(model, (4, 5), 4)
    text = str(report)
    assert "[FAIL]" not in text and "fail" in text and "NOT OK: does not conform" in text
    assert report.map((3, 1)).splitlines()[3] == "#o   " and "." in report.map((3, 1))
    assert report.map(16) == report.map((3, 1))
    found = json.loads(report.to_json())
    assert found == json.loads(json.dumps(report.as_dict()))
    assert found["verdict"] == report.verdict and found["influence"]["leaks"] == 0
    assert np.sum(found["influence"]["unseen_by_position"]) == found["influence"]["unseen"] > 0
    assert [f["dimension"] for f in found["fingerprint"]] == list(TITLES) and found["advice"]
    for allow in ({"field": "blind_spot"}, {"field": ["gaps", "blind_spot"]}, "field", ["field"]):
        assert check_autoregressive(model, (4, 5), 4, allow=allow).verdict == "conforms"
    assert not check_autoregressive(model, (4, 5), 4, allow={"field": "gaps"}).ok
    assert check_autoregressive(model, (4, 5), 4).to_json() == report.to_json()  # of the same seed


def test_a_large_grid_is_asked_at_evenly_spread_codes():
    def logits(codes):
        k = codes.reshape(len(codes), -1)
        a = np.zeros((*k.shape, 4))
        a[:, 1:] = np.eye(4)[k[:, :-1]]
        return a

    report = check_autoregressive(logits, (18, 18), 4, probes=1)
    assert report.influence.told[:, :].any(axis=0).sum() == 256 and "256 of 324" in report.notes[0]
    assert report.fingerprint["order"] == "causal" and "?" in report.map(323)


LARGER = [pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((40, 5), (12, 300))]


@pytest.mark.parametrize(("M", "codes"), [(6, K), *LARGER])
def test_the_number_of_calls_is_counted_and_bounded(M, codes):
    for bug in (None, "batch norm", "no mask", "mask skipped"):
        model, calls = Attention((M,), codes, bug, layers=1), []

        def counted(*arguments):
            calls.append(1)
            return model(*arguments)

        report = check_autoregressive(counted, M, codes, starting_with=counted)
        batches = -(-M // 64), -(-codes // 64)
        bound = 20 + (2 * (M + 1) if bug == "batch norm" else 4 * (batches[0] + 1)) + 3 * batches[1]
        assert report.calls == len(calls) <= bound
        cached = check_autoregressive(model, M, codes, cached=(model.begin, model.extend))
        assert cached.calls - report.calls <= 100 + 4 * M


def test_bad_arguments():
    where = "check_autoregressive"
    for needed, options in (
        ("shape", {"shape": (1, 2, 3, 4)}), ("shape", {"shape": (70, 70)}), ("shape[0]", {"shape": (0,)}),
        ("num_embeddings", {"num_embeddings": 1}), ("predicts", {"predicts": "last"}),
        ("logits", {"logits": 3}), ("cached", {"cached": (1, 2)}), ("starting_with", {"starting_with": 1}),
        ("probabilities", {"probabilities": 1}), ("temperature", {"temperature": 0}), ("top_k", {"top_k": 0}),
        ("top_p", {"top_p": 2}), ("probes", {"probes": 0}), ("batch", {"batch": 0}), ("seed", {"seed": -1}),
        ("allow's dimension", {"allow": "beta"}), ("allow['field']", {"allow": {"field": "spot"}}),
        ("the adapter's dtype", {"dtype": "float16"}),
    ):  # fmt: skip
        with refused(needed, where=where):
            check_autoregressive(**({"logits": RIGHT, "shape": (6,), "num_embeddings": K} | options))
    with refused("position", where="map"):
        check_autoregressive(RIGHT, 6, K).map(6)


def test_influences_near_rounding_are_given_no_name():
    """float32 logits that differ by 1e-4 about a constant: some agree by chance, patterns say nothing."""

    def report(seed, offset, seen):
        r = np.random.default_rng(seed)
        W, E = np.where(seen, r.standard_normal((9, 9)), 0), 1e-4 * r.standard_normal((K, K))
        logits = lambda codes: (np.einsum("ij,bjd->bid", W, E[codes]) + offset).astype(np.float32)
        return check_autoregressive(logits, 9, K, probes=1)

    right = [report(s, offset, np.tri(9, k=-1, dtype=bool)) for s in range(8) for offset in (1, 100, 1000)]
    assert not any(one.failing for one in right)
    assert {one.fingerprint["field"] for one in right} >= {"complete", None}
    wrong = report(1, 10, np.tri(9, k=1, dtype=bool))
    assert wrong.failing == ["order"] and wrong.fingerprint["order"] == "other"
