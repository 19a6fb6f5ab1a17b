"""figures[setting, seed] = measure(seed, **setting): what all studies have in common.

A study consists of a docstring whose first line is its question, settings, `measure`, and a figure:

    study = Study(__file__, __doc__)
    scale = study.pick(quick={...}, default={...}, full={...})
    rows = study.run([{"K": 32}, {"K": 64}], measure)      # measure(seed, K=32) -> {"mse": 0.01, ...}
    study.write(rows, [Column("mse", "test MSE", ".4f")], figure, "What the figure shows.")

`write` writes NAME.png, NAME.json and NAME.md to a folder. In the page it replaces only the part between two
marks and keeps the text around them, which is written by hand; see _prose.py for the numbers in that text.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from _prose import fill
from matplotlib.figure import Figure
from tqdm import tqdm

from vqnp.plots.style import save_figure

DOCS = Path(__file__).resolve().parents[2] / "docs" / "studies"
BEGIN, END = "<!-- begin: written by the script -->", "<!-- end: written by the script -->"
DIGITS = 6
"""Significant digits of each result, in the JSON and in the figure."""

ONE_THREAD = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
"""The environment of each process. Two runs at a time then share two cores, and the last digits of a run,
which depend on the number of BLAS threads, do not depend on the number of cores of the machine."""


class Column(NamedTuple):
    """A result in the table: its name, its heading and its format."""

    name: str
    heading: str
    form: str = ".3g"


class Row:
    """The results at one setting; row["mse"] is an array with a value, or a curve, for each seed."""

    def __init__(self, setting: dict[str, Any], runs: list[dict[str, Any]]) -> None:
        self.setting, self.runs = setting, runs

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array([run[name] for run in self.runs])

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON: the setting, and for each result its values and (if numbers) mean, min, max."""
        figures: dict[str, Any] = {}
        for name in self.runs[0]:
            if name.startswith("_"):
                continue
            values = self[name]
            figures[name] = {"values": values.tolist()}
            if values.ndim == 1 and values.dtype.kind in "iuf":
                spread = {"mean": values.mean(), "min": values.min(), "max": values.max()}
                figures[name] |= {key: _rounded(float(value)) for key, value in spread.items()}
        return {"setting": self.setting, "figures": figures}


def end_with(parent: int) -> None:
    """In a worker: end soon after the process that started it, however that ended (SIGKILL tells nobody)."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Study:
    """The command line of a study, its runs and its page."""

    def __init__(self, file: str, doc: str, full_seeds: int = 3) -> None:
        self.name, self.doc = Path(file).stem, inspect.cleandoc(doc)
        raw = argparse.RawDescriptionHelpFormatter
        parser = argparse.ArgumentParser(description=self.doc, formatter_class=raw)
        size = parser.add_mutually_exclusive_group()
        size.add_argument("--full", action="store_true", help="the settings of the documentation: minutes")
        size.add_argument("--quick", action="store_true", help="a small run, as a check: seconds")
        seeds = f"number of seeds (default: 3; 2 with --quick, {full_seeds} with --full)"
        parser.add_argument("--seeds", type=int, help=seeds)
        parser.add_argument(
            "--jobs",
            type=int,
            default=os.cpu_count(),
            help="number of parallel runs, each in its own process with one thread (default: one per core); "
            "the results do not depend on it. 0: run in this process, as with --quick",
        )
        more = "run only the settings that the JSON file in OUT lacks, at the same scale, and keep its rows"
        parser.add_argument("--more", action="store_true", help=more)
        redraw = "run nothing; make the figure and the page from the JSON file in OUT"
        parser.add_argument("--redraw", action="store_true", help=redraw)
        clock = "as --redraw, and measure the times of a study that has any anew: with nothing else running"
        parser.add_argument("--clock", action="store_true", help=clock)
        out = "output folder (default: docs/studies with --full, otherwise runs)"
        parser.add_argument("--out", type=Path, help=out)
        args = parser.parse_args()
        if args.seeds is not None and args.seeds < 1:
            parser.error(f"argument --seeds: must be at least 1; got {args.seeds}")
        if args.jobs < 0:
            parser.error(f"argument --jobs: must be at least 0; got {args.jobs}")
        self.size = "full" if args.full else "quick" if args.quick else "default"
        self.seeds = args.seeds or {"quick": 2, "default": 3, "full": full_seeds}[self.size]
        self.jobs = 0 if args.quick else args.jobs
        self.redraw, self.more = args.redraw or args.clock, args.more
        self.clocked = args.clock or not args.redraw
        self.out = args.out or (DOCS if args.full else Path("runs"))
        self.command = f"python examples/studies/{self.name}.py"
        self.command += "" if self.size == "default" else f" --{self.size}"
        self.command += f" --seeds {args.seeds}" if args.seeds else ""
        self.scale: dict[str, Any] = {}

    def pick(self, quick: dict[str, Any], default: dict[str, Any], full: dict[str, Any]) -> SimpleNamespace:
        """The values for --quick, for neither, or for --full; they are recorded in the page and the JSON."""
        self.scale = {"quick": quick, "default": default, "full": full}[self.size]
        return SimpleNamespace(**self.scale)

    def run(
        self, settings: Iterable[dict[str, Any]], measure: Callable[..., dict[str, Any]],
        before: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> list[Row]:  # fmt: skip
        """measure(seed, **setting) for each setting and seed, with a progress line on standard error.

        before: for --more, what the settings that a row of the JSON file lacks were in its runs; or a
        function that says so of a row's setting.
        measure returns numbers, strings and curves (sequences of numbers). A result whose name begins with an
        underscore may be anything; it is only for the figure and is not saved.
        """
        begun = time.perf_counter()
        if self.redraw:
            path = self.out / f"{self.name}.json"
            if not path.exists():
                sys.exit(f"{self.name}.py: --redraw needs the JSON file of a run, and there is no {path}")
            saved = json.loads(path.read_text(encoding="utf-8"))
            self.scale, self.seeds, self.command = saved["scale"], saved["seeds"], saved["command"]
            return [_row(row) for row in saved["rows"]]
        rows = [Row(setting, [{}] * self.seeds) for setting in settings]
        known = self._known(before or {}) if self.more else []
        for row in rows:
            row.runs = next((old.runs for old in known if old.setting == row.setting), row.runs)
        todo = [(row, seed) for row in rows if not row.runs[0] for seed in range(self.seeds)]
        with tqdm(total=len(todo), unit="run", dynamic_ncols=True) as bar:
            for (row, seed), figures in self._done(todo, measure):
                row.runs[seed] = {k: v if k.startswith("_") else _rounded(v) for k, v in figures.items()}
                bar.set_postfix_str(", ".join(f"{k}={v}" for k, v in row.setting.items()) + f", {seed=}")
                bar.update()
        print(f"{self.name}: {len(rows)} settings, {self.seeds} seeds, {time.perf_counter() - begun:.0f} s")
        return rows

    def _known(self, before: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]) -> list[Row]:
        """The rows of the JSON file, if it was made with as many seeds and at this scale."""
        saved = json.loads((self.out / f"{self.name}.json").read_text(encoding="utf-8"))
        scale = {name: value for name, value in saved["scale"].items() if not isinstance(value, list)}
        other = {name: value for name, value in scale.items() if self.scale.get(name) != value}
        if other or saved["seeds"] != self.seeds:
            sys.exit(f"{self.name}.py: --more needs rows of {self.seeds} seeds at this scale; got {other}")
        was = before if callable(before) else lambda setting: before
        return [_row(row | {"setting": was(row["setting"]) | row["setting"]}) for row in saved["rows"]]

    def _done(
        self, todo: list[tuple[Row, int]], measure: Callable[..., dict[str, Any]]
    ) -> Iterator[tuple[tuple[Row, int], dict[str, Any]]]:
        """Each run with its results, in the order in which they finish."""
        if not self.jobs:
            for row, seed in todo:
                yield (row, seed), measure(seed, **row.setting)
            return
        os.environ |= ONE_THREAD  # a new process reads it when it imports NumPy
        processes, spawn = max(min(self.jobs, len(todo)), 1), get_context("spawn")
        with ProcessPoolExecutor(processes, spawn, end_with, (os.getpid(),)) as pool:
            runs: dict[Future[dict[str, Any]], tuple[Row, int]] = {
                pool.submit(measure, seed, **row.setting): (row, seed) for row, seed in todo
            }
            try:
                for run in as_completed(runs):
                    yield runs[run], run.result()
            except BaseException as error:  # a run failed, or Ctrl-C: stop the others
                for process in list(pool._processes.values()):
                    process.kill()
                pool.shutdown(cancel_futures=True)
                if isinstance(error, KeyboardInterrupt):  # in this process or in a run, which receives it too
                    sys.exit(f"{self.name}.py: interrupted; nothing was written")
                raise

    def write(self, rows: Sequence[Row], columns: Sequence[Column], figure: Figure, caption: str) -> None:
        """Write the figure, the JSON and the page; print the table."""
        self.out.mkdir(parents=True, exist_ok=True)
        save_figure(figure, self.out / f"{self.name}.png")
        result = {
            "study": self.name,
            "command": self.command,
            "seeds": self.seeds,
            "scale": self.scale,
            "columns": [list(column) for column in columns],
            "caption": caption,
            "rows": [row.as_dict() for row in rows],
        }
        lines = json.dumps(result["rows"]).replace('{"setting"', '\n{"setting"')  # a line per row, for diffs
        text = json.dumps(result | {"rows": None}, indent=1).replace('"rows": null', f'"rows": {lines}')
        (self.out / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        page = self.out / f"{self.name}.md"
        old = page.read_text(encoding="utf-8") if page.exists() else _new_page(self.doc)
        before, _, rest = old.partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(fill(before + block(result) + after, self.name, self.out), encoding="utf-8")
        print(table(result))
        print(f"\n{page}")


def block(result: dict[str, Any]) -> str:
    """The part of a page that is written by the script: marks, figure, command, table."""
    scale = ", ".join(f"{key} {_plain(value)}" for key, value in result["scale"].items())
    about = f"From `{result['command']}`: {result['seeds']} seeds; {scale}. "
    about += "Each cell is the mean over the seeds, followed by the range."
    caption = result["caption"]
    parts = [BEGIN, f"![{caption}]({result['study']}.png)", f"*{caption}*", about, table(result), END]
    return "\n\n".join(parts)


def table(result: dict[str, Any]) -> str:
    """Markdown: one row per setting; a number with its range over the seeds, a string with its count."""
    names = list(result["rows"][0]["setting"])
    head = names + [heading for _, heading, _ in result["columns"]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in result["rows"]:
        cells = [_plain(row["setting"][name]) for name in names]
        cells += [_cell(row["figures"].get(name), form) for name, _, form in result["columns"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def select(rows: Iterable[Row], **setting: Any) -> list[Row]:
    """The rows whose setting includes these values."""
    return [row for row in rows if setting.items() <= row.setting.items()]


def stack(rows: Sequence[Row], name: str) -> np.ndarray:
    """One result over several settings, as `vqnp.plots.style.spread` takes it: (seeds, settings)."""
    return np.stack([row[name] for row in rows], axis=1)


def _row(saved: dict[str, Any]) -> Row:
    figures = {name: figure["values"] for name, figure in saved["figures"].items()}
    seeds = len(next(iter(figures.values())))
    return Row(saved["setting"], [{name: v[s] for name, v in figures.items()} for s in range(seeds)])


def _new_page(doc: str) -> str:
    title, _, question = doc.partition("\n")
    text = question.strip().split("\n\npython ")[0]
    return f"# {title}\n\n{text}\n\n{BEGIN}\n{END}\n"


def _rounded(value: Any) -> Any:
    """A float, or each float of a sequence, to DIGITS significant digits; anything else unchanged."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_rounded(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " to ".join(_plain(v) for v in (value[0], value[-1])) if value else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(figure: dict[str, Any] | None, form: str) -> str:
    if figure is None:
        return ""
    if "mean" in figure:
        mean, low, high = (format(figure[key], form) for key in ("mean", "min", "max"))
        return mean if low == high else f"{mean} ({low} to {high})"
    values = figure["values"]
    return "; ".join(f"{v} ({values.count(v)} of {len(values)})" for v in dict.fromkeys(values))
