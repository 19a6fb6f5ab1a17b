"""Layers, which own Params and leave the mathematics to vqnp.ops."""

from vqnp.nn.conv import Conv, ConvTranspose
from vqnp.nn.description import build, describe, register
from vqnp.nn.layers import ACTIVATIONS, Activation, Flatten, Linear, Reshape, Sequential, mlp
from vqnp.nn.module import Module, Param
from vqnp.nn.quantizers import EMAVectorQuantizer, VectorQuantizer

__all__ = [
    "ACTIVATIONS", "Activation", "Conv", "ConvTranspose", "EMAVectorQuantizer", "Flatten", "Linear",
    "Module", "Param", "Reshape", "Sequential", "VectorQuantizer", "build", "describe", "mlp", "register",
]
