"""vqnp train: train, or go on training; evaluate; draw; print the table and what was written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vqnp._check import fail
from vqnp._version import __version__
from vqnp.cli.options import DATA_HELP, Parser, say

HELP = "train a VQ-VAE, a VAE or an autoencoder, and write a run folder"
DESCRIPTION = (
    "Train an MLP VQ-VAE (or, to compare, a VAE or an autoencoder) and write a run folder: "
    "checkpoint.npz, config.json, metrics.csv, training.png. Ctrl-C saves; --resume goes on, to the "
    "same result bit for bit."
)

MODEL_OPTIONS: dict[str, tuple[type, str, str]] = {
    "num_latents": (int, "M", "latents, and so codes, an image (default: 16)"),
    "embedding_dim": (int, "D", "dimensions of a latent and of a code (default: 16)"),
    "num_embeddings": (int, "K", "codes in the codebook (default: 128)"),
    "commitment_cost": (float, "BETA", "weight of the commitment loss (default: 0.25)"),
    "decay": (float, "GAMMA", "share of the old average that an EMA update keeps (default: 0.99)"),
    "epsilon": (float, "EPS", "Laplace smoothing of the EMA cluster sizes (default: 1e-05)"),
    "restart_dead_codes": (
        float,
        "SHARE",
        "restart a code used less than this share of uniform use; 0: never (default: 0.05)",
    ),
}
LATENT_OPTIONS: dict[str, tuple[type, str, str]] = {
    "latent_dim": (int, "D", "numbers in an image's latent (default: 256)"),
    "noise_std": (float, "S", "standard deviation of a pixel, gaussian likelihood (default: 0.1)"),
    "kl_weight": (float, "W", "weight of the KL (default: 1.0)"),
    "kl_warmup": (int, "STEPS", "steps over which the weight grows from 0 (default: 0)"),
}
SCHEDULE_OPTIONS: dict[str, tuple[type, str, str]] = {
    "epochs": (int, "N", "passes over the training images (default: 60)"),
    "batch_size": (int, "B", "images a step (default: 32)"),
    "lr": (float, "LR", "Adam's learning rate (default: 0.001)"),
    "seed": (int, "SEED", "of parameters, minibatches and restarts (default: 0)"),
}
CHOICES: dict[str, tuple[tuple[str, ...], str]] = {
    "activation": (("relu", "gelu", "tanh", "sigmoid"), "(default: relu)"),
    "codebook": (("ema", "gradient"), "how the codebook follows (default: ema)"),
    "codebook_init": (
        ("uniform", "normal", "scaled_uniform", "data", "kmeans"),
        "how the codes start: drawn, or random latents of the images, or their k-means (default: data)",
    ),
    "likelihood": (("bernoulli", "gaussian"), "of a pixel (default: bernoulli)"),
    "lr_schedule": (("cosine", "constant"), "(default: cosine)"),
}


def add_options(p: Parser) -> None:
    """Every option of `vqnp train`."""
    p.add_argument("--data", metavar="NAME|PATH", help=f"{DATA_HELP} (default: digits)")
    p.add_argument("--out", metavar="DIR", help="the run folder to write (default: runs/DATA-1, or -2, ...)")
    p.add_argument("--force", action="store_true", default=False, help="replace the run in DIR")
    p.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="go on with the run in DIR, or start it if there is none",
    )
    p.add_argument("--quiet", action="store_true", default=False, help="no progress bar")
    p.add_argument(
        "--model", dest="kind", choices=("vqvae", "vae", "autoencoder"), help="what to train (default: vqvae)"
    )
    model = p.add_argument_group("the model")
    _numbers(model, MODEL_OPTIONS)
    model.add_argument(
        "--hidden",
        type=int,
        nargs="+",
        metavar="H",
        help="widths of the encoder's hidden layers, the decoder's reversed (default: 512)",
    )
    _choices(model, "activation", "codebook", "codebook_init")
    latent = p.add_argument_group("a VAE, and an autoencoder's latent")
    _numbers(latent, LATENT_OPTIONS)
    _choices(latent, "likelihood")
    schedule = p.add_argument_group("the training")
    _numbers(schedule, SCHEDULE_OPTIONS)
    _choices(schedule, "lr_schedule")


def _numbers(group: Any, options: dict[str, tuple[type, str, str]]) -> None:
    for name, (kind, metavar, help) in options.items():
        group.add_argument(_option(name), type=kind, metavar=metavar, help=help)


def _choices(group: Any, *names: str) -> None:
    for name in names:
        choices, help = CHOICES[name]
        group.add_argument(_option(name), choices=choices, help=help)


def _option(name: str) -> str:
    return "--model" if name == "kind" else f"--{name.replace('_', '-')}"


def run(args: argparse.Namespace) -> None:
    """Train as the options say, or go on with the run in --out."""
    import numpy as np

    from vqnp import plots
    from vqnp.cli import runs
    from vqnp.data import load_splits
    from vqnp.models import MODELS
    from vqnp.training import Interrupted, fit, resume

    config, begun = _configuration(args)
    training, test = load_splits(config["data"])
    rng = np.random.default_rng(config["schedule"]["seed"])
    arguments = {**config["model"], "image_shape": training.images.shape[1:]}
    model = MODELS[config["kind"]].mlp(**arguments, rng=rng)
    config["model"]["image_shape"] = list(training.images.shape[1:])
    if begun:
        folder = runs.Run(Path(args.out))
    else:
        name = Path(config["data"]).name.split(".")[0]
        out = getattr(args, "out", None) or runs.next_folder("runs", name)
        folder = runs.create(out, {"vqnp_version": __version__, **config}, args.force)
    images = f"{len(training)} training images, {len(test)} test images"
    say(f"{images} of {config['data']}; writing {folder.folder}")
    options: dict[str, Any] = {"progress": not args.quiet, "on_epoch": folder.write_metrics}
    try:
        if folder.checkpoint.exists():
            model, history = resume(folder.checkpoint, training.images, test.images, **options)
        else:
            options |= {"checkpoint": folder.checkpoint, **config["schedule"]}
            history = fit(model, training.images, test.images, **options)
    except Interrupted as stop:
        command = f"vqnp train --out {folder.folder} --resume"
        raise KeyboardInterrupt(f"stopped after step {stop.step}, saved; go on with: {command}") from None
    folder.write_metrics(history)
    report = model.evaluate(test.images, history)
    plots.save_figure(plots.training_figure(report, model, history, test.images), folder.figure)
    print(report)
    for path in folder.files():
        print(f"{'wrote':<21}{path}")


def _configuration(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """The run's data, kind of model, its arguments and schedule; and whether the run has begun already."""
    from vqnp.cli import runs

    if args.resume and args.force:
        fail("", "--resume", "must be without --force", "both")
    if args.resume and "out" not in args:
        fail("", "--resume", "must have the run's folder in --out", "none")
    begun = args.resume and runs.Run(Path(args.out)).config.exists()
    config = runs.Run(Path(args.out)).read_config() if begun else _new_configuration(args)
    given = _given(args, config["kind"])
    for part, options in given.items():
        for name, value in options.items():
            began = (config[part] if part else config)[name]
            if begun and value != began:
                fail("--resume", _option(name), f"must be what the run began with, {began}", value)
    return config, begun


def _given(args: argparse.Namespace, kind: str) -> dict[str, dict[str, Any]]:
    """The options that were given, by part of the configuration; one of another model is an error."""
    from vqnp.models import MODELS

    values = vars(args)
    own = _arguments(kind)
    given: dict[str, dict[str, Any]] = {"": {}, "model": {}, "schedule": {}}
    if "kind" in values:
        given[""]["kind"] = values["kind"]
    if "data" in values:
        given[""]["data"] = _absolute(values["data"])
    for name in (*MODEL_OPTIONS, *LATENT_OPTIONS, "hidden", *CHOICES, *SCHEDULE_OPTIONS):
        if name not in values:
            continue
        if name in SCHEDULE_OPTIONS or name == "lr_schedule":
            given["schedule"][name] = values[name]
        elif name in own:
            given["model"][name] = values[name]
        else:
            owners = " or ".join(other for other in MODELS if name in _arguments(other))
            fail("", _option(name), f"must be given with --model {owners} only", f"--model {kind}")
    return given


def _new_configuration(args: argparse.Namespace) -> dict[str, Any]:
    """What the options say, and for the rest Python's defaults."""
    from dataclasses import asdict

    from vqnp.training import Schedule

    kind = getattr(args, "kind", "vqvae")
    given = _given(args, kind)
    if "noise_std" in given["model"] and given["model"].get("likelihood") != "gaussian":
        fail("", "--noise-std", "must be given with --likelihood gaussian only", "--likelihood bernoulli")
    return {
        "data": given[""].get("data", "digits"),
        "kind": kind,
        "model": _arguments(kind) | given["model"],
        "schedule": asdict(Schedule(**given["schedule"])),
    }


def _arguments(kind: str) -> dict[str, Any]:
    """The arguments of the kind's MLP model that JSON can hold, with their defaults."""
    import inspect

    from vqnp.models import MODELS

    parameters = inspect.signature(MODELS[kind].mlp).parameters
    plain = {n: p.default for n, p in parameters.items() if n not in ("rng", "quantizer", "image_shape")}
    return {n: list(value) if isinstance(value, tuple) else value for n, value in plain.items()}


def _absolute(source: str) -> str:
    """A data set's name as it is; a path so that it means the same from another folder."""
    from vqnp.data.datasets import NAMES

    return source if source in NAMES else str(Path(source).expanduser().absolute())
