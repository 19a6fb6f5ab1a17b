"""vqnp decode: codes to images, a batch at a time."""

from __future__ import annotations

import argparse

from vqnp._check import fail
from vqnp.cli.options import Parser, add_output, add_run, batch_bar, new_file

HELP = "codes to images"
DESCRIPTION = (
    "Decode what vqnp encode wrote (or an .npy of integers, or of latents) into a float .npy "
    "(n, *image shape), or the first 100 of them into a .png sheet."
)

SHEET_IMAGES = 100
"""Images on a PNG sheet: ten by ten, which fit on a screen."""


def add_options(p: Parser) -> None:
    """RUN, CODES, --out, --force."""
    add_run(p)
    p.add_argument("codes", metavar="CODES", help="an .npz from vqnp encode, or an .npy of integers (n, M)")
    add_output(p, "images.npy", "the .npy or .png to write")


def run(args: argparse.Namespace) -> None:
    """Decode, and say what was written."""
    from vqnp._files import atomic
    from vqnp.cli.runs import open_run
    from vqnp.export.codes import decode_file, open_codes
    from vqnp.plots import save_sheet

    out = new_file(args, (".npy", ".png"))
    model, _, _ = open_run(args.model)
    codes = open_codes(model, args.codes)
    if out.suffix == ".npy":
        decode_file(model, codes, out, batch_bar)
        print(f"{len(codes)} images in {out}")
        return
    first = next(codes.batches(SHEET_IMAGES), None)
    if first is None:
        needed = f"must hold the {model.encoding.name} of at least one image for a PNG sheet"
        fail("", str(args.codes), needed, "none")
    with atomic(out) as file:
        save_sheet(file, model.decode(first))
    print(f"{len(first)} of {len(codes)} images in {out}")
