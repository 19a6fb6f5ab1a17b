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
    data, _, _, report = evaluated(args)
    print(json.dumps({"data": data, **report.as_dict()}) if args.json else f"{report}\n{source(args, data)}")


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
    if "data" in args:
        data, history = args.data, []
        images = open_images(data, args.split)
    else:
        data, history = opened.trained_on(), opened.history
        training, test = load_splits(data)
        images = (training if args.split == "train" else test).images
    return data, opened.model, images, opened.model.evaluate(images, history, progress=True)
