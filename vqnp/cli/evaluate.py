"""vqnp evaluate: the figures of a model on a data set."""

from __future__ import annotations

import argparse
from typing import Any

from vqnp.cli.options import Parser, add_run_and_data

HELP = "MSE, perplexity, utilization and diagnosis; a VAE's likelihood and KL"
DESCRIPTION = "Reconstruct a data set, in constant memory, and print the figures."


def add_options(p: Parser) -> None:
    """RUN, --data, --split, --json."""
    add_run_and_data(p)
    p.add_argument("--json", action="store_true", default=False, help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the report."""
    import json

    _, _, report = evaluated(args)
    print(json.dumps(report.as_dict()) if args.json else report)


def evaluated(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The model of RUN, the images, and its report on them.

    Without --data they are those that training used, or held out, and its history is part of the diagnosis.
    """
    from vqnp.cli.runs import open_run
    from vqnp.data import load_splits, open_images

    model, trained_on, history = open_run(args.model)
    images: Any
    if "data" in args:
        images, history = open_images(args.data, args.split), []
    else:
        training, test = load_splits(trained_on)
        images = (training if args.split == "train" else test).images
    return model, images, model.evaluate(images, history, progress=True)
