"""The quantizer with every variant of the table, in float64: what a layer's answers are compared with.

It is an adapter itself: asked with a variant, it answers as a layer with that variant would.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice
from vqnp.crosscheck.perplexity import candidates
from vqnp.crosscheck.weights import rotated
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.ops.ema import EMAState, ema_start, ema_update
from vqnp.ops.loss import reduction_scale
from vqnp.ops.quantize import loss_weights

SETTINGS: dict[str, tuple[str, ...]] = {
    "beta_on": ("commitment", "codebook", "complement", "both", "none"),
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
        self.state: EMAState | None = None
        if not ema:
            self.reset = self.step = None  # type: ignore[assignment, method-assign]

    def codes(self, z: Array, E: Array) -> Array:
        """k, by the distance and the rule for ties that are asked for."""
        if self.v["distance"] == "expanded_float32":
            z, E = z.astype(np.float32), E.astype(np.float32)
            d = (z * z).sum(1, keepdims=True) - 2 * z @ E.T + (E * E).sum(1)
            return len(E) - 1 - d[:, ::-1].argmin(axis=1) if self.v["ties"] == "highest" else d.argmin(axis=1)
        if self.v["ties"] == "highest":
            return len(E) - 1 - nearest_code(z, np.ascontiguousarray(E[::-1]))
        return nearest_code(z, E)

    def _look_up(self, z: Array, E: Array) -> tuple[Array, Array]:
        k = self.codes(z, E)
        if self.ema and self.v["codes"] == "after":
            E = self._updated(self._start(E.astype(np.float64)), z.astype(np.float64), k).E
        return k, E.astype(np.float64)[k]

    def _scale(self, z: Array) -> float:
        if self.v["reduction"] == "sum_of_means":
            return 1 / z.shape[1]
        return reduction_scale("Reference", self.v["reduction"], z.shape)

    def _weights(self) -> tuple[float, float]:
        return (self.beta, 0.0) if self.v["beta_on"] == "none" else loss_weights(self.beta, self.v["beta_on"])

    def forward(self, z: Array, E: Array) -> tuple[Array, Array, Array, Array]:
        """k, z_q, L, perplexity in training mode."""
        k, e = self._look_up(z, E)
        r = z.astype(np.float64) - e
        L = self._scale(z) * sum(self._weights()) * (r * r).sum()
        figure = candidates(np.bincount(k, minlength=len(E)))[self.v["perplexity"]]
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
        r, c, (p, q) = z - e, self._scale(z), self._weights()
        through = {"copy": lambda g: g, "none": lambda g: 0 * g, "rotation": lambda g: rotated(g, z, e)}
        J = through[self.v["straight_through"]]
        late, leaks = self.v["loss_from"] == "straight_through", self.v["leak"] == "yes"
        dz = J(G) + 2 * c * p * r - (2 * c * q * J(r) if late else 0)
        if self.ema:
            return dz.astype(self.dtype), None
        reach = (0 if late and not leaks else -2 * c * q * r) + (G if leaks else 0)
        return dz.astype(self.dtype), code_statistics(reach + 0 * r, k, len(E)).sums.astype(self.dtype)

    def _start(self, E: Array) -> EMAState:
        return ema_start(E, self.v["start"], rng=0)

    def _updated(self, state: EMAState, z: Array, k: Array) -> EMAState:
        return ema_update(
            state,
            z,
            k,
            self.decay,
            self.epsilon,
            smoothing=self.v["smoothing"],
            zero_debias=self.v["zero_debias"] == "yes",
            write_back=self.v["write_back"] == "yes",
        )

    def reset(self, E: Array) -> None:
        """A new codebook: N and m as the variant starts them."""
        self.state = self._start(E.astype(np.float64))

    def step(self, z: Array) -> tuple[Array, Array, Array]:
        """E, N, m after one more batch."""
        assert self.state is not None  # reset comes first
        z = z.astype(np.float64)
        self.state = self._updated(self.state, z, nearest_code(z, self.state.E))
        E, N, m, _ = self.state
        return E.astype(self.dtype), N.astype(self.dtype), m.astype(self.dtype)
