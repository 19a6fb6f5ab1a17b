"""vqnp decode: codes to images, in batches."""

import argparse

from vqnp._check import fail
from vqnp.cli.options import FORCE, RUN, batch_bar, new_file, option
from vqnp.cli.zarr_files import SCHEDULER, convert, is_zarr

HELP = "convert codes to images"
DESCRIPTION = (
    "Decode the output of vqnp encode (or, of one level, an .npy of integers, or of latents) into a float "
    ".npy (n, *image shape), or the first 100 images into a .png; with a model of sounds into a .wav, one "
    "after the other, from the codes of one level. From a .zarr of vqnp encode, Dask decodes into a .zarr "
    "(extra dask)."
)
OUT_HELP = "the .npy, .png, .wav or .zarr to write (default: images.npy)"
OPTIONS = (
    RUN,
    option("codes", metavar="CODES", help="an .npz from vqnp encode, or an .npy of integers (n, M)"),
    option("--out", metavar="FILE", default="images.npy", help=OUT_HELP),
    option(
        "--level", type=int, metavar="L",
        help="with a model of sounds: the level to decode, 1 for the longest hop (default: the shortest hop)",
    ),
    SCHEDULER, FORCE,
)  # fmt: skip

PNG_IMAGES = 100  # ten rows of ten, which fit on a screen


def run(args: argparse.Namespace) -> None:
    """Decode, and print what was written."""
    from vqnp._files import atomic
    from vqnp.cli.runs import open_run
    from vqnp.export.codes import decode_file, open_codes

    if is_zarr(args, args.codes):
        from vqnp.bulk import decode_zarr

        print(f"{convert(args, decode_zarr, open_run(args.model).model, args.codes)} images in {args.out}")
        return
    out = new_file(args.out, (".npy", ".png", ".wav"), args.force)
    model = open_run(args.model).model
    if model.kind == "sound":
        from vqnp.cli.sounds import decode

        decode(model, args, out)
        return
    if out.suffix == ".wav" or "level" in args:
        if "level" in args:
            fail("", "--level", "must be given only with a model of sounds", args.level)
        fail("", "--out", "must end in .npy or .png but for a model of sounds", out)
    codes = open_codes(model, args.codes)
    if out.suffix == ".npy":
        decode_file(model, codes, out, batch_bar)
        print(f"{len(codes)} images in {out}")
        return
    first = next(codes.batches(PNG_IMAGES), None)
    if first is None:
        needed = f"must hold the {model.encoding.name} of at least one image for a PNG sheet"
        fail("", str(args.codes), needed, "none")
    from vqnp.plots import are_signals, save_sheet

    images = model.decode(first)
    with atomic(out) as file:
        save_sheet(file, images, signals=are_signals(model))
    print(f"{len(images)} of {len(codes)} images in {out}")
