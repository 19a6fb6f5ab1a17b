"""vqnp encode: images to codes, in batches."""

import argparse
from pathlib import Path
from typing import Any

from vqnp.cli.options import DATA, FORCE, RUN, SOURCE, SPLIT, batch_bar, by_option, new_file, option
from vqnp.cli.zarr_files import SCHEDULER, convert, is_zarr

HELP = "convert images to codes (for a VAE or an autoencoder: to latents)"
DESCRIPTION = (
    "Encode images into an .npz: codes (n, M) in the narrowest unsigned dtype, num_embeddings, and "
    "the SHA-256 of the model; of a hierarchy codes_1, codes_2 and so on, one array for each level; of a VAE "
    "latents (n, D), the posterior's means. "
    "Images are read, encoded and written in batches. With a model of sounds DATA may also be one WAV file "
    "of any length, which is encoded a window at a time. From DATA in Zarr, .zarr, Dask encodes into Zarr "
    "(extra dask), on a cluster if there is one."
)
OUT_HELP = "the .npz or .zarr to write (default: codes.npz)"
OPTIONS = (
    RUN, DATA, SPLIT,
    option("--out", metavar="FILE", default="codes.npz", help=OUT_HELP),
    SCHEDULER, FORCE,
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Encode, and print what was written."""
    from vqnp.cli.runs import open_run
    from vqnp.data import open_images
    from vqnp.export.codes import encode_file
    from vqnp.export.recording import encode_recording

    zarr = is_zarr(args, getattr(args, "data", ""))
    out = new_file(args.out, (".npz",), args.force) if not zarr else args.out
    opened = open_run(args.model)
    model: Any
    model, data = opened.model, args.data if "data" in args else opened.trained_on()
    if zarr:
        from vqnp.bulk import encode_zarr

        count = convert(args, encode_zarr, model, data)
        print(f"{count} images of {data}, {model.encoding.size} each, in {out}")
        return
    if model.kind == "sound" and Path(data).is_file():
        samples = encode_recording(model, data, out)
        print(f"{samples} samples of {data} in {out}")
        return
    with by_option(SOURCE):
        images = open_images(data, args.split)
    encode_file(model, images, out, batch_bar)
    print(f"{len(images)} images of {data}, {model.encoding.size} each, in {out}")
