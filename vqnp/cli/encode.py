"""vqnp encode: images to codes, a batch at a time."""

from __future__ import annotations

import argparse

from vqnp.cli.options import Parser, add_output, add_run_and_data, batch_bar, new_file

HELP = "images to codes (a VAE's or an autoencoder's: to latents)"
DESCRIPTION = (
    "Encode images into an .npz: codes (n, M) in the narrowest unsigned dtype, num_embeddings, and "
    "the SHA-256 of the model they belong to; of a VAE latents (n, D), the posterior's means. "
    "Reads, encodes and writes a batch at a time."
)


def add_options(p: Parser) -> None:
    """RUN, --data, --split, --out, --force."""
    add_run_and_data(p)
    add_output(p, "codes.npz", "the .npz to write")


def run(args: argparse.Namespace) -> None:
    """Encode, and say what was written."""
    from vqnp.cli.runs import open_run
    from vqnp.data import open_images
    from vqnp.export.codes import encode_file

    out = new_file(args, (".npz",))
    model, trained_on, _ = open_run(args.model)
    images = open_images(getattr(args, "data", trained_on), args.split)
    encode_file(model, images, out, batch_bar)
    print(f"{len(images)} images, {model.encoding.size} each, in {out}")
