"""vqnp report: a run as one HTML file."""

import argparse
import os
from pathlib import Path
from typing import Any

from vqnp._check import InputError, fail
from vqnp.cli.options import DATA, RUN, SOURCE, by_option, flag, new_file, option

HELP = "write the run as one HTML file, to look at and to try its codes"
DESCRIPTION = (
    "Write figures, configuration and diagnosis of a run, and samples if it has a prior, into one HTML file "
    "of less than 3 MB that loads nothing from a network. Its decoder and prior run in the browser: "
    "exchange a code, walk from one image to another code by code, see which codes are near each other, "
    "and draw a sample step by step."
)
OPTIONS = (
    RUN, DATA,
    option("--out", metavar="FILE", help="the .html to write or replace (default: RUN/report.html)"),
    flag("--quiet", "show no progress bar"),
)  # fmt: skip

EXAMPLES = 10  # images to begin with, one of each class where there are ten
EXAMPLE_BYTES = 200_000  # of all of them


def run(args: argparse.Namespace) -> None:
    """Write the page, and print where it is and how large."""
    from vqnp._files import atomic
    from vqnp.cli.runs import open_run
    from vqnp.report import write_page

    if "out" in args:
        new_file(args.out, (".html",), force=True)
    opened = open_run(args.model)
    folder = opened.run.folder
    if "out" not in args and not os.access(folder, os.W_OK):
        fail("", "--out", "must be given for a run in a folder that you cannot write to", "none")
    out = Path(getattr(args, "out", opened.run.report))
    new_file(out, (".html",), force=True)
    page = write_page(_contents(args, opened)).encode()
    with atomic(out) as file:
        file.write(page)
    print(f"{out}: {len(page) / 1e6:.2f} MB, to be opened in a browser")


def _contents(args: argparse.Namespace, opened: Any) -> Any:
    """What is known of the run; where the data cannot be read, the sentence why, unless --data names them."""
    from vqnp.data import load_splits
    from vqnp.report import Contents

    folder = opened.run.folder
    found = Contents(folder.resolve().name, opened.model, folder, history=opened.history)
    if opened.run.config.exists():
        found.config = opened.read_config()
    with by_option(SOURCE):
        try:
            data = args.data if "data" in args else opened.trained_on()
            test = load_splits(data)[1]
        except (InputError, OSError) as error:
            if "data" in args:
                raise
            found.source = f"The data of the training could not be read: {error}."
        else:
            history = [] if "data" in args else opened.history
            found.report = opened.model.evaluate(test.images, history, progress=not args.quiet)
            found.source = f"{data} (test)"
            found.images, found.names = _examples(test)
    _add_prior(found, opened)
    return found


def _examples(test: Any) -> tuple[Any, list[str]]:
    """A few test images, of different classes first, and their names."""
    import numpy as np

    each = max(1, int(np.prod(test.images.shape[1:])))
    n = min(EXAMPLES, max(2, EXAMPLE_BYTES // each), len(test))
    chosen = list(range(n))
    if test.labels is not None:
        first = np.sort(np.unique(test.labels, return_index=True)[1]).tolist()
        chosen = (first + [i for i in range(len(test)) if i not in set(first)])[:n]
        chosen.sort(key=lambda i: int(test.labels[i]))
    names = []
    for i in chosen:
        label = f", class {test.labels[i]}" if test.labels is not None else ""
        words = f", {test.captions[i]}" if test.captions is not None else ""
        names.append(f"{i}{words or label}")
    return np.asarray(test.images)[chosen], names


def _add_prior(contents: Any, opened: Any) -> None:
    """The prior of the run, or why there is none."""
    from vqnp.cli.prior_files import read_prior

    if not opened.model.num_embeddings:
        contents.prior = "A model without codes has no prior over codes."
    elif opened.run.prior.exists():
        stored = read_prior(opened.run, opened.model)
        contents.prior, contents.prior_history = stored.prior, stored.trainer.get("history", [])
