"""The networks of VQ-VAE-2: for each level an encoder, a condition, a projection, and the way to the decoder.

enc_L: (B, *S, C) -> (B, *S_L, H),  enc_l: (B, *S_{l+1}, H) -> (B, *S_l, H),  S_l = S/2ⁿ, n = downsampling[l]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import check_dtype, check_int, check_lengths, fail
from vqnp.data.spec import channels_first_hint
from vqnp.models.conv import HALVING, MOST_BLOCKS, check_halvings, decoder_layers, encoder_layers, split_shape
from vqnp.models.level import Level
from vqnp.models.vqvae import quantizer_of
from vqnp.nn import Conv, ConvTranspose, Module, Reshape, Sequential

MOST_LEVELS = 16  # each has half the length of the one below


def hierarchical_networks(
    where: str, image_shape: tuple[int, ...], channels: int, residual_channels: int, residual_blocks: int,
    downsampling: Sequence[int], embedding_dim: int | Sequence[int], num_embeddings: int | Sequence[int],
    level_decoders: bool, ndim: int | None, codebook: str, commitment_cost: float, decay: float,
    epsilon: float, codebook_init: str, restart_dead_codes: float, estimator: str,
    rng: np.random.Generator, dtype: Any,
) -> tuple[list[Level], Sequential]:  # fmt: skip
    """The levels, the top first, and the decoder of all codes; arguments as in HierarchicalVQVAE.conv."""
    H, R = check_int(where, "channels", channels), check_int(where, "residual_channels", residual_channels)
    S, C = split_shape(where, image_shape, ndim)
    n = check_halvings_of_levels(where, downsampling)
    check_halvings(where, S, n[0], channels_first_hint(tuple(image_shape)))
    blocks = check_int(where, "residual_blocks", residual_blocks, 0, MOST_BLOCKS)
    D = one_per_level(where, "embedding_dim", embedding_dim, len(n))
    K = one_per_level(where, "num_embeddings", num_embeddings, len(n))
    shared: dict[str, Any] = {"ndim": len(S), "rng": rng, "dtype": check_dtype(where, dtype)}
    with_channels = tuple(image_shape) == (*S, C)
    sizes = H, R, blocks
    L, above = len(n), [sum(D[:l]) for l in range(len(n) + 1)]  # above[l]: channels of the codes above

    encoders: list[Sequential] = []
    for l in range(L - 1, -1, -1):
        bottom = l == L - 1
        layers = encoder_layers(C if bottom else H, *sizes, n[l] - (0 if bottom else n[l + 1]), shared)
        if bottom and not with_channels:
            layers.insert(0, Reshape(*S, C))
        encoders.insert(0, Sequential(*layers))

    def to_image(l: int) -> Sequential:
        layers = decoder_layers(above[l + 1], *sizes, n[l], C, shared)
        return Sequential(*layers, *([] if with_channels else [Reshape(*image_shape)]))

    parts: list[dict[str, Module]] = []
    for l in range(L):
        part: dict[str, Module] = {}
        if l:
            times = n[l - 1] - n[l]
            part["condition"] = Sequential(*decoder_layers(above[l], *sizes, times, D[l], shared))
            doublings = [ConvTranspose(above[l], above[l], **HALVING, **shared) for _ in range(times)]
            part["up"] = Sequential(*doublings)
        part["project"] = Conv(H + (D[l] if l else 0), D[l], 1, **shared)
        if level_decoders and l < L - 1:
            part["decoder"] = to_image(l)
        parts.append(part)
    decoder = to_image(L - 1)
    levels = []
    for l, part in enumerate(parts):
        quantizer = quantizer_of(
            codebook, K[l], D[l], commitment_cost, epsilon, decay=decay, codebook_init=codebook_init,
            restart_dead_codes=restart_dead_codes, estimator=estimator, rng=rng, dtype=shared["dtype"],
        )  # fmt: skip
        levels.append(Level(encoders[l], quantizer=quantizer, **part))
    return levels, decoder


def check_halvings_of_levels(where: str, downsampling: Any) -> tuple[int, ...]:
    """downsampling as a tuple: at least one level, decreasing from the top to the bottom."""
    n = check_lengths(where, "downsampling", downsampling)
    if not 1 <= len(n) <= MOST_LEVELS:
        got = f"{len(n)} of them" if n else "no level"
        fail(where, "downsampling", f"must have a number for each of 1 to {MOST_LEVELS} levels", got)
    if any(a <= b for a, b in zip(n, n[1:], strict=False)):
        needed = "must decrease from the top level to the bottom, whose grid has the most codes"
        fail(where, "downsampling", needed, n)
    return n


def one_per_level(where: str, name: str, value: Any, levels: int) -> tuple[int, ...]:
    """value for each level: an integer for all, or a sequence of one each."""
    if not isinstance(value, (list, tuple)):
        return (check_int(where, name, value),) * levels
    numbers = check_lengths(where, name, value)
    if len(numbers) != levels:
        needed = f"must be one integer, or one for each of {levels} levels"
        fail(where, name, needed, f"{len(numbers)}: {numbers}")
    return numbers
