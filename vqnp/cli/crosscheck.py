"""vqnp crosscheck: is this VQ layer right, and if not, which known variant or bug is it?"""

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vqnp._check import InputError, fail
from vqnp.cli.options import FORCE, JSON, Option, new_file, option

HELP = "check whether a VQ layer is right and, if not, which known variant or bug it is"
DESCRIPTION = (
    "Compare a VQ layer of any framework with vqnp, quantity by quantity, and name the variant or bug "
    "that it has in each respect, from its behaviour alone. See docs/crosscheck.md."
)
OPTIONS: tuple[Option, ...] = ()

STATUS = (
    "Exit status 0 if it conforms, 1 if not, 2 if it could not be checked, 3 if not enough of it could be "
    "asked."
)
JUDGING = (
    JSON,
    option(
        "--allow", action="append", metavar="DIMENSION[=VARIANT]", default=[],
        help="a deviation that is intended, by its name in docs/crosscheck-variants.md, as reduction=sum; "
        "may be repeated",
    ),
    *(
        option(f"--{name}", type=float, metavar="X", help=f"the intended {symbol} (default: inferred)")
        for name, symbol in (
            ("beta", "β"), ("decay", "γ"), ("epsilon", "ε"), ("scale", "weight on the whole loss"),
        )
    ),
)  # fmt: skip
ADAPTER = option(
    "adapter", metavar="FILE.py:NAME",
    help="a file, and in it an adapter, or a function or class that returns one when called without "
    "arguments",
)  # fmt: skip
AUTOREGRESSIVE: tuple[Option, ...] = (
    option("logits", metavar="FILE.py:NAME",
           help="a file, and in it a function from codes (B, *SHAPE) to logits (B, *SHAPE, K), a "
           "torch.nn.Module, or a class of which one is made without arguments"),
    option("--num-embeddings", type=int, required=True, metavar="K", help="codes are in [0, K)"),
    option("--shape", type=int, nargs="+", required=True, metavar="N", help="of a grid of codes, as 7 7"),
    option("--predicts", choices=("this", "next"), default="this",
           help="whether row m of the logits is for code m or for the code after it (default: this)"),
    option("--cached", metavar="NAME", help="in the same file: a pair (begin, extend), or a function"),
    option("--starting-with", metavar="NAME", help="in the same file: logits with a code as start token"),
    option("--probabilities", metavar="NAME", help="in the same file: from logits to probabilities"),
    option("--temperature", type=float, metavar="T", help="what they are meant to have (default: 1)"),
    option("--top-k", type=int, metavar="N", help="what they are meant to have (default: none)"),
    option("--top-p", type=float, metavar="P", help="what they are meant to have (default: none)"),
    option("--seed", type=int, metavar="N", help="of the codes (default: 0)"),
    option("--figure", metavar="FILE.png", help="draw what some positions see"),
    FORCE,
    JSON,
    option("--allow", action="append", metavar="DIMENSION[=VARIANT]", default=[],
           help="a deviation that is intended, by its name in docs/crosscheck-autoregressive.md, as "
           "field=blind_spot; may be repeated"),
)  # fmt: skip
QUANTIZER: tuple[Option, ...] = (
    option("layer", metavar="FILE.py:NAME",
           help="a file, and in it QuantizerFunctions, a TorchQuantizer or the like, a torch.nn.Module, a "
           "function from z to z_q, codes and loss, or a class of which one is made without arguments"),
    option("--kind", choices=("vector", "residual", "cosine", "finite_scalar", "lookup_free"),
           help="the family (default: as the answers tell)"),
    option("--levels", type=int, nargs="+", metavar="L", help="of a finite scalar quantizer, as 8 5 5 5"),
    option("--embedding-dim", type=int, metavar="D", help="where codebooks and levels do not tell it"),
    option("--seed", type=int, metavar="N", help="of the vectors (default: 0)"),
    JSON,
    option("--allow", action="append", metavar="DIMENSION[=VARIANT]", default=[],
           help="a deviation that is intended, by its name in docs/crosscheck-quantizers.md, as "
           "estimator=n_times; may be repeated"),
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
    ("autoregressive", "check what a model of codes sees: leaks, blind spots, its cache, its sampling",
     "Check an autoregressive model of codes, which a Python file defines, by changing one code at a time. "
     f"{STATUS}",
     AUTOREGRESSIVE),
    ("quantizer", "check a residual, finite scalar, lookup-free, cosine or rotated quantizer",
     "Check a quantizer of another family, which a Python file defines, by its answers and gradients. "
     f"{STATUS}",
     QUANTIZER),
)  # fmt: skip
"""Name, help, description and options of each way to check a layer."""


def run(args: argparse.Namespace) -> int:
    """Do what the way says; 0 if the layer conforms, 1 if not, 3 if not enough of it could be asked."""
    from vqnp.crosscheck import VARIANTS
    from vqnp.crosscheck.report.checking import CONSTANTS, check
    from vqnp.crosscheck.report.report import VERDICTS
    from vqnp.crosscheck.report.vectors import compare, write_vectors

    if args.way == "vectors":
        manifest = write_vectors(args.out, args.dtype)
        print(f"wrote {len(manifest['cases'])} cases, {len(manifest['layers'])} layers: {args.out}")
        print(f"next: write THEIRS/CASE/OUTPUT.npy from {args.out}/inputs/CASE/*.npy, as manifest.json says;")
        print(f"then: vqnp crosscheck compare {args.out} THEIRS")
        return 0
    if args.way == "autoregressive":
        return run_autoregressive(args)
    if args.way == "quantizer":
        return run_quantizer(args)
    constants = {name: getattr(args, name, None) for name in CONSTANTS}
    allow = allowed(args.allow, VARIANTS)
    if args.way == "run":
        with contextlib.redirect_stdout(sys.stderr):  # what their file prints is no part of the report
            report = check(ready(args.adapter), allow=allow, **constants)  # type: ignore[arg-type]
    else:
        report = compare(args.vectors, args.theirs, allow=allow, **constants)
    print(report.to_json() if args.json else report)
    return VERDICTS[report.verdict].status


def run_autoregressive(args: argparse.Namespace) -> int:
    """Check a model of codes; 0 if it conforms, 1 if not, 3 if not enough of it could be asked."""
    from vqnp.crosscheck import check_autoregressive
    from vqnp.crosscheck.autoregressive.table import VARIANTS
    from vqnp.crosscheck.report.report import VERDICTS

    figure = getattr(args, "figure", None)
    out = None if figure is None else new_file(figure, (".png",), args.force, "--figure")
    with contextlib.redirect_stdout(sys.stderr):
        module, logits = load(args.logits)
        logits = logits() if isinstance(logits, type) else logits
        named = {
            name: named_in(module, name, getattr(args, name))
            for name in ("cached", "starting_with", "probabilities") if hasattr(args, name)
        }  # fmt: skip
        numbers = {
            name: getattr(args, name)
            for name in ("temperature", "top_k", "top_p", "seed") if hasattr(args, name)
        }  # fmt: skip
        report = check_autoregressive(
            logits, tuple(args.shape), args.num_embeddings, predicts=args.predicts,
            allow=allowed(args.allow, VARIANTS), name=args.logits.rpartition(":")[2], **named, **numbers,
        )  # fmt: skip
    if out is not None and report.influence is not None:
        from vqnp.plots import influence_figure, save_figure

        save_figure(influence_figure(report), out)
    print(report.to_json() if args.json else report)
    return VERDICTS[report.verdict].status


def run_quantizer(args: argparse.Namespace) -> int:
    """Check a quantizer of another family; 0 if it conforms, 1 if not, 3 if not enough could be asked."""
    from vqnp.crosscheck import check_quantizer
    from vqnp.crosscheck.quantizers.table import VARIANTS
    from vqnp.crosscheck.report.report import VERDICTS

    given = {
        name: getattr(args, name)
        for name in ("kind", "levels", "embedding_dim", "seed") if hasattr(args, name)
    }  # fmt: skip
    with contextlib.redirect_stdout(sys.stderr):
        _, layer = load(args.layer)
        if isinstance(layer, type):
            with loading(args.layer):
                layer = layer()
        report = check_quantizer(layer, allow=allowed(args.allow, VARIANTS), **given)
    print(report.to_json() if args.json else report)
    return VERDICTS[report.verdict].status


def named_in(module: Any, option: str, name: str) -> Any:
    """What a file defines by a name that an option gives."""
    if not hasattr(module, name):
        fail("", f"--{option.replace('_', '-')}", f"must be a name that {module.__name__}.py defines", name)
    return getattr(module, name)


def allowed(words: list[str], variants: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """DIMENSION=VARIANT, …, or DIMENSION for all its variants -> what `check` takes."""
    found: dict[str, list[str]] = {}
    for word in words:
        dimension, _, variant = word.partition("=")
        found.setdefault(dimension, []).extend([variant] if variant else variants.get(dimension, ()))
    return found


def ready(path: str) -> Any:
    """The adapter NAME of FILE.py, made by a call without arguments where it is a function or a class."""
    from vqnp.crosscheck.adapters.base import FUNCTIONS

    _, adapter = load(path)
    is_adapter = any(callable(getattr(adapter, name, None)) for name in FUNCTIONS)
    if (is_adapter and not isinstance(adapter, type)) or not callable(adapter):
        return adapter
    with loading(path):
        return adapter()


def load(path: str) -> tuple[Any, Any]:
    """The module of FILE.py and what it calls NAME."""
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
    with loading(path):
        spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        names = [n for n in vars(module) if not n.startswith("_")]
        fail("run", str(file), f"must define {attribute}", ", ".join(names) or "nothing")
    return module, getattr(module, attribute)


@contextlib.contextmanager
def loading(path: str) -> Iterator[None]:
    """An error for whatever their file raises."""
    from vqnp.crosscheck.questions.calls import describe_error

    try:
        yield
    except InputError:
        raise
    except SystemExit as stop:  # else its status would be taken for ours: 0, it conforms
        fail("run", path, "must load", f"SystemExit: {stop.code}")
    except Exception as error:
        raise InputError("run", path, "must load", describe_error(error)) from error
