"""What each position of a PixelCNN sees: the picture of docs/math/pixelcnn.md, measured from outside.

One code at a time is changed, and the logits that change with it are noted. This needs nothing but a function
from codes to logits, so it would find a leak or a blind spot in any code.

python examples/receptive_fields.py [--out receptive_fields.png]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from vqnp.plots.style import BLUE, ORANGE, new_figure, no_ticks, save_figure
from vqnp.priors import PixelCNN

SIZE, K = 7, 8
POSITIONS = [(2, 0), (3, 3), (6, 1)]
NETWORKS = {
    "one stack: 7 × 7, then 3 × 3 twice": {"stacks": 1, "layers": 2},
    "one stack: 7 × 7, then 3 × 3 ten times": {"stacks": 1, "layers": 10},
    "two stacks: 7 × 7, then 3 × 3 three times": {"stacks": 2, "layers": 3},
}
COLOURS = ListedColormap(["0.93", ORANGE, BLUE, "black"])  # later, not seen, seen, the position itself


def measured(logits: Callable[[np.ndarray], np.ndarray], grids: np.ndarray) -> np.ndarray:
    """Which codes act on which logits: (M, M) of bool, row i for position i; grids: (n, H, W)."""
    M = grids[0].size
    field = np.zeros((M, M), bool)
    a = logits(grids)
    for j in range(M):
        changed = grids.copy().reshape(-1, M)
        changed[:, j] = (changed[:, j] + 1) % K
        differs = logits(changed.reshape(grids.shape)) != a
        field[:, j] = differs.any(axis=-1).reshape(-1, M).any(axis=0)
    return field


def draw_position(axes: Axes, field: np.ndarray, i: int) -> None:
    """The codes before position i, seen or not."""
    kind = np.where(field[i], 2, 1)
    kind[i:] = 0
    kind[i] = 3
    axes.imshow(kind.reshape(SIZE, SIZE), cmap=COLOURS, vmin=0, vmax=3)
    grid_lines(axes)


def draw_missing(axes: Axes, field: np.ndarray) -> None:
    """How many codes before each position it does not see."""
    missing = (np.arange(SIZE**2) - field.sum(axis=1)).reshape(SIZE, SIZE)
    axes.imshow(missing, cmap="Oranges", vmin=0, vmax=16)
    for (row, column), n in np.ndenumerate(missing):
        axes.text(column, row, str(n), ha="center", va="center", fontsize=7)
    grid_lines(axes)


def grid_lines(axes: Axes) -> None:
    """A border around each position."""
    for row, column in np.ndindex(SIZE, SIZE):
        border = {"fill": False, "edgecolor": "white", "linewidth": 1}
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **border))
    no_ticks(axes)


def main() -> None:
    """Measure, compare with what the prior says itself, and draw."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, default=Path("runs/receptive_fields.png"))
    out = parser.parse_args().out
    figure = new_figure(7.6, 6.4)
    grid = figure.add_gridspec(len(NETWORKS), len(POSITIONS) + 1, left=0.02, right=0.98, top=0.9, bottom=0.02,
                               hspace=0.22, wspace=0.08)  # fmt: skip
    grids = np.random.default_rng(0).integers(0, K, (4, SIZE, SIZE))
    for n, (name, network) in enumerate(NETWORKS.items()):
        prior = PixelCNN(K, (SIZE, SIZE), 8, rng=0, dtype="float64", **network)
        field = measured(prior.logits, grids)
        if (field != prior.receptive_field()).any():
            raise SystemExit(f"{name}: what is measured is not what the prior says of itself")
        print(f"{name:<45}{100 * prior.blind_spot:5.1f} % of the codes before a position are not seen")
        for column, (row_at, column_at) in enumerate(POSITIONS):
            axes = figure.add_subplot(grid[n, column])
            draw_position(axes, field, row_at * SIZE + column_at)
            if column == 0:
                axes.set_title(f"{name}: {100 * prior.blind_spot:.1f} % not seen", fontsize=9, loc="left")
        axes = figure.add_subplot(grid[n, len(POSITIONS)])
        draw_missing(axes, field)
        if n == 0:
            axes.set_title("codes not seen", fontsize=9)
    figure.text(0.02, 0.955, "black: a position; blue: the codes that act on it; orange: its blind spot",
                fontsize=9)  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, out)
    print(out)


if __name__ == "__main__":
    main()
