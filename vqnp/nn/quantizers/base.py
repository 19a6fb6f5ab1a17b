"""z_q, k = quantizer(z): what a VQ-VAE, its trainer and its reports require of a quantizer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_codes
from vqnp.nn.description import describe
from vqnp.nn.module import Cache, Module


class Quantizer(Module):
    """z_q = decode(k),  k = encode(z): n codes, each out of K, in place of a vector.

    z: (..., D) -> z_q: (..., D), k: (...,) of one codebook, (..., n) of n codebooks

    A subclass sets `num_embeddings`, `embedding_dim` and `dtype` and provides forward, backward, decode and
    config; with several codebooks also `num_codebooks` and decode_parts; with a codebook of its own also
    initialize and after_step; with arrays also torch_names.

    Attributes
    ----------
    num_embeddings : int
        K, the number of codes of each codebook.
    num_codebooks : int
        n. For n = 1 the codes have no axis of codebooks.
    embedding_dim : int
        D, the length of z and of z_q.
    dtype : numpy.dtype
        float32 or float64, that of z_q.
    loss_names : tuple of str
        The names of the losses that forward returns; a VQ-VAE adds all of them to its loss.
    fixed_codes : bool
        Whether no code can be restarted: no training moves its vector, or none moves it alone.
    initialized : bool
        False only while a codebook waits for `initialize`.
    """

    num_embeddings: int
    num_codebooks: int = 1
    embedding_dim: int
    loss_names: tuple[str, ...] = ()
    fixed_codes = False
    initialized = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of z_q."""
        raise NotImplementedError(f"{type(self).__name__} has no dtype")

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of one vector's codes: () for one codebook, (n,) for several."""
        return () if self.num_codebooks == 1 else (self.num_codebooks,)

    # The quantizer and its gradient.

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> Any:
        """z_q, a loss for each of loss_names, k, cache; changes nothing.

        rng, a numpy.random.Generator, is for a quantizer that draws during training, and step, from 0, for
        one with a schedule; without rng the result is that of encode and decode.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dz for dz_q and dL, the gradient with respect to the sum of the losses; adds to Params' grads."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def encode(self, z: Array) -> Array:
        """k: (..., D) -> (..., *code_shape) int64."""
        k: Array = self.forward(z)[-2]
        return k

    def decode(self, k: Array) -> Array:
        """z_q: (..., *code_shape) -> (..., D)."""
        raise NotImplementedError(f"{type(self).__name__} has no decode")

    def decode_parts(self, k: Array) -> Array:
        """What each codebook adds to z_q: (..., *code_shape) -> (..., n, D); its sum over n is z_q."""
        return self.decode(k)[..., None, :]

    def counts(self, k: Array) -> Array:
        """How often each code occurs: k: (..., *code_shape) -> (K,), or (n, K) of n codebooks."""
        n, K = self.num_codebooks, self.num_embeddings
        each = [np.bincount(column, minlength=K) for column in k.reshape(-1, n).T]
        return each[0] if n == 1 else np.stack(each)

    def _checked_codes(self, k: Any) -> Array:
        """k as integers in [0, K)."""
        return check_codes(f"{type(self).__name__}.decode", k, self.num_embeddings)

    # What else the trainer calls.

    def initialize(self, z: Array, rng: np.random.Generator | int) -> None:
        """Initialize the codebook from vectors z: (..., D), if it waits for them."""

    def after_step(self, z: Array, k: Array, rng: np.random.Generator) -> Mapping[str, Array]:
        """The quantizer's own update after a step, given the batch's z and k.

        Returns the restarted rows by the name of their parameter, if it has codes that restart.
        """
        return {}

    def row(self, step: int) -> Mapping[str, float]:
        """What a schedule of the quantizer's own has at a step: columns of the history."""
        return {}

    # On what the meaning of a code depends.

    def defining_arrays(self) -> list[Array]:
        """Arrays on which decode depends."""
        return list(self.state_dict().values())

    def defining_values(self) -> list[Any]:
        """Plain values on which decode depends."""
        return [describe(self)]
