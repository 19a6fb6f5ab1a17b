"""Is a figure legible: every text within it, none on another, no curve under a legend?"""

import numpy as np
from matplotlib.text import Text


def texts(figure):
    """(text, its box in pixels) of every text that is seen; a tick outside of its axis is not."""
    figure.canvas.draw()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            shown = {id(tick) for tick in axis._update_ticks()}
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if id(tick) not in shown or not axis.get_visible():
                    hidden |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        if text not in hidden and text.get_visible() and text.get_text().strip():
            yield text.get_text(), text.get_window_extent()


def assert_legible(figure):
    found = list(texts(figure))
    assert found
    boxes = np.array([box.extents for _, box in found])
    width, height = figure.canvas.get_width_height()
    for (text, _), (left, low, right, high) in zip(found, boxes, strict=True):
        assert left >= 0 and low >= 0 and right <= width and high <= height, f"{text!r} is cut off"
    left, low, right, high = boxes.T
    apart = (
        (left[:, None] >= right) | (right[:, None] <= left) | (low[:, None] >= high) | (high[:, None] <= low)
    )
    for i, j in np.argwhere(~apart):
        assert i == j, f"{found[i][0]!r} is on {found[j][0]!r}"
    for axes in figure.axes:
        if legend := axes.get_legend():
            box = legend.get_window_extent()
            for line in axes.lines:
                path = line.get_transform().transform_path(line.get_path())
                under = path.intersects_bbox(box, filled=False) or box.count_contains(path.vertices)
                assert not under, f"{line.get_label()} is under the legend"
