"""vqnp train: train a model, or resume its training; evaluate it, draw the figure, print the report."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

from vqnp._check import fail
from vqnp._version import __version__
from vqnp.cli import configuration, quantizers
from vqnp.cli.options import DATA_HELP, by_option, flag, option, say
from vqnp.cli.ranks import default_shards
from vqnp.cli.train_options import (
    CONV_OPTIONS, DATA_ARGUMENTS, DATA_DEFAULTS, FIELD_OPTIONS, FLAG_OF, HIERARCHY_OPTIONS, LATENT_OPTIONS,
    MLP_OPTIONS, MODEL_OPTIONS, NETWORK_OPTIONS, SCHEDULE_OPTIONS, SCHEDULES, SOUND_OPTIONS, SOUND_SCHEDULE,
    flag_of, options_of,
)

HELP = "train a VQ-VAE, a VAE or an autoencoder, and write a run folder"
DESCRIPTION = (
    "Train a VQ-VAE (or one with several levels of codes or, for comparison, a VAE or an autoencoder) of "
    "multilayer perceptrons or convolutions and write a run folder: checkpoint.npz, config.json, "
    "metrics.csv, training.png. Ctrl-C saves; --resume continues, to the same result, bit for bit."
)

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
    *options_of("the model", MODEL_OPTIONS),
    *options_of("with another quantizer than vector", quantizers.OPTIONS),
    *options_of("with --network mlp", MLP_OPTIONS),
    option(
        "--hidden", group="with --network mlp", type=int, nargs="+", metavar="H",
        help="widths of the encoder's hidden layers; the decoder's are reversed (default: 512)",
    ),
    *options_of("with --network conv", {**CONV_OPTIONS, **FIELD_OPTIONS}),
    *options_of("with --model hierarchical", HIERARCHY_OPTIONS),
    *options_of("with --model sound", SOUND_OPTIONS),
    *options_of("the latent of a VAE or an autoencoder", LATENT_OPTIONS),
    *options_of("the training", SCHEDULE_OPTIONS),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train with these options, or resume the run in --out; on several ranks, if mpiexec has started them."""
    from vqnp.cli.ranks import ranks

    team = ranks()
    with contextlib.ExitStack() as held:
        begun, config = team.first(lambda: _begun(args, held, team))
        with by_option({**FLAG_OF, **dict.fromkeys(DATA_ARGUMENTS, (config["data"], "images"))}):
            _run(args, config, begun, held, team)


def _begun(
    args: argparse.Namespace, held: contextlib.ExitStack, team: Any
) -> tuple[bool, dict[str, Any]]:
    """Whether the run has begun, in which case its lock is now ours; and its configuration."""
    from vqnp.cli import runs
    from vqnp.training.shards import Shards

    begun = bool(args.resume and "out" in args and not args.force and runs.Run(args.out).config.exists())
    if begun:
        held.enter_context(runs.Run(args.out).held())
    with by_option(FLAG_OF):
        config = _resumed(args) if begun else _configuration(args)
        Shards(config["schedule"]["shards"], team)  # raises if there are too many ranks
    return begun, config


def _run(
    args: argparse.Namespace, config: dict[str, Any], begun: bool, held: contextlib.ExitStack, team: Any
) -> None:
    """Train; held: what is released at the end, the run's lock, which rank 0 has if it has begun."""
    import numpy as np

    from vqnp import plots
    from vqnp.cli import runs
    from vqnp.cli.ranks import announcing
    from vqnp.data import load_splits
    from vqnp.data.spec import channels_first_hint
    from vqnp.nn.module import trainable
    from vqnp.training import Interrupted, fit, resume

    training, test = team.first_then_others(lambda: load_splits(config["data"]))
    rng = np.random.default_rng(config["schedule"]["seed"])
    config["model"]["image_shape"] = list(training.images.shape[1:])
    if training.rate:
        config["model"]["rate"] = training.rate
    folder = runs.Run(args.out if "out" in args else "")
    continued = team.first(lambda: begun and _can_continue(folder))
    if not continued:
        with trainable():
            model = configuration.model_of(config, rng)
    if not begun:
        folder = runs.Run(team.first(lambda: _create(args, folder, config, held)))
    what = "recordings" if training.rate else "images"
    counts = f"{len(training)} training {what}, {len(test)} test {what}"
    lines = [f"no run in {folder.folder}: starting one"] * (args.resume and not begun)
    form = _form(training.images.shape[1:], config["model"].get("ndim"), training.rate)
    lines.append(f"{counts} of {config['data']} ({form}); writing {folder.folder}")
    if hint := channels_first_hint(training.images.shape[1:]):
        lines.append(f"note: {hint}")
    if team.size > 1 or config["schedule"]["shards"] > 1:
        ranks = f"{team.size} rank{'s' if team.size > 1 else ''}"
        lines.append(f"each batch in {config['schedule']['shards']} shards, on {ranks}")
    for line in lines if team.rank == 0 else ():
        say(line)
    options: dict[str, Any] = {"progress": not args.quiet, "on_epoch": folder.write_metrics}
    options["comm"] = team.comm
    command = f"vqnp train --out {folder.folder} --resume"
    try:
        with announcing(team, f"told to stop, or another rank has ended; continue with: {command}"):
            if continued:
                model, history = resume(folder.checkpoint, training.images, test.images, **options)
            else:
                options |= {"checkpoint": folder.checkpoint, **config["schedule"]}
                history = fit(model, training.images, test.images, **options)
    except Interrupted as stop:
        raise KeyboardInterrupt(f"stopped after step {stop.step}, saved; continue with: {command}") from None
    if team.rank:
        return
    folder.write_metrics(history)
    report = model.evaluate(test.images, history)
    plots.save_figure(plots.training_figure(report, model, history, test.images), folder.figure)
    print(report)
    for path in folder.files()[: -len(folder.prior_files()) or None]:  # a prior is not ours
        print(f"{'wrote':<21}{path}")


def _can_continue(folder: Any) -> bool:
    """Whether the run has a checkpoint; if so, it is checked against the configuration."""
    from vqnp.cli import runs

    if not folder.checkpoint.exists():
        return False
    runs.open_run(folder.folder).read_config()
    return True


def _create(
    args: argparse.Namespace, folder: Any, config: dict[str, Any], held: contextlib.ExitStack
) -> Path:
    """Begin a run: its folder, which is then ours, and its configuration."""
    from vqnp.cli import runs

    if "out" not in args:
        folder = runs.Run(runs.next_folder("runs", Path(config["data"]).name.split(".")[0]))
    held.enter_context(folder.held())
    runs.create(folder, {"vqnp_version": __version__, **config}, args.force)
    return Path(folder.folder)


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
                fail("--resume", flag_of(name), f"must be what the run began with, {began}", value)
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
    ours["shards"] = default_shards()
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
            fail("", flag_of(name), needed, f"--quantizer {quantizer}")
        able = [other for other in list(MODELS)[1:] if network in configuration.networks(other)]
        owners = ["vqvae"] * bool(having)
        owners += [other for other in able if name in configuration.arguments(other, network)]
        if not owners:  # whatever the model
            other = next(n for n in SCHEDULES if n != network)
            fail("", flag_of(name), f"must be given only with --network {other}", f"--network {network}")
        fail("", flag_of(name), f"must be given only with --model {' or '.join(owners)}", f"--model {kind}")
