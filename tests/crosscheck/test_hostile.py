"""A layer may raise, lie about shapes, give NaN, change its input: the report says so, nothing crashes."""

import json

import numpy as np
import pytest

from vqnp import InputError
from vqnp.crosscheck import Adapter, Reference, assert_conforms, check, conformance_tests

from .planted_numpy import NumpyEMA

RIGHT = Reference()


def forward_that(change):
    """An adapter whose forward pass is right, and then changed."""
    return Adapter(forward=lambda z, E: change(*RIGHT.forward(z, E)), backward=RIGHT.backward)


class OnTheGPU:
    """What a tensor elsewhere looks like to NumPy."""

    device, dtype = "cuda:0", "bfloat16"

    def detach(self):
        return self

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def mutating(z, E):
    out = RIGHT.forward(z, E)
    z *= 2
    return out


def leave(z, E):
    raise SystemExit(3)


def chance():
    r = np.random.default_rng(0)

    def forward(z, E):
        k, z_q, L, figure = RIGHT.forward(z, E)
        return k, z_q + r.standard_normal(z.shape), L, figure

    return Adapter(forward=forward)


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")


def unspeakable(z, E):
    raise Unspeakable


HOSTILE = {
    "raises": (
        Adapter(forward=lambda z, E: 1 / 0, backward=RIGHT.backward),
        "forward: raised ZeroDivisionError: division by zero",
    ),
    "raises what cannot be printed": (Adapter(forward=unspeakable), "forward: raised Unspeakable (given"),
    "leaves": (Adapter(forward=leave), "forward: raised SystemExit: 3"),
    "shape": (
        forward_that(lambda k, z_q, L, p: (k, z_q.T, L)),
        "forward: z_q must have shape (32, 6); got shape (6, 32)",
    ),
    "loss per entry": (
        forward_that(lambda k, z_q, L, p: (k, z_q, z_q)),
        "forward: L must have shape (); got shape (32, 6)",
    ),
    "NaN": (forward_that(lambda k, z_q, L, p: (k, z_q * np.nan, L)), "forward: z_q must be finite; got nan"),
    "infinite loss": (
        forward_that(lambda k, z_q, L, p: (k, z_q, L * np.inf)),
        "forward: L must be finite; got inf",
    ),
    "codes as floats": (
        forward_that(lambda k, z_q, L, p: (k.astype(float), z_q, L)),
        "forward: k must be integers; got float64",
    ),
    "codes as fractions": (
        forward_that(lambda k, z_q, L, p: (k + 0.5, z_q, L)),
        "forward: k must be integers; got float64",
    ),
    "integers": (
        forward_that(lambda k, z_q, L, p: (k, z_q.astype(int), L)),
        "forward: z_q must be float64; got int64",
    ),
    "float32": (
        forward_that(lambda k, z_q, L, p: (k, z_q.astype(np.float32), L)),
        "forward: z_q must be float64, as what it was given; got float32",
    ),
    "float32 inside": (
        forward_that(lambda k, z_q, L, p: (k, z_q.astype(np.float32).astype(float), L)),
        "forward: z_q must be E[k] as float64 rounds it",
    ),
    "float16": (
        forward_that(lambda k, z_q, L, p: (k, z_q.astype(np.float16), L)),
        "forward: z_q must be float64, as what it was given; got float16",
    ),
    "on the GPU": (
        forward_that(lambda k, z_q, L, p: (k, OnTheGPU(), L)),
        "forward: z_q must be a NumPy array; got OnTheGPU of bfloat16 on cuda:0",
    ),
    "mutates": (
        Adapter(forward=mutating),
        "forward: must leave its arguments alone; it changed z",
    ),
    "by chance": (chance(), "forward: must give the same z_q for the same arguments; got two answers"),
    "text": (forward_that(lambda k, z_q, L, p: "ok"), "forward: k must"),
    "objects": (forward_that(lambda k, z_q, L, p: (k, {"z_q": z_q}, L)), "forward: z_q must"),
    "too many": (forward_that(lambda *out: (*out, 1, 2)), "forward: must return at most 4 values; got 6"),
    "names of its own": (
        forward_that(lambda k, z_q, L, p: {"codes": k, "quantized": z_q, "loss": L}),
        "forward: must name what it returns k, z_q, L, perplexity; got codes, quantized, loss",
    ),
    "codes out of range": (
        forward_that(lambda k, z_q, L, p: (k + 99, z_q, L)),
        "forward: k must be in [0, 11)",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_report_says_so_in_a_sentence(kind):
    adapter, sentence = HOSTILE[kind]
    report = check(adapter)
    assert not report.ok
    assert any(fault.startswith(sentence) for fault in report.faults), report.faults
    assert sentence in str(report)
    assert json.loads(report.to_json())["faults"] == report.faults
    with pytest.raises(AssertionError, match="faults"):
        assert_conforms(adapter)


def test_a_layer_that_answers_into_the_same_memory_is_judged_by_what_it_answered():
    memory = {}

    def kept(function):
        def call(*arguments):
            out = []
            for i, a in enumerate(map(np.asarray, function(*arguments))):
                out.append(memory.setdefault((function, i, a.shape), np.empty_like(a)))
                out[-1][...] = a
            return tuple(out)

        return call

    report = check(Adapter(forward=kept(RIGHT.forward), backward=kept(RIGHT.backward)))
    assert report.fingerprint == check(Adapter(forward=RIGHT.forward, backward=RIGHT.backward)).fingerprint


@pytest.mark.parametrize("size", [1e-300, 1e160, 1e300])
def test_numbers_near_the_end_of_their_range_are_findings_not_warnings(size):
    forward = forward_that(lambda k, z_q, L, p: (k, z_q * size, L * size))
    for adapter in (forward, BadSteps(lambda E, N, m: (E * size, N * size, m * size))):
        report = check(adapter)
        assert not report.ok and json.loads(report.to_json())["ok"] is False


class BadSteps(NumpyEMA):
    """A codebook that goes wrong at its second step."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def step(self, z):
        E, N, m = super().step(z)
        return self.what(E, N, m) if self.layer.ema.t > 1 else (E, N, m)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (lambda E, N, m: E[:-1], "step: E must have shape (11, 6); got shape (10, 6)"),
        (lambda E, N, m: E * np.nan, "step: E must be finite; got nan"),
        (lambda E, N, m: 1 / 0, "step: raised ZeroDivisionError"),
        (lambda E, N, m: (E, N, m.astype(np.float32)), "step: m must be float64"),
    ],
)
def test_so_it_is_with_steps(what, sentence):
    report = check(BadSteps(what))
    assert any(fault.startswith(sentence) for fault in report.faults), report.faults
    assert not report.ok


def test_a_codebook_that_no_step_moves_is_said_to_stand_still_and_no_average():
    class Frozen(NumpyEMA):
        def reset(self, E):
            super().reset(E)
            self.E0 = E.copy()

        def step(self, z):
            return self.E0, None, None

    report = check(Frozen())
    assert any(fault.startswith("step: must move the codebook; got the same E") for fault in report.faults)
    assert report.fingerprint["start"] is None and report.constants["decay"] is None
    assert "E after 1 step" in {row.quantity for row in report.rows if row.result == "fail"}


def test_a_loss_without_any_gradient_may_have_been_detached():
    detached = Adapter(forward=RIGHT.forward, backward=lambda z, E, G: (G.copy(), np.zeros_like(E)))
    told = next(f for f in check(detached).findings if f.dimension == "loss_from")
    assert told.evidence.endswith("; a loss that was detached as a whole looks the same")
    late = next(f for f in check(RIGHT).findings if f.dimension == "loss_from")
    assert "detached" not in late.evidence


@pytest.mark.parametrize("name", ["forward", "backward", "evaluate", "reset", "step", "fresh"])
@pytest.mark.parametrize("answer", [None, 0.0, np.zeros(0)])
def test_nonsense_never_crashes(name, answer):
    layer = NumpyEMA()
    setattr(layer, name, lambda *arguments: answer)
    report = check(layer)
    assert str(report) and json.loads(report.to_json())["ok"] == report.ok


@pytest.mark.parametrize("name", ["forward", "backward", "evaluate"])
def test_what_is_missing_is_not_checked_and_never_passed(name):
    report = check(Adapter(**{name: getattr(RIGHT, name)}))
    told = {"forward": "codes", "backward": "dz", "evaluate": "evaluation: codes"}
    for row in report.rows:
        known = row.quantity == told[name] or row.result == "not checked"
        assert known or row.quantity.startswith(("evaluation", "z_q", "loss", "perplexity", "dE", told[name]))
    absent = {"forward": "dz", "backward": "codes", "evaluate": "codes"}[name]
    assert next(row for row in report.rows if row.quantity == absent).result == "not checked"
    assert report.fingerprint["start"] is None
    assert "cannot tell from what the adapter gives" in str(report)


@pytest.mark.parametrize(
    "backward",
    [
        lambda dz, dE: dz,
        lambda dz, dE: {"dz": dz},
        lambda dz, dE: (dz, dE.T),  # a fault, and no gradient to go by
    ],
)
def test_a_gradient_that_is_not_given_is_no_gradient_of_zero(backward):
    report = check(Adapter(forward=RIGHT.forward, backward=lambda *given: backward(*RIGHT.backward(*given))))
    assert report.fingerprint["beta_on"] == "commitment" and report.fingerprint["leak"] is None
    assert report.constants["beta"] == pytest.approx(0.25) and not report.advice()


def test_beta_is_not_told_by_a_gradient_that_does_not_hang_on_it():
    report = check(Adapter(backward=lambda *given: {"dE": RIGHT.backward(*given)[1]}))
    told = next(f for f in report.findings if f.dimension == "beta_on")
    assert report.constants["beta"] is None and told.variant is None and "commitment" in told.also
    assert report.ok and not report.advice()


def test_an_adapter_of_nothing_is_refused():
    with pytest.raises(InputError) as caught:
        check(Adapter())
    assert caught.value.argument == "the adapter"


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"allow": {"beta": "codebook"}}, "allow's dimension"),
        ({"allow": {"beta_on": "left"}}, "allow['beta_on']"),
        ({"decay": 1.0}, "decay"),
        ({"num_embeddings": 0}, "num_embeddings"),
    ],
)
def test_mistakes_in_the_question_are_errors(options, argument):
    with pytest.raises(InputError) as caught:
        check(RIGHT, **options)
    assert caught.value.argument == argument


@pytest.mark.parametrize(("K", "D"), [(1, 1), (1, 5), (2, 1), (7, 1), (40, 3)])
def test_layers_of_any_size(K, D):
    for ema in (False, True):
        report = check(Reference(ema=ema), num_embeddings=K, embedding_dim=D)
        assert report.ok, report
        right = Reference(ema=ema).v
        assert all(f.variant in (None, right.get(f.dimension, f.variant)) for f in report.findings), report


test_reference = conformance_tests(Reference(ema=True))
