"""Quantizers as layers: vectors to codes, codes to vectors, and how the codebook is trained."""

from vqnp.nn.quantizers.base import Quantizer
from vqnp.nn.quantizers.ema import EMAVectorQuantizer
from vqnp.nn.quantizers.finite_scalar import FiniteScalarQuantizer
from vqnp.nn.quantizers.vector import CODEBOOK_INITS, VectorQuantizer

__all__ = ["CODEBOOK_INITS", "EMAVectorQuantizer", "FiniteScalarQuantizer", "Quantizer", "VectorQuantizer"]
