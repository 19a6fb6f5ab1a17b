"""vqnp evaluate: the figures of a model on a data set."""

import argparse
import json
from typing import Any

from vqnp.cli.options import DATA, JSON, RUN, SPLIT

HELP = "report MSE, perplexity, utilization and diagnosis; for a VAE, likelihood and KL"
DESCRIPTION = "Reconstruct a data set in constant memory and print the figures."
OPTIONS = (RUN, DATA, SPLIT, JSON)


def run(args: argparse.Namespace) -> None:
    """Print the report."""
    _, _, report = evaluated(args)
    print(json.dumps(report.as_dict()) if args.json else report)


def evaluated(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The model of RUN, the images, and its report on them.

    Without --data the images are the run's own, and the history of its training is part of the diagnosis.
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
