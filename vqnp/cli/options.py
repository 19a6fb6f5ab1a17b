"""What commands share: the parser, the options for a run and its data, and for an output file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from vqnp._check import fail

DATA_HELP = (
    "digits (embedded: 10,000 + 2,000 images of MNIST), mnist, fashion-mnist, or a path: an IDX file "
    "(gzipped or not), a folder of them, a .npy or .npz of images, uint8 or float in [0, 1]"
)


class Parser(argparse.ArgumentParser):
    """argparse with errors of one sentence."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def subcommand(commands: Any, name: str, help: str, description: str) -> Parser:
    """A parser for one command. What is not given is not in the namespace: Python's defaults apply."""
    parser: Parser = commands.add_parser(
        name, help=help, description=description, argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    return parser


def add_run(p: Parser) -> None:
    """RUN."""
    p.add_argument("model", metavar="RUN", help="a run folder, or a checkpoint")


def add_run_and_data(p: Parser) -> None:
    """RUN, --data and --split."""
    add_run(p)
    p.add_argument("--data", metavar="NAME|PATH", help=f"{DATA_HELP} (default: what the run was trained on)")
    p.add_argument(
        "--split",
        choices=("train", "test"),
        default="test",
        help="which part of a data set with two (default: test)",
    )


def add_output(p: Parser, name: str, help: str) -> None:
    """--out and --force."""
    p.add_argument("--out", metavar="FILE", default=name, help=f"{help} (default: {name})")
    p.add_argument("--force", action="store_true", default=False, help="replace FILE if it exists")


def new_file(args: argparse.Namespace, suffixes: tuple[str, ...]) -> Path:
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


def batch_bar(parts: Any, total: int) -> Any:
    """The parts, with a bar on standard error where they take longer than a second."""
    from tqdm import tqdm

    yield from tqdm(parts, total=total, unit="batch", delay=1)


def say(text: str) -> None:
    """A line to the person, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)
