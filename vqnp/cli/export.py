"""vqnp export: parameters in a file, under PyTorch's names."""

import argparse

from vqnp.cli.options import FORCE, RUN, new_file, option

HELP = "write the parameters under PyTorch's names and in its layouts"
DESCRIPTION = (
    "Write the model's parameters under PyTorch's names and in its layouts (encoder.1.weight: (out, in)), "
    "with the description from which the model can be rebuilt. vqnp.export.load_torch reads them in Python."
)
OPTIONS = (
    RUN,
    option(
        "--format", choices=("torch-npz", "safetensors"), default="torch-npz",
        help="an .npz of plain arrays, or .safetensors, which needs that package (default: torch-npz)",
    ),
    option("--out", metavar="FILE", help="the file to write (default: weights.npz or .safetensors)"),
    FORCE,
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Write the file; print a line for each array."""
    from vqnp.cli.runs import open_run
    from vqnp.export import FORMATS, save_torch

    suffix = FORMATS[args.format]
    out = new_file(getattr(args, "out", f"weights{suffix}"), (suffix,), args.force)
    model = open_run(args.model).model
    for name, array in save_torch(out, model, args.format).items():
        print(f"{name:<28}{array.dtype!s:<9}{'x'.join(map(str, array.shape)) or 'one number'}")
    print(f"{'wrote':<28}{out}")
