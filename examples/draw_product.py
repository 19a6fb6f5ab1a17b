"""The picture of docs/math/product.md: where the operands of a product lie, and the tile of its sums.

python examples/draw_product.py [--out product.png]
"""

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from vqnp.plots.style import BLUE, GREEN, ORANGE, new_figure, no_ticks, save_figure

COLOURS = (BLUE, ORANGE, GREEN)  # of t = 0, 1, 2
PALE = "0.93"


def cell(axes: Axes, x: float, y: float, text: str = "", fill: str = "white", width: float = 1) -> None:
    """A box of height 1, dark ones with white text."""
    axes.add_patch(Rectangle((x, y), width, 1, facecolor=fill, edgecolor="0.6", linewidth=0.7))
    colour = "white" if fill in COLOURS else "black"
    axes.text(x + width / 2, y + 0.5, text, ha="center", va="center", fontsize=7.5, color=colour)


def numbered(axes: Axes, rows: int, columns: int, starts: list[int], K: int, frame: bool) -> None:
    """Memory as rows of numbered cells; run t of K cells from starts[t] is coloured."""
    run = {start + k: COLOURS[t] for t, start in enumerate(starts) for k in range(K)}
    for i in range(rows):
        for j in range(columns):
            edge = frame and (i in (0, rows - 1) or j in (0, columns - 1))
            place = i * columns + j
            cell(axes, j, i, str(place), run.get(place, PALE if edge else "white"))
    axes.set(xlim=(-0.2, 10.4), ylim=(rows + 0.1, -0.1), aspect="equal")
    no_ticks(axes)


def draw_tile(axes: Axes, rows: int = 6, vectors: int = 4, lanes: int = 16) -> None:
    """Sums, with the vectors of W above them and the numbers of x on their left."""
    width, left, top = 2.6, 3.6, 2.6
    for v in range(vectors):
        x = left + v * width
        cell(axes, x, 0.9, "", "#CFE3F1", width - 0.15)
        for lane in range(1, lanes):
            at = x + lane * (width - 0.15) / lanes
            axes.plot([at, at], [0.9, 1.9], color="0.75", linewidth=0.4)
        for r in range(rows):
            cell(axes, x, top + 1.15 * r, "Σ   Σ   …   Σ", "#FBE3D3", width - 0.15)
    for r in range(rows):
        label = "x[at(m, t) + k]" if r == 0 else f"x[at(m + {r}, t) + k]"
        cell(axes, 0, top + 1.15 * r, label, "#D5EBDD", 3.2)
    axes.text(left, 0.65, f"row (t, k) of W, from column n: {vectors} vectors of {lanes} columns", fontsize=8)
    axes.text(0, 0.65, f"{rows} numbers of x", fontsize=8)
    end = top + 1.15 * rows
    steps = (
        "Begin all sums at b[n :].   For t = 0 … T − 1, for k = 0 … K − 1:",
        f"load the {vectors} vectors;  copy each of the {rows} numbers to all lanes of a register;",
        f"{rows * vectors} fused multiply-adds, one for each vector of sums.",
        "Then ReLU, if there is one, and store the sums.",
    )
    for i, line in enumerate(steps):
        axes.text(0.35 * (i in (1, 2)), end + 0.85 + 0.85 * i, line, fontsize=8)
    axes.set(xlim=(-0.2, left + vectors * width + 0.1), ylim=(end + 3.9, -0.1))
    title = f"The tile: {rows} × {vectors} vectors of sums, in registers"
    axes.set_title(title, fontsize=10, loc="left")
    no_ticks(axes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the picture of docs/math/product.md.")
    parser.add_argument("--out", type=Path, default=Path("product.png"), help="(default: product.png)")
    args = parser.parse_args()
    figure = new_figure(11.0, 4.6)
    matrix = figure.add_axes((0.01, 0.69, 0.42, 0.22))
    numbered(matrix, 3, 5, [5], 5, frame=False)
    matrix.set_title("A linear layer: x is a matrix (M = 3, T = 1, K = 5)", fontsize=10, loc="left")
    matrix.text(5.3, 1.65, "row m = 1\nat(1, 0) = 5", fontsize=8.5, color=BLUE, va="center")
    window = figure.add_axes((0.01, 0.02, 0.42, 0.55))
    numbered(window, 6, 7, [9, 16, 23], 3, frame=True)
    title = "A 3 × 3 convolution: x is an image in a frame of zeros"
    sizes = "(M = 20 windows, T = 3 rows, K = 3 numbers)"
    window.set_title(f"{title}\n{sizes}", fontsize=10, loc="left")
    for t, start in enumerate((9, 16, 23)):
        window.text(7.3, 1.5 + t, f"at(7, {t}) = {start}", fontsize=8.5, color=COLOURS[t], va="center")
    window.text(7.3, 0.5, "window m = 7", fontsize=8.5, va="center")
    draw_tile(figure.add_axes((0.45, 0.02, 0.54, 0.89)))
    save_figure(figure, args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
