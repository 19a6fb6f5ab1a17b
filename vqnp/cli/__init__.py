"""The command line: one file a command, each with its help, its options and what it does.

A command's own imports are inside its `run`, so that `vqnp --help` loads neither numba nor matplotlib.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vqnp._check import InputError
from vqnp._version import __version__
from vqnp.cli import bench, crosscheck, decode, encode, evaluate, export, inspect, train
from vqnp.cli.options import Parser, say, subcommand

COMMANDS = (train, evaluate, encode, decode, inspect, bench, export, crosscheck)

EXAMPLES = """examples:
  vqnp train                                       train on the embedded digits, a minute or two
  vqnp train --data mnist --num-latents 49 --embedding-dim 8 --out runs/big
  vqnp train --model vae                           a VAE of the same size, to compare with
  vqnp evaluate runs/digits-1 --json
  vqnp encode runs/digits-1 --data digits --out codes.npz
  vqnp decode runs/digits-1 codes.npz --out images.png
  vqnp inspect runs/digits-1
  vqnp export runs/digits-1 --out weights.npz      parameters for PyTorch
  vqnp bench                                       how fast this machine is, about a minute"""


def build_parser() -> Parser:
    """The command line, with every default in its help."""
    parser = Parser(
        prog="vqnp",
        description="The reference VQ-VAE in NumPy and Numba: train, encode, decode, inspect, measure.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vqnp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        p = subcommand(commands, name, command.HELP, command.DESCRIPTION)
        command.add_options(p)
        p.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 and a sentence on standard error, 130 when interrupted, 1: does not conform."""
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args) or 0
        sys.stdout.flush()
    except InputError as error:
        say(f"vqnp {args.command}: error: {error}")
        return 2
    except MemoryError as error:
        problem = str(error) or "out of memory"
        say(f"vqnp {args.command}: error: {problem}; the model, the batch or the data must be smaller")
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # whatever read our output has gone: nobody is left to tell
        return 1
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        say(f"vqnp {args.command}: error: {problem}")
        return 2
    except KeyboardInterrupt as stop:
        say(f"vqnp {args.command}: {str(stop) or 'interrupted'}")
        return 130
    return status


__all__ = ["build_parser", "main"]
