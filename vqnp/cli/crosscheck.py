"""vqnp crosscheck: is this VQ layer right, and if not, which known variant or bug is it?"""

import argparse

from vqnp.cli.options import JSON, Option, option

HELP = "is this VQ layer right, and if not, which known variant or bug is it?"
DESCRIPTION = (
    "Compare a VQ layer of any framework with vqnp, quantity by quantity, and name the variant or bug "
    "that it has in each respect, from its behaviour alone. See docs/crosscheck.md."
)
OPTIONS: tuple[Option, ...] = ()

STATUS = "Exit status 0 if it conforms, 1 if not, 2 if it could not be checked."
JUDGING = (
    JSON,
    option(
        "--allow",
        action="append",
        metavar="DIMENSION[=VARIANT]",
        default=[],
        help="a deviation that is intended, by its name in docs/crosscheck-variants.md, as reduction=sum; "
        "may be repeated",
    ),
    *(
        option(f"--{name}", type=float, metavar="X", help=f"the intended {symbol} (default: inferred)")
        for name, symbol in (("beta", "β"), ("decay", "γ"), ("epsilon", "ε"))
    ),
)
WAYS: tuple[tuple[str, str, str, tuple[Option, ...]], ...] = (
    (
        "run",
        "check a layer that can be called from Python",
        f"Check the adapter that a Python file defines. {STATUS}",
        (
            option(
                "adapter",
                metavar="FILE.py:NAME",
                help="a file, and in it an adapter, or a function or class that returns one when called "
                "without arguments",
            ),
            *JUDGING,
        ),
    ),
    (
        "vectors",
        "inputs and expected answers as files, for other languages",
        "Write inputs, expected outputs and gradients as .npy files, with manifest.json: the meaning, the "
        "equation and the tolerance of each. Every run writes the same bytes.",
        (
            option("--out", metavar="DIR", required=True, help="a new or empty folder"),
            option("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)"),
        ),
    ),
    (
        "compare",
        "check the answers that a program in another language wrote",
        "Compare THEIRS/CASE/OUTPUT.npy, which the other program computed from DIR/inputs/CASE, with the "
        f"reference; missing outputs are not checked. {STATUS}",
        (
            option("vectors", metavar="DIR", help="the folder that vqnp crosscheck vectors wrote"),
            option("theirs", metavar="THEIRS", help="the folder of the other program's answers"),
            *JUDGING,
        ),
    ),
)
"""Name, help, description and options of each way to check a layer."""


def run(args: argparse.Namespace) -> int:
    """Check a layer or write vectors; 0 if the layer conforms, 1 if not."""
    from vqnp.crosscheck import command

    return command.run(args)
