"""Make vqnp/data/digits.npz, the digits that are part of vqnp, from MNIST's four IDX files.

It contains the first 10,000 training and the first 2,000 test images, with their labels. The sources are
accepted only if their SHA-256 is that of MNIST, and the same sources always give the same bytes (with the
same zlib; another version may compress the same content differently).
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from vqnp._check import Array, InputError, fail
from vqnp.data.idx import FILES, find_idx
from vqnp.data.named import SHA256, content_sha256
from vqnp.data.stream import open_array

COUNTS = {"train": 10_000, "test": 2_000}
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "vqnp" / "data" / "digits.npz"


def read_first(folder: Path, file: str, count: int) -> Array:
    """The first `count` items of one of MNIST's files, after verifying its content."""
    path = find_idx(folder, file)
    if path is None:
        fail(str(folder), "", f"must hold {file}, gzipped or not", "a folder without it")
    if (digest := content_sha256(path)) != SHA256["mnist"][file]:
        fail(str(path), "the content", f"must have SHA-256 {SHA256['mnist'][file]}", digest)
    return next(open_array(path).batches(count))


def make_arrays(folder: Path) -> dict[str, Array]:
    """The arrays of digits.npz, by name."""
    return {
        f"{split}_{what}": read_first(folder, file, count)
        for split, count in COUNTS.items()
        for what, file in zip(("images", "labels"), FILES[split], strict=True)
    }


def write_npz(out: Path, arrays: dict[str, Array]) -> None:
    """Write what numpy.savez_compressed would, but without a time stamp."""
    with zipfile.ZipFile(out, "w") as z:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, on every system
            member.external_attr = 0o644 << 16
            z.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after a user error."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path, help="the folder with MNIST's four IDX files, gzipped or not")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="output file (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        write_npz(args.out, make_arrays(args.folder))
    except (InputError, OSError) as error:
        print(f"make_digits.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
