"""vqnp prior: learn the distribution of a model's codes, measure it in bits, and draw the first images."""

import argparse
import contextlib
import json
from typing import Any

from vqnp._check import check_codes, fail
from vqnp.cli.caption_classes import caption_classes
from vqnp.cli.options import JSON, RUN, by_option, flag, option, say
from vqnp.cli.prior_options import (  # fmt: skip
    FLAG_OF, KINDS, NAMES, NETWORK, PIXELCNN_LAYERS, SCHEDULE, SOUND_DEFAULTS, TEXT, TEXT_DEFAULTS, Form,
    chosen, form_of, kind_and_condition, options_of,
)
from vqnp.cli.prior_table import as_dict, baselines, printed
from vqnp.cli.ranks import default_shards

HELP = "train a prior over a model's codes, from which vqnp sample draws new images"
DESCRIPTION = (
    "Encode the run's own data with its model, train a prior over the codes, and print the bits that an "
    "image needs under it, beside four baselines. Write prior.npz, prior.csv and samples.png into the run "
    "folder. Ctrl-C saves; --resume continues, to the same result, bit for bit. Of a run with several "
    "levels of codes the prior has a network for each, which is given the codes of the levels above."
)

SHEET_IMAGES, SHEET_COLUMNS = 100, 10


OPTIONS = (
    RUN,
    option(
        "--model", dest="kind", choices=KINDS,
        help="the kind of prior; pixelcnn: for codes in a plane; markov: a chain from counts, without "
        "training (default: transformer; of several levels: pixelcnn)",
    ),
    option(
        "--condition", choices=("none", "class", "text"),
        help="class: learn p(codes | class) from the data's labels, for vqnp sample --label; text: learn "
        "captions and codes as one sequence, or of sounds each caption as a class, for vqnp sample --text "
        "(default: none)",
    ),
    option(
        "--levels", type=int, metavar="N",
        help="of a model of sounds: learn the codes of the first N levels, the last of which is decoded "
        "(default: 2)",
    ),
    flag("--force", "replace the prior in RUN"),
    flag("--resume", "continue the prior in RUN, or start one if there is none"),
    JSON,
    flag("--quiet", "show no progress bars"),
    *options_of("the network", NETWORK),
    *options_of("with --condition text", TEXT),
    *options_of("its training", SCHEDULE),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train a prior with these options, or resume its training; print the table and draw the samples."""
    from vqnp.cli.prior_files import open_codes_run
    from vqnp.cli.ranks import ranks

    args.quiet |= args.json
    if args.resume and args.force:
        fail("", "--resume", "must be given without --force", "both")
    team = ranks()
    with contextlib.ExitStack() as held:

        def hold() -> None:
            held.enter_context(open_codes_run(args.model).run.held("RUN"))

        team.first(hold)
        _run(args, open_codes_run(args.model), team)  # now nobody changes it


def _run(args: argparse.Namespace, opened: Any, team: Any) -> None:
    """The same in a run folder that rank 0 holds."""
    from vqnp.cli.prior_files import read_prior
    from vqnp.data import load_splits
    from vqnp.nn.module import trainable
    from vqnp.priors import HierarchicalPrior
    from vqnp.priors.generation import as_grids

    model, folder = opened.model, opened.run
    quiet = args.quiet or team.rank > 0
    stored = None
    if folder.prior.exists() and args.resume:
        stored = read_prior(folder, model)
    elif folder.prior_files() and not args.force:
        needed = "must be a run without a prior (--force replaces it, --resume goes on with it)"
        fail("RUN", "", needed, f"{folder.folder}, which has {folder.prior_files()[0].name}")
    kind, condition = kind_and_condition(args, stored, model.encoding.name == "levels", model.kind)
    form = form_of(args, stored, model)
    data = opened.trained_on()
    splits = team.first_then_others(lambda: load_splits(data))
    labels, captions = _conditions(condition, data, splits, model.kind == "sound")
    prior: Any = None
    schedule = None
    if kind != "markov" and not stored:  # a wrong option is found before anything is deleted
        with by_option(FLAG_OF), trainable():
            prior, schedule = _new(args, kind, model, condition, labels, form)
    team.everyone(0)  # all have seen what is there
    if not stored and team.rank == 0:
        for path in reversed(folder.prior_files()):
            path.unlink()
    sizes = f"{len(splits[0])} training images, {len(splits[1])} test images"
    if not args.json and team.rank == 0:
        say(f"{sizes} of {data}; writing {folder.folder}")
    codes = [as_grids(model, model.encode(split.images, progress=not quiet)) for split in splits]
    if isinstance(form.num_embeddings, tuple):
        codes = [each[: len(form.num_embeddings)] for each in codes]
    table, parts = baselines(codes, form.num_embeddings), dict[str, Any]()
    if kind != "markov":
        pairs = codes if labels is None else list(zip(codes, labels, strict=True))
        prior = _trained(args, opened, pairs, prior, schedule, captions, team)
    if team.rank:
        return
    if kind == "markov":
        prior = _counted(folder, model, codes[0])
    else:
        reports = [prior.evaluate(pair, progress=not quiet) for pair in pairs]
        table[kind if labels is None else f"{kind}, given the {condition}"] = (
            reports[0].bits_per_image, reports[1].bits_per_image
        )  # fmt: skip
        if isinstance(prior, HierarchicalPrior):
            levels = zip(*(report.levels for report in reports), strict=True)
            parts = {f"level {l}": tuple(each.bits_per_image for each in pair)
                     for l, pair in enumerate(levels, 1)}  # fmt: skip
    figures = {
        "data": data, "model": kind, "condition": condition, "num_latents": form.num_codes,
        "num_embeddings": form.num_embeddings, "train_images": len(splits[0]),
        "test_images": len(splits[1]),
    }  # fmt: skip
    if parts:
        bits = {name: dict(zip(("train", "test"), pair, strict=True)) for name, pair in parts.items()}
        figures["bits_per_level"] = bits
    if not args.json:
        print(printed(table, figures))
    _draw(args, folder, model, prior, stored.trainer if stored else None, splits[1])
    wrote = list(map(str, folder.prior_files()))
    if args.json:
        print(json.dumps(figures | as_dict(table, form.num_codes) | {"wrote": wrote}))
    else:
        print("\n".join(f"{'wrote':<30}{path}" for path in wrote))


def _conditions(
    condition: str, data: str, splits: Any, sound: bool
) -> tuple[list[Any] | None, tuple[str, ...]]:
    """The classes or captions of the training and of the test images; of sounds the captions of classes."""
    if condition == "none":
        return None, ()
    if condition == "text":
        if any(split.captions is None for split in splits):
            fail("", "--condition", "must be none or class for data without captions", f"text, for {data}")
        if sound:
            names, classes = caption_classes(data, splits)
            return classes, names
        return [split.captions for split in splits], ()
    if any(split.labels is None for split in splits):
        fail("", "--condition", "must be none for data without labels", f"class, for {data}")
    for split in splits:
        check_codes(data, split.labels, len(splits[0]), "labels")  # more classes than images are no classes
    return [split.labels for split in splits], ()


def _new(
    args: argparse.Namespace, kind: str, model: Any, condition: str, labels: list[Any] | None, codes: Form
) -> tuple[Any, Any]:
    """A prior of this kind for the model's codes, and its schedule."""
    from vqnp.data.vocabulary import Vocabulary
    from vqnp.priors import HierarchicalPrior, PixelCNN, TextTransformer, Transformer
    from vqnp.training import Schedule

    others: dict[str, Any] = SOUND_DEFAULTS if model.kind == "sound" else {}
    instead = TEXT_DEFAULTS if condition == "text" and not others else others
    schedule = Schedule(**chosen(args, kind, SCHEDULE, {**instead, "shards": default_shards()}))
    given = chosen(args, kind, NETWORK, instead)
    if condition == "text" and labels is not None and model.kind != "sound":
        words = Vocabulary.of(labels[0])
        given |= chosen(args, kind, TEXT)
        network = {NAMES.get(name, name): value for name, value in given.items()}
        text = words.words, words.length
        text_prior = TextTransformer(
            model.num_embeddings, model.grid_shape, *text, rng=schedule.seed, **network
        )  # fmt: skip
        return text_prior, schedule
    classes = 0 if labels is None else 1 + max(int(each.max()) for each in labels)
    if model.encoding.name == "levels":
        if kind == "pixelcnn" and "layers" not in args:
            given["layers"] = None  # as many as each level needs
        network = {NAMES.get(name, name): value for name, value in given.items()}
        form, options = (codes.num_embeddings, codes.latent_shape), {"rng": schedule.seed, **network}
        kind = "upsampler" if model.kind == "sound" else kind
        return HierarchicalPrior.of(kind, *form, num_classes=classes, **options), schedule
    if kind == "pixelcnn" and "layers" not in args:
        needed = PixelCNN.layers_for(model.grid_shape, given["kernel"]) if given["kernel"] > 1 else 1
        given["layers"] = max(PIXELCNN_LAYERS, needed)
    network = {NAMES.get(name, name): value for name, value in given.items()}
    cls = Transformer if kind == "transformer" else PixelCNN
    shape = model.grid_shape
    return cls(model.num_embeddings, shape, num_classes=classes, rng=schedule.seed, **network), schedule


def _counted(folder: Any, model: Any, codes: Any) -> Any:
    """A Markov chain of these codes, which is written."""
    from vqnp.cli.prior_files import write_chain
    from vqnp.priors import Markov

    chain = Markov(codes, model.num_embeddings)
    write_chain(folder, chain, model)
    return chain


def _trained(
    args: argparse.Namespace, opened: Any, pairs: list[Any], prior: Any, schedule: Any,
    captions: tuple[str, ...], team: Any,
) -> Any:  # fmt: skip
    """The prior, trained; without one, that of the folder, whose training is continued."""
    from dataclasses import asdict

    from vqnp.cli.prior_files import about
    from vqnp.cli.ranks import announcing
    from vqnp.training import Interrupted, fit, resume

    folder = opened.run
    options: dict[str, Any] = {"progress": not args.quiet, "on_epoch": folder.write_prior_metrics}
    options["comm"] = team.comm
    command = f"vqnp prior {folder.folder} --resume"
    try:
        with announcing(team, f"told to stop, or another rank has ended; continue with: {command}"):
            if prior is None:
                prior, history = resume(folder.prior, *pairs, **options)
            else:
                options |= {"checkpoint": folder.prior, "about": about(opened.model, captions)}
                options |= asdict(schedule)
                history = fit(prior, *pairs, **options)
    except Interrupted as stop:
        raise KeyboardInterrupt(f"stopped after step {stop.step}, saved; continue with: {command}") from None
    team.first(lambda: folder.write_prior_metrics(history))
    return prior


def _draw(
    args: argparse.Namespace, folder: Any, model: Any, prior: Any, trainer: Any, test: Any
) -> None:
    """Write a sheet of samples; of a prior with classes each row is one, the first ten in order.

    Of a prior with texts each row is one of the first ten captions of the test images.
    """
    import numpy as np

    from vqnp._files import atomic
    from vqnp.cli.sounds import draw_samples
    from vqnp.plots import are_signals, save_sheet
    from vqnp.priors import TextTransformer, generate

    seed = trainer["schedule"]["seed"] if trainer else getattr(args, "seed", SCHEDULE["seed"][2])
    if model.kind == "sound":
        draw_samples(folder, model, prior, seed, not args.quiet)
        return
    classes = getattr(prior, "num_classes", 0)
    condition: Any = np.arange(SHEET_IMAGES) // SHEET_COLUMNS % classes if classes else None
    if isinstance(prior, TextTransformer):
        captions = list(dict.fromkeys(test.captions))[: SHEET_IMAGES // SHEET_COLUMNS]
        condition = [captions[i // SHEET_COLUMNS % len(captions)] for i in range(SHEET_IMAGES)]
    images = generate(model, prior, SHEET_IMAGES, seed, condition, progress=not args.quiet)
    with atomic(folder.samples) as file:
        save_sheet(file, images, SHEET_COLUMNS, signals=are_signals(model))
