"""Elementwise nonlinearities y = f(x), dx = dy · f'(x); every array has x's shape and dtype.

Each forward pass caches only what f' needs: the output, if f' can be computed from it.
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_float
from vqnp._shapes import checked
from vqnp.kernels.gelu import FLAT, gelu
from vqnp.kernels.relu import relu_gradient

Cache = tuple[Any, ...]


@checked(x="(...)")
def relu_forward(x: Array) -> tuple[Array, Cache]:
    """y = max(x, 0); x: any shape -> y: the same. NaN stays NaN."""
    y = np.maximum(x, 0)
    return y, (y,)


def relu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy · [x > 0]; at 0 the derivative is taken to be 0, as in PyTorch."""
    (y,) = cache
    check_array("relu_backward", "dy", dy, shape=y.shape, dtype=y.dtype)
    return relu_gradient(dy, y)


@checked(x="(...)")
def tanh_forward(x: Array) -> tuple[Array, Cache]:
    """y = tanh(x); x: any shape -> y: the same."""
    y = np.tanh(x)
    return y, (y,)


def tanh_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy · (1 − y²)."""
    (y,) = cache
    check_array("tanh_backward", "dy", dy, shape=y.shape, dtype=y.dtype)
    return dy * (1 - y * y)


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + exp(−x)), without overflow: exp is only ever applied to −|x|."""
    small = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1 / (1 + small), small / (1 + small))
    return y


@checked(x="(...)")
def sigmoid_forward(x: Array) -> tuple[Array, Cache]:
    """y = σ(x) = 1 / (1 + exp(−x)); x: any shape -> y: the same."""
    y = sigmoid(x)
    return y, (y,)


def sigmoid_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy · y (1 − y)."""
    (y,) = cache
    check_array("sigmoid_backward", "dy", dy, shape=y.shape, dtype=y.dtype)
    return dy * (y * (1 - y))


@checked(x="(...)")
def gelu_forward(x: Array, approximate: str = "none") -> tuple[Array, Cache]:
    """y = x Φ(x),  Φ(x) = ½ (1 + erf(x/√2)); x: any shape -> y: the same.

    With approximate="tanh": Φ(x) ≈ ½ (1 + tanh u), u = √(2/π) (x + 0.044715 x³), as in GPT-2.
    Both are computed in a form that does not cancel where Φ is small: ½ erfc(−x/√2), and σ(2u). The slope is
    computed here too, while x and Φ are at hand.

    References
    ----------
    Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2, both forms.
    """
    check_choice("gelu_forward", "approximate", approximate, ("none", "tanh"))
    if approximate == "none":
        y, slope = gelu(x)
    else:
        near = np.clip(x, -FLAT, FLAT)  # x³ would overflow long after tanh is exactly ±1
        phi = sigmoid(2 * _GELU_SCALE * (near + _GELU_CUBIC * near**3))
        y = x * phi
        slope = phi + x * (2 * phi * (1 - phi) * (_GELU_SCALE * (1 + 3 * _GELU_CUBIC * near * near)))
    return y, (slope,)


def gelu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy · (Φ(x) + x Φ'(x)),  Φ'(x) = exp(−x²/2) / √(2π).

    With approximate="tanh": Φ' = 2 Φ (1 − Φ) √(2/π) (1 + 3 · 0.044715 x²).
    """
    (slope,) = cache
    check_array("gelu_backward", "dy", dy, shape=slope.shape, dtype=slope.dtype)
    return dy * slope


@checked(x="(...)")
def silu_forward(x: Array) -> tuple[Array, Cache]:
    """y = x σ(x), also called swish; x: any shape -> y: the same.

    References
    ----------
    Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2.
    """
    s = sigmoid(x)
    return x * s, (x, s)


def silu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy · σ (1 + x (1 − σ))."""
    x, s = cache
    check_array("silu_backward", "dy", dy, shape=x.shape, dtype=x.dtype)
    return dy * (s * (1 + x * (1 - s)))


@checked(x="(...)")
def leaky_relu_forward(x: Array, slope: float = 0.01) -> tuple[Array, Cache]:
    """y = max(x, slope · x), 0 ≤ slope < 1; x: any shape -> y: the same. NaN stays NaN.

    References
    ----------
    Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic models", equation 2.
    """
    slope = check_float("leaky_relu_forward", "slope", slope, "[0, 1)")
    y = np.maximum(x, slope * x)
    return y, (y, slope)


def leaky_relu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy where x > 0, else slope · dy; at 0 the derivative is taken to be the slope, as in PyTorch."""
    y, slope = cache
    check_array("leaky_relu_backward", "dy", dy, shape=y.shape, dtype=y.dtype)
    return np.where(y > 0, dy, slope * dy)


@checked(a="(...)", b="(...)")
def gate_forward(a: Array, b: Array) -> tuple[Array, Cache]:
    """y = tanh(a) σ(b), the gate of PixelCNN and WaveNet; a, b: of any one shape -> y: the same.

    References
    ----------
    van den Oord et al. 2016, arXiv 1606.05328, equation 2.
    """
    t, s = np.tanh(a), sigmoid(b)
    return t * s, (t, s)


def gate_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """da = dy · s (1 − t²),  db = dy · t s (1 − s),  t = tanh(a), s = σ(b)."""
    t, s = cache
    check_array("gate_backward", "dy", dy, shape=t.shape, dtype=t.dtype)
    return dy * (s * (1 - t * t)), dy * (t * (s * (1 - s)))


_GELU_SCALE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715  # the paper's fit of erf by tanh
