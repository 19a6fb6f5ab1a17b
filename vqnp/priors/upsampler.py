"""x_m = E[k_{m−1}] + position_m + u_m,  u = up(stack(E'[k above])): a transformer below another level.

k above: (B, S), k: (B, M) codes, M a multiple of S -> a: (B, M, K) logits of k_m given k above and k_1, …,
k_{m−1}
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, fail
from vqnp.nn import register
from vqnp.nn.module import Cache
from vqnp.priors.above import AboveCodes, checked_above
from vqnp.priors.autoregressive import Codes
from vqnp.priors.transformer import STD, Known, Transformer


@register
class Upsampler(Transformer):
    """A Transformer whose positions are each given the codes above them, as features that are added.

    codes: (n, *latent_shape), above: (n, *shape) of each level above -> logits: (n, *latent_shape, K)

    In a Transformer with `above` the codes of the levels above are a prefix of the sequence, and where they
    belong must be learned. Here position m is given what lies above it and the neighbours of that, and the
    sequence has M positions only: the better form where the levels are in step, as codes along time are.

    Parameters
    ----------
    num_embeddings, latent_shape, channels, layers, heads, dropout, num_classes, condition_dropout, tied,
    rng, dtype
        As in Transformer.
    above : sequence of (num_embeddings, latent_shape)
        The levels above, the top first, at least one; each grid divides latent_shape along each axis.

    References
    ----------
    Dhariwal et al. 2020 (Jukebox), arXiv 2005.00341, section 4.2 and appendix B.2.

    Examples
    --------
    >>> prior = Upsampler(8, (6,), channels=8, layers=1, heads=2, above=((4, (3,)),))
    >>> prior.nll([[0, 1, 2, 3, 4, 5]], above=([[0, 1, 2]],)).shape
    (1, 6)
    """

    def __init__(
        self, num_embeddings: int, latent_shape: tuple[int, ...], channels: int = 128, layers: int = 4,
        heads: int = 4, dropout: float = 0.1, num_classes: int = 0, condition_dropout: float = 0.1,
        tied: bool = False, rng: np.random.Generator | int = 0, dtype: Any = "float32", above: Any = (),
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(rng)
        super().__init__(
            num_embeddings, latent_shape, channels, layers, heads, dropout, num_classes, condition_dropout,
            tied, rng, dtype,
        )  # fmt: skip
        self.above = checked_above("Upsampler", above)
        if not self.above:
            fail("Upsampler", "above", "must have at least one level", "none")
        self.features = AboveCodes(self.above, self.latent_shape, channels, rng, self.dtype)
        for up in self.features.last_layers():
            up.W.value *= STD  # as large as the other vectors of a position

    def _tokens(self, codes: Array, labels: Array, above: Codes = ()) -> tuple[Array, Cache]:
        """c, start + u_1, E[codes] + u: (B, prefix + 1 + t, C)."""
        x, cache = super()._tokens(codes, labels)
        u, above_cache = self._above_features(above)
        x[:, self.prefix :] += u[:, : 1 + codes.shape[1]]
        return x, (cache, above_cache)

    def _tokens_backward(self, dx: Array, cache: Cache) -> None:
        own_cache, above_cache = cache
        du = np.ascontiguousarray(dx[:, self.prefix :]).reshape(len(dx), *self.latent_shape, dx.shape[-1])
        self.features.backward(du, above_cache)
        super()._tokens_backward(dx, own_cache)

    def begin(self, labels: Array, above: Codes = ()) -> tuple[Known, Array]:
        """As of Transformer; the features of all positions are kept in the state."""
        state, a = super().begin(labels, above)
        state.features = self._above_features(above)[0]
        return state, a

    def _extend(self, state: Known, x: Array) -> Array:
        """As of Transformer; but for begin, whose x has them, the features are added."""
        if state.features is not None:
            first = state.length - self.prefix
            x = x + state.features[:, first : first + x.shape[1]]
        return super()._extend(state, x)

    def _above_features(self, above: Codes) -> tuple[Array, Cache]:
        """u: (B, M, C)."""
        u, cache = self.features.forward(above)
        return u.reshape(len(u), self.num_latents, u.shape[-1]), cache
