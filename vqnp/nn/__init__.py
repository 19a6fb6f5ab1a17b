"""Layers: they own Params and use vqnp.ops for their mathematics."""

from vqnp.nn.ema_quantizer import EMAVectorQuantizer
from vqnp.nn.layers import ACTIVATIONS, Activation, Linear, mlp
from vqnp.nn.module import Module, Param, Sequential
from vqnp.nn.quantizer import VectorQuantizer

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "EMAVectorQuantizer",
    "Linear",
    "Module",
    "Param",
    "Sequential",
    "VectorQuantizer",
    "mlp",
]
