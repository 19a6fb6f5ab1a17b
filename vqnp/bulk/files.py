"""images.zarr -> codes.zarr -> images.zarr, a block at a time: memory does not grow with their number."""

import shutil
from pathlib import Path
from typing import Any

from vqnp._check import fail
from vqnp.bulk.blocks import decode, encode
from vqnp.bulk.extra import package
from vqnp.models import Model

BLOCK_IMAGES = 2048
"""About how many images a task has: enough that the scheduler costs little, few enough for any memory."""


def encode_zarr(model: Model, source: str | Path, out: str | Path) -> int:
    """Encode the images of a Zarr array into a Zarr group, with Dask's scheduler, and return their number.

    source: an array (n, *data.shape), or a group with one named images -> out: a group with codes
    (n, *code_shape), of a model with levels codes_1, codes_2, …, or latents; its attributes have the model's
    fingerprint, by which `decode_zarr` knows whose codes they are

    The group appears whole or not at all. With a distributed.Client, its workers compute, and both paths must
    be on a file system that they share.

    Raises
    ------
    InputError
        Not such an array, or the out path exists; the extra dask is not installed.

    Examples
    --------
    >>> import vqnp, zarr
    >>> size = {"num_latents": 4, "embedding_dim": 2, "num_embeddings": 16, "codebook_init": "normal"}
    >>> model = vqnp.VQVAE.mlp((8, 8), **size)
    >>> images = zarr.open("images.zarr", mode="w", shape=(100, 8, 8), dtype="f4")  # or those that you have
    >>> encode_zarr(model, "images.zarr", "codes.zarr"), zarr.open("codes.zarr", mode="r")["codes"].shape
    (100, (100, 4))
    """
    images = _opened("encode_zarr", source, "images")
    found = encode(model, images)
    arrays = found if isinstance(found, tuple) else (found,)
    names = [each.name for each in model.encodings]
    numbers = [each.num_embeddings for each in model.encodings if each.num_embeddings]
    about = {"model": model.fingerprint(), "num_embeddings": numbers}
    _write("encode_zarr", out, dict(zip(names, arrays, strict=True)), about)
    return len(images)


def decode_zarr(model: Model, source: str | Path, out: str | Path) -> int:
    """Decode what `encode_zarr` wrote into a Zarr group with an array images, and return their number.

    Raises
    ------
    InputError
        No such group, the codes of another model, or the out path exists; the extra dask is not installed.

    Examples
    --------
    >>> import vqnp, zarr
    >>> model = vqnp.Autoencoder.mlp((8, 8), latent_dim=3)
    >>> images = zarr.open("few.zarr", mode="w", shape=(5, 8, 8), dtype="f4")
    >>> encode_zarr(model, "few.zarr", "latents.zarr"), decode_zarr(model, "latents.zarr", "decoded.zarr")
    (5, 5)
    >>> zarr.open("decoded.zarr", mode="r")["images"].shape
    (5, 8, 8)
    """
    codes = [_opened("decode_zarr", source, each.name) for each in model.encodings]
    owner = package("zarr", "bulk.decode_zarr").open(str(source), mode="r").attrs.get("model")
    if owner != model.fingerprint():
        fail(f"bulk.decode_zarr {source}", "", "must be codes of this model", "codes of another model")
    images = decode(model, codes if model.encoding.name == "levels" else codes[0])
    _write("decode_zarr", out, {"images": images}, {})
    return len(images)


def _opened(method: str, path: str | Path, name: str) -> Any:
    """The Zarr array at the path, or the one of that name in the group there, in blocks of BLOCK_IMAGES."""
    where = f"bulk.{method} {path}"
    zarr = package("zarr", f"bulk.{method}")
    da = package("dask.array", f"bulk.{method}")
    needed = f"must be a Zarr array, or a group with an array named {name}"
    try:
        found = zarr.open(str(Path(path).absolute()), mode="r")  # a worker may be in another folder
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(where, "", needed, f"{type(error).__name__}: {error}")
    if isinstance(found, zarr.Group):
        if name not in found:
            fail(where, "", needed, f"a group of {', '.join(sorted(found)) or 'nothing'}")
        found = found[name]
    if not isinstance(found, zarr.Array) or found.ndim == 0:
        fail(where, "", needed, type(found).__name__)
    stored = found.chunks[0]
    rows = stored * max(1, BLOCK_IMAGES // stored)  # whole chunks of the file
    return da.from_array(found, chunks=(rows, *found.shape[1:]), name=False)


def _write(method: str, out: str | Path, arrays: dict[str, Any], attributes: dict[str, Any]) -> None:
    """The arrays as a new group; written beside it first, then renamed."""
    where, out = f"bulk.{method}", Path(out).absolute()
    zarr, da = package("zarr", where), package("dask.array", where)
    if out.exists():
        fail(where, "out", "must be a new path", out)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    group = zarr.open_group(str(part), mode="w", attributes=attributes)
    targets = [
        group.create_array(name, shape=x.shape, dtype=x.dtype, chunks=[max(1, rows[0]) for rows in x.chunks])
        for name, x in arrays.items()
    ]
    da.store(list(arrays.values()), targets, lock=False)
    part.rename(out)
