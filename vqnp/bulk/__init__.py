"""Encoding and decoding of arrays that are larger than one machine's memory, with Dask: the extra dask."""

from vqnp.bulk.blocks import decode, encode
from vqnp.bulk.files import decode_zarr, encode_zarr

__all__ = ["decode", "decode_zarr", "encode", "encode_zarr"]
