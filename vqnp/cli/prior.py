"""vqnp prior: learn the distribution of a model's codes, measure it in bits, and draw the first images."""

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from vqnp._check import check_codes, check_int, fail
from vqnp.cli.options import JSON, RUN, Option, by_option, flag, option, say

HELP = "train a prior over a model's codes, from which vqnp sample draws new images"
DESCRIPTION = (
    "Encode the run's own data with its model, train a prior over the codes, and print the bits that an "
    "image needs under it, beside four baselines. Write prior.npz, prior.csv and samples.png into the run "
    "folder. Ctrl-C saves; --resume continues, to the same result, bit for bit. Of a run with several "
    "levels of codes the prior has a network for each, which is given the codes of the levels above."
)

KINDS = ("transformer", "pixelcnn", "markov")
SOUND_LEVELS = 2
"""Of a model of sounds: the codes of a third level are too many for a prior on this machine."""

NETWORK: dict[str, tuple[type, str, Any, str]] = {
    "width": (int, "C", {"transformer": 128, "pixelcnn": 64}, "channels of a position"),
    "layers": (
        int, "L", {"transformer": 4, "pixelcnn": "5, or as many as see the whole grid"},
        "blocks; of a PixelCNN those after the first"
    ),
    "heads": (int, "H", {"transformer": 4}, "attention heads in each block, which divide the width"),
    "kernel": (int, "K", {"pixelcnn": 3}, "length of the convolutions' kernels after the first block, odd"),
    "stacks": (int, "N", {"pixelcnn": 2}, "1: masked convolutions in one stack, which have a blind spot"),
    "dropout": (
        float, "P", {"transformer": 0.1, "pixelcnn": 0.3},
        "part of the activations that is set to 0 during training"
    ),
    "condition_dropout": (
        float, "P", {"transformer": 0.1, "pixelcnn": 0.1},
        "part of the training examples whose class or text is left out, with --condition"
    ),
}  # fmt: skip
TEXT: dict[str, tuple[type, str, Any, str]] = {
    "text_weight": (float, "W", 0.125, "weight of the loss of words, in nats a word"),
    "image_weight": (float, "W", 0.875, "weight of the loss of codes, in nats a code"),
}
"""The options with --condition text; the weights are DALL-E's."""
TEXT_DEFAULTS = {
    "width": 64, "layers": 3, "dropout": 0.0, "epochs": 40, "batch_size": 16, "lr": 0.002,
}  # fmt: skip
"""What --condition text has in place of the defaults of the tables, so that it ends in some minutes: to learn
what words mean takes many steps, more than a wide network that is trained as long could make."""
SOUND_DEFAULTS = {"width": 64, "layers": 3, "batch_size": 16, "epochs": 36}
"""What a prior of sounds has in place of the defaults of the tables: its sequences are long, its data few."""
PIXELCNN_LAYERS = 5
SCHEDULE: dict[str, tuple[type, str, Any, str]] = {
    "epochs": (int, "N", {"transformer": 12, "pixelcnn": 15}, "passes over the training codes"),
    "batch_size": (int, "B", {"transformer": 32, "pixelcnn": 64}, "grids of codes per step"),
    "lr": (
        float, "LR", {"transformer": 0.003, "pixelcnn": 0.002},
        "Adam's learning rate, which falls to 0 as a cosine"
    ),
    "weight_decay": (
        float, "W", {"transformer": 0.01, "pixelcnn": 0.1}, "weight decay of matrices (AdamW)"
    ),
    "clip": (float, "NORM", 1.0, "largest norm of all gradients"),
    "seed": (int, "SEED", 0, "seed of parameters, minibatches, dropout and samples"),
}
"""By the option's name in Python: type, metavar, default (of each kind of prior that has it), help."""

NAMES = {"width": "channels"}
"""The options whose argument of the prior has another name."""

SHEET_IMAGES, SHEET_COLUMNS = 100, 10


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


FLAG_OF = {NAMES.get(name, name): _flag(name) for name in (*NETWORK, *TEXT, *SCHEDULE)}
FLAG_OF |= {"parameters": "the prior's parameters", "latent_shape": "RUN"}


def _options(group: str, table: Mapping[str, tuple[type, str, Any, str]]) -> Iterator[Option]:
    for name, (kind, metavar, default, help) in table.items():
        values = default if isinstance(default, dict) else {"default": default}
        shown = values | ({"with text": TEXT_DEFAULTS[name]} if name in TEXT_DEFAULTS else {})
        shown |= {"of sounds": SOUND_DEFAULTS[name]} if name in SOUND_DEFAULTS else {}
        text = f"{help} ({', '.join(f'{prior}: {value}' for prior, value in shown.items())})"
        yield option(_flag(name), group=group, type=kind, metavar=metavar, help=text)


def _chosen(
    args: argparse.Namespace, kind: str, table: Mapping[str, tuple[type, str, Any, str]],
    instead: Mapping[str, Any] = MappingProxyType({}),
) -> Any:  # fmt: skip
    """The value of each option of a table that a kind of prior has: the given one, or its default.

    instead: other defaults
    """
    defaults = {name: row[2] if isinstance(row[2], dict) else {kind: row[2]} for name, row in table.items()}
    own = {n: default[kind] for n, default in defaults.items() if kind in default}
    own |= {n: value for n, value in instead.items() if n in own}
    return {n: getattr(args, n, value) for n, value in own.items()}


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
        "captions and codes as one sequence, for vqnp sample --text (default: none)",
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
    *_options("the network", NETWORK),
    *_options("with --condition text", TEXT),
    *_options("its training", SCHEDULE),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train a prior with these options, or resume its training; print the table and draw the samples."""
    from vqnp.cli.prior_files import open_codes_run

    args.quiet |= args.json
    if args.resume and args.force:
        fail("", "--resume", "must be given without --force", "both")
    opened = open_codes_run(args.model)
    with opened.run.held("RUN"):
        _run(args, open_codes_run(args.model))  # again: now nobody changes it


def _run(args: argparse.Namespace, opened: Any) -> None:
    """The same in a run folder that we hold."""
    from vqnp.cli.prior_files import read_prior
    from vqnp.data import load_splits
    from vqnp.nn.module import trainable
    from vqnp.priors import HierarchicalPrior
    from vqnp.priors.generation import as_grids

    model, folder = opened.model, opened.run
    stored = None
    if folder.prior.exists() and args.resume:
        stored = read_prior(folder, model)
    elif folder.prior_files() and not args.force:
        needed = "must be a run without a prior (--force replaces it, --resume goes on with it)"
        fail("RUN", "", needed, f"{folder.folder}, which has {folder.prior_files()[0].name}")
    kind, condition = _kind_and_condition(args, stored, model.encoding.name == "levels", model.kind)
    form = _form(args, stored, model)
    data = opened.trained_on()
    splits = load_splits(data)
    labels = _conditions(condition, data, splits)
    prior = schedule = None
    if kind != "markov" and not stored:  # a wrong option is found before anything is deleted
        with by_option(FLAG_OF), trainable():
            prior, schedule = _new(args, kind, model, condition, labels, form)
    if not stored:
        for path in reversed(folder.prior_files()):
            path.unlink()
    sizes = f"{len(splits[0])} training images, {len(splits[1])} test images"
    if not args.json:
        say(f"{sizes} of {data}; writing {folder.folder}")
    codes = [as_grids(model, model.encode(split.images, progress=not args.quiet)) for split in splits]
    if isinstance(form.num_embeddings, tuple):
        codes = [each[: len(form.num_embeddings)] for each in codes]
    table, parts = _baselines(codes, form.num_embeddings), dict[str, Any]()
    if kind == "markov":
        prior = _counted(folder, model, codes[0])
    else:
        pairs = codes if labels is None else list(zip(codes, labels, strict=True))
        prior = _trained(args, opened, pairs, prior, schedule)
        reports = [prior.evaluate(pair, progress=not args.quiet) for pair in pairs]
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
        print(_printed(table, figures))
    _draw(args, folder, model, prior, stored.trainer if stored else None, splits[1])
    wrote = list(map(str, folder.prior_files()))
    if args.json:
        print(json.dumps(figures | _as_dict(table, form.num_codes) | {"wrote": wrote}))
    else:
        print("\n".join(f"{'wrote':<30}{path}" for path in wrote))


def _kind_and_condition(
    args: argparse.Namespace, stored: Any, several: bool, model: str
) -> tuple[str, str]:
    """--model and --condition; those of the stored prior, with which all options that are given agree."""
    own = "pixelcnn" if model == "hierarchical" else "transformer"
    kind = getattr(args, "kind", stored.kind if stored else own)
    if several and kind == "markov":
        fail("", "--model", "must be transformer or pixelcnn for a run with several levels of codes", kind)
    if model == "sound" and kind == "pixelcnn":
        fail("", "--model", "must be transformer for codes along time", kind)
    condition = getattr(args, "condition", "none")
    if stored:
        began = {"kind": stored.kind}
        if stored.kind != "markov":
            condition = _condition_of(stored.prior)
            own = (stored.prior.levels[-1] if several else stored.prior).config()
            names = [*_arguments(stored.kind), *(TEXT if condition == "text" else ())]
            began |= {"condition": condition, **{n: own[NAMES.get(n, n)] for n in names}}
            began |= {n: stored.trainer["schedule"][n] for n in SCHEDULE}
        for name, value in began.items():
            if name in args and getattr(args, name) != value:
                flag = "--model" if name == "kind" else _flag(name)
                fail("--resume", flag, f"must be what the prior began with, {value}", getattr(args, name))
    for name in ("condition", *NETWORK, *(n for n in SCHEDULE if n != "seed")):
        having = [each for each in KINDS[:2] if name not in NETWORK or each in NETWORK[name][2]]
        if kind not in having and name in args and getattr(args, name) != "none":
            fail("", _flag(name), f"must be given only with --model {' or '.join(having)}", f"--model {kind}")
    if condition == "text" and (several or kind != "transformer"):
        needed = "must be none or class for a run with several levels of codes and for a pixelcnn"
        fail("", "--condition", needed, "text")
    for name in TEXT:
        if name in args and condition != "text":
            fail("", _flag(name), "must be given only with --condition text", f"--condition {condition}")
    if kind == "markov":
        condition = "none"
    elif condition == "none" and "condition_dropout" in args and not stored:
        needed = "must be given only with --condition class or text"
        fail("", "--condition-dropout", needed, "--condition none")
    return kind, condition


def _condition_of(prior: Any) -> str:
    """--condition with which a prior was trained."""
    from vqnp.priors import TextTransformer

    return "text" if isinstance(prior, TextTransformer) else "class" if prior.num_classes else "none"


def _conditions(condition: str, data: str, splits: Any) -> list[Any] | None:
    """The classes or the captions of the training and of the test images."""
    if condition == "none":
        return None
    if condition == "text":
        if any(split.captions is None for split in splits):
            fail("", "--condition", "must be none or class for data without captions", f"text, for {data}")
        return [split.captions for split in splits]
    if any(split.labels is None for split in splits):
        fail("", "--condition", "must be none for data without labels", f"class, for {data}")
    for split in splits:
        check_codes(data, split.labels, len(splits[0]), "labels")  # more classes than images are no classes
    return [split.labels for split in splits]


def _arguments(kind: str) -> list[str]:
    """The options of NETWORK that a kind of prior has."""
    return [name for name, row in NETWORK.items() if kind in row[2]]


class Form(NamedTuple):
    """The codes that a prior is about: all of the model's, or those of its first levels."""

    num_embeddings: Any
    latent_shape: Any
    num_codes: int


def _form(args: argparse.Namespace, stored: Any, model: Any) -> Form:
    """--levels, of a model of sounds; else all codes."""
    if model.kind != "sound":
        if "levels" in args:
            fail("", "--levels", "must be given only for a model of sounds", f"one of kind {model.kind}")
        return Form(model.num_embeddings, model.latent_shape, model.num_codes)
    L = len(model.levels)
    began = len(stored.prior.levels) if stored else min(SOUND_LEVELS, L)
    n = check_int("", "--levels", getattr(args, "levels", began), 1, L)
    if stored and n != began:
        fail("--resume", "--levels", f"must be what the prior began with, {began}", n)
    shapes = model.latent_shape[:n]
    return Form(model.num_embeddings[:n], shapes, sum(math.prod(shape) for shape in shapes))


def _new(
    args: argparse.Namespace, kind: str, model: Any, condition: str, labels: list[Any] | None, codes: Form
) -> tuple[Any, Any]:
    """A prior of this kind for the model's codes, and its schedule."""
    from vqnp.data.vocabulary import Vocabulary
    from vqnp.priors import HierarchicalPrior, PixelCNN, TextTransformer, Transformer
    from vqnp.training import Schedule

    others: dict[str, Any] = SOUND_DEFAULTS if model.kind == "sound" else {}
    instead = TEXT_DEFAULTS if condition == "text" else others
    schedule = Schedule(**_chosen(args, kind, SCHEDULE, instead))
    given = _chosen(args, kind, NETWORK, instead)
    if condition == "text" and labels is not None:
        words = Vocabulary.of(labels[0])
        given |= _chosen(args, kind, TEXT)
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


def _baselines(codes: list[Any], num_embeddings: Any) -> dict[str, tuple[float, float]]:
    """The bits of each baseline, on the training codes and on the test codes; of several levels their sum."""
    from vqnp.priors import baseline_bits

    if isinstance(codes[0], tuple):
        levels = zip(*codes, num_embeddings, strict=True)  # each without those above
        tables = [_baselines([train, test], K) for train, test, K in levels]
        rows = {name: [each[name] for each in tables] for name in tables[0]}
        return {name: (sum(a for a, _ in row), sum(b for _, b in row)) for name, row in rows.items()}

    train, test = (baseline_bits(codes[0], k, num_embeddings) for k in codes)
    return {name: (bits, test[name]) for name, bits in train.items()}


def _counted(folder: Any, model: Any, codes: Any) -> Any:
    """A Markov chain of these codes, which is written."""
    from vqnp.cli.prior_files import write_chain
    from vqnp.priors import Markov

    chain = Markov(codes, model.num_embeddings)
    write_chain(folder, chain, model)
    return chain


def _trained(args: argparse.Namespace, opened: Any, pairs: list[Any], prior: Any, schedule: Any) -> Any:
    """The prior, trained; without one, that of the folder, whose training is continued."""
    from dataclasses import asdict

    from vqnp.cli.prior_files import about
    from vqnp.training import Interrupted, fit, resume

    folder = opened.run
    options: dict[str, Any] = {"progress": not args.quiet, "on_epoch": folder.write_prior_metrics}
    try:
        if prior is None:
            prior, history = resume(folder.prior, *pairs, **options)
        else:
            options |= {"checkpoint": folder.prior, "about": about(opened.model), **asdict(schedule)}
            history = fit(prior, *pairs, **options)
    except Interrupted as stop:
        command = f"vqnp prior {folder.folder} --resume"
        raise KeyboardInterrupt(f"stopped after step {stop.step}, saved; continue with: {command}") from None
    folder.write_prior_metrics(history)
    return prior


def _as_dict(table: Mapping[str, tuple[float, float]], num_latents: int) -> dict[str, Any]:
    """The table: bits per image and nats per code by the row's name, each of the training and test data."""
    bits = {name: dict(zip(("train", "test"), row, strict=True)) for name, row in table.items()}
    per_code = math.log(2) / num_latents
    nats = {name: {part: b * per_code for part, b in row.items()} for name, row in bits.items()}
    return {"bits_per_image": bits, "nats_per_code": nats}


def _printed(table: Mapping[str, tuple[float, float]], figures: Mapping[str, Any]) -> str:
    """The table, and which codes of which data it is about."""
    M, K = figures["num_latents"], figures["num_embeddings"]
    lines = [f"{'':<30}{'bits an image':>18}{'nats a code':>18}"]
    lines += [f"{'':<30}" + f"{'train':>9}{'test':>9}" * 2]
    bits, nats = _as_dict(table, M).values()
    for name in table:
        numbers = [f"{b:9.2f}" for b in bits[name].values()] + [f"{x:9.4f}" for x in nats[name].values()]
        lines.append(f"{name:<30}" + "".join(numbers))
    for name, pair in figures.get("bits_per_level", {}).items():
        lines.append(f"  {name:<28}" + "".join(f"{b:9.2f}" for b in pair.values()))
    of = " and ".join(map(str, K)) if isinstance(K, tuple) else K
    lines.append(f"{'codes':<30}{M} of {of} an image")
    sizes = f"{figures['train_images']} images to train, {figures['test_images']} to test"
    return "\n".join([*lines, f"{'data':<30}{figures['data']}: {sizes}"])


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
