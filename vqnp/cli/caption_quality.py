"""vqnp evaluate --samples on captioned-digits: what is right of images drawn for captions."""

import argparse
from typing import Any

from vqnp._check import check_int, fail
from vqnp.cli.options import by_option

COLUMNS = (
    ("objects", "objects", "d"), ("digit", "digit", ".3f"), ("colour", "colour", ".3f"),
    ("right", "both", ".3f"), ("place", "place", ".3f"),
)  # fmt: skip
"""The figures of the table: name, heading, format."""

KINDS = {"captions as in training": "test", "held-out combinations": "held-out"}


def report(args: argparse.Namespace, opened: Any, stored: Any, sampling: dict[str, str]) -> tuple[str, Any]:
    """Text and figures of samples, reconstructions and real images of both kinds of captions.

    Of a caption with a held-out combination only the object that is held out counts.
    """
    from vqnp.data.captioned_digits import COUNTS, generate
    from vqnp.evaluation import caption_accuracy
    from vqnp.priors import TextTransformer
    from vqnp.priors import generate as sample

    if not isinstance(stored.prior, TextTransformer):
        needed = "must be a run whose prior has texts (vqnp prior --condition text)"
        fail("RUN", "", needed, f"{opened.run.folder}, whose prior has none")
    n = check_int("", "--samples", args.samples, 1, COUNTS["test"])
    seed = check_int("", "--seed", getattr(args, "seed", 0), 0)
    options = {name: getattr(args, name) for name in sampling if name in args and name != "seed"}
    figures: dict[str, Any] = {"n": n}
    lines = [f"{n} captions of each kind; the share of the objects of which each is right"]
    lines.append(f"{'':<40}" + "".join(f"{heading:>9}" for _, heading, _ in COLUMNS))
    for kind, split in KINDS.items():
        images, captions = generate(split, n)
        with by_option(sampling | {"candidates": "--rerank"}):
            drawn = sample(
                opened.model, stored.prior, n, seed, captions, progress=not args.quiet, **options
            )  # fmt: skip
        rebuilt = opened.model.reconstruct(images)
        sources = {"samples": drawn, "reconstructions": rebuilt, "real images": images}
        for source, each in sources.items():
            accuracy = caption_accuracy(each, captions)
            if split == "held-out":
                accuracy = accuracy.among(accuracy.held_out)
            row = figures.setdefault(split, {})[source] = accuracy.as_dict()
            cells = "".join(f"{row[name]:9{form}}" for name, _, form in COLUMNS)
            lines.append(f"{f'{kind}: {source}':<40}{cells}")
    return "\n".join(lines), figures
