"""The quantizer of a discrete VAE: codes drawn with the Gumbel-softmax."""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_dtype, check_float, check_int, check_rng
from vqnp.nn.description import register
from vqnp.nn.layers import Linear
from vqnp.nn.module import Cache, Param, TorchName, check_room
from vqnp.nn.quantizers.base import Quantizer
from vqnp.ops.gumbel import (
    categorical_kl_backward, categorical_kl_forward, gumbel_noise, gumbel_softmax_backward,
    gumbel_softmax_forward,
)
from vqnp.ops.linear import linear_backward, linear_forward


def cosine_schedule(step: int, start: float, end: float, steps: int) -> float:
    """v = end + (start − end) (1 + cos(π t/T))/2 for t < T, then end; T = 0: end from the first step."""
    if step >= steps:
        return end
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


@register
class GumbelQuantizer(Quantizer):
    """a = z A + b,  y = softmax((a + g)/τ),  z_q = y E,  L = w KL(softmax(a) ‖ uniform): a discrete VAE.

    z: (..., D), A: (D, K), E: (K, D) -> z_q: (..., D), kl: (), k = argmax_j a_j: (...,)

    In training, when forward is given a generator, z_q is a mixture of codes with random weights y. Otherwise
    z_q is e_k, the likeliest code, which encode and decode give too.
    τ and w follow the step: cosine schedules, as in DALL·E.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        K and D.
    temperature, final_temperature : float above 0
        τ at the first step and at the end of its schedule. DALL·E's are 1 and 1/16, over 150,000 steps; in
        a training of a few thousand steps few codes are used with these.
    temperature_steps : int
        Steps over which τ falls; 0: final_temperature from the first step.
    kl_weight : float, at least 0
        w, with which the KL in nats for each code is multiplied. Beside a reconstruction loss that is a mean
        over P pixels, the evidence lower bound of M codes has w = M/P per nat of −log p(x|z) per pixel; for
        the squared error with variance s², that is 2s² M/P.
    kl_warmup : int
        Steps over which w rises from 0.
    draw : {"soft", "hard"}
        What the decoder sees in training: a mixture of codes, or, with the straight-through Gumbel-softmax, a
        single code that is drawn.
    rng : numpy.random.Generator or int
        The source of E, N(0, 1), and of the layer that computes the logits.
    dtype : float32 or float64

    References
    ----------
    Ramesh et al. 2021, arXiv 2102.12092, section 2.1 and appendix A.2; Jang, Gu & Poole 2016,
    arXiv 1611.01144.

    Examples
    --------
    >>> quantizer = GumbelQuantizer(8, 4, temperature_steps=100)
    >>> quantizer.temperature(0), quantizer.temperature(100)
    (4.0, 0.5)
    """

    loss_names = ("kl_loss",)
    fixed_codes = True  # none restarts: the KL divergence keeps codes in use

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *,
        temperature: float = 4.0, final_temperature: float = 0.5, temperature_steps: int = 5000,
        kl_weight: float = 1e-3, kl_warmup: int = 1000, draw: str = "soft",
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "GumbelQuantizer"
        K = self.num_embeddings = check_int(where, "num_embeddings", num_embeddings)
        D = self.embedding_dim = check_int(where, "embedding_dim", embedding_dim)
        self.first_temperature = check_float(where, "temperature", temperature, "(0, inf)")
        self.final_temperature = check_float(where, "final_temperature", final_temperature, "(0, inf)")
        self.temperature_steps = check_int(where, "temperature_steps", temperature_steps, 0)
        self.kl_weight = check_float(where, "kl_weight", kl_weight, "[0, inf)")
        self.kl_warmup = check_int(where, "kl_warmup", kl_warmup, 0)
        self.draw = check_choice(where, "draw", draw, ("soft", "hard"))
        rng, dtype = check_rng(where, rng), check_dtype(where, dtype)
        self.logits = Linear(D, K, rng, dtype)
        check_room(where, K, D)
        self.E = Param(rng.standard_normal((K, D)).astype(dtype))

    def config(self) -> dict[str, Any]:
        own = ("num_embeddings", "embedding_dim", "final_temperature", "temperature_steps", "kl_weight",
               "kl_warmup", "draw")  # fmt: skip
        found = {name: getattr(self, name) for name in own}
        return found | {"temperature": self.first_temperature, "dtype": self.dtype.name}

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the codebook."""
        return self.E.value.dtype

    @property
    def embeddings(self) -> Array:
        """The codebook E: (K, D)."""
        return self.E.value

    def temperature(self, step: int) -> float:
        """τ at a step, counted from 0."""
        return cosine_schedule(step, self.first_temperature, self.final_temperature, self.temperature_steps)

    def weight(self, step: int) -> float:
        """w at a step, counted from 0."""
        return cosine_schedule(step, 0.0, self.kl_weight, self.kl_warmup)

    def row(self, step: int) -> dict[str, float]:
        return {"temperature": self.temperature(step), "kl_weight": self.weight(step)}

    def forward(self, z: Array, rng: Any = None, step: int = 0) -> tuple[Array, Array, Array, Cache]:
        """z_q, w KL, k, cache for z; changes nothing.

        rng is the generator that draws g, or g itself: (..., K); without it, g = 0 and z_q is e_k.
        """
        a, logits_cache = self.logits.forward(z)
        hard, noise = self.draw == "hard", rng
        if rng is None:
            hard, noise = True, np.zeros_like(a)
        elif isinstance(rng, np.random.Generator):
            noise = gumbel_noise(a.shape, rng, a.dtype)
        y, draw_cache = gumbel_softmax_forward(a, noise, self.temperature(step), hard)
        k = a.argmax(axis=-1)
        if rng is None:
            z_q, mixture_cache = self.E.value[k], (y, self.E.value)
        else:
            z_q, mixture_cache = linear_forward(y, self.E.value, np.zeros(self.embedding_dim, a.dtype))
        KL, kl_cache = categorical_kl_forward(a)
        w = self.weight(step)
        return z_q, np.asarray(w * KL, a.dtype), k, (logits_cache, draw_cache, mixture_cache, kl_cache, w)

    def backward(  # type: ignore[override]
        self, dz_q: Array, cache: Cache, dL: Array | float = 1.0, need_dx: bool = True
    ) -> Any:
        """dE += yᵀ dz_q,  da = y(dy − y·dy)/τ + dL · w ∂KL/∂a with dy = dz_q Eᵀ; then through the logits."""
        logits_cache, draw_cache, mixture_cache, kl_cache, w = cache
        dy, dE, _ = linear_backward(dz_q, mixture_cache)
        self.E.add_grad(dE)
        da, _ = gumbel_softmax_backward(dy, draw_cache)  # type: ignore[arg-type]
        da += categorical_kl_backward(float(np.asarray(dL)) * w, kl_cache)
        return self.logits.backward(da, logits_cache, need_dx)

    def encode(self, z: Array) -> Array:
        """k = argmax_j a_j, the likeliest code; z: (..., D) -> k: (...,) int64."""
        return self.logits.forward(z)[0].argmax(axis=-1)

    def decode(self, k: Array) -> Array:
        """z_q = e_k; k: (...,) -> z_q: (..., D)."""
        return self.E.value[self._checked_codes(k)]

    def torch_names(self) -> dict[str, TorchName]:
        """The codebook is an nn.Embedding's weight."""
        return {"E": TorchName("embedding.weight")}

    def defining_arrays(self) -> list[Array]:
        """The codebook alone: decode uses nothing else."""
        return [self.E.value]

    def defining_values(self) -> list[Any]:
        """None beside the codebook."""
        return []
