"""z = project([condition(a), h]),  q = e_k,  a' = [up(a), q]: one level of a hierarchy of codes.

a: (B, *S_above, A) all codes of the levels above, h: (B, *S, H) -> a': (B, *S, A + D)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, fail
from vqnp.nn import Module, Quantizer, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Losses


class LevelOutput(NamedTuple):
    """What a level computes: a', x̂ of its own decoder or None, z, k, the quantizer's losses, the cache."""

    a: Array
    x_hat: Array | None
    z: Array
    k: Array
    losses: Losses
    cache: Cache


@register
class Level(Module):
    """z = project([condition(a), h]),  q = e_k,  a' = [up(a), q];  [·, ·] joins channels.

    The top level has nothing above it: there z = project(h) and a' = q.

    Parameters
    ----------
    encoder : Module
        The features of this level from those of the level below, or from the image at the bottom level:
        (B, *S_below, H) -> h: (B, *S, H).
    project : Module
        [condition(a), h], or h at the top level -> z: (B, *S, D).
    quantizer : Quantizer
        Of vqnp.nn, with one codebook, for vectors of D dimensions.
    condition, up : Module, optional
        Both at every level but the top: a: (B, *S_above, A) -> (B, *S, any) and -> (B, *S, A). The first is
        for the encoding of this level, the second brings the codes above to the decoder.
    decoder : Module, optional
        a' -> x̂: the reconstruction from the codes of this level and of those above.

    References
    ----------
    Razavi et al. 2019, arXiv 1906.00446, algorithm 1.
    """

    def __init__(
        self, encoder: Module, project: Module, quantizer: Quantizer, condition: Module | None = None,
        up: Module | None = None, decoder: Module | None = None,
    ) -> None:  # fmt: skip
        parts = {"encoder": encoder, "project": project, "condition": condition, "up": up, "decoder": decoder}
        for name, part in parts.items():
            if not isinstance(part, Module) and (part is not None or name in ("encoder", "project")):
                fail("Level", name, "must be a vqnp.nn.Module", type(part).__name__)
        if not isinstance(quantizer, Quantizer):
            fail("Level", "quantizer", "must be a quantizer of vqnp.nn", type(quantizer).__name__)
        if quantizer.num_codebooks != 1:
            fail("Level", "quantizer", "must have one codebook", quantizer.num_codebooks)
        if (condition is None) != (up is None):
            needed = "must be given together, or neither of them for the top level"
            fail("Level", "condition and up", needed, f"{'up' if condition is None else 'condition'} alone")
        self.encoder, self.project, self.quantizer = encoder, project, quantizer
        self.condition, self.up, self.decoder = condition, up, decoder

    def config(self) -> dict[str, Any]:
        names = ("encoder", "project", "quantizer", "condition", "up", "decoder")
        return {name: getattr(self, name) for name in names}

    def latents(self, h: Array, a: Any) -> tuple[Array, Cache]:
        """z = project([condition(a), h])."""
        if self.condition is None:
            z, cache = self.project.forward(h)
            return z, (None, 0, cache)
        c, condition_cache = self.condition.forward(a)
        z, cache = self.project.forward(np.concatenate([c, h], axis=-1))
        return z, (condition_cache, c.shape[-1], cache)

    def join(self, a: Any, q: Array) -> tuple[Array, Cache]:
        """a' = [up(a), q]."""
        if self.up is None:
            return q, None
        u, cache = self.up.forward(a)
        return np.concatenate([u, q], axis=-1), cache

    def forward(
        self, h: Array, a: Array | None = None, rng: Any = None, step: int = 0
    ) -> LevelOutput:
        """The level's latents, codes and losses, and all codes so far as the decoder takes them."""
        z, latent_cache = self.latents(h, a)
        q, *terms, k, quantizer_cache = self.quantizer.forward(z, rng, step)
        joined, up_cache = self.join(a, q)
        x_hat = decoder_cache = None
        if self.decoder is not None:
            x_hat, decoder_cache = self.decoder.forward(joined)
        cache = latent_cache, quantizer_cache, up_cache, decoder_cache
        losses = dict(zip(self.quantizer.loss_names, terms, strict=True))
        return LevelOutput(joined, x_hat, z, k, losses, cache)

    def backward(  # type: ignore[override]
        self, da: Array, dx_hat: Array | None, cache: Cache, dL: Array | float = 1.0, stopped: bool = False
    ) -> tuple[Array, Array | None]:
        """(dh, da above) for da' and dx̂; in reverse order of forward, straight through the quantizer.

        stopped: the gradient of `condition` ends at the codes above, so only `up` reaches them.
        """
        (condition_cache, channels, project_cache), quantizer_cache, up_cache, decoder_cache = cache
        if self.decoder is not None:
            da = da + self.decoder.backward(dx_hat, decoder_cache)  # type: ignore[arg-type]
        A = da.shape[-1] - self.quantizer.embedding_dim
        dz = self.quantizer.backward(np.ascontiguousarray(da[..., A:]), quantizer_cache, dL)
        dch = self.project.backward(dz, project_cache)
        if self.condition is None or self.up is None:
            return dch, None
        dc, dh = (np.ascontiguousarray(part) for part in np.split(dch, [channels], axis=-1))
        da_above = self.up.backward(np.ascontiguousarray(da[..., :A]), up_cache)
        da_condition = self.condition.backward(dc, condition_cache, need_dx=not stopped)
        return dh, da_above if stopped else da_above + da_condition
