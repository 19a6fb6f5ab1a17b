"""images -> codes -> images, file to file, a batch at a time: memory does not grow with their number.

Of a VAE or an autoencoder: images -> latents -> images.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vqnp._check import Array, InputError, fail, many
from vqnp._files import Rows, atomic, check_file, write_npy, write_npz
from vqnp.data import ArrayStream
from vqnp.data.batches import BATCH, batches, origin
from vqnp.data.stream import find_array
from vqnp.models import Model, format1

Progress = Callable[[Iterator[Array], int], Iterator[Array]] | None  # (parts, how many) -> parts


def encode_file(
    model: Model, images: Array | ArrayStream, path: str | Path, progress: Progress = None
) -> None:
    """k = argmin ‖encoder(x) − e‖² into a .npz: codes (n, *code_shape), num_embeddings (1,), model (32,).

    Of a VAE μ, of an autoencoder z = encoder(x): latents (n, *latent_shape, D), model (32,).

    images: (n, *data.shape), in memory or streamed; the file appears whole or not at all

    codes have the narrowest unsigned dtype that holds K − 1; model is the SHA-256 by which `decode`
    knows whose codes they are (Model.fingerprint).
    """
    name, shape, dtype, _ = model.encoding
    arrays: dict[str, Array | Rows] = {}
    if model.num_embeddings:
        dtype = np.min_scalar_type(model.num_embeddings - 1)
        arrays["num_embeddings"] = np.array([model.num_embeddings])
    arrays["model"] = np.frombuffer(bytes.fromhex(model.fingerprint()), np.uint8)

    def encoded(batch: Array, first: int) -> Array:
        x = model.data.to_array(batch, model.dtype, origin(images, "encode"), first)
        return model.encode(x).astype(dtype)

    parts = (encoded(batch, i * BATCH) for i, batch in enumerate(batches(images)))
    arrays[name] = _rows(parts, len(images), shape, dtype, progress)
    write_npz(path, arrays)


def open_codes(model: Model, path: str | Path) -> ArrayStream:
    """Codes that encode_file wrote for this model, or integers in a .npy: (n, *code_shape).

    Of a VAE or an autoencoder: the latents, or a .npy of the model's dtype: (n, *latent_shape, D).

    Raises
    ------
    InputError
        No such codes, codes of another model, or of a wrong shape or dtype; VQVAE.decode finds codes
        that are out of range, as they are read.
    """
    name, shape, dtype, _ = model.encoding
    where = f"{name} {path}"
    codes = find_array(check_file(where, path), [name])
    if codes is None:
        fail(where, "", f"must hold an array named '{name}', as vqnp encode writes it", "none")
    if codes.member and (owner := find_array(path, ["model"])) is not None:  # a .npy names no model
        if owner.read().tobytes().hex() not in (model.fingerprint(), format1.fingerprint_of(model)):
            fail(where, "", f"must be {name} of this model", f"{name} of another model")
    if codes.shape[1:] != shape:
        fail(where, name, f"must have shape {many(shape)}", f"shape {codes.shape}")
    if model.num_embeddings and codes.dtype.kind not in "iu":
        fail(where, "codes", "must be integers", codes.dtype)
    if not model.num_embeddings and codes.dtype != dtype:
        fail(where, "latents", f"must be {dtype}, as the model", codes.dtype)
    return codes


def decode_file(model: Model, codes: ArrayStream, path: str | Path, progress: Progress = None) -> None:
    """x̂ = decoder(e_k) into a .npy: codes (n, *code_shape) -> (n, *data.shape) in the model's dtype.

    Bit for bit model.reconstruct of the images that were encoded; appears whole or not at all.
    """
    parts = (_decode(model, batch, codes) for batch in codes.batches(BATCH))
    with atomic(path) as out:
        write_npy(out, _rows(parts, len(codes), model.data.shape, model.dtype, progress))


def _rows(parts: Iterator[Array], n: int, shape: tuple[int, ...], dtype: Any, progress: Progress) -> Rows:
    """n rows that come in parts of BATCH."""
    return Rows((n, *shape), dtype, progress(parts, -(-n // BATCH)) if progress else parts)


def _decode(model: Model, batch: Array, codes: ArrayStream) -> Array:
    """model.decode(batch), with the file's name in an error."""
    try:
        return model.decode(batch)
    except InputError as error:
        raise error.within(f"{model.encoding.name} {codes.path}") from None
