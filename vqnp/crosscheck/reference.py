"""The quantizer with every variant of the table, in float64: what a layer's answers are compared with.

It is an adapter itself: asked with a variant, it answers as a layer with that variant would.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice
from vqnp.crosscheck.losses import PLACES, SCALES, value_weight
from vqnp.crosscheck.perplexity import candidates
from vqnp.crosscheck.plain import counts_of, nearest, nearest_highest, sums_of
from vqnp.crosscheck.trajectory import EMAModel, Rules, codebook, first_averages
from vqnp.crosscheck.weights import rotated

SETTINGS: dict[str, tuple[str, ...]] = {
    "beta_on": ("commitment", "codebook", "complement", "both", "none", "undetached"),
    "reduction": ("mean", "mean_of_sums", "sum", "sum_of_means"),
    "loss_from": ("codes", "straight_through"),
    "straight_through": ("copy", "rotation", "none"),
    "leak": ("no", "yes"),
    "codes": ("before", "after"),
    "evaluation_loss": ("same", "zero"),
    "distance": ("exact", "expanded_float32"),
    "ties": ("lowest", "highest"),
    "perplexity": ("exact", "log_offset", "entropy", "entropy_bits", "utilization", "used"),
    "start": ("consistent", "zero_counts", "independent", "zero"),
    "zero_debias": ("no", "yes"),
    "write_back": ("no", "yes"),
    "smoothing": ("laplace", "additive", "none"),
}
"""What the reference can be, the default first."""


class Reference:
    """z_q = e_k,  L = cp⟨…⟩ + cq⟨…⟩, straight through; E = m/Ñ: each part with the variant that is asked for.

    Parameters
    ----------
    ema : bool
        Whether the codebook follows by moving averages: then there are `reset` and `step`, E has no
        gradient and the default of beta_on is "none".
    beta, decay, epsilon : float
    dtype : float32 or float64
        Of what it is given and gives back; inside it is float64.
    **variants
        A variant for each dimension of SETTINGS that is not to be the default.
    """

    def __init__(
        self,
        *,
        ema: bool = False,
        beta: float = 0.25,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        dtype: Any = np.float64,
        name: str = "vqnp's reference",
        **variants: str,
    ) -> None:
        known = {d: values[0] for d, values in SETTINGS.items()} | ({"beta_on": "none"} if ema else {})
        for dimension, variant in variants.items():
            check_choice("Reference", "the dimension", dimension, tuple(SETTINGS))
            known[dimension] = check_choice("Reference", dimension, variant, SETTINGS[dimension])
        self.v, self.ema, self.name, self.dtype = known, ema, name, np.dtype(dtype)
        self.beta, self.decay, self.epsilon = beta, decay, epsilon
        model = EMAModel(*(known[name] for name in EMAModel._fields))
        self.rules = Rules.of([model], np.array([decay]), np.array([epsilon]))
        self.state: tuple[Array, Array, Array, int] | None = None  # E, N, m, t
        if not ema:
            self.reset = self.step = None  # type: ignore[assignment, method-assign]

    def codes(self, z: Array, E: Array) -> Array:
        """k, by the distance and the rule for ties that are asked for."""
        if self.v["distance"] == "expanded_float32":
            z, E = z.astype(np.float32), E.astype(np.float32)
            d = (z * z).sum(1, keepdims=True) - 2 * _products(z, E) + (E * E).sum(1)
            return len(E) - 1 - d[:, ::-1].argmin(axis=1) if self.v["ties"] == "highest" else d.argmin(axis=1)
        return nearest_highest(z, E) if self.v["ties"] == "highest" else nearest(z, E)

    def _look_up(self, z: Array, E: Array) -> tuple[Array, Array]:
        k = self.codes(z, E)
        if self.ema and self.v["codes"] == "after":
            E = self._updated(self._start(E), z, k)[0]
        return k, E.astype(np.float64)[k]

    def _weights(self) -> tuple[float, float]:
        """The weights of the two terms."""
        (a, b), (c, d) = PLACES[self.v["beta_on"]]
        return a + b * self.beta, c + d * self.beta

    def forward(self, z: Array, E: Array) -> tuple[Array, Array, Array, Array]:
        """k, z_q, L, perplexity in training mode."""
        k, e = self._look_up(z, E)
        r = z.astype(np.float64) - e
        L = (
            SCALES[self.v["reduction"]](*z.shape)
            * value_weight(self.v["beta_on"], *self._weights())
            * (r * r).sum()
        )
        figure = candidates(counts_of(k, len(E)))[self.v["perplexity"]]
        return k, e.astype(self.dtype), np.asarray(L, self.dtype), np.asarray(figure, np.float64)

    def evaluate(self, z: Array, E: Array) -> tuple[Array, Array, Array, Array]:
        """The same in evaluation mode: no codebook moves there."""
        codes, self.v["codes"] = self.v["codes"], "before"
        k, z_q, L, figure = self.forward(z, E)
        self.v["codes"] = codes
        return k, z_q, L if self.v["evaluation_loss"] == "same" else np.zeros_like(L), figure

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array | None]:
        """∂(L + ⟨G, z_q⟩)/∂z and ∂E, with the stop-gradients of the variant."""
        k, e = self._look_up(z, E)
        z, G = z.astype(np.float64), G.astype(np.float64)
        r, c, (p, q) = z - e, SCALES[self.v["reduction"]](*z.shape), self._weights()

        def J(g: Array) -> Array:
            through = self.v["straight_through"]
            return g if through == "copy" else 0 * g if through == "none" else rotated(g, z, e)

        late, leaks = self.v["loss_from"] == "straight_through", self.v["leak"] == "yes"
        dz = J(G) + 2 * c * p * r - (2 * c * q * J(r) if late else 0)
        if self.ema:
            return dz.astype(self.dtype), None
        reach = (0 if late and not leaks else -2 * c * q * r) + (G if leaks else 0)
        return dz.astype(self.dtype), sums_of(reach + 0 * r, k, len(E)).astype(self.dtype)

    def _start(self, E: Array) -> tuple[Array, Array, Array, int]:
        E = E.astype(np.float64)
        if self.v["start"] == "independent":
            return E, np.zeros(len(E)), np.asarray(np.random.default_rng(0).standard_normal(E.shape)), 0
        N, m = first_averages(self.v["start"], E)
        return E, N, m, 0

    def _updated(self, state: tuple[Array, Array, Array, int], z: Array, k: Array) -> Any:
        E, N, m, t = state
        n, s = counts_of(k, len(E)), sums_of(z, k, len(E))
        N, m = self.rules.averaged(N[None], m[None], n, s)
        with np.errstate(all="ignore"):  # a code that was never used may be 0/0: it stays
            used, scale = self.rules.divisor(N, t + 1)
            E = codebook(m, used, scale, E[None])
        return E[0], (used if self.v["write_back"] == "yes" else N)[0], m[0], t + 1

    def reset(self, E: Array) -> None:
        """A new codebook: N and m as the variant starts them."""
        self.state = self._start(E)

    def step(self, z: Array) -> tuple[Array, Array, Array]:
        """E, N, m after one more batch."""
        assert self.state is not None  # reset comes first
        self.state = self._updated(self.state, z, nearest(z, self.state[0]))
        E, N, m, _ = self.state
        return E.astype(self.dtype), N.astype(self.dtype), m.astype(self.dtype)


def _products(z: Array, E: Array) -> Array:
    """z·e: (N, K), added over d in order: a BLAS rounds otherwise with another number of threads."""
    total: Array = np.zeros((len(z), len(E)), z.dtype)
    for a, b in zip(z.T, E.T, strict=True):
        total += a[:, None] * b
    return total
