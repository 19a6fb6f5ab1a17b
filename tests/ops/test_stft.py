"""Magnitudes of short-time Fourier transforms, and the loss that compares them, against plain loops."""

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, lay_out, layouts, seeds

from vqnp import ops
from vqnp.gradcheck import gradcheck
from vqnp.ops.spectral_loss import RESOLUTIONS
from vqnp.ops.stft import hann

resolutions = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 9)).map(
    lambda r: (max(r[0], r[2]), r[1], r[2])
)
"""(n_fft, hop, window), with hops longer than windows and odd lengths too."""


@given(seeds, st.sampled_from("fd"), st.integers(0, 2), st.integers(1, 14), resolutions, layouts)
@at_most(40)
def test_it_is_the_oracle(seed, dtype, B, T, resolution, layout):
    x = lay_out(np.random.default_rng(seed).standard_normal((B, T)).astype(dtype), layout)
    before = x.tobytes()
    S, cache = ops.stft_forward(x, *resolution)
    oracles.close(S, oracles.stft(x, *resolution), 10)
    dx = ops.stft_backward(np.ones_like(S), cache)
    assert {S.dtype, dx.dtype} == {x.dtype} and dx.shape == x.shape and x.tobytes() == before


@given(seeds, st.integers(2, 14), resolutions)
@at_most(25)
def test_it_has_its_gradient(seed, T, resolution):
    r = np.random.default_rng(seed)
    x = r.standard_normal((2, T))
    assert ops.stft_forward(x, *resolution)[0][..., 1:-1].min(initial=1) >= 0
    S, cache = ops.stft_forward(x, *resolution)
    dS = np.where(S > 0.05, r.standard_normal(S.shape), 0)  # away from the kink at 0
    v, h = r.standard_normal(x.shape), 1e-6
    above, below = (ops.stft_forward(x + s * v, *resolution)[0] for s in (h, -h))
    slope = ((above - below) / (2 * h) * dS).sum()
    assert (ops.stft_backward(dS, cache) * v).sum() == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_gradcheck():
    r = np.random.default_rng(1)
    x = r.standard_normal((2, 30))
    for resolution in ((8, 3, 8), (9, 4, 7), (16, 5, 6)):
        gradcheck(lambda x: ops.stft_forward(x, *resolution), ops.stft_backward, x, rng=r).raise_if_failed()


def test_the_gradient_at_silence_is_0_and_energy_is_kept():
    S, cache = ops.stft_forward(np.zeros((1, 20)), 8, 2)
    assert not S.any() and not ops.stft_backward(np.ones_like(S), cache).any()
    assert np.allclose(hann(8)[:4] + hann(8)[4:], 1)  # frames half a window apart add up to the sound
    tone = np.cos(2 * np.pi * 3 / 16 * np.arange(64))[None]
    assert (ops.stft_forward(tone, 16, 16)[0][0, 1:-1].argmax(axis=-1) == 3).all()


@pytest.mark.parametrize("relative", [True, False])
@given(seeds, st.sampled_from("fd"), st.integers(1, 3), st.integers(1, 12), st.lists(resolutions, min_size=1))
@at_most(20)
def test_the_loss_is_the_oracle(relative, seed, dtype, B, T, which):
    x_hat, x = np.random.default_rng(seed).standard_normal((2, B, T)).astype(dtype)
    which = which[:2]
    L, cache = ops.spectral_loss_forward(x_hat, x, which, relative)
    oracles.close(L, oracles.spectral_loss(x_hat, x, which, relative), 10)
    gradients = ops.spectral_loss_backward(1.0, cache)
    assert {L.dtype, *(d.dtype for d in gradients)} == {x.dtype} and L.shape == ()
    assert ops.spectral_loss_backward(1.0, cache, need_dx=False)[1] is None


@pytest.mark.parametrize("relative", [True, False])
def test_the_loss_has_its_gradient(relative):
    r = np.random.default_rng(2)
    x_hat, x = r.standard_normal((2, 3, 40))
    forward = lambda *arrays: ops.spectral_loss_forward(*arrays, ((8, 3, 8), (16, 4, 12)), relative)
    gradcheck(forward, ops.spectral_loss_backward, x_hat, x, rng=r).raise_if_failed()


def test_the_loss_of_the_same_sound_and_of_silence():
    x = np.random.default_rng(3).standard_normal((2, 600))
    L, cache = ops.spectral_loss_forward(x, x)
    assert L == 0 and not any(d.any() for d in ops.spectral_loss_backward(1.0, cache))
    assert ops.spectral_loss_forward(np.zeros_like(x), x)[0] == pytest.approx(1)
    assert ops.spectral_loss_forward(1000 * x, 2000 * x)[0] == pytest.approx(0.5)  # whatever the loudness
    silent, cache = ops.spectral_loss_forward(x, np.zeros_like(x))
    assert silent > 1 and np.isfinite(ops.spectral_loss_backward(1.0, cache)[0]).all()
    assert len(RESOLUTIONS) == 3


X = np.zeros((2, 8))


def test_bad_input_is_refused():
    where = "stft_forward"
    with refused("window", "must be at most n_fft, 4", "5", where=where):
        ops.stft_forward(X, 4, 2, 5)
    with refused("hop", "at least 1", "0", where=where):
        ops.stft_forward(X, 4, 0)
    with refused("x", "at least one sample", "shape (2, 0)", where=where):
        ops.stft_forward(X[:, :0], 4, 2)
    with refused("x", "must have shape", "shape (2, 8, 1)", where=where):
        ops.stft_forward(X[..., None], 4, 2)
    with refused("dS", "must have shape (2, 5, 3)", where="stft_backward"):
        ops.stft_backward(X, ops.stft_forward(X, 4, 2)[1])
    with refused("resolutions", "must be a list", "()", where="spectral_loss_forward"):
        ops.spectral_loss_forward(X, X, ())
    with refused("x", "must have shape (2, 8)", "shape (2, 7)", where="spectral_loss_forward"):
        ops.spectral_loss_forward(X, X[:, :7])
