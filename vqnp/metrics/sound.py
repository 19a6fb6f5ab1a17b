"""SNR = 10 log₁₀ (Σ x² / Σ (x̂ − x)²) dB,  20 log₁₀ (‖S(x̂) − S(x)‖ / ‖S(x)‖) dB,  pitch by autocorrelation.

x_hat, x: (n, T) or (n, T, 1) sounds
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp.ops.spectral_loss import RESOLUTIONS
from vqnp.ops.stft import stft_forward

LOWEST_HERTZ, HIGHEST_HERTZ = 60.0, 1000.0
"""Where pitch looks, unless told otherwise: most voices and the middle of a piano."""


class SoundError:
    """Sums over sounds, in batches: what signal_to_noise and spectral_convergence are ratios of.

    Examples
    --------
    >>> x = np.random.default_rng(0).uniform(-1, 1, (4, 4096))
    >>> error = SoundError()
    >>> for batch in (x[:2], x[2:]):
    ...     error.add(0.9 * batch, batch)
    >>> round(error.signal_to_noise(), 6), round(error.spectral_convergence(), 6)
    (20.0, -20.0)
    """

    def __init__(self) -> None:
        self.noise = self.signal = 0.0
        self.difference, self.whole = np.zeros((2, len(RESOLUTIONS)))

    def add(self, x_hat: Array, x: Array) -> None:
        """Add a batch, x_hat and x of one shape, (n, T) or (n, T, 1)."""
        a, b = (np.asarray(y, np.float64).reshape(len(y), -1) for y in (x_hat, x))
        self.noise += float(np.square(a - b).sum())
        self.signal += float(np.square(b).sum())
        for r, resolution in enumerate(RESOLUTIONS):
            S_hat, S = (stft_forward(y, *resolution)[0] for y in (a, b))
            self.difference[r] += float(np.square(S_hat - S).sum())
            self.whole[r] += float(np.square(S).sum())

    def signal_to_noise(self) -> float:
        """10 log₁₀ (Σ x² / Σ (x̂ − x)²), in dB: ∞ without an error, −∞ for silence with one."""
        return _decibels(self.signal, self.noise, 10)

    def spectral_convergence(self) -> float:
        """The mean over resolutions of ‖S(x̂) − S(x)‖ / ‖S(x)‖, in dB."""
        if not self.whole.all():
            return math.nan
        return _decibels(float(np.sqrt(self.difference / self.whole).mean()), 1.0, 20)


def signal_to_noise(x_hat: Any, x: Any) -> float:
    """SNR = 10 log₁₀ (Σ x² / Σ (x̂ − x)²) in dB, over all samples of all sounds.

    x_hat, x: (n, T) or (n, T, 1) -> a number; 0 dB is the error of x̂ = 0

    Raises
    ------
    InputError
        The shapes differ or are others.
    """
    return _summed("signal_to_noise", x_hat, x).signal_to_noise()


def spectral_convergence(x_hat: Any, x: Any) -> float:
    """20 log₁₀ (1/R) Σ_r ‖S_r(x̂) − S_r(x)‖ / ‖S_r(x)‖ in dB, S_r the magnitudes of ops.stft.

    x_hat, x: (n, T) or (n, T, 1) -> a number; 0 dB is the error of x̂ = 0, lower is better

    The resolutions are those of ops.spectral_loss, norms are over all sounds, frames and frequencies. Silence
    has none: NaN.

    References
    ----------
    Arık et al. 2019, arXiv 1808.06719; Dhariwal et al. 2020 (Jukebox), arXiv 2005.00341, section 5.2.
    """
    return _summed("spectral_convergence", x_hat, x).spectral_convergence()


def pitch(x: Any, rate: int, low: float = LOWEST_HERTZ, high: float = HIGHEST_HERTZ) -> Array:
    """f = rate / τ, τ the first high peak of the autocorrelation r_τ = Σ_t x_t x_{t+τ}: (n, T) -> (n,) Hz.

    Parameters
    ----------
    x : array_like, shape (n, T) or (n, T, 1)
    rate : int
        Samples a second.
    low, high : float
        The lowest and the highest pitch to look for, in Hz.

    Returns
    -------
    f : ndarray of float64, shape (n,)
        NaN where there is no such peak, as of silence. τ is refined by a parabola through three points.

    Notes
    -----
    r_τ is divided by the mean power of both parts, so that a decaying sound's peaks are not lower, and the
    peak is the first that is at least 0.9 of the highest: later ones are multiples of the period.
    """
    rate = check_int("pitch", "rate", rate)
    x = _sounds("pitch", "x", x)
    first, last = max(2, math.floor(rate / high)), math.ceil(rate / low)
    if last + 2 >= x.shape[1] or first >= last:
        fail("pitch", "x", f"must have more than {last + 2} samples, to find {low:g} Hz", f"shape {x.shape}")
    T, size = x.shape[1], 2 ** math.ceil(math.log2(2 * x.shape[1]))
    r = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[:, : last + 2]
    energy = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x**2, axis=1)], axis=1)
    lags = np.arange(last + 2)
    power = (energy[:, T - lags] + energy[:, -1:] - energy[:, lags]) / 2
    r = r / np.where(power > 0, power, 1)
    found = np.full(len(x), np.nan)
    for i, row in enumerate(r):
        inner = row[first : last + 1]
        peaks = first + np.flatnonzero((inner >= row[first - 1 : last]) & (inner > row[first + 1 : last + 2]))
        if not len(peaks) or row[peaks].max() <= 0:
            continue
        k = peaks[row[peaks] >= 0.9 * row[peaks].max()][0]
        a, b, c = row[k - 1], row[k], row[k + 1]
        found[i] = rate / (k + 0.5 * (a - c) / (a - 2 * b + c))
    return found


def cents(f_hat: Any, f: Any) -> Array:
    """1200 log₂ (f̂ / f): the distance of two pitches, in hundredths of a semitone."""
    return np.asarray(1200 * np.log2(np.asarray(f_hat, np.float64) / np.asarray(f, np.float64)))


def _summed(where: str, x_hat: Any, x: Any) -> SoundError:
    x_hat, x = _sounds(where, "x_hat", x_hat), _sounds(where, "x", x)
    if x_hat.shape != x.shape:
        fail(where, "x_hat", f"must have shape {x.shape}, as x", f"shape {x_hat.shape}")
    error = SoundError()
    error.add(x_hat, x)
    return error


def _sounds(where: str, name: str, x: Any) -> Array:
    """(n, T) float64."""
    x = np.asarray(x, np.float64)
    x = x[..., 0] if x.ndim == 3 and x.shape[2] == 1 else x
    if x.ndim != 2 or 0 in x.shape:
        fail(where, name, "must have shape (n, T) or (n, T, 1), of at least one sample", f"shape {x.shape}")
    return x


def _decibels(a: float, b: float, factor: int) -> float:
    if a == b == 0:
        return math.nan
    return factor * math.log10(a / b) if a and b else math.inf if a else -math.inf
