"""vqnp inspect: the health of a codebook, or of a latent's units, in words, numbers and a picture."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqnp._check import fail
from vqnp.cli.evaluate import evaluated, source
from vqnp.cli.options import DATA, RUN, SPLIT, new_file, option

HELP = "report the health of the codebook, and draw every code (or a VAE's units)"
DESCRIPTION = (
    "Perplexity, utilization, dead codes and a usage histogram over a data set; the diagnosis with "
    "advice; and codebook.png: every code decoded in context. Of a VAE: KL and use of each unit, their "
    "mutual information with the image, and latents.png: the strongest units, each varied over its range. "
    "Of a hierarchy the same for each level, and levels.png: images with a level from another image."
)
OPTIONS = (
    RUN, DATA, SPLIT,
    option(
        "--out", metavar="PNG",
        help="the figure to write (default: RUN/codebook.png, latents.png or levels.png)",
    ),
)  # fmt: skip

FIGURE_IMAGES = 5000  # enough that rarely used codes occur
INFORMATION_IMAGES = 2000  # mutual_information needs the densities of all pairs: 4 million, a second


def run(args: argparse.Namespace) -> None:
    """Print the report and its details; draw the figure."""
    from vqnp import plots
    from vqnp.data.batches import batches

    folder = Path(args.model) if Path(args.model).is_dir() else Path(args.model).parent
    if "out" not in args and folder.is_dir() and not os.access(folder, os.W_OK):
        fail("", "--out", "must be given for a run in a folder that you cannot write to", "none")
    if "out" in args:
        new_file(args.out, (".png",), force=True)
    data, model, images, report = evaluated(args)
    print(f"{report}\n{source(args, data)}")
    some = next(batches(images, FIGURE_IMAGES))
    details = {"codes": _codes, "latents": _latents, "levels": _levels}[model.encoding.name]
    print("\n".join(details(model, some, report)))
    name, figure = plots.inspection_figure(report, model, some)
    out = Path(getattr(args, "out", folder / name))
    plots.save_figure(figure, out)
    print(f"{'wrote':<21}{out}")


def _codes(model: Any, images: Any, report: Any) -> Iterator[str]:
    """The dead codes, and a histogram of the codes' use."""
    several = len(report.dead_codes) > 1
    for i, dead in enumerate(report.dead_codes, 1):
        name = f"dead codes of {i}" if several else "dead codes"
        yield f"{name:<21}{', '.join(map(str, dead)) if dead else 'none'}"
    edges = [0.0, 1e-12, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0]
    names = ["never", "< 0.1", "0.1-0.25", "0.25-0.5", "0.5-1", "1-2", "2-4", ">= 4"]
    yield from _bars("use / uniform use    codes", report.counts / report.counts.mean(), edges, names)


def _levels(model: Any, images: Any, report: Any) -> Iterator[str]:
    """The same for the codes of each level."""
    for l, level in enumerate(report.levels, 1):
        yield f"level {l}"
        yield from _codes(model, images, level)


def _latents(model: Any, images: Any, report: Any) -> Iterator[str]:
    """The variance of the units; for a VAE, mutual information and a histogram of the units' KL instead."""
    import numpy as np

    from vqnp.metrics import mutual_information

    if report.kl_per_unit is None:
        low, middle, high = np.quantile(report.variance, [0, 0.5, 1])
        yield f"{'variance of a unit':<21}{low:.3g} to {high:.3g}, median {middle:.3g}"
        return
    mu, logvar = (a.reshape(len(a), -1) for a in model.posterior(images[:INFORMATION_IMAGES]))
    eps = np.random.default_rng(0).standard_normal(mu.shape, mu.dtype)
    found = mutual_information(mu, logvar, eps)
    yield f"{'mutual information':<21}{found.information:.2f} nats (standard error {found.error:.2f})"
    yield f"{'  at most':<21}{found.limit:.2f} nats, log {len(mu)} images; {found.kl:.2f}, their KL"
    edges = [0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0]
    names = ["< 0.01", "0.01-0.1", "0.1-0.5", "0.5-1", "1-2", "2-4", ">= 4"]
    yield from _bars("KL of a unit (nats)  units", report.kl_per_unit, edges, names)


def _bars(heading: str, values: Any, edges: list[float], names: list[str]) -> Iterator[str]:
    """A histogram in text: a line for each bin, the last one without an upper edge."""
    import numpy as np

    yield heading
    for name, n in zip(names, np.histogram(values, [*edges, np.inf])[0], strict=True):
        yield f"  {name:<19}{n:<5d} {'#' * round(50 * n / np.size(values))}".rstrip()
