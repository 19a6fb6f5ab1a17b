"""Layers, which own Params and leave the mathematics to vqnp.ops."""

from vqnp.nn.attention import CausalSelfAttention, TransformerBlock
from vqnp.nn.causal_conv import CausalConv
from vqnp.nn.code_conv import CodeConv
from vqnp.nn.conv import Conv, ConvTranspose
from vqnp.nn.description import build, describe, register
from vqnp.nn.embedding import Embedding
from vqnp.nn.layers import ACTIVATIONS, Activation, Flatten, Linear, Reshape, Sequential, mlp
from vqnp.nn.module import Module, Param
from vqnp.nn.norm import GroupNorm, LayerNorm
from vqnp.nn.quantizers import (
    CosineVectorQuantizer, EMACosineVectorQuantizer, EMAVectorQuantizer, FiniteScalarQuantizer,
    GumbelQuantizer, LookupFreeQuantizer, ProductVectorQuantizer, Quantizer, ResidualVectorQuantizer, SimVQ,
    VectorQuantizer,
)
from vqnp.nn.residual import Residual, residual_stack
from vqnp.nn.resize import PixelShuffle, Upsample

__all__ = [
    "ACTIVATIONS", "Activation", "CausalConv", "CausalSelfAttention", "CodeConv", "Conv", "ConvTranspose",
    "CosineVectorQuantizer", "EMACosineVectorQuantizer", "EMAVectorQuantizer", "Embedding",
    "FiniteScalarQuantizer", "Flatten", "GroupNorm", "GumbelQuantizer", "LayerNorm", "Linear",
    "LookupFreeQuantizer", "Module", "Param", "PixelShuffle", "ProductVectorQuantizer", "Quantizer",
    "Reshape", "Residual", "ResidualVectorQuantizer", "Sequential", "SimVQ", "TransformerBlock",
    "Upsample", "VectorQuantizer", "build", "describe", "mlp", "register", "residual_stack",
]
