"""codes -> a file of about Σ −log₂ p(k_m | …) bits -> the same codes: a range coder under a prior.

k: (n, *code_shape), or (k_1, …, k_L) of a model with several levels

The file: a header (HEADER), 32-bit words of the coder `constriction`, the CRC-32 of all before it. Codes are
in groups of GROUP images; within a group the first code of every image, then the second of every image, and
so on, level after level from the top.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_codes, fail
from vqnp._files import atomic, check_file, one_line
from vqnp.kernels import memory
from vqnp.priors.coding import codebook_sizes, conditionals, fingerprint
from vqnp.priors.generation import check_fits

MAGIC, VERSION = b"vqnpcode", 1
HEADER = struct.Struct("<8sHIQ16s16sII")
"""Magic, version, grids in a group, n, fingerprints of the model and of the prior (the first 16 bytes), the
CRC-32 of the codes as little-endian int64, the number of words."""

GROUP = 128
"""Images that are coded side by side: the prior is asked M times for each group. Part of the file."""

MOST_GROUP = 1 << 16
"""Of a file that is read: what a larger group would need in memory is more than any writer had."""

Progress = Callable[[Iterable[slice], int], Iterator[slice]] | None  # (groups, how many) -> groups


class Sizes(NamedTuple):
    """What a file takes: its bytes, header included; n; −Σ log₂ p of the codes under the prior, in bits."""

    file_bytes: int
    images: int
    nll_bits: float

    @property
    def bits_per_image(self) -> float:
        """Bits of the file per image, header included."""
        return 8 * self.file_bytes / self.images


def write_compressed(
    path: str | Path, codes: Any, model: Any, prior: Any, progress: Progress = None
) -> Sizes:  # fmt: skip
    """Write codes, entropy-coded under the prior, atomically; k: (n, *code_shape), n at least 1 -> Sizes.

    Of a model with several levels the codes are (k_1, …, k_L), as its encode returns them.

    Parameters
    ----------
    path : str or Path
    codes : array_like of integers, shape (n, *code_shape); or a tuple of them, one for each level
        Of the model.
    model : VQVAE or HierarchicalVQVAE
        Whose fingerprint the file gets.
    prior : Transformer, PixelCNN or Markov; of a model with several levels a HierarchicalPrior
        Over the model's codes. Its probabilities without a class are used.
    progress : callable, optional
        (groups, their number) -> the groups, to draw a bar.

    Raises
    ------
    InputError
        The package constriction is not installed; codes, or a prior over codes, that are not the model's.
    """
    stream, family = _coder()
    where = "write_compressed"
    check_fits(where, model, prior)
    k = _rows(where, codes, model, prior)
    n, sizes = len(k), codebook_sizes(prior)
    if n == 0:
        fail(where, "codes", "must be those of at least one image", "those of none")
    encoder, bits = stream.queue.RangeEncoder(), 0.0
    for rows in _groups(n, GROUP, progress):
        part = k[rows].astype(np.int32)
        steps = conditionals(prior, len(part))
        p = next(steps)
        for m, now in enumerate(part.T):
            with np.errstate(divide="ignore"):  # p may underflow to 0; the coder gives each code a length
                bits -= float(np.log2(p[np.arange(len(part)), now]).sum())
            if sizes[m] > 1:  # a single code takes no bits, and the coder takes no single code
                encoder.encode(np.ascontiguousarray(now), family, np.ascontiguousarray(p))
            if m + 1 < k.shape[1]:
                p = steps.send(now)
    words = encoder.get_compressed().astype("<u4")
    head = (MAGIC, VERSION, GROUP, n, *_owners(model, prior), _checksum(k), len(words))
    content = HEADER.pack(*head) + words.tobytes()
    with atomic(path) as file:
        file.write(content + struct.pack("<I", zlib.crc32(content)))
    return Sizes(len(content) + 4, n, bits)


def read_compressed(path: str | Path, model: Any, prior: Any, progress: Progress = None) -> Array:
    """The codes in a file that write_compressed wrote with this model and this prior: (n, *code_shape).

    Of a model with several levels a tuple, as its encode returns it.

    Raises
    ------
    InputError
        The package constriction is not installed; no such file, or one that is truncated, damaged or foreign,
        of a newer version, or of another model or prior; codes that come out differently, because the
        prior's arithmetic is different on this machine.
    """
    path = Path(path)
    where, head, words = _read(path)
    model_id, prior_id = _owners(model, prior)
    if head["model"] != model_id:
        fail(where, "", "must be codes of this model", "codes of another model")
    if head["prior"] != prior_id:
        fail(where, "", "must have been written with this prior", "a file of another prior")
    stream, family = _coder()
    decoder, sizes = stream.queue.RangeDecoder(words), codebook_sizes(prior)
    M = len(sizes)
    memory.check_memory(where, "", head["n"], 8 * M, "must hold at most {} images")
    needed = "must decode to the codes that were encoded (the same version of NumPy, on such a processor)"
    parts = []
    for rows in _groups(head["n"], head["group"], progress):
        size = rows.stop - rows.start
        part, steps = np.zeros((size, M), np.int64), conditionals(prior, size)
        p = next(steps)
        for m in range(M):
            if sizes[m] > 1:
                try:
                    part[:, m] = decoder.decode(family, np.ascontiguousarray(p))
                except AssertionError:  # words that no encoder makes under these probabilities
                    fail(where, "", needed, "other codes")
            if m + 1 < M:
                p = steps.send(part[:, m])
        parts.append(part)
    k = np.concatenate(parts)
    if _checksum(k) != head["codes"]:
        fail(where, "", needed, "other codes")
    return _as_encoded(k, model, prior)


def check_compressed(path: str | Path) -> None:
    """Raise InputError unless the file is whole, and one that write_compressed wrote, with whatever prior."""
    _read(Path(path))


def _read(path: Path) -> tuple[str, dict[str, Any], Array]:
    """Where the file is, its header by name, and its words, checked."""
    where = f"compressed file {path}"
    content = check_file(where, path).read_bytes()
    if content[: len(MAGIC)] != MAGIC:
        fail(where, "", "must be a file that vqnp compress wrote", "a file of another kind")
    if len(content) < HEADER.size + 4:
        fail(where, "", "must be whole", f"{len(content)} bytes, less than a header")
    _, version, group, n, model, prior, codes, count = HEADER.unpack_from(content)
    if version != VERSION:
        fail(where, "", f"must be of version {VERSION}", f"version {version}")
    size = HEADER.size + 4 * count + 4
    if len(content) != size:
        fail(where, "", f"must be whole: {size} bytes, as its header says", f"{len(content)} bytes")
    if zlib.crc32(content[:-4]) != struct.unpack("<I", content[-4:])[0]:
        fail(where, "", "must be unchanged since it was written", "another checksum")
    if n < 1 or not 1 <= group <= MOST_GROUP:
        fail(where, "", "must hold at least one image", f"{n} images in groups of {group}")
    words = np.frombuffer(content, "<u4", count, HEADER.size).astype(np.uint32)
    return where, {"group": group, "n": n, "model": model, "prior": prior, "codes": codes}, words


def _rows(where: str, codes: Any, model: Any, prior: Any) -> Array:
    """Codes as the model's encode returns them -> (n, M), the codes of the top level first."""
    if model.encoding.name != "levels":
        n = len(codes) if np.ndim(codes) else 0
        k = check_codes(where, codes, model.num_embeddings, shape=(n, *model.code_shape))
        return k.reshape(n, model.num_codes)
    levels = prior.checked_codes(where, codes)  # of a sound model all, or the first ones
    return np.concatenate([k.reshape(len(k), math.prod(k.shape[1:])) for k in levels], axis=1)


def _as_encoded(k: Array, model: Any, prior: Any) -> Any:
    """(n, M) -> codes as the model's encode returns them."""
    if model.encoding.name != "levels":
        return k.reshape(len(k), *model.code_shape)
    ends = np.cumsum([math.prod(shape) for shape in prior.latent_shape])
    parts = np.split(k, ends[:-1], axis=1)
    return tuple(part.reshape(len(k), *shape) for part, shape in zip(parts, prior.latent_shape, strict=True))


def _groups(n: int, group: int, progress: Progress) -> Iterator[slice]:
    """The rows of each group."""
    rows = (slice(start, min(start + group, n)) for start in range(0, n, group))
    return progress(rows, -(-n // group)) if progress else rows


def _owners(model: Any, prior: Any) -> tuple[bytes, bytes]:
    """The first 16 bytes of the fingerprints."""
    return bytes.fromhex(model.fingerprint())[:16], bytes.fromhex(fingerprint(prior))[:16]


def _checksum(k: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(k, "<i8").tobytes())


def _coder() -> tuple[Any, Any]:
    """constriction's streams, and its family of distributions: one row of probabilities for each symbol."""
    try:
        from constriction import stream
    except ImportError as error:
        needed = "must be installed (pip install 'vqnp[compress]')"
        fail("", "constriction", needed, one_line(error))
    return stream, stream.model.Categorical(perfect=False)
