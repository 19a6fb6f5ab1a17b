"""Quantizers as layers: vectors to codes, codes to vectors, and how the codebook is trained."""

from vqnp.nn.quantizers.base import Quantizer
from vqnp.nn.quantizers.cosine import CosineVectorQuantizer, EMACosineVectorQuantizer
from vqnp.nn.quantizers.ema import EMAVectorQuantizer
from vqnp.nn.quantizers.finite_scalar import FiniteScalarQuantizer
from vqnp.nn.quantizers.gumbel import GumbelQuantizer
from vqnp.nn.quantizers.lookup_free import LookupFreeQuantizer
from vqnp.nn.quantizers.product import ProductVectorQuantizer
from vqnp.nn.quantizers.residual import ResidualVectorQuantizer
from vqnp.nn.quantizers.simvq import SimVQ
from vqnp.nn.quantizers.vector import CODEBOOK_INITS, VectorQuantizer

__all__ = [
    "CODEBOOK_INITS", "CosineVectorQuantizer", "EMACosineVectorQuantizer", "EMAVectorQuantizer",
    "FiniteScalarQuantizer", "GumbelQuantizer", "LookupFreeQuantizer", "ProductVectorQuantizer",
    "Quantizer", "ResidualVectorQuantizer", "SimVQ", "VectorQuantizer",
]
