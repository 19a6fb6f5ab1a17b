"""The arguments of SoundVQVAE: its levels, the length of its sounds, codes that are given to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_codes, check_int, fail, many
from vqnp.models.vqvae import VQVAE

WHERE = "SoundVQVAE"
LOW, HIGH = -1.0, 1.0


def checked_codes(model: Any, method: str, k: Any, l: int, n: int) -> Array:
    """Codes of level l as an array, of n recordings."""
    where, name, shape = f"{WHERE}.{method}", f"codes of level {l}", model.latent_shape[l - 1]
    found = np.shape(k)
    if found[1:] != shape or not found:
        others = [m for m, other in enumerate(model.latent_shape, 1) if other == found[1:] and found]
        whose = f", as the codes of level {others[0]}" if others else ""
        fail(where, name, f"must have shape {many(shape)}", f"shape {found}{whose}")
    if found[0] != n:
        fail(where, name, f"must be those of {n} recordings, as at level 1", found[0])
    return check_codes(where, k, model.num_embeddings[l - 1], name)


def checked_levels(levels: Any) -> tuple[VQVAE, ...]:
    """levels as a tuple: at least one VQ-VAE, all of sounds of one length, of decreasing hops."""
    if not isinstance(levels, (list, tuple)) or not levels:
        got = "none" if isinstance(levels, (list, tuple)) else type(levels).__name__
        fail(WHERE, "levels", "must be a sequence of at least one VQVAE, the top first", got)
    for l, level in enumerate(levels):
        name = f"levels[{l}]"
        if not isinstance(level, VQVAE):
            fail(WHERE, name, "must be a VQVAE", type(level).__name__)
        shape = level.data.shape
        if len(shape) != 2 or shape[1] != 1 or (level.data.low, level.data.high) != (LOW, HIGH):
            fail(WHERE, name, "must have data of shape (T, 1) in [-1, 1]", level.data)
        if level.data != levels[0].data or level.dtype != levels[0].dtype:
            got = f"{level.data.shape} of {level.dtype}"
            needed = f"must take {levels[0].data.shape} of {levels[0].dtype}, as levels[0]"
            fail(WHERE, name, needed, got)
        if level.quantizer.num_codebooks != 1 or len(level.latent_shape) != 1:
            needed = "must have one codebook, and latents along time"
            fail(WHERE, name, needed, f"codes of shape {level.code_shape}")
        if l and level.latent_shape[0] <= levels[l - 1].latent_shape[0]:
            needed = f"must have more codes than levels[{l - 1}], {levels[l - 1].latent_shape[0]}"
            fail(WHERE, name, needed, level.latent_shape[0])
    return tuple(levels)


def checked_shape(shape: Any) -> tuple[int, ...]:
    """(T, 1) of (T, 1) or (T,)."""
    shape = tuple(shape) if isinstance(shape, (list, tuple)) else shape
    if not isinstance(shape, tuple) or len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        fail(WHERE, "image_shape", "must be (T, 1): sounds of T samples and one channel", shape)
    return check_int(WHERE, "image_shape[0]", shape[0]), 1


def check_length(T: int, hop: int) -> None:
    """Raise unless T is a multiple of the hop."""
    if T % hop:
        below, above = T // hop * hop, -(-T // hop) * hop
        nearest = f"{below} or {above}" if below else f"{above}"
        needed = f"must be a multiple of the longest hop, {hop} (nearest: {nearest})"
        fail(WHERE, "image_shape", needed, f"{T} samples")


def each_level(where: str, name: str, value: Any, n: int) -> list[int]:
    """One integer for each level."""
    if isinstance(value, (list, tuple)):
        if len(value) != n:
            fail(where, name, f"must be an integer, or one for each of {n} levels", value)
        return [check_int(where, f"{name}[{i}]", v) for i, v in enumerate(value)]
    return [check_int(where, name, value)] * n
