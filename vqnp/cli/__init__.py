"""The command line: one file for each command, with its help, its options and its action.

A command imports what it needs inside its `run`, so that `vqnp --help` loads neither numba nor matplotlib.
"""

import argparse
import sys
from collections.abc import Sequence

from vqnp._check import InputError
from vqnp._version import __version__
from vqnp.cli import (
    bench, compress, crosscheck, decode, decompress, encode, evaluate, export, inspect, prior, report, sample,
    train,
)
from vqnp.cli.options import Parser, subcommand
from vqnp.cli.ranks import end, end_by_error

__all__ = ["build_parser", "main"]

COMMANDS = (
    train, evaluate, encode, decode, inspect, report, prior, sample, compress, decompress, bench, export,
    crosscheck,
)  # fmt: skip

EXAMPLES = """examples:
  vqnp train                                       train on the embedded digits, a minute or two
  vqnp train --data mnist --num-latents 49 --embedding-dim 8 --out runs/big
  vqnp train --network conv                        convolutions: a plane of 7 x 7 codes
  vqnp train --model vae                           a VAE of the same size, for comparison
  vqnp evaluate runs/digits-1 --json
  vqnp encode runs/digits-1 --data digits --out codes.npz
  vqnp decode runs/digits-1 codes.npz --out images.png
  vqnp inspect runs/digits-1
  vqnp report runs/digits-1                        one HTML file in which its codes can be tried
  vqnp prior runs/digits-1                         learn the distribution of its codes
  vqnp sample runs/digits-1 --out samples.png      new images
  vqnp evaluate runs/digits-1 --samples 1000       their quality, beside real images
  vqnp compress runs/digits-1 --out digits.vqnp    codes as a file of few bits
  vqnp decompress runs/digits-1 digits.vqnp        the images of such a file
  vqnp export runs/digits-1 --out weights.npz      parameters for PyTorch
  vqnp bench                                       the speed of this machine, about a minute"""


def build_parser() -> Parser:
    """The parser of the whole command line, with every default in its help."""
    parser = Parser(
        prog="vqnp", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The reference VQ-VAE in NumPy and Numba: train, encode, decode, inspect, measure.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"vqnp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        p = subcommand(commands, name, command.HELP, command.DESCRIPTION, command.OPTIONS)
        p.set_defaults(run=command.run)
        if command is crosscheck:
            ways = p.add_subparsers(dest="way", metavar="WAY", required=True, parser_class=Parser)
            for way in crosscheck.WAYS:
                subcommand(ways, *way)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    0: success; 1: the layer does not conform; 2: an error, in a sentence on standard error; 130: interrupted
    """
    if hasattr(sys.stdout, "reconfigure"):  # the name of a file may be no text
        sys.stdout.reconfigure(errors="backslashreplace")
    args = build_parser().parse_args(argv)
    problem, status = "", 2
    try:
        status = args.run(args) or 0
        sys.stdout.flush()
    except InputError as error:
        problem = f"error: {error}"
    except MemoryError as error:
        problem = f"error: {str(error) or 'out of memory'}; the model, the batch or the data must be smaller"
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, so there is nobody to inform
        return 1
    except OSError as error:
        problem = f"error: {f'{error.filename}: {error.strerror}' if error.filename else error}"
    except KeyboardInterrupt as stop:
        problem, status = str(stop) or "interrupted", 130
    except Exception as error:
        end_by_error(error)
    return end(status, problem and f"vqnp {args.command}: {problem}")
