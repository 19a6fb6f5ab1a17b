"""k = encode(x), x̂ = decode(k) of each block of a Dask array: block by block the bits of the whole.

x: (n, *data.shape) in blocks along n <-> codes: (n, *code_shape) in the same blocks
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, fail, many
from vqnp.bulk.extra import package
from vqnp.models import Model


def encode(model: Model, images: Any) -> Any:
    """The codes or latents of images, as a Dask array that is computed when it is asked for.

    images: (n, *data.shape) -> (n, *code_shape); of a model with levels a tuple of such arrays

    An image's codes do not depend on the others in its block, so they are those of model.encode, bit for bit,
    whatever the blocks, the scheduler and the number of workers.

    Parameters
    ----------
    model : VQVAE or another model
        It is sent to each worker once.
    images : dask.array.Array of uint8, or of float in the data's range
        In blocks along the first axis. A worker holds a few blocks at a time; some thousand images in each
        are enough.

    Returns
    -------
    dask.array.Array or tuple
        Codes have the narrowest unsigned dtype that holds K − 1, as in the files of vqnp encode.

    Raises
    ------
    InputError
        Not a Dask array, or of another shape than the model's data; Dask is not installed. When it is
        computed: a pixel that is out of range.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from vqnp import VQVAE
    >>> model = VQVAE.mlp((8, 8), num_latents=4, embedding_dim=2, num_embeddings=16, codebook_init="normal")
    >>> images = da.zeros((1000, 8, 8), chunks=(250, 8, 8), dtype=np.float32)
    >>> codes = encode(model, images)
    >>> codes.shape, codes.dtype, codes.numblocks
    ((1000, 4), dtype('uint8'), (4, 1))
    """
    da = _checked_array("encode", "images", images, model.data.shape)
    x = _along_first(images)
    encodings = model.encodings
    dtype = np.result_type(*(each.stored_dtype for each in encodings))
    sizes = [math.prod(each.shape) for each in encodings]
    packed = da.map_blocks(
        _encode_block, x, model=package("dask", "bulk.encode").delayed(model, pure=True), dtype=dtype,
        drop_axis=list(range(1, x.ndim)), new_axis=[1], chunks=(x.chunks[0], (sum(sizes),)),
        meta=np.empty((0, 0), dtype),
    )  # fmt: skip
    found, first = [], 0
    for each, size in zip(encodings, sizes, strict=True):
        part = packed[:, first : first + size].astype(each.stored_dtype)
        found.append(part.reshape((part.shape[0], *each.shape)))
        first += size
    return found[0] if model.encoding.name != "levels" else tuple(found)


def decode(model: Model, codes: Any) -> Any:
    """The images of codes or latents, as a Dask array: (n, *code_shape) -> (n, *data.shape).

    The bits are those of model.decode.

    Parameters
    ----------
    model : VQVAE or another model
    codes : dask.array.Array, or of a model with levels a sequence of them
        What `encode` returns.

    Raises
    ------
    InputError
        As of `encode`. When it is computed: a code that is out of range.
    """
    levels = model.encoding.name == "levels"
    parts = list(codes) if levels and isinstance(codes, Sequence) else [codes]
    if len(parts) != len(model.encodings):
        fail("bulk.decode", "codes", f"must be {len(model.encodings)} arrays, one of each level", len(parts))
    da = package("dask.array", "bulk.decode")
    for each, part in zip(model.encodings, parts, strict=True):
        _checked_array("decode", each.name, part, each.shape)
        if len(part) != len(parts[0]):
            fail("bulk.decode", each.name, f"must hold {len(parts[0])} images, as the first level", len(part))
    shape, label = model.data.shape, itertools.count(1)
    axes = tuple(next(label) for _ in shape)  # an axis of the result or of an argument is a number; 0 is n
    arguments: list[Any] = []
    for part in parts:
        k = _along_first(part).rechunk({0: parts[0].chunks[0]})
        arguments += [k, (0, *(next(label) for _ in k.shape[1:]))]
    return da.blockwise(
        _decode_block, (0, *axes), *arguments, new_axes=dict(zip(axes, shape, strict=True)),
        model=package("dask", "bulk.decode").delayed(model, pure=True), levels=levels, concatenate=True,
        dtype=model.dtype, meta=np.empty((0,) * (1 + len(shape)), model.dtype),
    )  # fmt: skip


def _encode_block(x: Array, model: Any, block_info: Any = None) -> Array:
    """The codes of all levels of a block, in a row for each image."""
    first = int(block_info[0]["array-location"][0][0]) if block_info else 0
    found = model.encode(model.data.to_array(x, model.dtype, "bulk.encode", first))
    levels = found if isinstance(found, tuple) else (found,)
    dtype = np.result_type(*(each.stored_dtype for each in model.encodings))
    return np.concatenate([k.reshape(len(x), -1).astype(dtype) for k in levels], axis=1)


def _decode_block(*k: Array, model: Any, levels: bool) -> Array:
    images: Array = model.decode(tuple(k) if levels else k[0])
    return images


def _checked_array(method: str, name: str, x: Any, shape: tuple[int, ...]) -> Any:
    """dask.array; raise unless x is one of its arrays, of this shape but for the first axis."""
    where = f"bulk.{method}"
    da = package("dask.array", where)
    if not isinstance(x, da.Array):
        fail(where, name, "must be a Dask array, as da.from_array or da.from_zarr gives", type(x).__name__)
    if x.ndim == 0 or x.shape[1:] != tuple(shape) or math.isnan(x.shape[0]):
        fail(where, name, f"must have shape {many(tuple(shape))}", f"shape {x.shape}")
    return da


def _along_first(x: Any) -> Any:
    """x in blocks along the first axis alone."""
    return x.rechunk(dict.fromkeys(range(1, x.ndim), -1))
