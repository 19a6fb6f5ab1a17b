"""S_{f,u} = |X_{f,u}|,  X_{f,u} = Σ_n w_n x_{h f + n − ⌊W/2⌋} exp(−2πi u n / N): a sound's spectrogram.

x: (B, T) -> S: (B, F, ⌊N/2⌋ + 1);  N: n_fft, h: hop, W: window, F = ⌊(T + 2⌊W/2⌋ − W) / h⌋ + 1

w is Hann's window, w_n = sin²(π n / W), and x is 0 before its first and after its last sample.
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_int, fail
from vqnp._shapes import checked

Cache = tuple[Any, ...]


@checked(x="(B, T)")
def stft_forward(x: Array, n_fft: int, hop: int, window: int | None = None) -> tuple[Array, Cache]:
    """S_{f,u} = |Σ_n w_n x_{h f + n − ⌊W/2⌋} exp(−2πi u n / N)|: the magnitudes of a spectrum over time.

    x: (B, T) -> S: (B, F, ⌊N/2⌋ + 1)

    Parameters
    ----------
    n_fft : int
        N, the number of points of each transform: frequency u is u/N cycles a sample.
    hop : int
        h, the samples from one frame to the next.
    window : int, at most n_fft
        W, the samples in a frame; by default N.

    Raises
    ------
    InputError
        Wrong shape or dtype, no samples, or a window longer than the transform.

    References
    ----------
    Allen & Rabiner 1977, Proc. IEEE 65(11). The window and the frames are those of torch.stft with zeros
    around x (center=True, pad_mode="constant"), whose magnitudes these are.
    """
    where = "stft_forward"
    N, h = check_int(where, "n_fft", n_fft), check_int(where, "hop", hop)
    W = N if window is None else check_int(where, "window", window)
    if W > N:
        fail(where, "window", f"must be at most n_fft, {N}", W)
    if x.shape[1] == 0:
        fail(where, "x", "must have at least one sample", f"shape {x.shape}")
    before = W // 2
    padded = np.pad(x, ((0, 0), (before, before)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, W, axis=1)[:, ::h]
    X = np.fft.rfft(frames * hann(W, x.dtype), N)
    S = np.abs(X).astype(x.dtype, copy=False)
    return S, (X, S, x.shape, (N, h, W))


def stft_backward(dS: Array, cache: Cache) -> Array:
    """dx_j = Σ_{f,n: h f + n − ⌊W/2⌋ = j} w_n Σ_u dS_{f,u} Re[X_{f,u}/S_{f,u} exp(2πi u n / N)].

    dS: (B, F, ⌊N/2⌋ + 1) -> dx: (B, T)

    |X| has no derivative where X = 0; as of ‖·‖ at 0, 0 is taken, one of its subgradients.
    """
    X, S, (B, T), (N, h, W) = cache
    check_array("stft_backward", "dS", dS, shape=S.shape, dtype=S.dtype)
    G = dS * (X / np.where(S > 0, S, 1))
    G[..., 1 : (N + 1) // 2] *= 0.5  # irfft adds the conjugates of all frequencies but 0 and N/2, which is
    dframes = np.fft.irfft(G, N)[..., :W] * (N * hann(W, S.dtype))  # there for even N; and it divides by N
    dpadded = np.zeros((B, T + 2 * (W // 2)), S.dtype)
    for f in range(S.shape[1]):
        dpadded[:, f * h : f * h + W] += dframes[:, f]
    return dpadded[:, W // 2 : W // 2 + T]


def hann(W: int, dtype: Any = np.float64) -> Array:
    """w_n = sin²(π n / W), n = 0, …, W − 1: of length 1 the number 1, else the periodic window."""
    if W == 1:
        return np.ones(1, dtype)
    return np.square(np.sin(np.pi * np.arange(W) / W)).astype(dtype)
