"""The options of vqnp prior: its tables of defaults, what was chosen, and what does not go together."""

import argparse
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from vqnp._check import check_int, fail
from vqnp.cli.options import Option, option

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
SOUND_DEFAULTS = {"width": 64, "layers": 3, "dropout": 0.3, "batch_size": 16, "epochs": 30}
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
    "shards": (int, "S", 1, "parts into which a batch is cut, for mpiexec: as of vqnp train"),
}
"""By the option's name in Python: type, metavar, default (of each kind of prior that has it), help."""

NAMES = {"width": "channels"}
"""The options whose argument of the prior has another name."""


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


FLAG_OF = {NAMES.get(name, name): flag_of(name) for name in (*NETWORK, *TEXT, *SCHEDULE)}
FLAG_OF |= {"parameters": "the prior's parameters", "latent_shape": "RUN"}


def options_of(group: str, table: Mapping[str, tuple[type, str, Any, str]]) -> Iterator[Option]:
    for name, (kind, metavar, default, help) in table.items():
        values = default if isinstance(default, dict) else {"default": default}
        shown = values | ({"with text": TEXT_DEFAULTS[name]} if name in TEXT_DEFAULTS else {})
        shown |= {"of sounds": SOUND_DEFAULTS[name]} if name in SOUND_DEFAULTS else {}
        text = f"{help} ({', '.join(f'{prior}: {value}' for prior, value in shown.items())})"
        yield option(flag_of(name), group=group, type=kind, metavar=metavar, help=text)


def chosen(
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


def kind_and_condition(
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
            condition = condition_of(stored)
            own = (stored.prior.levels[-1] if several else stored.prior).config()
            sequence = condition == "text" and not several
            names = [*arguments_of(stored.kind), *(TEXT if sequence else ())]
            began |= {"condition": condition, **{n: own[NAMES.get(n, n)] for n in names}}
            began |= {n: ({"shards": 1} | stored.trainer["schedule"])[n] for n in SCHEDULE}
        for name, value in began.items():
            if name in args and getattr(args, name) != value:
                flag = "--model" if name == "kind" else flag_of(name)
                fail("--resume", flag, f"must be what the prior began with, {value}", getattr(args, name))
    for name in ("condition", *NETWORK, *(n for n in SCHEDULE if n not in ("seed", "shards"))):
        having = [each for each in KINDS[:2] if name not in NETWORK or each in NETWORK[name][2]]
        if kind not in having and name in args and getattr(args, name) != "none":
            needed = f"must be given only with --model {' or '.join(having)}"
            fail("", flag_of(name), needed, f"--model {kind}")
    if condition == "text" and model != "sound" and (several or kind != "transformer"):
        needed = "must be none or class for images with several levels of codes and for a pixelcnn"
        fail("", "--condition", needed, "text")
    for name in TEXT:
        if name in args and model == "sound":
            fail("", flag_of(name), "must be given only for images", "a run of sounds")
        if name in args and condition != "text":
            fail("", flag_of(name), "must be given only with --condition text", f"--condition {condition}")
    if kind == "markov":
        condition = "none"
    elif condition == "none" and "condition_dropout" in args and not stored:
        needed = "must be given only with --condition class or text"
        fail("", "--condition-dropout", needed, "--condition none")
    return kind, condition


def condition_of(stored: Any) -> str:
    """--condition with which a prior that is stored was trained."""
    from vqnp.priors import TextTransformer

    if stored.captions or isinstance(stored.prior, TextTransformer):
        return "text"
    return "class" if stored.prior.num_classes else "none"


def arguments_of(kind: str) -> list[str]:
    """The options of NETWORK that a kind of prior has."""
    return [name for name, row in NETWORK.items() if kind in row[2]]


class Form(NamedTuple):
    """The codes that a prior is about: all of the model's, or those of its first levels."""

    num_embeddings: Any
    latent_shape: Any
    num_codes: int


def form_of(args: argparse.Namespace, stored: Any, model: Any) -> Form:
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
