"""vqnp sample: new images, from a model and the prior beside it."""

import argparse
import math
from typing import Any

from vqnp._check import check_int, fail
from vqnp.cli.caption_classes import class_of
from vqnp.cli.options import FORCE, RUN, by_option, flag, new_file, option

HELP = "draw new images from a model and its prior"
DESCRIPTION = (
    "Draw codes from the prior that vqnp prior wrote into RUN, decode them, and write the images into a "
    "float .npy (n, *image shape) or side by side into a .png; sounds one after the other into a .wav. Image "
    "k of a seed is the same whatever --n is."
)
IMAGES = 64
"""Drawn unless told otherwise: a sheet of 8 x 8."""

OPTIONS = (
    RUN,
    option("--n", type=int, metavar="N", help="how many images (default: 64; sounds: 1)"),
    option("--label", type=int, metavar="C", help="the class, for a prior trained with --condition class"),
    option("--text", metavar="TEXT", help="the caption, for a prior trained with --condition text"),
    option(
        "--temperature", type=float, default=1.0, metavar="T",
        help="divide the logits by T: below 1 likelier codes only, and less variety (default: 1.0)",
    ),
    option("--top-k", type=int, metavar="K", help="draw each code from the K likeliest (default: all)"),
    option("--top-p", type=float, metavar="P", help="draw from the likeliest of mass P (default: 1)"),
    option(
        "--guidance", type=float, default=1.0, metavar="S",
        help="exaggerate what --label or --text changes, S times (default: 1.0, not at all)",
    ),
    option(
        "--rerank", type=int, default=1, metavar="N",
        help="draw N images for each that is kept, the one that fits --label or --text best (default: 1)",
    ),
    option("--seed", type=int, default=0, metavar="SEED", help="seed of the draws (default: 0)"),
    flag("--quiet", "show no progress bar"),
    option(
        "--out", metavar="FILE",
        help="the .png or .npy to write, or of sounds .wav (default: samples.png or samples.wav)",
    ),
    FORCE,
)  # fmt: skip


FLAG_OF = {name: f"--{name.replace('_', '-')}" for name in ("n", "temperature", "top_k", "top_p", "guidance")}
FLAG_OF |= {"condition": "--label", "caption": "--text", "candidates": "--rerank", "rng": "--seed"}


def run(args: argparse.Namespace) -> None:
    """Draw, decode, and print what was written."""
    from vqnp._files import atomic, write_npy
    from vqnp.cli.prior_files import open_codes_run, read_prior
    from vqnp.priors import TextTransformer, generate

    seed, opened = check_int("", "--seed", args.seed, 0), open_codes_run(args.model)
    sound = opened.model.kind == "sound"
    suffixes = (".wav", ".png", ".npy") if sound else (".png", ".npy")
    out = new_file(getattr(args, "out", f"samples{suffixes[0]}"), suffixes, args.force)
    n = check_int("", "--n", getattr(args, "n", 1 if sound else IMAGES))
    model: Any
    model, (prior, kind, _, captions) = opened.model, read_prior(opened.run, opened.model)
    label, classes = getattr(args, "label", None), getattr(prior, "num_classes", 0)
    if label is not None:
        if not classes or captions:
            needed = "must be given only for a prior with classes (vqnp prior --condition class)"
            fail("", "--label", needed, "a prior with texts" if captions else f"{kind} without")
        check_int("", "--label", label, 0, classes - 1)
    text = getattr(args, "text", None)
    if text is not None and not captions and not isinstance(prior, TextTransformer):
        needed = "must be given only for a prior with texts (vqnp prior --condition text)"
        fail("", "--text", needed, f"{kind} without")
    if label is None and text is None:
        for name, value in (("--guidance", args.guidance), ("--rerank", args.rerank)):
            if value != 1:
                fail("", name, "must be given only with --label or --text", value)
    condition = label if text is None else class_of(text, captions) if captions else text
    with by_option(FLAG_OF):
        images = generate(
            model, prior, n, seed, condition, args.temperature,
            getattr(args, "top_k", None), getattr(args, "top_p", None), args.guidance, not args.quiet,
            check_int("", "--rerank", args.rerank),
        )  # fmt: skip
    with atomic(out) as file:
        if out.suffix == ".npy":
            write_npy(file, images)
        elif sound:
            from vqnp.cli.sounds import write_sounds

            write_sounds(file, out.suffix, images, model.rate)
        else:
            from vqnp.plots import are_signals, save_sheet

            save_sheet(file, images, math.isqrt(n - 1) + 1, signals=are_signals(model))
    of = f" of {text!r}" if text is not None else f" of class {label}" if label is not None else ""
    print(f"{n} {'sounds' if sound else 'images'}{of} in {out}")
