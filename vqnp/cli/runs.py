"""A run folder: config.json, checkpoint.npz, metrics.csv, training.png, what inspect draws, and a prior."""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vqnp._check import InputError, fail
from vqnp._files import atomic, one_line
from vqnp.checkpoint import load_all
from vqnp.cli import configuration
from vqnp.cli.lock import Taken, lock
from vqnp.models import Model

LOCK = ".lock"  # the file in a run folder that a training holds


class Run:
    """A run folder and the paths of its files."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.json"  # the data's name or path, and every setting
        self.checkpoint = self.folder / "checkpoint.npz"  # the model, and the state of its training
        self.metrics = self.folder / "metrics.csv"  # a row for each epoch
        self.figure = self.folder / "training.png"
        self.codebook = self.folder / "codebook.png"  # of vqnp inspect
        self.latents = self.folder / "latents.png"  # of vqnp inspect, if latents are continuous
        self.levels = self.folder / "levels.png"  # of vqnp inspect, if there are several levels of codes
        self.sounds = self.folder / "sounds.png"  # of vqnp inspect, of a model of sounds
        self.report = self.folder / "report.html"  # of vqnp report
        self.prior = self.folder / "prior.npz"  # of vqnp prior: the prior, and the state of its training
        self.prior_metrics = self.folder / "prior.csv"  # a row for each epoch of the prior
        self.samples = self.folder / "samples.png"  # of vqnp prior
        self.sound_samples = self.folder / "samples.wav"  # of vqnp prior, of a model of sounds

    def files(self) -> list[Path]:
        """Those of its files that exist."""
        drawn = (self.figure, self.codebook, self.latents, self.levels, self.sounds, self.report)
        paths = (self.config, self.checkpoint, self.metrics, *drawn, *self.prior_files())
        return [path for path in paths if path.exists()]

    def prior_files(self) -> list[Path]:
        """Those of its files that exist and are of vqnp prior."""
        paths = (self.prior, self.prior_metrics, self.samples, self.sound_samples)
        return [path for path in paths if path.exists()]

    @contextlib.contextmanager
    def held(self, argument: str = "--out") -> Iterator[None]:
        """For a training: make the folder if need be, and keep every other training out of it meanwhile.

        argument: what the folder is called on the command line
        """
        if self.folder.exists() and not self.folder.is_dir():
            fail("", argument, "must be a folder", f"the file {self.folder}")
        for above in self.folder.parents:
            if above.exists() and not above.is_dir():
                got = f"{self.folder}, where {above} is a file"
                fail("", argument, "must be a folder within folders", got)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with lock(self.folder / LOCK):
                for part in self.folder.glob("*.part"):  # of a process that was killed
                    part.unlink()
                yield
        except Taken as taken:
            needed = "must be a folder to which no other training is writing"
            fail("", argument, needed, f"{self.folder}, to which {taken.holder} is writing")

    def read_config(self) -> dict[str, Any]:
        """The configuration that `create` wrote, or that of an earlier version in today's form."""
        return configuration.read(self.config)

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the history of the model's training as a CSV table."""
        self._write_table(self.metrics, history)

    def write_prior_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the history of the prior's training as a CSV table."""
        self._write_table(self.prior_metrics, history)

    @staticmethod
    def _write_table(path: Path, history: Sequence[Mapping[str, float]]) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(history)
        with atomic(path) as file:
            file.write(text.getvalue().encode())


def create(run: Run, config: Mapping[str, Any], force: bool = False) -> None:
    """Begin a run in a folder that we hold: write its configuration.

    Files in the folder are an error; with force, those of a run are deleted, and no others.
    """
    if any(path.name != LOCK for path in run.folder.iterdir()) and not force:
        needed = "must be a new or empty folder (--force replaces a run, --resume goes on with it)"
        fail("", "--out", needed, f"{run.folder}, which has files in it")
    for path in reversed(run.files()):  # config.json last: what is left of a run says whose it is
        path.unlink()
    with atomic(run.config) as file:
        file.write((json.dumps(dict(config), indent=2) + "\n").encode())


def next_folder(parent: str | Path, name: str) -> Path:
    """The first of parent/name-1, name-2, … that does not exist, which is made: no other process gets it."""
    Path(parent).mkdir(parents=True, exist_ok=True)
    for n in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            (folder := Path(parent) / f"{name}-{n}").mkdir()
            return folder
    raise AssertionError


class Opened(NamedTuple):
    """A model, the state of its training in so far as it is plain, and the run that it belongs to."""

    model: Model
    trainer: dict[str, Any]
    run: Run

    @property
    def history(self) -> list[dict[str, float]]:
        """A row for each epoch of the training; empty for a model alone."""
        history: list[dict[str, float]] = self.trainer.get("history", [])
        return history

    def read_config(self) -> dict[str, Any]:
        """The run's configuration, if it is that of this model and its training; else InputError."""
        config = self.run.read_config()
        configuration.check_same(self.run.config, config, self.model, self.trainer)
        return config

    def trained_on(self) -> str:
        """The name or path of the data of the training; without a config.json, "digits".

        A config.json that cannot be read, or does not belong to the model, is an error: it named some data.
        """
        if not self.run.config.exists():
            return "digits"
        try:
            return str(self.read_config()["data"])
        except InputError as error:
            needed = f"{error.needed} (or give --data)"
            raise InputError(error.where, error.argument, needed, error.got) from None


def open_run(path: str | Path) -> Opened:
    """The model of a run folder or a checkpoint, and what is known of its training."""
    path = Path(path)
    if not path.exists():
        fail("RUN", "", "must be a run folder or a checkpoint", f"{path}, which does not exist")
    run = Run(path if path.is_dir() else path.parent)
    checkpoint = run.checkpoint if path.is_dir() else path
    if not checkpoint.exists():
        fail("RUN", "", "must be a folder that vqnp train wrote", f"{path}, which has no {checkpoint.name}")
    model, meta, _ = load_all(checkpoint)
    trainer = meta.get("trainer", {})
    if not isinstance(trainer, dict) or (trainer and not _is_state(trainer)):
        needed = "must hold a model, and a training's schedule and history if it has any"
        fail(f"checkpoint {checkpoint}", "", needed, one_line(repr(trainer)))
    return Opened(model, trainer, run)


def _is_state(trainer: Mapping[str, Any]) -> bool:
    schedule, history = trainer.get("schedule"), trainer.get("history")
    return isinstance(schedule, dict) and isinstance(history, list) and all(map(_is_row, history))


def _is_row(row: Any) -> bool:
    return isinstance(row, dict)
