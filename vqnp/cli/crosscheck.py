"""vqnp crosscheck: is this VQ layer right, and if not, which known variant or bug is it?"""

from __future__ import annotations

import argparse

from vqnp.cli.options import Parser, subcommand

HELP = "is this VQ layer right, and if not, which known variant or bug is it?"
DESCRIPTION = (
    "Compare somebody's VQ layer with vqnp, quantity by quantity, and name the variant or bug that "
    "it has in each respect, from its behaviour alone. docs/crosscheck.md is the guide."
)


def add_options(p: Parser) -> None:
    """run, vectors and compare, each with its options."""
    ways = p.add_subparsers(dest="way", metavar="WAY", required=True, parser_class=Parser)
    status = "Exit status 0 if it conforms, 1 if not, 2 if it could not be asked."
    p = subcommand(
        ways,
        "run",
        "check a layer that Python reaches",
        f"Check the adapter that a Python file defines. {status}",
    )
    p.add_argument(
        "adapter",
        metavar="FILE.py:NAME",
        help="a file, and in it an adapter, or a function or class that makes one without arguments",
    )
    _judging(p)
    p = subcommand(
        ways,
        "vectors",
        "inputs and expected answers as files, for other languages",
        "Write inputs, expected outputs and gradients as .npy files, with manifest.json: what each is, its "
        "equation, the tolerance. The same bytes at every run.",
    )
    p.add_argument("--out", metavar="DIR", required=True, help="a new or empty folder")
    p.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)")
    p = subcommand(
        ways,
        "compare",
        "check the answers that a program in another language wrote",
        "Compare THEIRS/CASE/OUTPUT.npy, which their program made from DIR/inputs/CASE, with the reference; "
        f"what is missing is not checked. {status}",
    )
    p.add_argument("vectors", metavar="DIR", help="what vqnp crosscheck vectors wrote")
    p.add_argument("theirs", metavar="THEIRS", help="the folder of their answers")
    _judging(p)


def _judging(p: Parser) -> None:
    p.add_argument("--json", action="store_true", default=False, help="print one JSON object")
    p.add_argument(
        "--allow",
        action="append",
        metavar="DIMENSION[=VARIANT]",
        default=[],
        help="a deviation that is intended, by its name in docs/crosscheck-variants.md, as reduction=sum; "
        "may be given again",
    )
    for name, symbol in (("beta", "β"), ("decay", "γ"), ("epsilon", "ε")):
        p.add_argument(
            f"--{name}", type=float, metavar="X", help=f"the {symbol} that is meant (default: found)"
        )


def run(args: argparse.Namespace) -> int:
    """Do what the way says; 0 if the layer conforms, 1 if not."""
    from vqnp.crosscheck import command

    return command.run(args)
