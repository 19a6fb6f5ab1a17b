"""images -> codes -> images, file to file, a batch at a time: memory does not grow with their number.

Of a VAE or an autoencoder: images -> latents -> images; of a hierarchy one array of codes for each level.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from vqnp._check import Array, InputError, fail, many
from vqnp._files import Rows, atomic, check_file, write_npy, write_npz
from vqnp.data import ArrayStream
from vqnp.data.batches import BATCH, batches, origin
from vqnp.data.stream import find_array
from vqnp.models import Encoding, Model, format1

Progress = Callable[[Iterator[Any], int], Iterator[Any]] | None  # (parts, how many) -> parts


def encode_file(
    model: Model, images: Array | ArrayStream, path: str | Path, progress: Progress = None
) -> None:
    """k = argmin ‖encoder(x) − e‖² into a .npz: codes (n, *code_shape), num_embeddings (1,), model (32,).

    Of a hierarchy codes_1 (n, *latent_shape[0]), …, codes_L, num_embeddings (L,), model (32,). Of a VAE μ,
    of an autoencoder z = encoder(x): latents (n, *latent_shape, D), model (32,).

    images: (n, *data.shape), in memory or streamed; the file appears whole or not at all

    codes have the narrowest unsigned dtype that holds K − 1; model is the SHA-256 by which `decode`
    knows whose codes they are (Model.fingerprint).
    """
    arrays: dict[str, Array | Rows] = {}
    if model.num_embeddings:
        arrays["num_embeddings"] = np.array([each.num_embeddings for each in model.encodings])
    arrays["model"] = np.frombuffer(bytes.fromhex(model.fingerprint()), np.uint8)

    def encoded(batch: Array, first: int) -> tuple[Array, ...]:
        x = model.data.to_array(batch, model.dtype, origin(images, "encode"), first)
        found: Any = model.encode(x)
        return found if isinstance(found, tuple) else (found,)

    parts: Iterator[Any] = (encoded(batch, i * BATCH) for i, batch in enumerate(batches(images)))
    parts = progress(parts, -(-len(images) // BATCH)) if progress else parts
    with contextlib.ExitStack() as opened:
        later = [opened.enter_context(tempfile.TemporaryFile()) for _ in model.encodings[1:]]
        write_npz(path, arrays | _columns(parts, model.encodings, len(images), later))


def _columns(
    parts: Iterator[tuple[Array, ...]], encodings: tuple[Encoding, ...], n: int, later: Sequence[IO[bytes]]
) -> dict[str, Rows]:
    """Rows of each array, which are written one after the other: the later ones wait in files."""
    dtypes = [each.stored_dtype for each in encodings]

    def first() -> Iterator[Array]:
        for part in parts:
            for file, dtype, array in zip(later, dtypes[1:], part[1:], strict=True):
                file.write(array.astype(dtype).tobytes())
            yield part[0]

    def waiting(file: IO[bytes], dtype: Any) -> Iterator[Array]:
        file.seek(0)
        while content := file.read(BATCH << 10):
            yield np.frombuffer(content, dtype)

    rows = [first(), *(waiting(file, dtype) for file, dtype in zip(later, dtypes[1:], strict=True))]
    return {
        each.name: Rows((n, *each.shape), dtype, part)
        for each, dtype, part in zip(encodings, dtypes, rows, strict=True)
    }


class LevelStreams:
    """The codes of several levels in one file, read batch by batch: what ArrayStream is for one array."""

    def __init__(self, streams: list[ArrayStream]) -> None:
        self.streams, self.path = streams, streams[0].path

    def __len__(self) -> int:
        return len(self.streams[0])

    def batches(self, size: int) -> Iterator[tuple[Array, ...]]:
        """(k_1, …, k_L) of size images at a time."""
        return zip(*(stream.batches(size) for stream in self.streams), strict=True)

    def read(self) -> tuple[Array, ...]:
        """All codes."""
        return tuple(stream.read() for stream in self.streams)


def open_codes(model: Model, path: str | Path) -> Any:
    """Codes that encode_file wrote for this model, or integers in a .npy: (n, *code_shape).

    Of a VAE or an autoencoder: the latents, or a .npy of the model's dtype: (n, *latent_shape, D). Of a
    hierarchy: LevelStreams of the codes of each level, from a .npz with all of them.

    Raises
    ------
    InputError
        No such codes, codes of another model or level, or of a wrong shape or dtype; the model's decode
        finds codes that are out of range, as they are read.
    """
    streams = [_open(model, path, encoding) for encoding in model.encodings]
    if model.encoding.name != "levels":
        return streams[0]
    for encoding, stream in zip(model.encodings, streams, strict=True):
        if len(stream) != len(streams[0]):
            needed = f"must hold {len(streams[0])} images, as codes_1"
            fail(f"levels {path}", encoding.name, needed, len(stream))
    return LevelStreams(streams)


def _open(model: Model, path: str | Path, encoding: Encoding) -> ArrayStream:
    """One array of the file."""
    where, name = f"{model.encoding.name} {path}", encoding.name
    codes = find_array(check_file(where, path), [name])
    if codes is None or (not codes.member and model.encoding.name == "levels"):
        names = " and ".join(f"'{each.name}'" for each in model.encodings)
        needed = f"must hold an array named '{name}', as vqnp encode writes it"
        if model.encoding.name == "levels":
            needed = f"must be an .npz of arrays named {names}, as vqnp encode writes it"
        fail(where, "", needed, "none" if codes is None else "one array without a name")
    if codes.member and (owner := find_array(path, ["model"])) is not None:  # a .npy names no model
        if owner.read().tobytes().hex() not in (model.fingerprint(), format1.fingerprint_of(model)):
            kind = "codes" if model.num_embeddings else name
            fail(where, "", f"must be {kind} of this model", f"{kind} of another model")
    if codes.shape[1:] != encoding.shape:
        others = [each.name for each in model.encodings if each.shape == codes.shape[1:]]
        whose = f", as {others[0]}" if others else ""
        fail(where, name, f"must have shape {many(encoding.shape)}", f"shape {codes.shape}{whose}")
    if model.num_embeddings and codes.dtype.kind not in "iu":
        fail(where, name, "must be integers", codes.dtype)
    if not model.num_embeddings and codes.dtype != encoding.dtype:
        fail(where, "latents", f"must be {encoding.dtype}, as the model", codes.dtype)
    return codes


def decode_file(model: Model, codes: Any, path: str | Path, progress: Progress = None) -> None:
    """x̂ = decoder(e_k) into a .npy: codes, as of open_codes -> (n, *data.shape) in the model's dtype.

    Bit for bit model.reconstruct of the images that were encoded; appears whole or not at all.
    """
    parts: Iterator[Array] = (_decode(model, batch, codes) for batch in codes.batches(BATCH))
    parts = progress(parts, -(-len(codes) // BATCH)) if progress else parts
    with atomic(path) as out:
        write_npy(out, Rows((len(codes), *model.data.shape), model.dtype, parts))


def _decode(model: Model, batch: Any, codes: Any) -> Array:
    """model.decode(batch), with the file's name in an error."""
    try:
        return model.decode(batch)
    except InputError as error:
        raise error.within(f"{model.encoding.name} {codes.path}") from None
