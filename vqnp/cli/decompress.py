"""vqnp decompress: a file of vqnp compress to images."""

import argparse

from vqnp.cli.options import FORCE, RUN, batch_bar, flag, new_file, option

HELP = "read the images in a file that vqnp compress wrote"
DESCRIPTION = (
    "Read the codes in FILE with the model and the prior of RUN, those that it was written with, and decode "
    "them into a float .npy (n, *image shape). The codes are exactly those that were written; this is "
    "checked. Needs the extra compress (pip install 'vqnp[compress]')."
)
OPTIONS = (
    RUN,
    option("file", metavar="FILE", help="a file from vqnp compress"),
    option("--out", metavar="NPY", default="images.npy", help="the .npy to write (default: images.npy)"),
    flag("--quiet", "show no progress bar"),
    FORCE,
)


def run(args: argparse.Namespace) -> None:
    """Decompress, and print what was written."""
    from vqnp._files import atomic, write_npy
    from vqnp.cli.prior_files import open_codes_run, read_prior
    from vqnp.export.compressed import check_compressed, read_compressed

    out = new_file(args.out, (".npy",), args.force)
    check_compressed(args.file)  # of a file of another kind it does not matter which prior is there
    opened = open_codes_run(args.model)
    prior = read_prior(opened.run, opened.model).prior
    codes = read_compressed(args.file, opened.model, prior, None if args.quiet else batch_bar)
    images = opened.model.decode(codes)
    with atomic(out) as file:
        write_npy(file, images)
    print(f"{len(images)} images in {out}")
