"""A sample of each colour and digit: the picture of docs/text_to_image.md, from a run of captioned-digits.

One image for each caption such as "a green four"; the combinations that no training image shows have a frame.

vqnp train --data captioned-digits --out runs/captioned
vqnp prior runs/captioned --condition text
python examples/draw_captions.py runs/captioned [--guidance 2] [--out captions.png]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import vqnp
from vqnp.data.captioned_digits import CELL, COLOURS, HELD_OUT, NUMBERS, PLACES
from vqnp.plots.style import ORANGE, new_figure, no_ticks, save_figure

GAP = 3


def grid(cells: np.ndarray) -> Figure:
    """A row for each colour, a column for each digit, a frame around what is held out.

    cells: (60, 16, 16, 3), all digits of a colour after another
    """
    step, rows, columns = CELL + GAP, len(COLOURS), len(NUMBERS)
    sheet = np.ones((rows * step + GAP, columns * step + GAP, 3))
    for n, cell in enumerate(cells):
        r, c = (GAP + i * step for i in divmod(n, columns))
        sheet[r : r + CELL, c : c + CELL] = cell
    figure = new_figure(7.2, 4.5)
    axes = figure.add_axes((0.09, 0.01, 0.9, 0.9))
    axes.imshow(sheet, interpolation="nearest")
    no_ticks(axes)
    centre = GAP + (CELL - 1) / 2
    axes.set_xticks([c * step + centre for c in range(columns)], NUMBERS)
    axes.set_yticks([r * step + centre for r in range(rows)], list(COLOURS))
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    for digit, colour in HELD_OUT:
        corner = digit * step + GAP / 2 - 0.5, list(COLOURS).index(colour) * step + GAP / 2 - 0.5
        axes.add_patch(Rectangle(corner, step, step, fill=False, edgecolor=ORANGE, linewidth=2.5))
    return figure


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after a user error."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("run", type=Path, help="a run folder whose prior has texts")
    parser.add_argument("--guidance", type=float, default=2.0, help="of the text (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: %(default)s)")
    out = Path("captions.png")
    parser.add_argument("--out", type=Path, default=out, help="output file (default: %(default)s)")
    args = parser.parse_args(argv)
    captions = [f"a {colour} {number}" for colour in COLOURS for number in NUMBERS]
    try:
        model, prior = vqnp.load(args.run), vqnp.load(args.run / "prior.npz")
        images = vqnp.generate(model, prior, len(captions), args.seed, captions, guidance=args.guidance)
    except (vqnp.InputError, OSError) as error:
        print(f"draw_captions.py: {error}", file=sys.stderr)
        return 2
    r, c = PLACES["middle"]
    save_figure(grid(images[:, r : r + CELL, c : c + CELL]), args.out)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
