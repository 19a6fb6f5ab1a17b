"""vqnp export: parameters under PyTorch's names, in a file."""

from __future__ import annotations

import argparse

from vqnp.cli.options import Parser, add_run, new_file

HELP = "parameters under PyTorch's names and in its layouts"
DESCRIPTION = (
    "Write the model's parameters as PyTorch names and lays them out (encoder.1.weight: (out, in)), with "
    "the description that rebuilds it. The way back is vqnp.export.load_torch in Python."
)


def add_options(p: Parser) -> None:
    """RUN, --format, --out, --force."""
    add_run(p)
    p.add_argument(
        "--format",
        choices=("torch-npz", "safetensors"),
        default="torch-npz",
        help="an .npz of plain arrays, or .safetensors, which needs that package (default: torch-npz)",
    )
    p.add_argument("--out", metavar="FILE", help="the file to write (default: weights.npz or .safetensors)")
    p.add_argument("--force", action="store_true", default=False, help="replace FILE if it exists")


def run(args: argparse.Namespace) -> None:
    """Write the file; print a line for each array."""
    from vqnp.cli.runs import open_run
    from vqnp.export import FORMATS, save_torch

    suffix = FORMATS[args.format]
    args.out = getattr(args, "out", f"weights{suffix}")
    out = new_file(args, (suffix,))
    model, _, _ = open_run(args.model)
    for name, array in save_torch(out, model, args.format).items():
        print(f"{name:<28}{array.dtype!s:<9}{'x'.join(map(str, array.shape)) or 'one number'}")
    print(f"{'wrote':<28}{out}")
