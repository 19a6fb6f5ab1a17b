"""The convolutional encoder and decoder of van den Oord et al. 2017, in the form of Sonnet's example.

encoder: (B, *S, C) -> (B, *S/2ⁿ, D),  decoder: (B, *S/2ⁿ, D) -> (B, *S, C);  S has one axis or two
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import check_choice, check_dtype, check_int, fail
from vqnp.data.spec import channels_first_hint, check_shape
from vqnp.nn import Activation, Conv, ConvTranspose, Module, Reshape, Sequential, residual_stack

MOST_BLOCKS = 1000  # many more are a slip, and take for ever
HALVING: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}
"""Of a convolution that halves an even length, and of a transposed one that doubles a length."""
RECEPTIVE_FIELDS = ("wide", "patch")


def conv_networks(
    where: str, image_shape: tuple[int, ...], encoded: int, latent: int,
    channels: int, residual_channels: int, residual_blocks: int, downsampling: int, ndim: int | None,
    rng: np.random.Generator, dtype: Any, receptive_field: str = "wide",
) -> tuple[Sequential, Sequential]:  # fmt: skip
    """encoder: (B, *image_shape) -> (B, *S/2ⁿ, encoded);  decoder: (B, *S/2ⁿ, latent) -> (B, *image_shape).

    Encoder: n times Conv 4, stride 2, and ReLU, to H/2 channels and then to H; Conv 3 to H and ReLU; the
    residual stack; Conv 1. Decoder: Conv 3 to H; the residual stack; n times ConvTranspose 4, stride 2, with
    ReLU between them, to H, to H/2 and to the image's channels. There is no function after the last layer.

    n is downsampling, H is channels. Images without an axis of channels are given one by a Reshape. With the
    receptive field "patch" the encoder is that of patch_layers instead.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, section 4.1; sonnet/examples/vqvae_example.ipynb.
    """
    H, R = check_int(where, "channels", channels), check_int(where, "residual_channels", residual_channels)
    S, C = split_shape(where, image_shape, ndim)
    n = check_int(where, "downsampling", downsampling)
    hint = channels_first_hint(tuple(image_shape))
    if len(S) == 2 and C == 1 and S[1] <= 4 < S[0]:
        hint = f"for signals of {S[1]} channels: ndim=1, or --ndim 1"
    check_halvings(where, S, n, hint)
    blocks = check_int(where, "residual_blocks", residual_blocks, 0, MOST_BLOCKS)
    shared: dict[str, Any] = {"ndim": len(S), "rng": rng, "dtype": check_dtype(where, dtype)}
    if check_choice(where, "receptive_field", receptive_field, RECEPTIVE_FIELDS) == "patch":
        encoder = Sequential(*patch_layers(C, 2 * H, n, shared), Conv(2 * H, encoded, 1, **shared))
    else:
        encoder = Sequential(*encoder_layers(C, H, R, blocks, n, shared), Conv(H, encoded, 1, **shared))
    decoder = Sequential(*decoder_layers(latent, H, R, blocks, n, C, shared))
    if tuple(image_shape) == (*S, C):
        return encoder, decoder
    return (
        Sequential(Reshape(*S, C), *encoder.layers),
        Sequential(*decoder.layers, Reshape(*image_shape)),
    )


def encoder_layers(C: int, H: int, R: int, blocks: int, n: int, shared: dict[str, Any]) -> list[Module]:
    """(B, *S, C) -> (B, *S/2ⁿ, H): n halvings with ReLU, Conv 3 and ReLU, the residual stack."""
    widths = _widths(H, n)
    down: list[Module] = []
    for I, O in zip([C, *widths], widths, strict=False):
        down += [Conv(I, O, **HALVING, **shared), Activation("relu")]
    third: list[Module] = [Conv(widths[-1], H, 3, padding=1, **shared), Activation("relu")]
    return [*down, *third, *_stack(H, R, blocks, shared)]


def patch_layers(C: int, width: int, n: int, shared: dict[str, Any]) -> list[Module]:
    """(B, *S, C) -> (B, *S/2ⁿ, width): Conv 2ⁿ, stride 2ⁿ, and ReLU; Conv 1 and ReLU.

    A latent depends on its own patch of 2ⁿ pixels along each axis and on nothing else.
    """
    first = Conv(C, width, kernel_size=2**n, stride=2**n, **shared)
    return [first, Activation("relu"), Conv(width, width, 1, **shared), Activation("relu")]


def decoder_layers(
    latent: int, H: int, R: int, blocks: int, n: int, C: int, shared: dict[str, Any]
) -> list[Module]:
    """(B, *S/2ⁿ, latent) -> (B, *S, C): Conv 3, the residual stack, n doublings with ReLU between them."""
    widths = _widths(H, n)
    up: list[Module] = []
    first: list[Module] = [Conv(latent, H, 3, padding=1, **shared), *_stack(H, R, blocks, shared)]
    for I, O in zip([H, *widths[-2::-1]], [*widths[-2::-1], C], strict=True):
        up += [Activation("relu"), ConvTranspose(I, O, **HALVING, **shared)]
    return [*first, *up[1:]]  # the stack ends with ReLU


def _widths(H: int, n: int) -> list[int]:
    """The channels after each of n halvings."""
    return [max(1, H // 2)] + [H] * (n - 1)


def _stack(channels: int, inner: int, blocks: int, shared: dict[str, Any]) -> tuple[Module, ...]:
    return residual_stack(channels, inner, blocks, **shared).layers


def split_shape(where: str, image_shape: Any, ndim: int | None) -> tuple[tuple[int, ...], int]:
    """(S, C): the axes along which a network convolves, and the number of channels.

    (T,), (H, W): one channel;  (H, W, C): C;  with ndim=1 also (T, C)
    """
    shape = check_shape(where, "image_shape", image_shape)
    if ndim is None:
        ndim = 1 if len(shape) == 1 else 2
    axes = check_int(where, "ndim", ndim, 1, 2)
    if len(shape) not in (axes, axes + 1):
        forms = ("(T,) or (T, C)", "(H, W) or (H, W, C)")[axes - 1]
        fail(where, "image_shape", f"must be {forms} for ndim={axes}", shape)
    return shape[:axes], (*shape[axes:], 1)[0]


def check_halvings(where: str, lengths: tuple[int, ...], n: int, hint: str = "") -> None:
    """Raise unless every length is a multiple of 2ⁿ; the error names the nearest that are."""
    if n > max(lengths).bit_length():  # 2ⁿ may have more digits than anyone can read
        fail(where, "downsampling", f"must be at most {max(lengths).bit_length()} for {_times(lengths)}", n)
    unit = 2**n
    if all(length % unit == 0 for length in lengths):
        return
    below = tuple(max(unit, length // unit * unit) for length in lengths)
    above = tuple(-(-length // unit) * unit for length in lengths)
    nearest = " or ".join(dict.fromkeys(map(_times, (below, above))))
    fits = min((length & -length).bit_length() - 1 for length in lengths)
    needed = f"must be a multiple of {unit} along each axis, to be halved {_often(n)} (nearest: {nearest})"
    can = f"can be halved {_often(fits)}" if fits else "cannot be halved"
    got = f"{_times(lengths)}, which {can}"
    fail(where, "image_shape", needed, f"{got} ({hint})" if hint else got)


def _times(lengths: tuple[int, ...]) -> str:
    return " × ".join(map(str, lengths))


def _often(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")
