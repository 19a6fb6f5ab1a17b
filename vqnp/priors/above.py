"""m = Σ_i up_i(stack_i(E_i[k_i])): the codes of the levels above as features of each position of a grid.

k_i: (B, H_i, W_i) or (B, T_i), i over the levels above -> m: (B, H, W, C) or (B, T, C)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_lengths, fail
from vqnp.nn import Conv, ConvTranspose, Embedding, Module, Sequential, residual_stack
from vqnp.nn.module import Cache

Above = tuple[tuple[int, tuple[int, ...]], ...]
"""(K, shape of the grid) of each level above, the top first."""


def checked_above(where: str, above: Any) -> Above:
    """above as plain integers, or raise: a pair (K, latent_shape) for each level."""
    if not isinstance(above, (list, tuple)) or any(not _is_pair(each) for each in above):
        fail(where, "above", "must have (num_embeddings, latent_shape) for each level above", repr(above))
    return tuple(
        (check_int(where, f"above[{i}][0]", K), check_lengths(where, f"above[{i}][1]", shape))
        for i, (K, shape) in enumerate(above)
    )


def _is_pair(each: Any) -> bool:
    return isinstance(each, (list, tuple)) and len(each) == 2


class AboveCodes(Module):
    """m = Σ_i up_i(stack_i(E_i[k_i])), stack: Conv 3, a residual block; up: a transposed convolution.

    In up the kernel is as long as the stride: each position within a code's patch has its own weights.

    Parameters
    ----------
    above : sequence of (K_i, (H_i, W_i))
    grid : (H, W) or (T,)
        A multiple of each (H_i, W_i) or (T_i,).
    channels : int
        C.
    """

    def __init__(
        self, above: Above, grid: tuple[int, ...], channels: int, rng: np.random.Generator, dtype: Any
    ) -> None:  # fmt: skip
        self.count, C = len(above), channels
        for i, (K, shape) in enumerate(above, 1):
            if len(shape) != len(grid) or any(n % m for n, m in zip(grid, shape, strict=True)):
                needed = f"must have grids that divide the grid of {' × '.join(map(str, grid))} codes"
                where = "PixelCNN" if len(grid) == 2 else "Upsampler"
                fail(where, "above", needed, " × ".join(map(str, shape)))
            factor = tuple(n // m for n, m in zip(grid, shape, strict=True))
            setattr(self, f"embedding_{i}", Embedding(K, C, 1.0, rng, dtype))
            shared: dict[str, Any] = {"ndim": len(grid), "rng": rng, "dtype": dtype}
            stack = residual_stack(C, max(1, C // 2), 1, **shared)
            up = ConvTranspose(C, C, factor, factor, **shared)
            layers = Sequential(Conv(C, C, 3, padding=1, **shared), *stack.layers, up)
            setattr(self, f"layers_{i}", layers)

    def last_layers(self) -> list[ConvTranspose]:
        """up of each level."""
        return [getattr(self, f"layers_{i}").layers[-1] for i in range(1, self.count + 1)]

    def forward(self, above: Sequence[Array]) -> tuple[Array, Cache]:  # type: ignore[override]
        """m, cache; above: k_i of each level."""
        m: Any = None
        caches = []
        for i, k in enumerate(above, 1):
            e, embedding_cache = getattr(self, f"embedding_{i}").forward(k)
            y, cache = getattr(self, f"layers_{i}").forward(e)
            m = y if m is None else m + y
            caches.append((embedding_cache, cache))
        return m, caches

    def backward(self, dy: Array, cache: Cache, need_dx: bool = False) -> None:
        """Add to the grad of every Param; codes have no gradient."""
        for i, (embedding_cache, layers_cache) in enumerate(cache, 1):
            de = getattr(self, f"layers_{i}").backward(dy, layers_cache)
            getattr(self, f"embedding_{i}").backward(de, embedding_cache)
