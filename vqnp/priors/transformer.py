"""a_m = head(norm(blocks(c, start, k_1, …, k_{m−1}))): a transformer as a prior over codes.

k: (B, M) codes, c: (B,) classes -> a: (B, M, K) logits of k_m given c and the earlier codes

Below other levels of a hierarchy their codes come before the start token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_codes, check_float, check_int, check_rng, fail
from vqnp.kernels.decoding import KeysAndValues
from vqnp.nn import Embedding, LayerNorm, Linear, Param, Sequential, TransformerBlock, register
from vqnp.nn.module import Cache, TorchName, check_room
from vqnp.ops.dropout import dropout_backward, dropout_forward
from vqnp.ops.linear import linear_backward, linear_forward
from vqnp.priors.autoregressive import MOST_LAYERS, AutoregressivePrior, Codes

STD = 0.02
"""σ of every initial matrix and table, as in GPT-2."""


@dataclass
class Known:
    """The keys and values of the known part of some grids, for each block, and the number of positions.

    features: of all positions, of an Upsampler
    """

    past: tuple[KeysAndValues, ...]
    grids: int
    length: int = 0
    features: Array | None = None


@register
class Transformer(AutoregressivePrior):
    """x_0 = c, start, E[k_1], …, E[k_{M−1}] + positions;  x_l = block_l(x_{l−1});  a = norm(x_L) W + b.

    codes: (n, *latent_shape), classes: (n,) -> logits: (n, *latent_shape, K)

    This is a decoder-only transformer: position m sees the class, the start token and the codes before k_m.
    The start token has a vector of its own, different from every code's, and so has "no class". Without
    classes there is no c.

    Parameters
    ----------
    num_embeddings : int
        K, the size of the codebook.
    latent_shape : tuple of int
        The shape of a grid of codes, such as (7, 7), which is read in raster order.
    channels, layers, heads : int
        C; the number of blocks, L; and the number of heads in each, which divides C.
    dropout : float
        The fraction of the embeddings and of the output of each branch that is set to 0 during training.
    num_classes, condition_dropout, above
        As in AutoregressivePrior: 0 classes for an unconditional prior. The codes of the levels above are a
        prefix of the sequence, with vectors of their own: c, k of the top level, …, start, E[k_1], ….
    tied : bool
        Whether the head is Eᵀ, without a bias, instead of a linear layer of its own.
    rng : numpy.random.Generator or int
        The source of the initial values: N(0, 0.02²) for matrices and tables; the last layer of each
        branch is scaled by 1/√(2L), since the outputs of 2L branches are added.
    dtype : float32 or float64

    References
    ----------
    Radford et al. 2019 (GPT-2), section 2.3; Chen et al. 2020, "Generative pretraining from pixels".
    Guidance: Ho & Salimans 2022, arXiv 2207.12598.

    Examples
    --------
    >>> prior = Transformer(num_embeddings=8, latent_shape=(2, 2), channels=8, layers=1, heads=2)
    >>> prior.nll([[[0, 1], [2, 3]]]).shape
    (1, 2, 2)
    >>> prior.sample(3, rng=0).shape
    (3, 2, 2)
    """

    def __init__(
        self, num_embeddings: int, latent_shape: tuple[int, ...], channels: int = 128, layers: int = 4,
        heads: int = 4, dropout: float = 0.1, num_classes: int = 0, condition_dropout: float = 0.1,
        tied: bool = False, rng: np.random.Generator | int = 0, dtype: Any = "float32", above: Any = (),
    ) -> None:  # fmt: skip
        super().__init__(num_embeddings, latent_shape, num_classes, condition_dropout, dtype, above)
        C = check_int("Transformer", "channels", channels)
        L = check_int("Transformer", "layers", layers, 1, MOST_LAYERS)
        self.dropout = check_float("Transformer", "dropout", dropout, "[0, 1)")
        self.tied, rng = bool(tied), check_rng("Transformer", rng)
        K, dtype = self.num_embeddings, self.dtype
        self.embedding = Embedding(K, C, STD, rng, dtype)
        self.condition_positions = self._add_condition(C, rng)
        self.prefix = self.condition_positions  # positions before the start token
        self.prefix += sum(math.prod(shape) for _, shape in self.above)
        for i, (count, _) in enumerate(self.above, 1):
            setattr(self, f"above_{i}", Embedding(count, C, STD, rng, dtype))
        length = self.prefix + self.num_latents
        check_room("Transformer", 1 + length, C)  # the start token and the positions
        self.start = Param((STD * rng.standard_normal(C)).astype(dtype))
        self.positions = Param((STD * rng.standard_normal((length, C))).astype(dtype))
        self.blocks = Sequential(*(TransformerBlock(C, heads, dropout, rng, dtype) for _ in range(L)))
        self.norm = LayerNorm(C, dtype=dtype)
        if not tied:
            self.head = Linear(C, K, rng, dtype)
        self._draw(rng)

    def _draw(self, rng: np.random.Generator) -> None:
        """The initial weights of the linear layers."""
        for _, module in self.named_modules():
            if isinstance(module, Linear):
                module.W.value[...] = STD * rng.standard_normal(module.W.value.shape)
        for block in self._blocks():
            for projection in block.residual_projections:
                projection.W.value /= math.sqrt(2 * len(self.blocks.layers))

    def config(self) -> dict[str, Any]:
        return {
            "num_embeddings": self.num_embeddings, "latent_shape": self.latent_shape,
            "channels": len(self.start.value), "layers": len(self.blocks.layers),
            "heads": self._blocks()[0].attention.heads, "dropout": self.dropout,
            "num_classes": self.num_classes, "condition_dropout": self.condition_dropout,
            "tied": self.tied, "dtype": self.dtype.name, "above": self.above,
        }  # fmt: skip

    def torch_names(self) -> dict[str, TorchName]:
        """vqnp's own names, since PyTorch has none for these."""
        return {"start": TorchName("start"), "positions": TorchName("positions")}

    def _blocks(self) -> tuple[TransformerBlock, ...]:
        return self.blocks.layers  # type: ignore[return-value]

    def logits_forward(
        self, codes: Array, labels: Array, rng: np.random.Generator | None = None, above: Codes = ()
    ) -> tuple[Array, Cache]:
        """a, cache: the last code is only predicted, never read."""
        x, cache = self._hidden(codes[:, :-1], labels, rng, above)
        a, output_cache = self._output(x[:, self.prefix :])
        return a, (cache, output_cache)

    def logits_backward(self, da: Array, cache: Cache) -> None:
        """The gradient by the chain rule, last layer first."""
        hidden_cache, output_cache = cache
        dx = np.zeros((len(da), *self.positions.value.shape), da.dtype)
        dx[:, self.prefix :] = self._output_backward(da, output_cache)
        self._hidden_backward(dx, hidden_cache)

    def _hidden(self, codes: Array, labels: Array, rng: Any, above: Codes = ()) -> tuple[Array, Cache]:
        """x_L of the blocks, cache: (B, M − 1) -> (B, prefix + M, C)."""
        x, token_cache = self._tokens(codes, labels, above)
        x = x + self.positions.value
        x, drop_cache = dropout_forward(x, self.dropout, rng)
        block_caches = []
        for block in self._blocks():
            x, cache = block.forward(x, rng)
            block_caches.append(cache)
        return x, (token_cache, drop_cache, block_caches)

    def _hidden_backward(self, dx: Array, cache: Cache) -> None:
        """The gradient through the blocks; at the end it is split among the inputs."""
        token_cache, drop_cache, block_caches = cache
        for block, block_cache in zip(reversed(self._blocks()), reversed(block_caches), strict=True):
            dx = block.backward(dx, block_cache)
        dx = dropout_backward(dx, drop_cache)
        self.positions.add_grad(dx.sum(axis=0))
        self._tokens_backward(dx, token_cache)

    # Sampling: the keys and values of what is known are kept, and only new positions are computed.

    def begin(self, labels: Array, above: Codes = ()) -> tuple[Known, Array]:
        """The state of grids of which no code is known yet, and the logits of their first code, (B, K)."""
        labels = self._check_condition("Transformer.begin", labels)
        rooms = (b.attention.room(len(labels), len(self.positions.value)) for b in self._blocks())
        state = Known(tuple(rooms), len(labels))
        tokens, _ = self._tokens(np.empty((len(labels), 0), np.int64), labels, above)
        return state, self._extend(state, tokens)[:, -1]

    def extend(self, state: Known, codes: Array) -> Array:
        """Add the next codes to the state; logits of the codes after each: (B, t) -> (B, t, K)."""
        where, room = "Transformer.extend", len(self.positions.value) - state.length
        codes = check_codes(where, codes, self.num_embeddings)
        grids = state.grids
        if codes.ndim != 2 or len(codes) != grids or codes.shape[1] > room:
            needed = f"must have shape ({grids}, t), t at most {room}: the last code predicts nothing"
            fail(where, "codes", needed, f"shape {codes.shape}")
        return self._extend(state, self.embedding.forward(codes)[0])

    def _extend(self, state: Known, x: Array) -> Array:
        """(B, t, C) embeddings without their position vectors -> (B, t, K)."""
        start, stop = state.length, state.length + x.shape[1]
        x = x + self.positions.value[start:stop]
        for block, past in zip(self._blocks(), state.past, strict=True):
            x = block.extend(x, past, start)
        state.length = stop
        return self._output(x)[0]

    # The two ends.

    def _tokens(self, codes: Array, labels: Array, above: Codes = ()) -> tuple[Array, Cache]:
        """c, above, start, E[codes]; codes: (B, t), labels: (B,) -> (B, prefix + 1 + t, C)."""
        B, C = len(codes), len(self.start.value)
        E, cache = self.embedding.forward(codes)
        parts = [np.broadcast_to(self.start.value, (B, 1, C)), E]
        above_caches = []
        for i, k in enumerate(above, 1):
            e, above_cache = getattr(self, f"above_{i}").forward(k.reshape(B, math.prod(k.shape[1:])))
            parts.insert(i - 1, e)
            above_caches.append(above_cache)
        c, condition_cache = self._condition(labels)
        return np.concatenate([*c, *parts], axis=1), (cache, condition_cache, above_caches)

    def _tokens_backward(self, dx: Array, cache: Cache) -> None:
        code_cache, condition_cache, above_caches = cache
        self.start.add_grad(dx[:, self.prefix].sum(axis=0))
        self.embedding.backward(dx[:, self.prefix + 1 :], code_cache)
        first = self.condition_positions
        self._condition_backward(dx[:, :first], condition_cache)
        for i, (above_cache, (_, shape)) in enumerate(zip(above_caches, self.above, strict=False), 1):
            last = first + math.prod(shape)
            getattr(self, f"above_{i}").backward(dx[:, first:last], above_cache)
            first = last

    # The condition, here a class; of a TextTransformer a text.

    def _add_condition(self, C: int, rng: np.random.Generator) -> int:
        """Make the tables of the condition; return the number of its positions."""
        if not self.num_classes:
            return 0
        self.classes = Embedding(self.num_classes + 1, C, STD, rng, self.dtype)  # the last one: no class
        return 1

    def _check_condition(self, where: str, labels: Any) -> Array:
        """Conditions as begin takes them."""
        return check_codes(where, labels, self.num_classes + 1, "labels")

    def _condition(self, labels: Array) -> tuple[list[Array], Cache]:
        """The first parts of the sequence: (B,) -> arrays (B, …, C)."""
        if not self.num_classes:
            return [], None
        c, cache = self.classes.forward(labels[:, None])
        return [c], cache

    def _condition_backward(self, dx: Array, cache: Cache) -> None:
        """dx: (B, condition_positions, C)."""
        if self.num_classes:
            self.classes.backward(dx, cache)

    def _output(self, x: Array) -> tuple[Array, Cache]:
        """norm(x) W + b, or norm(x) Eᵀ."""
        h, norm_cache = self.norm.forward(x)
        if not self.tied:
            a, cache = self.head.forward(h)
        else:
            E = self.embedding.E.value
            a, cache = linear_forward(h, np.ascontiguousarray(E.T), np.zeros(len(E), E.dtype))
        return a, (norm_cache, cache)

    def _output_backward(self, da: Array, cache: Cache) -> Any:
        norm_cache, head_cache = cache
        if not self.tied:
            dh = self.head.backward(da, head_cache)
        else:
            dh, dW, _ = linear_backward(da, head_cache)
            self.embedding.E.add_grad(np.ascontiguousarray(dW.T))
        return self.norm.backward(dh, norm_cache)
