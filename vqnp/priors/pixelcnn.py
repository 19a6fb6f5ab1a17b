"""a_i = head(h_L(i)): a PixelCNN, gated convolutions over the earlier codes, as a prior.

k: (B, H, W) codes, c: (B,) classes -> a: (B, H, W, K) logits of k_i given c and the codes before i
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_codes, check_float, check_int, check_rng, fail
from vqnp.nn import Activation, Linear, Sequential, register
from vqnp.nn.module import Cache
from vqnp.priors.above import AboveCodes
from vqnp.priors.autoregressive import MOST_LAYERS, AutoregressivePrior, Codes
from vqnp.priors.gated_blocks import OneStack, Room, TwoStacks, above, before, left


@dataclass
class Known:
    """The known codes of some grids, what each block keeps, and the number of logits computed."""

    codes: Array
    rooms: tuple[Room, ...]
    length: int = 0


@register
class PixelCNN(AutoregressivePrior):
    """v_0 = h_0 = k;  (v_l, h_l) = block_l(v_{l−1}, h_{l−1}), l = 0 … L;  a = relu(relu(h_L) W + b) W' + b'.

    codes: (n, H, W), classes: (n,) -> logits: (n, H, W, K)

    With two stacks (see TwoStacks) every code before a position acts on it, and too few layers for the grid
    raise an error. With one stack there is a blind spot: `blind_spot` says how large.

    Parameters
    ----------
    num_embeddings : int
        K, the size of the codebook.
    latent_shape : (H, W)
        The shape of a grid of codes, which is read in raster order.
    channels : int
        C, the channels of v and of h.
    layers : int
        L, the number of blocks after the first one.
    kernel, first_kernel : odd int, at least 3
        The lengths of the kernels of these blocks and of the first one, before the later taps are left out.
    stacks : 2 or 1
        2: the gated PixelCNN, a vertical and a horizontal stack. 1: masked convolutions, mask A and then B.
    dropout : float
        The fraction of each gate's output that is set to 0 during training.
    num_classes, condition_dropout, above
        As in AutoregressivePrior: 0 classes for an unconditional prior. Each block has a vector for each
        class, which it adds to the input of its gate. The codes of the levels above become features of each
        position (AboveCodes), which each block adds to the input of its gate, too.
    rng : numpy.random.Generator or int
        The source of the initial values: variance 1/fan-in, and 1/L of this for the last product of each
        block, since the outputs of L blocks are added.
    dtype : float32 or float64

    Raises
    ------
    InputError
        If latent_shape does not have two axes, a kernel is even, or two stacks do not see the whole grid.

    References
    ----------
    van den Oord et al. 2016, arXiv 1606.05328 (two stacks, gates, classes); arXiv 1601.06759 (one stack).

    Examples
    --------
    >>> prior = PixelCNN(num_embeddings=8, latent_shape=(4, 4), channels=4, layers=1)
    >>> prior.nll([[[0, 1, 2, 3]] * 4]).shape
    (1, 4, 4)
    >>> prior.sample(3, rng=0).shape
    (3, 4, 4)
    >>> prior.blind_spot
    0.0
    """

    def __init__(
        self, num_embeddings: int, latent_shape: tuple[int, ...], channels: int = 64, layers: int = 5,
        kernel: int = 3, first_kernel: int = 7, stacks: int = 2, dropout: float = 0.3, num_classes: int = 0,
        condition_dropout: float = 0.1, rng: np.random.Generator | int = 0, dtype: Any = "float32",
        above: Any = (),
    ) -> None:  # fmt: skip
        super().__init__(num_embeddings, latent_shape, num_classes, condition_dropout, dtype, above)
        where = "PixelCNN"
        if len(self.latent_shape) != 2:
            needed = "must have two axes, rows and columns (a Transformer takes any number)"
            fail(where, "latent_shape", needed, self.latent_shape)
        C, L = check_int(where, "channels", channels), check_int(where, "layers", layers, 1, MOST_LAYERS)
        self.kernel = _odd("kernel", kernel)
        self.first_kernel = _odd("first_kernel", first_kernel)
        self.stacks = check_int(where, "stacks", stacks, 1, 2)
        self.dropout = check_float(where, "dropout", dropout, "[0, 1)")
        if self.stacks == 2:
            self._check_reach(L)
        rng = check_rng(where, rng)
        K, block = self.num_embeddings, TwoStacks if self.stacks == 2 else OneStack
        self.blocks = Sequential(*(
            block(C, self.kernel if l else self.first_kernel, 0 if l else K, l == L, self.dropout,
                  self.num_classes, rng, self.dtype, bool(self.above))
            for l in range(L + 1)
        ))  # fmt: skip
        for each in self._blocks()[1:]:
            each.out.W.value /= math.sqrt(L)
        if self.above:
            self.above_codes = AboveCodes(self.above, self.latent_shape, C, rng, self.dtype)
        self.head = Sequential(
            Activation("relu"), Linear(C, 4 * C, rng, self.dtype),
            Activation("relu"), Linear(4 * C, K, rng, self.dtype),
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        blocks = self._blocks()
        return {
            "num_embeddings": self.num_embeddings, "latent_shape": self.latent_shape,
            "channels": len(blocks[0].out.b.value), "layers": len(blocks) - 1, "kernel": self.kernel,
            "first_kernel": self.first_kernel, "stacks": self.stacks, "dropout": self.dropout,
            "num_classes": self.num_classes, "condition_dropout": self.condition_dropout,
            "dtype": self.dtype.name, "above": self.above,
        }  # fmt: skip

    def _blocks(self) -> tuple[TwoStacks | OneStack, ...]:
        return self.blocks.layers  # type: ignore[return-value]

    def logits_forward(
        self, codes: Array, labels: Array, rng: np.random.Generator | None = None, above: Codes = ()
    ) -> tuple[Array, Cache]:
        """a, cache: no block reads the code of the position itself, so nothing is shifted."""
        x: Any = codes.reshape(len(codes), *self.latent_shape)
        m, above_cache = self.above_codes.forward(above) if self.above else (None, None)
        caches = []
        for block in self._blocks():
            x, cache = block.forward(x, labels, rng, m)
            caches.append(cache)
        a, head_cache = self.head.forward(x[1])
        return a.reshape(len(codes), self.num_latents, -1), (caches, head_cache, above_cache)

    def logits_backward(self, da: Array, cache: Cache) -> None:
        """The gradient by the chain rule, last block first."""
        caches, head_cache, above_cache = cache
        dh = self.head.backward(da.reshape(len(da), *self.latent_shape, -1), head_cache)
        dx: Any = (None, dh)
        dm: Any = 0
        for block, block_cache in zip(reversed(self._blocks()), reversed(caches), strict=True):
            dx, own = block.backward_all(dx, block_cache)
            dm = dm if own is None else dm + own
        if self.above:
            self.above_codes.backward(dm, above_cache)

    # Sampling: of each block the rows that its kernel still sees are kept, and only new positions computed.

    def begin(self, labels: Array, above: Codes = ()) -> tuple[Known, Array]:
        """The state of grids of which no code is known yet, and the logits of their first code, (B, K)."""
        labels = check_codes("PixelCNN.begin", labels, self.num_classes + 1, "labels")
        codes = np.zeros((len(labels), *self.latent_shape), np.int64)
        width = self.latent_shape[1]
        m = self.above_codes.forward(above)[0] if self.above else None
        state = Known(codes, tuple(block.room(labels, width, self.dtype, m) for block in self._blocks()))
        return state, self._advance(state, 1)[:, 0]

    def extend(self, state: Known, codes: Array) -> Array:
        """Add the next codes to the state; logits of the codes after each: (B, t) -> (B, t, K)."""
        where, room = "PixelCNN.extend", self.num_latents - state.length
        codes = check_codes(where, codes, self.num_embeddings)
        grids = len(state.codes)
        if codes.ndim != 2 or len(codes) != grids or codes.shape[1] > room:
            needed = f"must have shape ({grids}, t), t at most {room}: the last code predicts nothing"
            fail(where, "codes", needed, f"shape {codes.shape}")
        t = codes.shape[1]
        known = state.codes.reshape(grids, self.num_latents)  # a view
        known[:, state.length - 1 : state.length - 1 + t] = codes
        return self._advance(state, t)

    def _advance(self, state: Known, t: int) -> Array:
        """The logits of the next t positions, given all codes before them -> (B, t, K)."""
        parts, stop, W = [], state.length + t, self.latent_shape[1]
        while state.length < stop:
            i, j = divmod(state.length, W)
            n = min(W - j, stop - state.length)
            v: Any = state.codes
            if j == 0:
                for block, room in zip(self._blocks(), state.rooms, strict=True):
                    v = block.row(room, v, i)
            h: Array = state.codes
            for block, room in zip(self._blocks(), state.rooms, strict=True):
                h = block.extend(room, h, i, j, n)
            parts.append(self.head.forward(h)[0][:, 0])
            state.length += n
        empty = np.empty((len(state.codes), 0, self.num_embeddings), self.dtype)
        return np.concatenate(parts, axis=1) if parts else empty

    # What a position sees.

    def receptive_field(self) -> Array:
        """Which codes act on which position: (M, M) of bool, row i for position i, both in raster order.

        Found by following every path through the kernels, so it is exact unless parameters are 0.
        Codes before i whose column is False in row i are in the blind spot of position i.
        """
        H, W = self.latent_shape
        codes = np.eye(H * W, dtype=bool).reshape(H, W, H * W)
        first, later, L = self.first_kernel, self.kernel, len(self._blocks()) - 1
        if self.stacks == 1:
            h = _reached(codes, before(first, False))
            for _ in range(L):
                h |= _reached(h, before(later, True))
        else:
            v = _reached(codes, above(first, False))
            h = _reached(codes, left(first, False)) | v
            for _ in range(L):
                v = _reached(v, above(later, True))
                h |= _reached(h, left(later, True)) | v
        return h.reshape(H * W, H * W)

    @property
    def blind_spot(self) -> float:
        """The fraction of all pairs of a position and an earlier code in which the code cannot act."""
        M = self.num_latents
        seen = np.tril(self.receptive_field(), -1).sum()
        return float(1 - seen / (M * (M - 1) / 2)) if M > 1 else 0.0

    @staticmethod
    def layers_for(latent_shape: tuple[int, ...], kernel: int = 3, first_kernel: int = 7) -> int:
        """The least L with which two stacks see a whole grid (H, W): max(H, W) − 1 steps in total.

        A block reaches half its kernel to each side, and as far up.
        """
        return max(1, -(-(max(latent_shape) - 1 - first_kernel // 2) // (kernel // 2)))

    def _check_reach(self, layers: int) -> None:
        """Raise unless two stacks see the whole grid."""
        H, W = self.latent_shape
        needed = self.layers_for((H, W), self.kernel, self.first_kernel)
        if layers < needed:
            wider = 2 * -(-(max(H, W) - 1 - self.first_kernel // 2) // layers) + 1
            fail(
                "PixelCNN", "layers",
                f"must be at least {needed} with kernel {self.kernel}, or kernel at least {wider} with "
                f"{layers} layer{'s' * (layers > 1)}, to see a grid of {H} × {W} codes whole", layers,
            )  # fmt: skip


def _odd(name: str, value: Any) -> int:
    n = check_int("PixelCNN", name, value, 3)
    if n % 2 == 0:
        fail("PixelCNN", name, "must be odd, so that there is a centre", n)
    return n


def _reached(seen: Array, offsets: list[tuple[int, ...]]) -> Array:
    """What position i sees through taps at i + o, each of which sees its row of `seen`; (H, W, M) of bool."""
    H, W, _ = seen.shape
    y = np.zeros_like(seen)
    for di, dj in offsets:
        rows, columns = slice(max(0, -di), min(H, H - di)), slice(max(0, -dj), min(W, W - dj))
        if rows.start < rows.stop and columns.start < columns.stop:
            moved = (slice(rows.start + di, rows.stop + di), slice(columns.start + dj, columns.stop + dj))
            y[rows, columns] |= seen[moved]
    return y
