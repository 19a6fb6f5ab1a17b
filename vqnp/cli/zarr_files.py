"""vqnp encode and vqnp decode from Zarr to Zarr, with Dask."""

import argparse
import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vqnp._check import fail
from vqnp.cli.options import option

SUFFIX = ".zarr"
SCHEDULER = option(
    "--scheduler", metavar="ADDRESS",
    help="with .zarr: the scheduler of a Dask cluster whose workers compute, such as tcp://node1:8786 "
    "(default: this process)",
)  # fmt: skip


def is_zarr(args: argparse.Namespace, source: Any) -> bool:
    """Whether the command is from Zarr to Zarr; raise if only one of both is."""
    ends = [Path(str(path)).suffix == SUFFIX for path in (source, args.out)]
    if ends[0] != ends[1]:
        fail("", "--out", f"must {'' if ends[0] else 'not '}end in {SUFFIX} for {source}", args.out)
    if "scheduler" in args and not ends[0]:
        fail("", "--scheduler", f"must be given only with files that end in {SUFFIX}", args.scheduler)
    return ends[0]


def convert(
    args: argparse.Namespace, convert: Callable[[Any, Any, Any], int], model: Any, source: Any
) -> int:
    """encode_zarr or decode_zarr on --scheduler's workers, or here; returns the number of images."""
    out = Path(args.out)
    if out.exists() and not args.force:
        fail("", "--out", "must be a new path (or give --force)", f"{out}, which exists")
    if out.exists() and not _is_zarr_folder(out):
        fail("", "--out", "must be a Zarr folder, or new", out)
    if not out.parent.is_dir():
        fail("", "--out", "must be in an existing folder", out)
    with _workers(getattr(args, "scheduler", None)):
        if not out.exists():
            return convert(model, source, out)
        fresh = out.with_name(f"{out.stem}.new{SUFFIX}")
        shutil.rmtree(fresh, ignore_errors=True)
        count = convert(model, source, fresh)
        shutil.rmtree(out)
        fresh.rename(out)
        return count


def _is_zarr_folder(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup"))


@contextlib.contextmanager
def _workers(address: str | None) -> Iterator[None]:
    if address is None:
        yield
        return
    from vqnp.bulk.extra import package

    distributed = package("distributed", "--scheduler")
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        fail("", "--scheduler", "must be the address of a Dask scheduler that runs", f"{address}: {error}")
    with client:
        yield
