"""What the commands share: the parser, options of several commands, and checks of output files."""

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vqnp._check import InputError, fail
from vqnp.cli.ranks import end


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the error and where to find help; exit with status 2."""
        raise SystemExit(end(2, f"{self.prog}: error: {message} (see {self.prog} --help)"))


Option = tuple[tuple[str, ...], dict[str, Any], str]
"""One option or argument: its names and settings, as add_argument takes them, and its group in the help."""


def option(*names: str, group: str = "", **settings: Any) -> Option:
    """An option with argparse's settings; one without a default is in the namespace only if it is given."""
    return names, settings, group


def flag(name: str, help: str) -> Option:
    """An option that is false unless it is given."""
    return option(name, action="store_true", default=False, help=help)


DATA_HELP = (
    "digits (embedded: 10,000 + 2,000 images of MNIST), captioned-digits (digits in colour with captions), "
    "emoji, mnist, fashion-mnist, or a path: an IDX file "
    "(gzipped or not), a folder of them, or a .npy or .npz of images, uint8 or float in [0, 1]; sounds: "
    "spoken-digits (embedded: 1,000 recordings), notes (synthesized), fsdd, or a folder of WAV files"
)
SOURCE = {"source": "--data"}
"""What Python's functions call --data."""

RUN = option("model", metavar="RUN", help="a run folder, or a checkpoint")
DATA = option("--data", metavar="NAME|PATH", help=f"{DATA_HELP} (default: the training run's data)")
SPLIT_HELP = "which part of a data set with two parts (default: test)"
SPLIT = option("--split", choices=("train", "test"), default="test", help=SPLIT_HELP)
JSON = flag("--json", "print one JSON object")
FORCE = flag("--force", "replace FILE if it exists")


def subcommand(
    commands: Any, name: str, help: str, description: str, options: Iterable[Option] = ()
) -> Parser:
    """A parser for one command, with its options."""
    parser: Parser = commands.add_parser(
        name, help=help, description=description, argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    groups: dict[str, Any] = {"": parser}
    for names, settings, title in options:
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(*names, **settings)
    return parser


def new_file(out: str | Path, suffixes: Sequence[str], force: bool, option: str = "--out") -> Path:
    """The option's value as a path that may be written and that has one of the suffixes, else InputError."""
    out = Path(out)
    if out.suffix not in suffixes:
        fail("", option, f"must end in {' or '.join(suffixes)}", out)
    if out.is_dir():
        fail("", option, "must be a file", f"the folder {out}")
    if out.exists() and not force:
        fail("", option, "must be a new file (or give --force)", f"{out}, which exists")
    if out.parent.exists() and not out.parent.is_dir():
        fail("", option, "must be in a folder", f"{out}, where {out.parent} is a file")
    if not out.parent.is_dir():
        fail("", option, "must be in an existing folder", out)
    return out


@contextlib.contextmanager
def by_option(places: Mapping[str, str | tuple[str, str]]) -> Iterator[None]:
    """InputErrors about arguments in Python name what the user gave instead.

    places: {argument: the option, or (the file, what it is in the file)}
    """
    try:
        yield
    except InputError as error:
        place = places.get(error.argument.partition("[")[0])
        if place is None:
            raise
        where, argument = ("", place) if isinstance(place, str) else place
        raise type(error)(where, argument, error.needed, error.got) from None


def batch_bar(parts: Iterable[Any], total: int) -> Iterator[Any]:
    """The parts, with a progress bar on standard error if they take longer than a second."""
    from tqdm import tqdm

    yield from tqdm(parts, total=total, unit="batch", delay=1)


def say(text: str) -> None:
    """Print a line on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)
