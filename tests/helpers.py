"""What several test files share: refused arguments, equal modules, a model's loss written out and checked."""

from contextlib import contextmanager

import numpy as np
import pytest

from vqnp import InputError, ops
from vqnp.cli import main
from vqnp.gradcheck import gradcheck_module


@contextmanager
def refused(argument, needed="", got="", *, where=None, error=InputError):
    """The block must raise an InputError with these fields; its sentence is tested once, in test_check.py.

    with refused("x", "must have last axis 4", "shape (3, 5)", where="Linear.forward"):
        Linear(4, 2).forward(np.zeros((3, 5), np.float32))

    `argument`, and `where` if given, are the whole field: an error that blames another argument is found.
    `needed` and `got` are parts of theirs: give the part that matters here, such as "[0, 8)", or nothing.
    `error` is the class, exactly: NonFiniteError for NaN and infinity. `with ... as caught` gives pytest's
    ExceptionInfo, where something else is to be looked at.
    """
    with pytest.raises(InputError) as caught:
        yield caught
    e = caught.value
    assert type(e) is error, f"{type(e).__name__}: {e}"
    assert e.argument == argument and where in (None, e.where), (e.where, e.argument)
    assert needed in e.needed and got in str(e.got), str(e)


def refused_command(capsys, *args):
    """The one sentence on standard error of a vqnp command that exits with 2."""
    try:
        status = main([str(a) for a in args])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    lines = captured.err.splitlines()
    assert "Traceback" not in captured.err
    assert len(lines) == 1 and lines[0].startswith("vqnp"), captured.err
    return lines[0].split("error: ", 1)[1]


def same(a, b):
    """Whether two modules have the same parameters and buffers, bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    return all(np.array_equal(x, theirs[name]) for name, x in ours.items())


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "gelu": lambda x: ops.gelu_forward(x)[0],
               "sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2}  # fmt: skip


def network(x, arrays, activation):
    """A multilayer perceptron from W, b, W, b, …"""
    for i in range(0, len(arrays), 2):
        x = (ACTIVATIONS[activation](x) if i else x) @ arrays[i] + arrays[i + 1]
    return x


def gradcheck_loss(model, x, freeze, rng, noise=None):
    """gradcheck_module of a model's loss alone, for x and every parameter; a VAE's noise is given."""

    def forward(x):
        losses, cache = model.loss((x,), noise)
        return losses["loss"], cache

    def backward(dL, cache):
        return model.backward(cache, dL, need_dx=True)

    return gradcheck_module(model, x, rng=rng, forward=forward, backward=backward, freeze=freeze)


def gradcheck_prior(model, batch, rng):
    """gradcheck_module of a prior's loss for every parameter; codes have no gradient, so x is a dummy.

    Dropout and the conditions that are left out are those of one seed.
    """

    def forward(x):
        losses, cache = model.loss(batch, np.random.default_rng(3))
        return losses["loss"] + 0 * x.sum(), (cache, x)

    def backward(dL, cache):
        model.backward(cache[0], dL)
        return np.zeros_like(cache[1])

    report = gradcheck_module(model, np.ones(1), rng=rng, forward=forward, backward=backward)
    report.raise_if_failed()
    assert {row.argument for row in report.rows} == {"x", *(name for name, _ in model.named_parameters())}
