"""vqnp crosscheck: is this VQ layer right, and if not, which known variant or bug is it?"""

import argparse
import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from vqnp._check import InputError, fail
from vqnp.cli.options import JSON, Option, option

HELP = "check whether a VQ layer is right and, if not, which known variant or bug it is"
DESCRIPTION = (
    "Compare a VQ layer of any framework with vqnp, quantity by quantity, and name the variant or bug "
    "that it has in each respect, from its behaviour alone. See docs/crosscheck.md."
)
OPTIONS: tuple[Option, ...] = ()

STATUS = "Exit status 0 if it conforms, 1 if not, 2 if it could not be checked."
JUDGING = (
    JSON,
    option(
        "--allow", action="append", metavar="DIMENSION[=VARIANT]", default=[],
        help="a deviation that is intended, by its name in docs/crosscheck-variants.md, as reduction=sum; "
        "may be repeated",
    ),
    *(
        option(f"--{name}", type=float, metavar="X", help=f"the intended {symbol} (default: inferred)")
        for name, symbol in (("beta", "β"), ("decay", "γ"), ("epsilon", "ε"))
    ),
)  # fmt: skip
ADAPTER = option(
    "adapter", metavar="FILE.py:NAME",
    help="a file, and in it an adapter, or a function or class that returns one when called without "
    "arguments",
)  # fmt: skip
WAYS: tuple[tuple[str, str, str, tuple[Option, ...]], ...] = (
    ("run", "check a layer that can be called from Python",
     f"Check the adapter that a Python file defines. {STATUS}",
     (ADAPTER, *JUDGING)),
    ("vectors", "inputs and expected answers as files, for other languages",
     "Write inputs, expected outputs and gradients as .npy files, with manifest.json: the meaning, the "
     "equation and the tolerance of each. Every run writes the same bytes.",
     (option("--out", metavar="DIR", required=True, help="a new or empty folder"),
      option("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)"))),
    ("compare", "check the answers that a program in another language wrote",
     "Compare THEIRS/CASE/OUTPUT.npy, which the other program computed from DIR/inputs/CASE, with the "
     f"reference; missing outputs are not checked. {STATUS}",
     (option("vectors", metavar="DIR", help="the folder that vqnp crosscheck vectors wrote"),
      option("theirs", metavar="THEIRS", help="the folder of the other program's answers"),
      *JUDGING)),
)  # fmt: skip
"""Name, help, description and options of each way to check a layer."""


def run(args: argparse.Namespace) -> int:
    """Do what the way says; 0 if the layer conforms, 1 if not."""
    from vqnp.crosscheck.report.checking import CONSTANTS, check
    from vqnp.crosscheck.report.vectors import compare, write_vectors

    if args.way == "vectors":
        manifest = write_vectors(args.out, args.dtype)
        print(f"wrote {len(manifest['cases'])} cases, {len(manifest['layers'])} layers: {args.out}")
        print(f"next: write THEIRS/CASE/OUTPUT.npy from {args.out}/inputs/CASE/*.npy, as manifest.json says;")
        print(f"then: vqnp crosscheck compare {args.out} THEIRS")
        return 0
    constants = {name: getattr(args, name, None) for name in CONSTANTS}
    allow = allowed(args.allow)
    if args.way == "run":
        with contextlib.redirect_stdout(sys.stderr):  # what their file prints is no part of the report
            report = check(load(args.adapter), allow=allow, **constants)  # type: ignore[arg-type]
    else:
        report = compare(args.vectors, args.theirs, allow=allow, **constants)
    print(report.to_json() if args.json else report)
    return 0 if report.ok else 1


def allowed(words: list[str]) -> dict[str, list[str]]:
    """DIMENSION=VARIANT, …, or DIMENSION for all its variants -> what `check` takes."""
    from vqnp.crosscheck import VARIANTS

    found: dict[str, list[str]] = {}
    for word in words:
        dimension, _, variant = word.partition("=")
        found.setdefault(dimension, []).extend([variant] if variant else VARIANTS.get(dimension, ()))
    return found


def load(path: str) -> Any:
    """The adapter NAME of FILE.py, made by a call without arguments where it is a function or a class."""
    from vqnp.crosscheck.adapters.base import FUNCTIONS
    from vqnp.crosscheck.questions.calls import describe_error

    name, colon, attribute = path.rpartition(":")
    file = Path(name)
    if not colon or not attribute or file.suffix != ".py":
        fail("run", "", "must be given FILE.py:NAME", path)
    if not file.is_file():
        fail("run", "FILE.py", "must be a file", file)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))  # as python FILE.py would
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, attribute):
            names = [n for n in vars(module) if not n.startswith("_")]
            fail("run", str(file), f"must define {attribute}", ", ".join(names) or "nothing")
        adapter = getattr(module, attribute)
        is_adapter = any(callable(getattr(adapter, name, None)) for name in FUNCTIONS)
        ready = is_adapter and not isinstance(adapter, type)
        return adapter if ready or not callable(adapter) else adapter()
    except InputError:
        raise
    except SystemExit as stop:  # else its status would be taken for ours: 0, it conforms
        fail("run", path, "must load", f"SystemExit: {stop.code}")
    except Exception as error:
        raise InputError("run", path, "must load", describe_error(error)) from error
