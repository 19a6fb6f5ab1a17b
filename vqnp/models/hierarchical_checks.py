"""Checks of a hierarchy: its levels, the shapes of its parts, its codes. Each error is one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_codes, fail, many
from vqnp.models.level import Level
from vqnp.nn import Module


def checked_levels(where: str, levels: Any, level_loss: float) -> tuple[Level, ...]:
    """levels as a tuple: at least one, each a Level, only the first without a condition."""
    if not isinstance(levels, (list, tuple)) or not levels:
        got = "none" if isinstance(levels, (list, tuple)) else type(levels).__name__
        fail(where, "levels", "must be a sequence of at least one Level, the top first", got)
    for l, level in enumerate(levels, 1):
        if not isinstance(level, Level):
            fail(where, f"levels[{l - 1}]", "must be a vqnp.models.Level", type(level).__name__)
        if (level.condition is None) != (l == 1):
            needed = "must have no condition and no up" if l == 1 else "must have a condition and an up"
            fail(where, f"levels[{l - 1}]", needed, "some" if l == 1 else "none")
        if (level.decoder is None) != (level_loss == 0 or l == len(levels)):
            needed = "must have a decoder at each level but the bottom if level_loss is above 0, else at none"
            fail(where, "levels", needed, f"{'no' if level.decoder is None else 'a'} decoder at level {l}")
    return tuple(levels)


def one_dtype(where: str, levels: Sequence[Level], decoder: Module) -> Any:
    """The dtype of all parameters and codebooks."""
    arrays = [param.value for part in (*levels, decoder) for param in part.parameters()]
    dtypes = {array.dtype for array in arrays} | {level.quantizer.dtype for level in levels}
    if len(dtypes) > 1:
        fail(where, "levels and decoder", "must have one dtype", ", ".join(sorted(map(str, dtypes))))
    return dtypes.pop()


def checked_shapes(model: Any) -> tuple[tuple[int, ...], ...]:
    """The shape of each level's grid, from running every part on one example of zeros."""
    where = type(model).__name__
    x = np.zeros((1, *model.data.shape), model.dtype)
    features = [x]
    for l in range(len(model.levels), 0, -1):
        features.insert(0, model._tried(f"level {l}'s encoder", model.levels[l - 1].encoder, features[0]))
    a: Any = None
    shapes: list[tuple[int, ...]] = []
    for l, (level, h) in enumerate(zip(model.levels, features[:-1], strict=True), 1):
        inputs, D = h, level.quantizer.embedding_dim
        if level.condition is not None and level.up is not None and a is not None:
            c = model._tried(f"level {l}'s condition", level.condition, a)
            u = model._tried(f"level {l}'s up", level.up, a)
            for name, y, form in (("condition", c, (*h.shape[1:-1], "any")),
                                  ("up", u, (*h.shape[1:-1], a.shape[-1]))):  # fmt: skip
                if y.shape[1:-1] != h.shape[1:-1] or (name == "up" and y.shape[1:] != form):
                    needed = f"must give arrays (B, {', '.join(map(str, form))}), as the level's grid"
                    fail(where, f"level {l}'s {name}", needed, f"shape {y.shape[1:]} an example")
            inputs = np.concatenate([c, h], axis=-1)
        z = model._tried(f"level {l}'s project", level.project, inputs)
        if z.shape[1:] != (*h.shape[1:-1], D):
            needed = f"must give arrays (B, {', '.join(map(str, (*h.shape[1:-1], D)))}), like its codes"
            fail(where, f"level {l}'s project", needed, f"shape {z.shape[1:]} an example")
        a = level.join(a, z)[0]
        shapes.append(z.shape[1:-1])
        if level.decoder is not None:
            _check_image(model, f"level {l}'s decoder", level.decoder, a)
    _check_image(model, "decoder", model.decoder, a)
    return tuple(shapes)


def _check_image(model: Any, name: str, decoder: Module, a: Array) -> None:
    """Raise unless the decoder's output has the data's shape."""
    if (shape := model._tried(name, decoder, np.zeros_like(a)).shape[1:]) != model.data.shape:
        needed = f"must give arrays of the data's shape, {model.data.shape}"
        fail(type(model).__name__, name, needed, f"shape {shape}")


def checked_codes(model: Any, method: str, codes: Any) -> list[Array]:
    """Codes (k_1, …, k_L), each of its level's shape and codebook, of equally many images."""
    where, L = f"{type(model).__name__}.{method}", len(model.levels)
    if isinstance(codes, (tuple, list)) and codes:
        model._check_room(method, "codes", codes[0], model.decoded_bytes)
    if not isinstance(codes, (tuple, list)) or len(codes) != L:
        got = f"{len(codes)}" if isinstance(codes, (tuple, list)) else type(codes).__name__
        fail(where, "codes", f"must be a tuple of {L} arrays, one for each level, the top first", got)
    checked = []
    for l, (k, shape) in enumerate(zip(codes, model.latent_shape, strict=True), 1):
        name = f"codes of level {l}"
        found = np.shape(k)
        if found[1:] != shape or not found:
            others = [m for m, other in enumerate(model.latent_shape, 1) if other == found[1:] and found]
            whose = f", as the codes of level {others[0]}" if others else ""
            fail(where, name, f"must have shape {many(shape)}", f"shape {found}{whose}")
        if found[0] != len(codes[0]):
            fail(where, name, f"must be those of {len(codes[0])} images, as at level 1", found[0])
        checked.append(check_codes(where, k, model.num_embeddings[l - 1], name))
    return checked
