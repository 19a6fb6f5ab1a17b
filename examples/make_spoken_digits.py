"""Make vqnp/data/spoken_digits.npz, the recordings that are part of vqnp, from the Free Spoken Digit Dataset.

It contains all recordings of two of the six speakers, as µ-law bytes: 500 of each, and of each digit. The
source is accepted only if its content is that of the commit that is named below, and the same source always
gives the same bytes (with the same zlib).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from make_digits import write_npz

from vqnp._check import Array, InputError, fail
from vqnp._files import check_file, reading
from vqnp.data.sounds import NAMED_BY_DIGIT, SPEAKERS
from vqnp.data.wav import read_wav
from vqnp.ops.mu_law import mu_law_encode

SOURCE = "github.com/Jakobovski/free-spoken-digit-dataset, commit 26eb9aaf76e81b692f806f9140c2d2777410d7a1"
RATE, COUNT = 8000, 1000
CONTENT = "2402bbdef2cbd30061675fb8498fa588ca8ac5257222c05201cdb0cd12001d54"
"""SHA-256 of the samples as 16-bit integers, in the order of the file."""

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "vqnp" / "data" / "spoken_digits.npz"


def read_recordings(path: Path) -> list[tuple[int, int, int, Array]]:
    """(digit, speaker, take, samples) of each recording of SPEAKERS, sorted by the first three."""
    found = []
    with reading(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            match = NAMED_BY_DIGIT.fullmatch(Path(name).name)
            if match and match[2] in SPEAKERS:
                x, rate = read_wav(io.BytesIO(archive.read(name)))
                if rate != RATE:
                    fail(f"{path}: {name}", "", f"must have {RATE} samples a second", rate)
                found.append((int(match[1]), SPEAKERS.index(match[2]), int(match[3]), x))
    return sorted(found, key=lambda one: one[:3])


def make_arrays(path: Path) -> dict[str, Array]:
    """The arrays of spoken_digits.npz, by name."""
    recordings = read_recordings(check_file(path, path))
    samples = [x for *_, x in recordings]
    digest = hashlib.sha256(b"".join((x * 2**15).astype("<i2").tobytes() for x in samples)).hexdigest()
    if len(recordings) != COUNT or digest != CONTENT:
        whose = f"{' and '.join(SPEAKERS)} of {SOURCE}"
        needed = f"must hold the {COUNT} recordings of {whose}, SHA-256 {CONTENT}"
        fail(str(path), "", needed, f"{len(recordings)} of them, {digest}")
    digits, speakers, takes = np.array([one[:3] for one in recordings], np.uint8).T
    return {
        "bytes": np.concatenate([mu_law_encode(x) for x in samples]),
        "starts": np.cumsum([0, *map(len, samples)]).astype(np.int64),
        "digits": digits, "speakers": speakers, "takes": takes,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after a user error."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("archive", type=Path, help="a zip archive of the data set's folder recordings")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="output file (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        write_npz(args.out, make_arrays(args.archive))
    except (InputError, OSError) as error:
        print(f"make_spoken_digits.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
