"""Quantizers as layers: codes for vectors, vectors for codes, and how the codebook follows."""

from vqnp.nn.quantizers.ema import EMAVectorQuantizer
from vqnp.nn.quantizers.vector import CODEBOOK_INITS, VectorQuantizer

__all__ = ["CODEBOOK_INITS", "EMAVectorQuantizer", "VectorQuantizer"]
