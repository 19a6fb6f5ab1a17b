"""y_t = x_t + g (y_{t−N} + y_{t−N−1}) / 2: plucked strings, and three drums, synthesized with captions.

(n, T) samples in [-1, 1] at 8 kHz; the pitch of a string is known, so that its error can be measured
"""

from __future__ import annotations

import math

import numpy as np

from vqnp._check import Array, check_int

RATE = 8000
LENGTH = 4096
"""Samples: half a second."""

TRAINING_NOTES, TEST_NOTES = 1000, 200

LOWEST = 48
"""C3, 130.8 Hz, as a MIDI number."""

PITCHES = 24
"""Two octaves of semitones, to B4, 493.9 Hz."""

NAMES = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B")
DRUMS = ("kick drum", "snare drum", "hi-hat")
LOUDNESS = ("quiet", "loud")
CLASSES = PITCHES + len(DRUMS)


def frequency(label: int) -> float:
    """440 · 2^((m − 69)/12) Hz, m = 48 + label: the pitch of a string."""
    return 440.0 * 2 ** ((LOWEST + label - 69) / 12)


def caption(label: int, loud: bool) -> str:
    """ "a loud plucked C sharp 4" or "a quiet kick drum"."""
    if label >= PITCHES:
        return f"a {LOUDNESS[int(loud)]} {DRUMS[label - PITCHES]}"
    octave, step = divmod(LOWEST + label, 12)
    return f"a {LOUDNESS[int(loud)]} plucked {NAMES[step]} {octave - 1}"


def notes(n: int, seed: int) -> tuple[Array, Array, tuple[str, ...]]:
    """n notes, their labels and captions.

    Parameters
    ----------
    n : int
    seed : int
        Notes with the same seed and n are the same.

    Returns
    -------
    x : ndarray of float32, shape (n, 4096)
    labels : ndarray of int, shape (n,)
        0 to 23: a string of that pitch, in semitones above C3; 24 to 26: a drum.
    captions : tuple of str

    References
    ----------
    Karplus & Strong 1983, Computer Music Journal 7(2): a burst of noise in a loop of N + 1/2 samples, which
    averages neighbours. The loop is tuned as in Jaffe & Smith 1983, by a fraction of a sample.
    """
    n, rng = check_int("notes", "n", n), np.random.default_rng(check_int("notes", "seed", seed, 0))
    labels = rng.integers(0, CLASSES, n)
    loud = rng.random(n) < 0.5
    x = np.zeros((n, LENGTH))
    strings = np.flatnonzero(labels < PITCHES)
    if len(strings):
        x[strings] = plucked(np.array([frequency(k) for k in labels[strings]]), rng)
    for i in np.flatnonzero(labels >= PITCHES):
        x[i] = _drum(labels[i] - PITCHES, rng)
    x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-9)
    x *= np.where(loud, rng.uniform(0.6, 0.9, n), rng.uniform(0.2, 0.4, n))[:, None]
    captions = tuple(caption(int(k), bool(l)) for k, l in zip(labels, loud, strict=True))
    return x.astype(np.float32), labels, captions


def plucked(hertz: Array, rng: np.random.Generator) -> Array:
    """y_t = x_t + g [(1 − a) y_{t−N} + y_{t−N−1} + a y_{t−N−2}] / 2, period N + 1/2 + a: (n,) -> (n, T)."""
    n = len(hertz)
    period = RATE / hertz
    N = np.floor(period - 0.5).astype(np.int64)
    a = period - 0.5 - N
    g = 0.001 ** (1 / (rng.uniform(0.5, 2.0, n) * hertz))  # the loop decays by 60 dB in half a second or two
    y = np.zeros((n, LENGTH + int(N.max()) + 2))
    first = int(N.max()) + 2  # y_0
    burst = rng.uniform(-1, 1, (n, int(N.max()) + 1))
    burst -= burst.mean(axis=1, keepdims=True)
    rows = np.arange(n)
    taps = np.stack([(1 - a) / 2, np.full(n, 0.5), a / 2]) * g
    for t in range(LENGTH):
        at = first + t - N
        value = taps[0] * y[rows, at] + taps[1] * y[rows, at - 1] + taps[2] * y[rows, at - 2]
        if t < burst.shape[1]:
            value = value + np.where(t <= N, burst[:, t], 0)
        y[:, first + t] = value
    fade = np.minimum(1, (LENGTH - np.arange(LENGTH)) / 400)  # 50 ms: no click at the end
    return y[:, first:] * fade


def _drum(kind: int, rng: np.random.Generator) -> Array:
    """A falling tone, noise with a tone, or high noise, each with an exponential decay: (T,)."""
    t = np.arange(LENGTH) / RATE
    noise = rng.standard_normal(LENGTH)
    if kind == 0:
        phase = 2 * math.pi * (45 * t + 90 / 30 * (1 - np.exp(-30 * t)) * rng.uniform(0.8, 1.2))
        return np.asarray(np.sin(phase) * np.exp(-t / rng.uniform(0.06, 0.12)))
    if kind == 1:
        tone = 0.5 * np.sin(2 * math.pi * rng.uniform(170, 210) * t)
        return np.asarray((0.6 * noise + tone) * np.exp(-t / rng.uniform(0.04, 0.08)))
    return np.asarray(np.diff(noise, prepend=0.0) * np.exp(-t / rng.uniform(0.015, 0.04)))
