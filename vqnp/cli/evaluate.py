"""vqnp evaluate: the figures of a model on a data set."""

import argparse
import json
from typing import Any

from vqnp.cli.options import DATA, JSON, RUN, SOURCE, SPLIT, by_option, flag, option

HELP = "report MSE, perplexity, utilization and diagnosis; for a VAE, likelihood and KL"
DESCRIPTION = (
    "Reconstruct a data set in constant memory and print the figures. With --samples also compare images "
    "drawn from the prior in RUN with real ones, beside reconstructions, other real images, and codes drawn "
    "without a prior: for handwritten digits of 28 x 28 pixels, which vqnp has a classifier for. Of a prior "
    "with texts over captioned-digits count how often digits, colours and places are those of the caption."
)
GROUP = "the quality of samples"
OPTIONS = (
    RUN, DATA, SPLIT, JSON,
    option(
        "--samples", group=GROUP, type=int, metavar="N",
        help="how many images from each source, at most half the test images",
    ),
    option("--temperature", group=GROUP, type=float, metavar="T", help="as in vqnp sample (default: 1.0)"),
    option("--top-k", group=GROUP, type=int, metavar="K", help="as in vqnp sample (default: all)"),
    option("--top-p", group=GROUP, type=float, metavar="P", help="as in vqnp sample (default: 1)"),
    option(
        "--guidance", group=GROUP, type=float, metavar="S",
        help="as in vqnp sample, for a prior with classes, which are drawn in turn, or texts (default: 1.0)",
    ),
    option("--rerank", group=GROUP, type=int, metavar="N", help="as in vqnp sample (default: 1)"),
    option("--seed", group=GROUP, type=int, metavar="SEED", help="seed of the draws (default: 0)"),
    flag("--quiet", "show no progress bars"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print the report, and that on samples."""
    from vqnp.cli import sample_quality

    sample_quality.check_options(args)
    samples = sample_quality.report(args) if "samples" in args else None
    data, _, _, report = evaluated(args)
    if args.json:
        figures = {"data": data, **report.as_dict()}
        print(json.dumps(figures | ({"samples": samples.figures} if samples else {})))
    else:
        print(f"{report}\n{source(args, data)}" + (f"\n\n{samples.text}" if samples else ""))


def source(args: argparse.Namespace, data: str) -> str:
    """The line of the report that says which images it is about."""
    return f"{'data':<21}{data} ({args.split})"


def evaluated(args: argparse.Namespace) -> tuple[str, Any, Any, Any]:
    """The data's name or path, the model of RUN, the images, and its report on them.

    Without --data the images are the run's own, and the history of its training is part of the diagnosis.
    """
    from vqnp.cli.runs import open_run
    from vqnp.data import load_splits, open_images

    opened = open_run(args.model)
    images: Any
    with by_option(SOURCE):
        if "data" in args:
            data, history = args.data, []
            images = open_images(data, args.split)
        else:
            data, history = opened.trained_on(), opened.history
            training, test = load_splits(data)
            images = (training if args.split == "train" else test).images
    return data, opened.model, images, opened.model.evaluate(images, history, progress=True)
