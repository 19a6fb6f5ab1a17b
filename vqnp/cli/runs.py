"""A run folder: config.json, checkpoint.npz, metrics.csv, training.png, and later what inspect draws."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqnp._check import InputError, fail
from vqnp._files import atomic
from vqnp.checkpoint import load_all
from vqnp.models import Model


@dataclass(frozen=True)
class Run:
    """The places in a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The data's name or path, and every setting: JSON."""
        return self.folder / "config.json"

    @property
    def checkpoint(self) -> Path:
        """The model and all that training needs to go on."""
        return self.folder / "checkpoint.npz"

    @property
    def metrics(self) -> Path:
        """A row for each epoch: CSV."""
        return self.folder / "metrics.csv"

    @property
    def figure(self) -> Path:
        """Curves, reconstructions, usage, the most used codes."""
        return self.folder / "training.png"

    @property
    def codebook(self) -> Path:
        """Every code in context."""
        return self.folder / "codebook.png"

    @property
    def latents(self) -> Path:
        """The strongest units of a continuous latent, each moved through its range."""
        return self.folder / "latents.png"

    def files(self) -> list[Path]:
        """Those of its files that exist."""
        places = (self.config, self.checkpoint, self.metrics, self.figure, self.codebook, self.latents)
        return [path for path in places if path.exists()]

    def read_config(self) -> dict[str, Any]:
        """The configuration that `create` wrote."""
        try:
            config = json.loads(self.config.read_text(encoding="utf-8"))
            kind = config.get("kind", "vqvae")  # which the first runs did not say
            model, schedule = dict(config["model"]), dict(config["schedule"])
            model.pop("quantizer_options", None)  # of version 0.1, which set none of them
            restart = schedule.pop("restart_dead_codes", None)  # in version 0.1 the schedule's
            if restart is not None and kind == "vqvae":
                model["restart_dead_codes"] = restart
            return {"data": config["data"], "kind": kind, "model": model, "schedule": schedule}
        except (ValueError, KeyError, TypeError) as error:
            fail(
                str(self.config),
                "", "must be a configuration that vqnp train wrote",
                f"{type(error).__name__}: {error}",
            )

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """The history as a table that a spreadsheet opens."""
        text = io.StringIO()
        table = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(history)
        with atomic(self.metrics) as file:
            file.write(text.getvalue().encode())


def create(folder: str | Path, config: Mapping[str, Any], force: bool = False) -> Run:
    """Make a run folder with its configuration in it; both appear at once.

    Raises
    ------
    InputError
        Something is there already, and not force. With force, the run's own files are replaced,
        and no others touched.
    """
    run = Run(Path(folder))
    if run.folder.exists() and not run.folder.is_dir():
        fail("", "--out", "must be a folder", f"the file {run.folder}")
    text = json.dumps(dict(config), indent=2) + "\n"
    if run.folder.is_dir():
        if any(run.folder.iterdir()) and not force:
            fail(
                "", "--out",
                "must be a new or empty folder (--force replaces a run, --resume goes on with it)",
                f"{run.folder}, which has files in it",
            )
        for path in run.files():
            path.unlink()
        with atomic(run.config) as file:
            file.write(text.encode())
        return run
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{run.folder.name}.", dir=run.folder.parent))
    (new / run.config.name).write_text(text, encoding="utf-8")
    new.chmod(0o777 & ~_umask())
    os.rename(new, run.folder)
    return run


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def next_folder(parent: str | Path, name: str) -> Path:
    """parent/name-1, or -2, …: the first that does not exist."""
    n = 1
    while (Path(parent) / f"{name}-{n}").exists():
        n += 1
    return Path(parent) / f"{name}-{n}"


def open_run(path: str | Path) -> tuple[Model, str, list[dict[str, float]]]:
    """The model of a run folder or a checkpoint, what it was trained on ("digits" if unknown), its history.

    Raises
    ------
    InputError
        Nothing there, or no checkpoint, or one that is unsound: see checkpoint.load.
    """
    path = Path(path)
    if not path.exists():
        fail("RUN", "", "must be a run folder or a checkpoint", f"{path}, which does not exist")
    run = Run(path if path.is_dir() else path.parent)
    checkpoint = run.checkpoint if path.is_dir() else path
    if not checkpoint.exists():
        fail("RUN", "", "must be a folder that vqnp train wrote", f"{path}, which has no {checkpoint.name}")
    model, meta, _ = load_all(checkpoint)
    history = meta.get("trainer", {}).get("history", [])
    try:
        return model, str(run.read_config()["data"]), history
    except (InputError, OSError):
        return model, "digits", history
