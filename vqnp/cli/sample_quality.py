"""vqnp evaluate --samples: images drawn from the prior and from simpler sources, beside real ones."""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from vqnp._check import Array, check_int, fail
from vqnp.cli import caption_quality
from vqnp.cli.options import SOURCE, by_option

SAMPLING = {
    "temperature": float, "top_k": int, "top_p": float, "guidance": float, "rerank": int, "seed": int,
}  # fmt: skip
"""The options that need --samples, as vqnp sample has them."""

FLAG_OF = {name: f"--{name.replace('_', '-')}" for name in SAMPLING}

LEAST_SAMPLES = 10

BOUND_IMAGES = 2000
"""Images of which the likelihood is bounded, and training images to which its scale is fitted."""


class Source(NamedTuple):
    """Images from one source, and the class that each was made or taken for, if any."""

    name: str
    images: Array
    labels: Array | None


class Report(NamedTuple):
    """What is printed, as text and for JSON."""

    text: str
    figures: dict[str, Any]


def check_options(args: argparse.Namespace) -> None:
    """Raise for options of sampling without --samples, and for samples beside training images."""
    if "samples" in args:
        check_int("", "--samples", args.samples, LEAST_SAMPLES)
        if args.split != "test":
            fail("", "--split", "must be test with --samples, which needs new images", args.split)
        return
    for name in SAMPLING:
        if name in args:
            fail("", FLAG_OF[name], "must be given only with --samples", getattr(args, name))


def report(args: argparse.Namespace) -> Report:
    """Draw from each source, and compare each with the same real test images."""
    from vqnp.cli.prior_files import open_codes_run, read_prior
    from vqnp.data import load_splits
    from vqnp.evaluation.samples import check_digits, sample_quality, table

    opened = open_codes_run(args.model)
    stored = read_prior(opened.run, opened.model)
    data = args.data if "data" in args else opened.trained_on()
    if data == "captioned-digits":
        return Report(*caption_quality.report(args, opened, stored, FLAG_OF))
    with by_option(SOURCE):
        train, test = load_splits(data)
    check_digits(data, test.images, test.labels)
    half = len(test) // 2
    n = check_int("", "--samples", args.samples, LEAST_SAMPLES, half)
    labels: Any = test.labels
    real = Source("real test images", test.images[:n], labels[:n])
    others = test.images[half : half + n]
    rows = {
        source.name: sample_quality(source.images, others, train.images, source.labels)
        for source in _sources(args, opened.model, stored, train.images, real)
    }
    lines = [f"{n} images of each source, compared with {n} other test images of {data}", table(rows)]
    figures: dict[str, Any] = {"n": n, "rows": {name: each.as_dict() for name, each in rows.items()}}
    if train.images.dtype == test.images.dtype == "uint8":
        from vqnp.priors.bound import likelihood_bound

        few = slice(BOUND_IMAGES)
        bound = likelihood_bound(opened.model, stored.prior, test.images[few], train.images[few])
        lines.append(f"{'bound on -log2 p(x)':<28}{bound}")
        figures["bound"] = bound.as_dict()
    return Report("\n".join(lines), figures)


def _sources(
    args: argparse.Namespace, model: Any, stored: Any, train: Array, real: Source
) -> Iterator[Source]:
    """The prior, the ceiling of every prior, the floor of every measure, and codes without a prior."""
    import numpy as np

    from vqnp.priors import generate
    from vqnp.priors.generation import as_grids

    prior, n, progress = stored.prior, len(real.images), not args.quiet
    options = {name: getattr(args, name) for name in SAMPLING if name in args and name != "seed"}
    seed, classes = check_int("", "--seed", getattr(args, "seed", 0), 0), getattr(prior, "num_classes", 0)
    for name in ("guidance", "rerank"):
        if options.get(name, 1) != 1 and not classes:
            needed = "must be given only for a prior with classes (vqnp prior --condition class)"
            fail("", FLAG_OF[name], needed, f"{stored.kind} without")
    condition = np.arange(n) % classes if classes else None
    with by_option(FLAG_OF):
        drawn = generate(model, prior, n, seed, condition, progress=progress, **options)
    yield Source(f"prior: {stored.kind}", drawn, condition)
    yield Source("reconstructions of these", model.reconstruct(real.images), real.labels)
    yield real
    codes = as_grids(model, model.encode(train))
    for name, order in (("Markov chain", 1), ("frequencies by position", 0)):
        if (name, options) != ("Markov chain" if stored.kind == "markov" else "", {}):
            yield Source(name, _of_chains(model, codes, order, n, seed, progress), None)
    rng = np.random.default_rng(seed)
    k = tuple(rng.integers(each.num_embeddings, size=(n, *each.shape)) for each in model.encodings)
    yield Source("codes at random", model.decode(k if isinstance(codes, tuple) else k[0]), None)


def _of_chains(model: Any, codes: Any, order: int, n: int, seed: int, progress: bool) -> Array:
    """Images of codes of a Markov chain; of several levels each from a chain of its own."""
    import numpy as np

    from vqnp.priors import Markov, generate

    if not isinstance(codes, tuple):
        return generate(model, Markov(codes, model.num_embeddings, order=order), n, seed, progress=progress)
    chains = [Markov(k, K, order=order) for k, K in zip(codes, model.num_embeddings, strict=True)]
    rngs = np.random.default_rng(seed).spawn(len(chains))
    drawn = (chain.sample(n, rng) for chain, rng in zip(chains, rngs, strict=True))
    images: Array = model.decode(tuple(drawn))
    return images
