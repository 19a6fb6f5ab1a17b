"""What the logits of some positions see: r_ij = max |Δa_i| / max |a| when code j alone is changed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vqnp._check import check_int, fail
from vqnp.crosscheck.autoregressive.report import AutoregressiveReport
from vqnp.plots.style import BLUE, GREY, ORANGE, new_figure

SEEN, BLIND, LEAK, OWN, LATER = BLUE, GREY, ORANGE, "black", "#EEEEEE"


def influence_figure(report: AutoregressiveReport, positions: Sequence[int] | None = None) -> Figure:
    """A panel for each position: the codes before that its logits see or do not see, and later ones they see.

    Parameters
    ----------
    report : AutoregressiveReport
        Of vqnp.crosscheck.check_autoregressive.
    positions : sequence of int, optional
        Numbers of positions in raster order. Default: one near the start, one in the middle, one near the
        end, and the one with most to complain of. Of a sequence, all positions are the rows of one panel.

    Raises
    ------
    InputError
        A position that is not there, or a report in which nothing was measured.
    """
    found = report.influence
    if found is None:
        fail("influence_figure", "report", "must have measured what is seen", report.verdict)
    M, earlier = found.M, np.tri(found.M, k=-1, dtype=bool)
    marks = np.where(found.seen, np.where(earlier, 0, 2), np.where(earlier, 1, 4))
    marks[~found.told & (marks < 2)] = 4
    marks[np.diag_indices(M)] = np.where(np.diagonal(found.seen), 2, 3)
    colours = ListedColormap([SEEN, BLIND, LEAK, OWN, LATER])
    if len(found.shape) == 1 and positions is None:
        panels, titles = [marks], ["rows: logits of a code"]
    else:
        bad = (found.leaks | found.unseen).sum(axis=1)
        default = sorted({M // 4, M // 2, M - 1, int(np.argmax(bad))})
        chosen = default if positions is None else list(positions)
        chosen = [check_int("influence_figure", "positions", m, 0, M - 1) for m in chosen]
        H = found.shape[0] if len(found.shape) > 1 else 1
        panels, titles = [marks[m].reshape(H, -1) for m in chosen], [found.place(m) for m in chosen]
    figure = new_figure(2.4 * len(panels) + 0.3, 3.1)
    for n, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        axes = figure.add_subplot(1, len(panels), n + 1)
        axes.imshow(panel, cmap=colours, vmin=0, vmax=4)
        axes.set_title(title, fontsize=9)
        axes.set(xticks=[], yticks=[])
    names = ("seen", "before, not seen", "leak", "itself", "later")
    keys = [Patch(color=colours(i), label=name) for i, name in enumerate(names)]
    figure.legend(handles=keys, loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.subplots_adjust(left=0.03, right=0.97, top=0.9, bottom=0.2, wspace=0.1)
    return figure
