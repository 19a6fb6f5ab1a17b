"""The style draws what it says: a mean within its spread, ticks at the settings, plain numbers."""

import numpy as np
import pytest

from vqnp.plots.style import COLOURS, MARKS, log_settings, new_figure, plain_log, save_figure, spread


@pytest.fixture
def axes():
    return new_figure(4, 3).subplots()


def test_spread_is_the_mean_between_least_and_largest(axes):
    y = np.array([[1.0, 5.0], [2.0, 3.0], [6.0, 4.0]])
    spread(axes, [10, 20], y, "three seeds", index=1)
    (line,), (band,) = axes.lines, axes.collections
    assert line.get_xdata().tolist() == [10, 20] and line.get_ydata().tolist() == [3, 4]
    assert (line.get_label(), line.get_color(), line.get_marker()) == ("three seeds", COLOURS[1], MARKS[1])
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(10, 1), (10, 6), (20, 3), (20, 5)}


def test_every_colour_has_a_mark_and_none_comes_twice():
    assert len(set(COLOURS)) == len(COLOURS) == len(set(MARKS))


def test_a_logarithmic_axis_has_the_settings_and_no_other_tick(axes):
    log_settings(axes, [0.01, 0.25, 4])
    axes.figure.canvas.draw()
    shown = [label.get_text() for label in axes.get_xticklabels(which="both") if label.get_text()]
    assert shown == ["0.01", "0.25", "4"]


def test_plain_numbers(axes):
    axes.plot([1, 2], [0.004, 0.05])
    plain_log(axes)
    axes.figure.canvas.draw()
    shown = [t.get_text() for t in axes.get_yticklabels(which="both") if t.get_text()]
    assert "0.01" in shown and not any("e" in text or "$" in text for text in shown)


@pytest.mark.slow
def test_a_figure_appears_whole_or_not_at_all(axes, tmp_path):
    path = tmp_path / "a.png"
    save_figure(axes.figure, path)
    before = path.read_bytes()
    axes.set_title(r"$\no_such_mathematics$")
    with pytest.raises(ValueError):
        save_figure(axes.figure, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
