"""vqnp train: train a model, or resume its training; evaluate it, draw the figure, print the report."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqnp._check import fail
from vqnp._version import __version__
from vqnp.cli import configuration, quantizers
from vqnp.cli.options import DATA_HELP, SOURCE, Option, by_option, flag, option, say

HELP = "train a VQ-VAE, a VAE or an autoencoder, and write a run folder"
DESCRIPTION = (
    "Train a VQ-VAE (or one with several levels of codes or, for comparison, a VAE or an autoencoder) of "
    "multilayer perceptrons or convolutions and write a run folder: checkpoint.npz, config.json, "
    "metrics.csv, training.png. Ctrl-C saves; --resume continues, to the same result, bit for bit."
)

Table = dict[str, tuple[type | tuple[str, ...], str, str]]
"""By the name of Python's argument: the type and the metavar of a number, list for several integers,
bool for a flag, or the choices and ""; the help."""

MODEL_OPTIONS: Table = {
    "embedding_dim": (list, "D", "dimensions of a latent and of a code (default: 16; conv: 8)"),
    "num_embeddings": (list, "K", "codes in the codebook (default: 128; hierarchical: 128 32)"),
    "commitment_cost": (float, "BETA", "weight of the commitment loss (default: 0.25)"),
    "decay": (float, "GAMMA", "weight of the old average in an EMA update (default: 0.99)"),
    "epsilon": (float, "EPS", "constant of the Laplace smoothing of EMA cluster sizes (default: 1e-05)"),
    "restart_dead_codes": (
        float, "SHARE",
        "restart codes used less than this share of uniform use; 0: never (default: 0.05; conv: 0.2)",
    ),
    "codebook": (("ema", "gradient"), "", "how the codebook is trained (default: ema)"),
    "codebook_init": (
        ("uniform", "normal", "scaled_uniform", "data", "kmeans"), "",
        "how the codebook is initialized: from a distribution, from random latents of the images, or from "
        "their k-means (default: data)",
    ),
    "estimator": (
        ("straight_through", "rotation"), "",
        "how the decoder's gradient reaches the encoder: copied, or by the rotation trick "
        "(default: straight_through)",
    ),
}
MLP_OPTIONS: Table = {
    "num_latents": (int, "M", "latents, and therefore codes, per image (default: 16)"),
    "activation": (
        ("relu", "gelu", "tanh", "sigmoid", "silu", "leaky_relu"), "",
        "function between layers (default: relu)",
    ),
}
CONV_OPTIONS: Table = {
    "channels": (
        int, "H",
        "channels of the convolutions, half as many next to the image (default: 64; hierarchical: 32)",
    ),
    "residual_channels": (int, "R", "channels within a residual block (default: 32; hierarchical: 16)"),
    "residual_blocks": (int, "N", "residual blocks in the encoder and in the decoder (default: 2)"),
    "downsampling": (
        list, "N",
        "how often the convolutions halve each axis of an image; of a hierarchy for each level, the top "
        "first (default: 2; hierarchical: 2 1)",
    ),
    "ndim": (int, "N", "axes that are convolved (default: 1 for examples of one axis, otherwise 2)"),
}  # fmt: skip
HIERARCHY_OPTIONS: Table = {
    "level_gradient": (
        ("straight_through", "stopped"), "",
        "whether the gradient of a level's latents passes on into the levels above "
        "(default: straight_through)",
    ),
    "level_loss": (
        float, "W", "weight of the reconstruction from each level and those above it (default: 0.0)"
    ),
}
SOUND_OPTIONS: Table = {
    "hops": (
        list, "H", "samples that a code stands for, at each level, the longest first (default: 64 16 4)"
    ),
    "spectral_weight": (
        float, "W", "weight of the spectral loss, the squared error's being 1 (default: 1.0)"
    ),
    "segment": (int, "T", "samples of a training example, cut from the recordings (default: 2048)"),
}
LATENT_OPTIONS: Table = {
    "latent_dim": (
        int, "D", "dimensions of the latent of an image; of each position, if conv (default: 256; conv: 8)"
    ),
    "likelihood": (("bernoulli", "gaussian"), "", "distribution of each pixel (default: bernoulli)"),
    "noise_std": (float, "S", "standard deviation of a pixel, if gaussian (default: 0.1)"),
    "kl_weight": (float, "W", "weight of the KL divergence; with gumbel 0.001 (default: 1.0)"),
    "kl_warmup": (int, "STEPS", "steps over which the weight grows from 0; with gumbel 1000 (default: 0)"),
}
SCHEDULE_OPTIONS: Table = {
    "epochs": (int, "N", "passes over the training images (default: 60; conv: 20)"),
    "batch_size": (int, "B", "images per step (default: 32)"),
    "lr": (float, "LR", "Adam's learning rate (default: 0.001; conv: 0.002)"),
    "lr_schedule": (("cosine", "constant"), "", "course of the learning rate (default: cosine)"),
    "seed": (int, "SEED", "seed of parameters, minibatches and restarts (default: 0)"),
}
SCHEDULES: dict[str, dict[str, Any]] = {"mlp": {}, "conv": {"epochs": 20, "lr": 2e-3}}
SOUND_SCHEDULE: dict[str, Any] = {"epochs": 30, "batch_size": 16, "lr": 2e-3}
"""By the network: what its training has in place of Schedule's defaults, so that it ends in a few minutes."""

DATA_DEFAULTS: dict[str, dict[str, Any]] = {
    "captioned-digits": {
        "network": "conv", "channels": 32, "residual_channels": 16, "num_embeddings": 256, "epochs": 10,
    },
    "emoji": {"network": "conv", "num_embeddings": 512, "epochs": 20},
}  # fmt: skip
"""By the data's name: what its training has in place of the defaults above, for a model that has it."""

FLAGS = {"kind": "--model", "network": "--network", "quantizer": "--quantizer"}

NETWORK_OPTIONS = (
    *MODEL_OPTIONS, *MLP_OPTIONS, "hidden", *CONV_OPTIONS, *HIERARCHY_OPTIONS, *SOUND_OPTIONS,
    *quantizers.OPTIONS, *LATENT_OPTIONS,
)  # fmt: skip
"""Every option that is an argument of a constructor, such as VQVAE.mlp, or of a quantizer."""


def _flag(name: str) -> str:
    """The option of a Python argument: --num-latents of num_latents."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


FLAG_OF = {name: _flag(name) for name in (*NETWORK_OPTIONS, *SCHEDULE_OPTIONS, *FLAGS)}
FLAG_OF |= {"parameters": "the model's parameters", **SOURCE}
DATA_ARGUMENTS = ("image_shape", "data", "test_data", "images", "shape")
"""What Python's functions call the data."""


def _options(group: str, table: Table) -> Iterator[Option]:
    """The options of a table."""
    for name, (kind, metavar, help) in table.items():
        values: dict[str, Any] = {"type": kind, "metavar": metavar}
        if isinstance(kind, tuple):
            values = {"choices": kind}
        elif kind is bool:
            values = {"action": "store_true", "default": argparse.SUPPRESS}
        elif kind is list:
            values = {"type": int, "nargs": "+", "metavar": metavar}
        yield option(_flag(name), group=group, help=help, **values)


OPTIONS = (
    option("--data", metavar="NAME|PATH", help=f"{DATA_HELP} (default: digits)"),
    option("--out", metavar="DIR", help="the run folder to write (default: runs/DATA-1, or -2, ...)"),
    flag("--force", "replace the run in DIR"),
    flag("--resume", "continue the run in DIR, or start one if there is none"),
    flag("--quiet", "show no progress bar"),
    option(
        "--model", dest="kind", choices=("vqvae", "vae", "autoencoder", "hierarchical", "sound"),
        help="the kind of model to train; hierarchical: a VQ-VAE-2, with codes in several planes of "
        "different fineness; sound: a VQ-VAE at each of several rates, for data that are sounds "
        "(default: vqvae)",
    ),
    option(
        "--network", choices=tuple(SCHEDULES),
        help="the kind of encoder and decoder: multilayer perceptrons, or convolutions, whose codes are a "
        "plane (default: mlp; hierarchical: conv, and no other)",
    ),
    option(
        "--quantizer", choices=tuple(quantizers.QUANTIZERS),
        help="what replaces a latent: "
        + "; ".join(f"{name}: {words}" for name, words in quantizers.QUANTIZERS.items())
        + " (default: vector)",
    ),
    *_options("the model", MODEL_OPTIONS),
    *_options("with another quantizer than vector", quantizers.OPTIONS),
    *_options("with --network mlp", MLP_OPTIONS),
    option(
        "--hidden", group="with --network mlp", type=int, nargs="+", metavar="H",
        help="widths of the encoder's hidden layers; the decoder's are reversed (default: 512)",
    ),
    *_options("with --network conv", CONV_OPTIONS),
    *_options("with --model hierarchical", HIERARCHY_OPTIONS),
    *_options("with --model sound", SOUND_OPTIONS),
    *_options("the latent of a VAE or an autoencoder", LATENT_OPTIONS),
    *_options("the training", SCHEDULE_OPTIONS),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train with these options, or resume the run in --out."""
    from vqnp.cli import runs

    with contextlib.ExitStack() as held:
        begun = args.resume and "out" in args and not args.force and runs.Run(args.out).config.exists()
        if begun:
            held.enter_context(runs.Run(args.out).held())
        with by_option(FLAG_OF):
            config = _resumed(args) if begun else _configuration(args)
        with by_option({**FLAG_OF, **dict.fromkeys(DATA_ARGUMENTS, (config["data"], "images"))}):
            _run(args, config, begun, held)


def _run(args: argparse.Namespace, config: dict[str, Any], begun: bool, held: contextlib.ExitStack) -> None:
    """Train; held: what is released at the end, the run's lock, which we have if it has begun."""
    import numpy as np

    from vqnp import plots
    from vqnp.cli import runs
    from vqnp.data import load_splits
    from vqnp.data.spec import channels_first_hint
    from vqnp.nn.module import trainable
    from vqnp.training import Interrupted, fit, resume

    training, test = load_splits(config["data"])
    rng = np.random.default_rng(config["schedule"]["seed"])
    config["model"]["image_shape"] = list(training.images.shape[1:])
    if training.rate:
        config["model"]["rate"] = training.rate
    folder = runs.Run(args.out if "out" in args else "")
    continued = begun and folder.checkpoint.exists()
    if continued:
        runs.open_run(folder.folder).read_config()
    else:
        with trainable():
            model = configuration.model_of(config, rng)
    if not begun:
        if "out" not in args:
            folder = runs.Run(runs.next_folder("runs", Path(config["data"]).name.split(".")[0]))
        held.enter_context(folder.held())
        runs.create(folder, {"vqnp_version": __version__, **config}, args.force)
    what = "recordings" if training.rate else "images"
    counts = f"{len(training)} training {what}, {len(test)} test {what}"
    if args.resume and not begun:
        say(f"no run in {folder.folder}: starting one")
    form = _form(training.images.shape[1:], config["model"].get("ndim"), training.rate)
    say(f"{counts} of {config['data']} ({form}); writing {folder.folder}")
    if hint := channels_first_hint(training.images.shape[1:]):
        say(f"note: {hint}")
    options: dict[str, Any] = {"progress": not args.quiet, "on_epoch": folder.write_metrics}
    try:
        if continued:
            model, history = resume(folder.checkpoint, training.images, test.images, **options)
        else:
            options |= {"checkpoint": folder.checkpoint, **config["schedule"]}
            history = fit(model, training.images, test.images, **options)
    except Interrupted as stop:
        command = f"vqnp train --out {folder.folder} --resume"
        raise KeyboardInterrupt(f"stopped after step {stop.step}, saved; continue with: {command}") from None
    folder.write_metrics(history)
    report = model.evaluate(test.images, history)
    plots.save_figure(plots.training_figure(report, model, history, test.images), folder.figure)
    print(report)
    for path in folder.files()[: -len(folder.prior_files()) or None]:  # a prior is not ours
        print(f"{'wrote':<21}{path}")


def _form(shape: tuple[int, ...], ndim: int | None, rate: int | None = None) -> str:
    """How examples of this shape are read: "images of 28 × 28", "signals of 64, 2 channels"."""
    if rate:
        return f"{shape[0]} samples each, {rate} a second"
    axes = ndim or min(len(shape), 2)
    lengths = shape[:axes] if len(shape) <= axes + 1 else shape
    channels = f", {shape[axes]} channels" if len(shape) == axes + 1 else ""
    return f"{'signals' if axes == 1 else 'images'} of {' × '.join(map(str, lengths))}{channels}"


def _resumed(args: argparse.Namespace) -> dict[str, Any]:
    """The configuration of the run in --out, with which the options that are given agree."""
    from vqnp.cli.runs import Run

    config = Run(args.out).read_config()
    _refuse_foreign(args, config["kind"], config["network"], configuration.quantizer_of(config))
    own = config | {"quantizer": configuration.quantizer_of(config)}
    for part, given in _given(args, config["kind"]).items():
        for name, value in given.items():
            began = (own[part] if part else own)[name]
            if value != began:
                fail("--resume", _flag(name), f"must be what the run began with, {began}", value)
    return config


def _configuration(args: argparse.Namespace) -> dict[str, Any]:
    """A new run's data, kind of model, arguments and schedule."""
    from dataclasses import asdict

    from vqnp.data.sounds import is_sound
    from vqnp.training import Schedule

    if args.resume and args.force:
        fail("", "--resume", "must be given without --force", "both")
    if args.resume and "out" not in args:
        fail("", "--resume", "must be given with the run's folder in --out", "none")
    data = getattr(args, "data", "digits")
    sounds = is_sound(data)
    kind = getattr(args, "kind", "sound" if sounds else "vqvae")
    if (kind == "sound") != sounds:
        fail("", "--model", f"must {'be' if sounds else 'not be'} sound for {data}", kind)
    own_defaults = DATA_DEFAULTS.get(data, {})
    network = getattr(args, "network", configuration.network_of(kind, own_defaults.get("network")))
    quantizer = getattr(args, "quantizer", "vector")
    _refuse_foreign(args, kind, network, quantizer)
    given = _given(args, kind)
    if "noise_std" in given["model"] and given["model"].get("likelihood") != "gaussian":
        fail("", "--noise-std", "must be given only with --likelihood gaussian", "--likelihood bernoulli")
    model = configuration.arguments(kind, network, quantizer)
    for_data = own_defaults if (kind, network) == ("vqvae", own_defaults.get("network")) else {}
    model |= {name: value for name, value in for_data.items() if name in model}
    model |= quantizers.implied(given["model"]) | given["model"]
    if model.get("codebook") == "gradient":
        if "epsilon" in given["model"]:
            fail("", "--epsilon", "must be given only with --codebook ema", "--codebook gradient")
        if "decay" in given["model"] and model["restart_dead_codes"] == 0:
            needed = "must be given only with --codebook ema or where codes are restarted"
            fail("", "--decay", needed, "--codebook gradient and --restart-dead-codes 0")
    ours = dict(SOUND_SCHEDULE if sounds else {})
    ours |= {name: for_data[name] for name in SCHEDULE_OPTIONS if name in for_data}
    schedule = asdict(Schedule(**SCHEDULES[network] | ours | given["schedule"]))
    own = {"data": "digits", "kind": kind, "network": network} | given[""]
    if quantizer == "vector":
        own.pop("quantizer", None)
    return {**own, "model": model, "schedule": schedule}


def _given(args: argparse.Namespace, kind: str) -> dict[str, dict[str, Any]]:
    """The options that were given, by part of the configuration; one value is a number, not a list of one."""
    from vqnp.data.datasets import NAMES

    def among(*names: str) -> dict[str, Any]:
        return {name: getattr(args, name) for name in names if name in args}

    given = among("kind", "network", "quantizer", "data")
    if "data" in given and given["data"] not in NAMES:  # a path is made absolute, valid in another folder too
        given["data"] = str(Path(given["data"]).expanduser().absolute())
    model = among(*NETWORK_OPTIONS)
    for name in ("embedding_dim", "num_embeddings", "downsampling"):
        if len(model.get(name, ())) == 1 and (kind, name) != ("hierarchical", "downsampling"):
            model[name] = model[name][0]
    return {"": given, "model": model, "schedule": among(*SCHEDULE_OPTIONS)}


def _refuse_foreign(args: argparse.Namespace, kind: str, network: str, quantizer: str) -> None:
    """Raise if an option was given that this kind of model, of network, or this quantizer does not have."""
    from vqnp.models import MODELS

    if kind != "vqvae" and "quantizer" in args:
        fail("", "--quantizer", "must be given only with --model vqvae", f"--model {kind}")
    if network not in (networks := configuration.networks(kind)):
        fail("", "--network", f"must be {' or '.join(networks)} with --model {kind}", network)
    own = configuration.arguments(kind, network, quantizer)
    for name in (name for name in NETWORK_OPTIONS if name in args and name not in own):
        having = [q for q in quantizers.QUANTIZERS if name in configuration.arguments("vqvae", network, q)]
        if having and kind == "vqvae":
            needed = f"must be given only with --quantizer {' or '.join(having)}"
            fail("", _flag(name), needed, f"--quantizer {quantizer}")
        able = [other for other in list(MODELS)[1:] if network in configuration.networks(other)]
        owners = ["vqvae"] * bool(having)
        owners += [other for other in able if name in configuration.arguments(other, network)]
        if not owners:  # whatever the model
            other = next(n for n in SCHEDULES if n != network)
            fail("", _flag(name), f"must be given only with --network {other}", f"--network {network}")
        fail("", _flag(name), f"must be given only with --model {' or '.join(owners)}", f"--model {kind}")
