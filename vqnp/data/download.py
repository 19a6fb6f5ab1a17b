"""fetch: a file from the first mirror that has it whole and right; a broken transfer is resumed."""

from __future__ import annotations

import os
import sys
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from vqnp._check import InputError, fail
from vqnp.data.files import content_sha256

# All serve NAME.gz for each of the four names of vqnp.data.files.
MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "https://sagemaker-sample-files.s3.amazonaws.com/datasets/image/MNIST",
    ),
    "fashion-mnist": (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
}

TRIES = 4  # of one file from one mirror
PAUSE = 1.0  # seconds before a broken transfer is resumed
TIMEOUT = 30.0  # seconds without a byte, after which a transfer is broken
CHUNK = 1 << 16


class _Broken(Exception):
    """The transfer began and stopped: the same mirror may give the rest."""


class _Refused(Exception):
    """No transfer: try another mirror."""


def mirrors(name: str) -> list[str]:
    """The mirrors' folders of a data set; $VQNP_MIRROR (one URL or more, that have NAME/) replaces them."""
    own = os.environ.get("VQNP_MIRROR", "").split()
    for url in own:
        if not url.startswith(("http://", "https://")):
            fail("VQNP_MIRROR", "a mirror", "must begin with http:// or https://", repr(url))
    return [f"{url.rstrip('/')}/{name}" for url in own] or list(MIRRORS[name])


def fetch(name: str, file: str, sha256: str, folder: Path) -> Path:
    """Download file into folder, as file.gz, and return its path.

    It grows as file.gz.part, which a later call resumes, and takes its name, atomically, only once
    the SHA-256 of its decompressed content is right.

    Raises
    ------
    InputError
        No mirror gave it: what was tried, and how to place the files by hand.
    """
    part = folder / f"{file}.gz.part"
    failures = []
    for mirror in mirrors(name):
        url = f"{mirror}/{file}.gz"
        failure = _fetch_from(url, part, sha256, f"{name}/{file}")
        if failure is None:
            return part.replace(folder / f"{file}.gz")
        failures.append(f"{url}: {failure}")
    fail(
        f"data set {name!r}",
        file,
        "must be on this machine or on a mirror (with no network, put the data set's four files, "
        f"{file}.gz and so on, into a folder and its path into the environment variable VQNP_DATA)",
        ", ".join(failures),
    )


def _fetch_from(url: str, part: Path, sha256: str, title: str) -> str | None:
    """Complete part from one mirror; None once its content is right, else what went wrong."""
    failure = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE)
        resumed = part.exists()
        try:
            _transfer(url, part, title)
        except _Refused as error:
            return str(error)
        except _Broken as error:
            failure = str(error)
            continue
        if _has(part, sha256):
            return None
        part.unlink()
        failure = "wrong content"
        if not resumed:
            break  # what the mirror has, from its first byte to its last
    return failure


def _transfer(url: str, part: Path, title: str) -> None:
    """Append to part what it lacks, or start it again where the server sends the whole (200, 416)."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:
            part.unlink()
            raise _Broken("range not satisfiable") from None
        raise _Refused(f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise _Refused(str(getattr(error, "reason", error)) or type(error).__name__) from None
    with response:
        if response.status != 206:
            have = 0
        total = None if response.length is None else have + response.length
        part.parent.mkdir(parents=True, exist_ok=True)
        bar = tqdm(desc=title, total=total, initial=have, unit="B", unit_scale=True, file=sys.stderr)
        with bar, open(part, "ab" if have else "wb") as f:
            while chunk := _read(response):
                f.write(chunk)
                bar.update(len(chunk))
            got = f.tell()
    if total is not None and got != total:
        raise _Broken(f"broken off after {got} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    """The next chunk; b"" at the end."""
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Broken(str(error) or type(error).__name__) from None


def _has(part: Path, sha256: str) -> bool:
    """Whether the content is the wanted one; a damaged gzip file has none."""
    try:
        return content_sha256(part) == sha256
    except InputError:
        return False
