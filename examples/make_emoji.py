"""Make emoji.npz, which vqnp reads as the data set "emoji", from two files of an npm package.

The package is emoji-datasource-google 16.0.0: img/google/sheets-clean/32.png (the images, Google's Noto
Emoji, Apache-2.0) and emoji.json (their names, MIT). Each emoji is an image of 32 × 32 pixels on white; its
caption is its name, and that of the same emoji in a skin tone ends with "medium skin tone" or the like. The
test images are combinations that are held out: of each gesture one skin tone, and of hearts, squares and
circles two colours each. All their words occur in other captions. Put the file into the folder that
VQNP_DATA names.

python examples/make_emoji.py FOLDER --out data/emoji.npz
VQNP_DATA=data vqnp train --data emoji
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.image import imread

from vqnp._check import Array, InputError, fail
from vqnp._files import check_file, reading, write_npz

SIDE, BORDER = 32, 1
TONES = {
    "1F3FB": "light", "1F3FC": "medium light", "1F3FD": "medium", "1F3FE": "medium dark", "1F3FF": "dark",
}  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown")
SHAPES = ("{} heart", "large {} square", "large {} circle")
RENAMED = {"heavy black heart": "red heart"}  # black means filled in Unicode's older names
HELD_OUT_SHAPES = frozenset(
    shape.format(colour)
    for s, shape in enumerate(SHAPES)
    for c, colour in enumerate(COLOURS)
    if (c + 2 * s) % len(COLOURS) < 2
)


class Emoji(NamedTuple):
    """A caption, the place of its image in the sheet, and whether it is held out."""

    caption: str
    column: int
    row: int
    held_out: bool


def emoji_of(entries: list[dict[str, Any]]) -> list[Emoji]:
    """Every emoji of emoji.json, without a skin tone and with each single one."""
    found, gestures = [], 0
    for entry in entries:
        name = entry["name"].lower()
        name = RENAMED.get(name, name)
        found.append(Emoji(name, entry["sheet_x"], entry["sheet_y"], name in HELD_OUT_SHAPES))
        tones = [(t, entry["skin_variations"][key]) for t, key in enumerate(TONES)
                 if key in entry.get("skin_variations", {})]  # fmt: skip
        gesture = entry["subcategory"].startswith("hand") and bool(tones)
        gestures += gesture
        for t, variation in tones:
            caption = f"{name}, {list(TONES.values())[t]} skin tone"
            place = variation["sheet_x"], variation["sheet_y"]
            found.append(Emoji(caption, *place, gesture and (gestures + t) % len(TONES) == 0))
    return found


def on_white(sheet: Array, emoji: Emoji) -> Array:
    """The image of an emoji: (32, 32, 3) uint8, from a sheet (H, W, 4) in [0, 1]."""
    cell = SIDE + 2 * BORDER
    y, x = emoji.row * cell + BORDER, emoji.column * cell + BORDER
    part = sheet[y : y + SIDE, x : x + SIDE]
    if part.shape != (SIDE, SIDE, 4):
        fail("32.png", "", f"must have an image of {SIDE} × {SIDE} for {emoji.caption!r}", part.shape)
    alpha = part[..., 3:]
    return np.rint(255 * (part[..., :3] * alpha + 1 - alpha)).astype(np.uint8)


def make_arrays(folder: Path) -> dict[str, Array]:
    """The arrays of emoji.npz, by name."""
    paths = [check_file(folder / name, folder / name) for name in ("emoji.json", "32.png")]
    with reading(folder, "must hold emoji.json and 32.png as in emoji-datasource-google"):
        every = emoji_of(json.loads(paths[0].read_text(encoding="utf-8")))
        sheet = imread(paths[1])
    arrays = {}
    for split, held_out in (("train", False), ("test", True)):
        chosen = [each for each in every if each.held_out == held_out]
        arrays[f"x_{split}"] = np.stack([on_white(sheet, each) for each in chosen])
        arrays[f"captions_{split}"] = np.array([each.caption for each in chosen])
    return arrays


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after a user error."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path, help="the folder with 32.png and emoji.json")
    out = Path("emoji.npz")
    parser.add_argument("--out", type=Path, default=out, help="output file (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        arrays = make_arrays(args.folder)
        write_npz(args.out, arrays)
    except (InputError, OSError) as error:
        print(f"make_emoji.py: {error}", file=sys.stderr)
        return 2
    counts = f"{len(arrays['x_train'])} training images, {len(arrays['x_test'])} held out"
    print(f"{args.out}: {args.out.stat().st_size:,} bytes; {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
