"""L = (1/R) Σ_r (1/c_r) Σ_b ‖S_r(x̂_b) − S_r(x_b)‖: how far two sounds' spectrograms differ.

x_hat, x: (B, T) -> L: ();  S_r: the magnitudes of ops.stft at one of R resolutions, ‖·‖ over frames and
frequencies, c_r = B, or, relative, Σ_b ‖S_r(x_b)‖
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, fail
from vqnp._shapes import checked
from vqnp.ops.loss import scalar_cotangent
from vqnp.ops.stft import stft_backward, stft_forward

Cache = tuple[Any, ...]

RESOLUTIONS = ((512, 128, 512), (256, 64, 256), (128, 32, 128))
"""(n_fft, hop, window) in samples, 64, 32 and 16 ms at 8 kHz: one has fine frequencies, one fine times."""


@checked(x_hat="(B, T)", x="(B, T)")
def spectral_loss_forward(
    x_hat: Array, x: Array, resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS, relative: bool = True
) -> tuple[Array, Cache]:
    """L = (1/R) Σ_r (1/c_r) Σ_b ‖S_r(x̂_b) − S_r(x_b)‖,  S_r(x) = stft(x) at resolution r.

    x_hat, x: (B, T) -> L: ()

    A squared error of samples punishes a wrong phase, which the ear hardly hears, and rewards x̂ = 0 where
    the phase cannot be known: high frequencies disappear. Magnitudes have no phase.

    Parameters
    ----------
    resolutions : sequence of (n_fft, hop, window)
        R settings of stft_forward.
    relative : bool, default True
        c_r = Σ_b ‖S_r(x_b)‖, so that L does not depend on the loudness, and 20 log₁₀ L is the spectral
        convergence in dB; else c_r = B. Of silence, c_r = B too.

    Raises
    ------
    InputError
        Wrong shape or dtype, no resolution, or one that stft_forward refuses.

    References
    ----------
    Dhariwal et al. 2020, arXiv 2005.00341, section 3.1, which divides by a constant of the data set.
    The relative form: Arık et al. 2019, arXiv 1808.06719, equation 1.
    """
    if not isinstance(resolutions, (list, tuple)) or not resolutions:
        fail("spectral_loss_forward", "resolutions", "must be a list of (n_fft, hop, window)", resolutions)
    total, parts = 0.0, []
    for resolution in resolutions:
        S_hat, cache_hat = stft_forward(x_hat, *resolution)
        S, cache = stft_forward(x, *resolution)
        r = S_hat - S
        each, whole = _norms(r), _norms(S)
        c = float(whole.sum()) if relative else float(len(x))
        silent = c == 0
        c = max(len(x), 1) if silent else c
        part = float(each.sum()) / c
        total += part / len(resolutions)
        target = (part, whole) if relative and not silent else None
        parts.append((r, each, c, S, target, cache_hat, cache))
    return np.asarray(total, x.dtype), (parts, x.dtype)


def spectral_loss_backward(
    dL: Array | float, cache: Cache, need_dx: bool = True
) -> tuple[Array, Array | None]:
    """dŜ_b = dL (Ŝ_b − S_b) / (R c ‖Ŝ_b − S_b‖),  dS_b = −dŜ_b − [relative] dL L_r S_b / (R c ‖S_b‖).

    dL: () -> dx_hat, dx: (B, T), both through stft_backward; where a norm is 0, its gradient is 0.
    With need_dx=False, dx is None.
    """
    parts, dtype = cache
    g = scalar_cotangent("spectral_loss_backward", dL) / len(parts)
    dx_hat: Any = 0
    dx: Any = 0 if need_dx else None
    for r, each, c, S, target, cache_hat, stft_cache in parts:
        dS_hat = r * _per_example(g / c, each, dtype)
        dx_hat = dx_hat + stft_backward(dS_hat, cache_hat)
        if not need_dx:
            continue
        dS = -dS_hat
        if target is not None:
            part, whole = target
            dS = dS - S * _per_example(g * part / c, whole, dtype)
        dx = dx + stft_backward(dS, stft_cache)
    return dx_hat, dx


def _norms(S: Array) -> Array:
    """‖S_b‖ in float64: (B, F, U) -> (B,)."""
    return np.sqrt(np.square(S, dtype=np.float64).sum(axis=(1, 2)))


def _per_example(a: float, norms: Array, dtype: Any) -> Array:
    """a/‖·‖, 0 where the norm is 0: (B,) -> (B, 1, 1)."""
    return np.where(norms > 0, a / np.where(norms > 0, norms, 1), 0).astype(dtype)[:, None, None]
