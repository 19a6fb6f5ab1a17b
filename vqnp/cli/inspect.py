"""vqnp inspect: the health of a codebook, or of a latent's units, in words, figures and a picture."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqnp.cli.evaluate import evaluated
from vqnp.cli.options import Parser, add_run_and_data

HELP = "the health of the codebook, and a picture of every code (or of a VAE's units)"
DESCRIPTION = (
    "Perplexity, utilization, dead codes and a usage histogram over a data set; the diagnosis with "
    "advice; and codebook.png: every code decoded in context. Of a VAE: KL and use of each unit, how much "
    "they tell about the image, and latents.png: the strongest units, each moved through its range."
)

FIGURE_IMAGES = 5000
"""Images from which the figure is made: enough that rarely used codes are seen."""

TOLD_APART = 2000
"""Images among which mutual_information tells one from the others: 4 million densities, a second."""


def add_options(p: Parser) -> None:
    """RUN, --data, --split, --out."""
    add_run_and_data(p)
    p.add_argument(
        "--out", metavar="PNG", help="where the figure goes (default: RUN/codebook.png or latents.png)"
    )


def run(args: argparse.Namespace) -> None:
    """Print the report and its details; draw the figure."""
    from vqnp import plots
    from vqnp.data.batches import batches

    model, images, report = evaluated(args)
    print(report)
    some = next(batches(images, FIGURE_IMAGES))
    details = {"codes": _of_codes, "latents": _of_latents}[model.encoding.name]
    print("\n".join(details(model, some, report)))
    folder = Path(args.model) if Path(args.model).is_dir() else Path(args.model).parent
    name, figure = plots.inspection_figure(report, model, some)
    out = Path(getattr(args, "out", folder / name))
    plots.save_figure(figure, out)
    print(f"{'wrote':<21}{out}")


def _of_codes(model: Any, images: Any, report: Any) -> Iterator[str]:
    """Which codes are dead, and how many are used how often."""
    from vqnp.metrics import dead_codes

    dead = dead_codes(report.counts)
    yield f"{'dead codes':<21}{', '.join(map(str, dead)) if len(dead) else 'none'}"
    edges = [0.0, 1e-12, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0]
    names = ["never", "< 0.1", "0.1-0.25", "0.25-0.5", "0.5-1", "1-2", "2-4", ">= 4"]
    yield from _bars("use / uniform use    codes", report.counts / report.counts.mean(), edges, names)


def _of_latents(model: Any, images: Any, report: Any) -> Iterator[str]:
    """How the units vary; of a posterior, how much a draw tells about the image, and the KL of each unit."""
    import numpy as np

    from vqnp.metrics import mutual_information

    if report.kl_per_unit is None:
        low, middle, high = np.quantile(report.variance, [0, 0.5, 1])
        yield f"{'variance of a unit':<21}{low:.3g} to {high:.3g}, median {middle:.3g}"
        return
    mu, logvar = (a.reshape(len(a), -1) for a in model.posterior(images[:TOLD_APART]))
    eps = np.random.default_rng(0).standard_normal(mu.shape, mu.dtype)
    found = mutual_information(mu, logvar, eps)
    yield f"{'mutual information':<21}{found.information:.2f} nats (standard error {found.error:.2f})"
    yield f"{'  at most':<21}{found.limit:.2f} nats, log {len(mu)} images; {found.kl:.2f}, their KL"
    edges = [0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0]
    names = ["< 0.01", "0.01-0.1", "0.1-0.5", "0.5-1", "1-2", "2-4", ">= 4"]
    yield from _bars("KL of a unit (nats)  units", report.kl_per_unit, edges, names)


def _bars(heading: str, values: Any, edges: list[float], names: list[str]) -> Iterator[str]:
    """A histogram in text: a line for each bin, the last without an upper edge."""
    import numpy as np

    yield heading
    for name, n in zip(names, np.histogram(values, [*edges, np.inf])[0], strict=True):
        yield f"  {name:<19}{n:<5d} {'#' * round(50 * n / len(values))}".rstrip()
