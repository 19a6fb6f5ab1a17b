"""L = w_t ⟨−log p(t_i | t_<i)⟩ + w_k ⟨−log p(k_m | k_<m, t)⟩: text and image codes as one sequence.

t: (B, T) words, k: (B, M) codes -> logits of each word, (B, T, V + 1), and of each code, (B, M, K)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_codes, check_float, check_rng, fail
from vqnp.data.vocabulary import Vocabulary
from vqnp.nn import Embedding, Linear, Param, register
from vqnp.nn.module import Cache, TorchName
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from vqnp.priors.transformer import STD, Transformer

TEXT_WEIGHT, IMAGE_WEIGHT = 1 / 8, 7 / 8
"""DALL·E's: an image has many more codes than a caption has words, and image modelling is the aim."""


@register
class TextTransformer(Transformer):
    """x_0 = text start, E_t[t_1], …, E_t[t_T], start, E[k_1], …, E[k_{M−1}] + positions, then as Transformer.

    captions: n str, codes: (n, *latent_shape) -> logits: (n, *latent_shape, K)

    Positions of the text predict words, those of the image predict codes, each with a head of its own: this
    is one softmax over words and codes with a mask that excludes the other kind. A caption ends with the word
    "end", and so does the rest of its T positions, which the loss does not count. In training, some captions
    are replaced by T times the word "none", of which no word is predicted, so that the prior also learns the
    distribution without a text, which guidance and re-ranking need.

    Parameters
    ----------
    num_embeddings, latent_shape, channels, layers, heads, dropout, tied, rng, dtype
        As in Transformer.
    words : sequence of str
        The V words of the vocabulary.
    text_length : int
        T, the most words of a caption.
    condition_dropout : float
        The fraction of the training examples whose text is replaced by none.
    text_weight, image_weight : float
        w_t and w_k; by default 1/8 and 7/8, DALL·E's.

    References
    ----------
    Ramesh et al. 2021, arXiv 2102.12092, section 2.2. Guidance: Ho & Salimans 2022, arXiv 2207.12598.

    Examples
    --------
    >>> words = ["a", "blue", "red", "seven"]
    >>> prior = TextTransformer(8, (2, 2), words, text_length=3, channels=8, layers=1, heads=2)
    >>> prior.sample(5, rng=0, condition="a red seven").shape
    (5, 2, 2)
    >>> prior.nll([[[0, 1], [2, 3]]], condition="a blue seven").shape
    (1, 2, 2)
    """

    condition_name = "captions"

    def __init__(
        self, num_embeddings: int, latent_shape: tuple[int, ...], words: Sequence[str], text_length: int,
        channels: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.1,
        condition_dropout: float = 0.1, text_weight: float = TEXT_WEIGHT, image_weight: float = IMAGE_WEIGHT,
        tied: bool = False, rng: np.random.Generator | int = 0, dtype: Any = "float32",
    ) -> None:  # fmt: skip
        where = "TextTransformer"
        self.vocabulary = Vocabulary(words, text_length)
        self.text_weight = check_float(where, "text_weight", text_weight, "[0, inf)")
        self.image_weight = check_float(where, "image_weight", image_weight, "(0, inf)")
        rng = check_rng(where, rng)
        super().__init__(
            num_embeddings, latent_shape, channels, layers, heads, dropout, 0, condition_dropout, tied, rng,
            dtype,
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        own = super().config()
        del own["num_classes"], own["above"]
        return own | {
            "words": self.vocabulary.words, "text_length": self.vocabulary.length,
            "text_weight": self.text_weight, "image_weight": self.image_weight,
        }  # fmt: skip

    def torch_names(self) -> dict[str, TorchName]:
        return super().torch_names() | {"text_start": TorchName("text_start")}

    @property
    def has_condition(self) -> bool:
        """True: the condition is a text."""
        return True

    # The loss of both parts.

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L = w_t L_t + w_k L_k, and both in nats per word and per code, for a batch (codes, words).

        L_t is a mean over the words of the texts that are not dropped, each with one end.
        """
        codes, t = batch
        read = t if rng is None else self.dropped(t, rng)
        x, hidden_cache = self._hidden(codes[:, :-1], read, rng)
        a, image_cache = self._output(x[:, self.prefix :])
        L_k, code_cache = softmax_cross_entropy_forward(a, codes)
        b, text_cache = self._text_output(x[:, : t.shape[1]])
        counted = self._counted(read)
        L_t, word_cache = softmax_cross_entropy_forward(b[counted], t[counted])
        total = np.asarray(self.text_weight * L_t + self.image_weight * L_k, self.dtype)
        bits = np.asarray(L_k * (self.num_latents / math.log(2)), self.dtype)
        losses = {"loss": total, "text_loss": L_t, "image_loss": L_k, "bits_per_image": bits}
        return losses, (hidden_cache, image_cache, code_cache, text_cache, counted, word_cache)

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> None:
        """Add dL · ∂L/∂θ to every grad; words and codes have no gradient."""
        hidden_cache, image_cache, code_cache, text_cache, counted, word_cache = cache
        B, T = counted.shape
        dx = np.zeros((B, *self.positions.value.shape), self.dtype)
        db = np.zeros((B, T, self.vocabulary.end + 1), self.dtype)
        db[counted] = softmax_cross_entropy_backward(dL * self.text_weight, word_cache)
        dx[:, :T] = self._text_output_backward(db, text_cache)
        da = softmax_cross_entropy_backward(dL * self.image_weight, code_cache)
        dx[:, self.prefix :] = self._output_backward(da, image_cache)
        self._hidden_backward(dx, hidden_cache)

    def text_nll(self, captions: Sequence[str]) -> Array:
        """−log p(t) in nats, of n captions with their ends: (n,) float64."""
        t = self._given_labels("TextTransformer.text_nll", len(captions), captions)
        codes = np.zeros((len(t), self.num_latents - 1), np.int64)  # no word sees a code
        x, _ = self._hidden(codes, t, None)
        b = self._text_output(x[:, : t.shape[1]])[0].astype(np.float64)
        b -= b.max(axis=-1, keepdims=True)
        log_p = b - np.log(np.exp(b).sum(axis=-1, keepdims=True))
        picked = np.take_along_axis(log_p, t[..., None], axis=-1)[..., 0]
        return np.asarray(-(picked * self._counted(t)).sum(axis=1))

    def _counted(self, t: Array) -> Array:
        """Which positions the text's loss counts, (B, T): each word and one end; none of a dropped text."""
        before = np.concatenate([np.zeros((len(t), 1), bool), t[:, :-1] == self.vocabulary.end], axis=1)
        return np.asarray(~before & (t != self._none))

    @property
    def _none(self) -> int:
        """The word of which a dropped text consists."""
        return self.vocabulary.end + 1

    def _text_output(self, x: Array) -> tuple[Array, Cache]:
        """norm(x) W_t + b_t."""
        h, norm_cache = self.norm.forward(x)
        b, cache = self.text_head.forward(h)
        return b, (norm_cache, cache)

    def _text_output_backward(self, db: Array, cache: Cache) -> Array:
        norm_cache, head_cache = cache
        dx: Array = self.norm.backward(self.text_head.backward(db, head_cache), norm_cache)
        return dx

    # The condition of the other methods.

    def null(self, n: int) -> Array:
        """No text, for n images: (n, T)."""
        return np.full((n, self.vocabulary.length), self._none)

    def _given_labels(self, where: str, n: int, labels: Any) -> Array:
        """Captions, or their (n, T) integers, as integers."""
        if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
            shape = (n, self.vocabulary.length)
            return check_codes(where, labels, self._none, "captions", shape).astype(np.int64)
        if isinstance(labels, str) or not isinstance(labels, (Sequence, np.ndarray)) or len(labels) != n:
            got = f"{len(labels)} of them" if isinstance(labels, (list, tuple)) else type(labels).__name__
            fail(where, "captions", f"must be a sequence of {n} str", got)
        return self.vocabulary.encode([str(c) if isinstance(c, np.str_) else c for c in labels], where)

    def _labels(self, where: str, n: int, condition: Any) -> Array:
        if condition is None:
            return self.null(n)
        if isinstance(condition, str):
            return np.repeat(self.vocabulary.encode([condition], where), n, axis=0)
        return self._given_labels(where, n, condition)

    def _add_condition(self, C: int, rng: np.random.Generator) -> int:
        T, V = self.vocabulary.length, self.vocabulary.end
        self.text = Embedding(V + 2, C, STD, rng, self.dtype)  # the last two: end, none
        self.text_start = Param((STD * rng.standard_normal(C)).astype(self.dtype))
        self.text_head = Linear(C, V + 1, rng, self.dtype)
        return 1 + T

    def _check_condition(self, where: str, labels: Any) -> Array:
        n = len(labels) if np.ndim(labels) else 0
        return check_codes(where, labels, self._none + 1, "labels", (n, self.vocabulary.length))

    def _condition(self, labels: Array) -> tuple[list[Array], Cache]:
        e, cache = self.text.forward(labels)
        return [np.broadcast_to(self.text_start.value, (len(e), 1, e.shape[2])), e], cache

    def _condition_backward(self, dx: Array, cache: Cache) -> None:
        self.text_start.add_grad(dx[:, 0].sum(axis=0))
        self.text.backward(np.ascontiguousarray(dx[:, 1:]), cache)
