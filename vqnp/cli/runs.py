"""A run folder: config.json, checkpoint.npz, metrics.csv, training.png, and what inspect draws."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vqnp._check import InputError, fail
from vqnp._files import atomic
from vqnp.checkpoint import load_all
from vqnp.cli import configuration
from vqnp.models import Model


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

    def files(self) -> list[Path]:
        """Those of its files that exist."""
        paths = (self.config, self.checkpoint, self.metrics, self.figure, self.codebook, self.latents)
        return [path for path in paths if path.exists()]

    def read_config(self) -> dict[str, Any]:
        """The configuration that `create` wrote, or that of an earlier version in today's form."""
        return configuration.read(self.config)

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the history as a CSV table."""
        text = io.StringIO()
        table = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(history)
        with atomic(self.metrics) as file:
            file.write(text.getvalue().encode())


def create(folder: str | Path, config: Mapping[str, Any], force: bool = False) -> Run:
    """Make a run folder that holds its configuration; both appear at once.

    A folder with files in it is an error; with force, the files of a run in it are deleted, and no others.
    """
    run, text = Run(folder), json.dumps(dict(config), indent=2) + "\n"
    if run.folder.exists() and not run.folder.is_dir():
        fail("", "--out", "must be a folder", f"the file {run.folder}")
    if run.folder.is_dir():
        if any(run.folder.iterdir()) and not force:
            needed = "must be a new or empty folder (--force replaces a run, --resume goes on with it)"
            fail("", "--out", needed, f"{run.folder}, which has files in it")
        for path in run.files():
            path.unlink()
        with atomic(run.config) as file:
            file.write(text.encode())
        return run
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{run.folder.name}.", dir=run.folder.parent))
    (new / run.config.name).write_text(text, encoding="utf-8")
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    new.chmod(0o777 & ~mask)
    os.rename(new, run.folder)
    return run


def next_folder(parent: str | Path, name: str) -> Path:
    """The first of parent/name-1, name-2, … that does not exist."""
    n = 1
    while (folder := Path(parent) / f"{name}-{n}").exists():
        n += 1
    return folder


class Opened(NamedTuple):
    """A model, the history of its training, and the run that it belongs to."""

    model: Model
    history: list[dict[str, float]]
    run: Run

    def trained_on(self) -> str:
        """The name or path of the data of the training; without a config.json, "digits".

        A config.json that cannot be read, or does not belong to the model, is an error: it named some data.
        """
        if not self.run.config.exists():
            return "digits"
        try:
            return str(self.run.read_config()["data"])
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
    return Opened(model, meta.get("trainer", {}).get("history", []), run)
