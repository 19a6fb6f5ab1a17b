"""What each command of the command line does; vqnp.cli says how it is called."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp import evaluation
from vqnp._check import Array, check_int, fail
from vqnp._version import __version__
from vqnp.bench import measure as measuring
from vqnp.bench.report import bench_figure, table
from vqnp.checkpoint import atomic
from vqnp.cli import latent_commands, runs
from vqnp.cli.main import LATENT_OPTIONS, MODEL_OPTIONS, SCHEDULE_OPTIONS, say
from vqnp.data import ArrayStream, load_splits, open_images
from vqnp.data.batches import batches
from vqnp.evaluation.latents import LatentEvaluation
from vqnp.export import FORMATS, save_torch
from vqnp.export.codes import decode_file, encode_file, encoded_as, open_codes
from vqnp.inspection.anatomy import code_anatomy
from vqnp.metrics.codebook import dead_codes
from vqnp.models import VAE, VQVAE, Autoencoder, build
from vqnp.plots.codebook import codebook_figure, save_sheet, training_figure
from vqnp.plots.latents import latent_training_figure, latents_figure
from vqnp.plots.style import save_figure
from vqnp.training.fit import Interrupted, fit, resume
from vqnp.training.trainer import Schedule

Model = VQVAE | VAE | Autoencoder

BOTH = ("hidden", "activation")
OPTIONS = {
    "vqvae": (*MODEL_OPTIONS, *BOTH, "codebook", "codebook_init"),
    "vae": (*LATENT_OPTIONS, *BOTH, "likelihood"),
    "autoencoder": ("latent_dim", *BOTH),
}
"""The options that make each model, by the name of --model."""

SHEET = 100
"""Images on a PNG sheet: ten by ten, what fits a screen."""


def train(args: argparse.Namespace) -> None:
    """Train, or go on training; evaluate; draw; print the table and what was written."""
    given = vars(args)
    settings = {
        "model": {n: given[n] for n in dict.fromkeys(sum(OPTIONS.values(), ())) if n in given},
        "schedule": {n: given[n] for n in (*SCHEDULE_OPTIONS, "lr_schedule") if n in given},
    }
    if args.resume and args.force:
        fail("", "--resume", "must be without --force", "both")
    if args.resume and "out" not in given:
        fail("", "--resume", "must have the run's folder in --out", "none")
    begun = args.resume and runs.Run(Path(args.out)).config.exists()
    if begun:
        config = runs.Run(Path(args.out)).read_config()
        _fitting_options(config["kind"], settings)
        _same_settings(config, settings, given)
    else:
        source, kind = _absolute(given.get("data", "digits")), given.get("kind", "vqvae")
        _fitting_options(kind, settings)
        if "noise_std" in settings["model"] and settings["model"].get("likelihood") != "gaussian":
            fail("", "--noise-std", "must be given with --likelihood gaussian only", "--likelihood bernoulli")
        config = {
            "data": source,
            "kind": kind,
            "model": settings["model"],
            "schedule": asdict(Schedule(**settings["schedule"])),
        }
    training, test = load_splits(config["data"])
    shape = training.images.shape[1:]
    rng = np.random.default_rng(config["schedule"]["seed"])
    model = build(config["kind"], {"image_shape": shape, **config["model"]}, rng=rng)
    if begun:
        run = runs.Run(Path(args.out))
    else:
        folder = given.get("out") or runs.next_folder("runs", Path(config["data"]).name.split(".")[0])
        run = runs.create(folder, {"vqnp_version": __version__, **config, "model": model.config}, args.force)
    say(f"{len(training)} training images, {len(test)} test images of {config['data']}; writing {run.folder}")
    options: dict[str, Any] = {"progress": not args.quiet, "on_epoch": run.write_metrics}
    try:
        if run.checkpoint.exists():
            model, history = resume(run.checkpoint, training.images, test.images, **options)
        else:
            options |= {"checkpoint": run.checkpoint, **config["schedule"]}
            history = fit(model, training.images, test.images, **options)
    except Interrupted as stop:
        advice = f"stopped after step {stop.step}, saved; go on with: vqnp train --out {run.folder} --resume"
        raise KeyboardInterrupt(advice) from None
    run.write_metrics(history)
    print(_report(run, model, history, test.images))


def _same_settings(
    config: dict[str, Any], settings: dict[str, dict[str, Any]], given: dict[str, Any]
) -> None:
    """A resumed run goes on as it began: an option that says otherwise is an error, not ignored."""
    whole: dict[str, Any] = {name: given[name] for name in ("kind", "data") if name in given}
    if "data" in whole:
        whole["data"] = _absolute(given["data"])
    settings = {"": whole, **settings}
    for part, options in settings.items():
        for name, value in options.items():
            began = config[part][name] if part else config[name]
            if value != began:
                option = "--model" if name == "kind" else f"--{name.replace('_', '-')}"
                fail("--resume", option, f"must be what the run began with, {began}", value)


def _fitting_options(kind: str, settings: dict[str, dict[str, Any]]) -> None:
    """An option of another model is an error, not ignored."""
    given = [*settings["model"], *settings["schedule"]]
    fitting = {*OPTIONS[kind], *SCHEDULE_OPTIONS, "lr_schedule"}
    fitting -= set() if kind == "vqvae" else {"restart_dead_codes"}
    for name in given:
        if name not in fitting:
            owners = [other for other in OPTIONS if name in OPTIONS[other]] or ["vqvae"]
            option = f"--{name.replace('_', '-')}"
            fail("", option, f"must be given with --model {' or '.join(owners)} only", f"--model {kind}")


def _absolute(source: str) -> str:
    """A data set's name as it is; a path so that it means the same from another folder."""
    return (
        source
        if source in ("digits", "mnist", "fashion-mnist")
        else str(Path(source).expanduser().absolute())
    )


def _report(run: runs.Run, model: Model, history: list[dict[str, float]], images: Array) -> str:
    """Evaluate, draw the figure; the table and the paths."""
    result: evaluation.Evaluation | LatentEvaluation
    if isinstance(model, VQVAE):
        result = evaluation.evaluate(model, images, history)
        figure = training_figure(
            history, images[:10], model.reconstruct(images[:10]), result.counts, code_anatomy(model, images)
        )
    else:
        result = evaluation.evaluate(model, images, history)
        figure = latent_training_figure(model, history, images, result)
    save_figure(figure, run.figure)
    wrote = "\n".join(f"{'wrote':<21}{path}" for path in run.files())
    return f"{result}\n{wrote}"


def evaluate(args: argparse.Namespace) -> None:
    """Print the figures of a model on a data set."""
    _, _, result = _evaluated(args)
    print(json.dumps(result.as_dict()) if args.json else result)


def _evaluated(
    args: argparse.Namespace,
) -> tuple[Model, Array | ArrayStream, evaluation.Evaluation | LatentEvaluation]:
    """The model, the images, and what it does to them.

    Without --data they are those that training used, or held out, and its history is part of the diagnosis.
    """
    model, trained_on, history = runs.open_run(args.model)
    images: Array | ArrayStream
    if "data" in args:
        images, history = open_images(args.data, args.split), []
    else:
        training, test = load_splits(trained_on)
        images = (training if args.split == "train" else test).images
    return model, images, evaluation.evaluate(model, images, history, progress=True)


def encode(args: argparse.Namespace) -> None:
    """Images to codes, streaming."""
    out = _new_file(args, (".npz",))
    model, trained_on, _ = runs.open_run(args.model)
    images = open_images(getattr(args, "data", trained_on), args.split)
    encode_file(model, images, out, _bar)
    size = f"{model.bits_per_image:g} bits" if isinstance(model, VQVAE) else f"{model.latent_dim} numbers"
    print(f"{len(images)} images, {size} each, in {out}")


def decode(args: argparse.Namespace) -> None:
    """Codes to images, streaming."""
    out = _new_file(args, (".npy", ".png"))
    model, _, _ = runs.open_run(args.model)
    codes = open_codes(model, args.codes)
    if out.suffix == ".npy":
        decode_file(model, codes, out, _bar)
        print(f"{len(codes)} images in {out}")
        return
    first = next(codes.batches(SHEET), None)
    if first is None:
        needed = f"must hold the {encoded_as(model).name} of at least one image for a PNG sheet"
        fail("", str(args.codes), needed, "none")
    with atomic(out) as file:
        save_sheet(file, model.decode(first))
    print(f"{len(first)} of {len(codes)} images in {out}")


def inspect(args: argparse.Namespace) -> None:
    """The codebook's health, or what a latent's units say, in words, figures and a picture."""
    model, images, result = _evaluated(args)
    print(result)
    run = runs.Run(Path(args.model) if Path(args.model).is_dir() else Path(args.model).parent)
    if isinstance(result, LatentEvaluation):
        assert isinstance(model, Autoencoder)
        some = next(batches(images, latent_commands.SOME))
        print("\n".join(latent_commands.report(model, some, result)))
        figure = Path(getattr(args, "out", run.latents))
        save_figure(latents_figure(model, some, result), figure)
        print(f"{'wrote':<21}{figure}")
        return
    assert isinstance(model, VQVAE)
    dead = dead_codes(result.counts)
    print(f"{'dead codes':<21}{', '.join(map(str, dead)) if len(dead) else 'none'}")
    print("\n".join(_histogram(result.counts)))
    figure = Path(getattr(args, "out", run.codebook))
    save_figure(codebook_figure(code_anatomy(model, next(batches(images, 5000)))), figure)
    print(f"{'wrote':<21}{figure}")


def bench(args: argparse.Namespace) -> None:
    """Measure, for each number of threads; print the table; write the figures and the picture."""
    rounds = check_int("--rounds", "N", args.rounds)
    about = measuring.machine()
    cores = int(about["cores"])
    counts = getattr(args, "threads", sorted({1, cores}))
    for threads in counts:
        check_int("--threads", "T", threads, 1, cores)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for threads in counts:
        say(f"measuring with {threads} thread{'s' * (threads > 1)}")
        rows += measuring.in_process(threads, rounds)
    rows += measuring.start_up()
    print(table(rows, about))
    with atomic(folder / "bench.json") as file:
        text = json.dumps({"machine": about, "rows": [row._asdict() for row in rows]}, indent=1)
        file.write(text.encode())
    save_figure(bench_figure(rows, about), folder / "bench.png")
    print(f"\nwrote {folder / 'bench.json'}\nwrote {folder / 'bench.png'}")


def export(args: argparse.Namespace) -> None:
    """The parameters under PyTorch's names, in a file; a line for each."""
    suffix = FORMATS[args.format]
    args.out = getattr(args, "out", f"weights{suffix}")
    out = _new_file(args, (suffix,))
    model, _, _ = runs.open_run(args.model)
    for name, array in save_torch(out, model, args.format).items():
        print(f"{name:<28}{array.dtype!s:<9}{'x'.join(map(str, array.shape)) or 'one number'}")
    print(f"{'wrote':<28}{out}")


def _histogram(counts: Array) -> Iterator[str]:
    """How many codes are used how often, relative to uniform use, as bars."""
    relative = counts / counts.mean()
    edges = [0.0, 1e-12, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, np.inf]
    names = ["never", "< 0.1", "0.1-0.25", "0.25-0.5", "0.5-1", "1-2", "2-4", ">= 4"]
    yield "use / uniform use    codes"
    for name, n in zip(names, np.histogram(relative, edges)[0], strict=True):
        yield f"  {name:<19}{n:<5d} {'#' * round(50 * n / len(counts))}".rstrip()


def _new_file(args: argparse.Namespace, suffixes: tuple[str, ...]) -> Path:
    """--out as a path that may be written, with a suffix that says what it is."""
    out = Path(args.out)
    if out.suffix not in suffixes:
        fail("", "--out", f"must end in {' or '.join(suffixes)}", out)
    if out.is_dir():
        fail("", "--out", "must be a file", f"the folder {out}")
    if out.exists() and not args.force:
        fail("", "--out", "must be a new file (or give --force)", f"{out}, which exists")
    if not out.parent.is_dir():
        fail("", "--out", "must be in an existing folder", out)
    return out


def _bar(parts: Iterator[Array], total: int) -> Iterator[Array]:
    """The parts, with a bar on standard error where they take a while."""
    yield from tqdm(parts, total=total, unit="batch", delay=1)
