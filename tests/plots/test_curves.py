"""Columns of a history as curves, and a legend that hides none of them."""

import numpy as np
import pytest
from plots.layout import assert_legible

from vqnp.plots.curves import add_legend, draw_curves, draw_losses
from vqnp.plots.style import BLUE, ORANGE, new_figure

CURVES = {"a": (BLUE, "the first of two long labels, training"), "b": (ORANGE, "the second of them, test")}


def drawn(a, b, log=False):
    axes = new_figure(4.8, 2.4).add_axes((0.15, 0.25, 0.8, 0.6))
    rows = [{"epoch": i + 1, "a": x, "b": y} for i, (x, y) in enumerate(zip(a, b, strict=True))]
    draw_curves(axes, rows, "Title", "unit", CURVES, log=log)
    add_legend(axes)
    return axes


X = np.linspace(0, 1, 40)
COURSES = {
    "falling": (1 - X, 0.5 * (1 - X)),
    "rising": (X, X / 2),
    "everywhere": (np.abs(np.sin(40 * X)), np.abs(np.cos(40 * X))),
    "flat": (X * 0 + 1, X * 0 + 0.5),
    "one point": ([0.5], [0.4]),
    "of unlike size": (X * 1e6, X),
}


@pytest.mark.slow
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", COURSES)
def test_no_curve_is_under_the_legend(name, log):
    a, b = (np.asarray(course) + 1e-3 for course in COURSES[name])
    axes = drawn(a, b, log)
    assert [line.get_label() for line in axes.lines] == [label for _, label in CURVES.values()]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), a)
    assert_legible(axes.figure)
    low, high = axes.get_ylim()
    assert low <= min(a.min(), b.min()) and max(a.max(), b.max()) <= high and (log or low <= 0)


def test_a_column_that_begins_later_is_drawn_at_its_epochs_and_an_absent_one_is_not():
    axes = new_figure(4, 3).subplots()
    rows = [{"epoch": 1, "a": 3.0}, {"epoch": 2, "a": 2.0, "b": 4.0}, {"epoch": 3, "a": 1.0, "b": 5.0}]
    draw_curves(axes, rows, "Title", "unit", {**CURVES, "c": (BLUE, "no such column")})
    first, second = axes.lines
    assert first.get_xdata().tolist() == [1, 2, 3] and second.get_xdata().tolist() == [2, 3]
    assert second.get_ydata().tolist() == [4, 5]


def test_nothing_to_draw():
    axes = new_figure(4, 3).subplots()
    draw_curves(axes, [{"epoch": 1, "a": 0.0}], "Title", "unit", CURVES, log=True)
    add_legend(axes)
    assert not axes.lines and axes.get_legend() is None and axes.get_yscale() == "linear"


def test_losses_in_nats_are_named_and_drawn_below_zero_too():
    """The weighted entropy loss of signs as codes, and −log p of another likelihood."""

    def panel(likelihood="squared_error", **columns):
        axes = new_figure(4.8, 2.4).add_axes((0.15, 0.25, 0.8, 0.6))
        columns["test_mse"] = 0.1
        rows = [{"epoch": i} | {name: x / i for name, x in columns.items()} for i in (1, 2, 3)]
        draw_losses(axes, rows, likelihood)
        return axes, [line.get_label() for line in axes.lines]

    axes, labels = panel(reconstruction_loss=0.2, commitment_loss=0.05)
    assert axes.get_ylabel() == "mean squared error" and axes.get_yscale() == "log" and len(labels) == 3
    axes, labels = panel(reconstruction_loss=0.2, entropy_loss=-0.4)
    assert axes.get_ylabel() == "loss" and "weighted entropy loss, training (nats)" in labels
    low, high = axes.get_ylim()
    assert axes.get_yscale() == "symlog" and low < -0.4 and high > 0.2
    axes, labels = panel("logit_laplace", reconstruction_loss=-1.5)
    assert axes.get_ylabel() == "loss" and axes.get_ylim()[0] < -1.5
    assert any("−log p (nats a value)" in label for label in labels) and len(labels) == 2
