"""Spectrograms, the spectral loss and µ-law, forward and backward, against PyTorch in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import close
from strategies import at_most, seeds

from vqnp import ops

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[crosscheck]'")
pytestmark = pytest.mark.slow


def magnitudes(x, n_fft, hop, window):
    """|torch.stft| with Hann's window and zeros around: (B, T) -> (B, F, n_fft/2 + 1)."""
    w = torch.hann_window(window, dtype=torch.float64)
    X = torch.stft(x, n_fft, hop, window, w, center=True, pad_mode="constant", return_complex=True)
    return X.abs().swapaxes(1, 2)


@given(seeds, st.sampled_from([(16, 4, 16), (32, 5, 12), (8, 8, 6)]), st.integers(1, 50))
@at_most(20)
def test_stft(seed, resolution, T):
    r = np.random.default_rng(seed)
    x = r.standard_normal((2, T))
    tx = torch.tensor(x, requires_grad=True)
    their = magnitudes(tx, *resolution)
    S, cache = ops.stft_forward(x, *resolution)
    close(S, their.detach().numpy(), 10)
    dS = np.where(S > 1e-3, r.standard_normal(S.shape), 0)  # where X is 0 up to rounding, so is its phase
    their.backward(torch.tensor(dS))
    close(ops.stft_backward(dS, cache), tx.grad.numpy(), 1e3)


@pytest.mark.parametrize("relative", [True, False])
@given(seeds)
@settings(max_examples=10)
def test_spectral_loss(relative, seed):
    resolutions = ((32, 8, 32), (16, 4, 12))
    arrays = np.random.default_rng(seed).standard_normal((2, 3, 70))
    tx_hat, tx = (torch.tensor(a, requires_grad=True) for a in arrays)
    total = 0
    for resolution in resolutions:
        S_hat, S = (magnitudes(t, *resolution) for t in (tx_hat, tx))
        scale = S.flatten(1).norm(dim=1).sum() if relative else 3
        total = total + (S_hat - S).flatten(1).norm(dim=1).sum() / scale
    (total / 2).backward()
    L, cache = ops.spectral_loss_forward(*arrays, resolutions, relative)
    close(L, (total / 2).item(), 10)
    for ours, their in zip(ops.spectral_loss_backward(1.0, cache), (tx_hat, tx), strict=True):
        close(ours, their.grad.numpy(), 10)


@given(seeds, st.sampled_from([1.0, 255.0]))
@settings(max_examples=10)
def test_mu_law(seed, mu):
    x = np.random.default_rng(seed).uniform(-1, 1, 9)
    pairs = {
        lambda t: torch.sign(t) * torch.log1p(mu * t.abs()) / math.log1p(mu): (
            ops.mu_law_forward, ops.mu_law_backward
        ),
        lambda t: torch.sign(t) * torch.expm1(math.log1p(mu) * t.abs()) / mu: (
            ops.mu_law_inverse_forward, ops.mu_law_inverse_backward
        ),
    }  # fmt: skip
    for theirs, (forward, backward) in pairs.items():
        tx = torch.tensor(x, requires_grad=True)
        ty = theirs(tx)
        ty.sum().backward()
        y, cache = forward(x, mu)
        close(y, ty.detach().numpy(), 1)
        close(backward(np.ones(9), cache), tx.grad.numpy(), 1)
