"""Rotation, cosine codes, SimVQ, product codes, Gumbel-softmax and logit-Laplace: PyTorch, float64, 1e-12.

Also against vector-quantize-pytorch where it computes what the papers say.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most

from vqnp import ops

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
F = torch.nn.functional

seeds = st.integers(0, 2**32 - 1)


def tensor(a):
    return torch.tensor(a, requires_grad=True)


def close(ours, theirs, size=0.0):
    """Equal to 1e-12 of the largest entry, or of size where a difference cancels."""
    theirs = theirs.detach().numpy()
    assert np.shape(ours) == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= 1e-12 * max(np.abs(theirs).max(initial=0), size, 1e-300)


def gradients(outputs, cotangents, tensors):
    objective = sum((torch.tensor(c) * out).sum() for c, out in zip(cotangents, outputs, strict=True))
    return torch.autograd.grad(objective, tensors)


def rotated(z, q):
    """sg(λR) z, with R written out as a matrix."""
    with torch.no_grad():
        u, w = F.normalize(z, dim=-1), F.normalize(q, dim=-1)
        r = F.normalize(u + w, dim=-1)
        outer = lambda a, b: a[..., :, None] * b[..., None, :]
        R = torch.eye(z.shape[-1], dtype=z.dtype) - 2 * outer(r, r) + 2 * outer(w, u)
        scaled = R * (q.norm(dim=-1) / z.norm(dim=-1))[..., None, None]
    return (scaled @ z[..., None])[..., 0]


def quantized(z, E, beta, estimator):
    """z_q and both losses added up, as they are written in PyTorch."""
    k = ((z[:, None] - E) ** 2).sum(-1).argmin(-1)
    e = E[k]
    L = ((z.detach() - e) ** 2).mean() + beta * ((z - e.detach()) ** 2).mean()
    return (rotated(z, e) if estimator == "rotation" else z + (e - z).detach()), L, k


estimators = st.sampled_from(["straight_through", "rotation"])


@given(seeds, st.integers(2, 5))
@at_most(40)
def test_rotate(seed, D):
    r = np.random.default_rng(seed)
    z, q, dy = r.standard_normal((3, 4, D))
    tz = tensor(z)
    their_y = rotated(tz, torch.tensor(q))
    y, cache = ops.rotate_forward(z, q)
    size = 1e2 * np.abs(q).max() / np.linalg.norm(z, axis=1).min()  # λ, and r near opposite directions
    close(y, their_y, size)
    close(ops.rotate_backward(dy, cache), *gradients([their_y], [dy], [tz]), size)


def test_rotate_is_that_of_vector_quantize_pytorch(rng):
    module = pytest.importorskip("vector_quantize_pytorch.vector_quantize_pytorch")
    z, q, dy = rng.standard_normal((3, 20, 6))
    tz = tensor(z)
    y, cache = ops.rotate_forward(z, q)
    their_y = module.rotate_to(tz, torch.tensor(q))
    close(y, their_y, 10)
    close(ops.rotate_backward(dy, cache), *gradients([their_y], [dy], [tz]), 10)


@given(seeds, st.integers(1, 5), st.integers(2, 4), st.floats(0, 4), estimators)
@at_most(40)
def test_cosine_quantize(seed, K, D, beta, estimator):
    r = np.random.default_rng(seed)
    z, E, dz_q, dL = r.standard_normal((6, D)), r.standard_normal((K, D)), r.standard_normal((6, D)), 1.5
    tz, tE = tensor(z), tensor(E)
    their_z_q, their_L, their_k = quantized(F.normalize(tz, dim=-1), F.normalize(tE, dim=-1), beta, estimator)
    z_q, codebook, commitment, k, cache = ops.cosine_quantize_forward(z, E, beta=beta, estimator=estimator)
    assert np.array_equal(k, their_k)
    close(z_q, their_z_q, 10)
    close(codebook + commitment, their_L, 1)
    lengths = [np.linalg.norm(x, axis=-1).min() for x in (z, E)]
    theirs = gradients([their_z_q, their_L], [dz_q, dL], [tz, tE])
    mine = ops.cosine_quantize_backward(dz_q, dL, cache)
    for ours, their, length in zip(mine, theirs, lengths, strict=True):
        close(ours, their, 100 / length)


@given(seeds, st.integers(1, 7), st.integers(1, 4), st.floats(0, 4), estimators)
@at_most(40)
def test_simvq(seed, K, C, beta, estimator):
    r = np.random.default_rng(seed)
    z, frozen, W, dz_q = (r.standard_normal(s) for s in ((6, 3), (K, C), (C, 3), (6, 3)))
    tz, tW = tensor(z), tensor(W)
    their_z_q, their_L, their_k = quantized(tz, torch.tensor(frozen) @ tW, beta, estimator)
    z_q, codebook, commitment, k, cache = ops.simvq_forward(z, frozen, W, beta=beta, estimator=estimator)
    assert np.array_equal(k, their_k)
    close(z_q, their_z_q, 100)
    close(codebook + commitment, their_L)
    theirs = gradients([their_z_q, their_L], [dz_q, 1.5], [tz, tW])
    for ours, their in zip(ops.simvq_backward(dz_q, 1.5, cache), theirs, strict=True):
        close(ours, their, 1e3)


def test_simvq_is_that_of_vector_quantize_pytorch(rng):
    """Its loss is the same two terms, without a rotation: W in PyTorch is ours transposed."""
    package = pytest.importorskip("vector_quantize_pytorch")
    theirs = package.SimVQ(3, 8, rotation_trick=False, input_to_quantize_commit_loss_weight=0.25).double()
    z, dz_q = rng.standard_normal((1, 6, 3)), rng.standard_normal((1, 6, 3))
    W = theirs.code_transform.weight
    tz = tensor(z)
    their_z_q, their_k, their_L = theirs(tz)
    z_q, codebook, commitment, k, cache = ops.simvq_forward(
        z, theirs.frozen_codebook.numpy(), np.ascontiguousarray(W.detach().numpy().T)
    )
    assert np.array_equal(k, their_k)
    close(z_q, their_z_q, 10)
    close(codebook + commitment, their_L)
    their_dz, their_dW = gradients([their_z_q, their_L], [dz_q, 1.5], [tz, W])
    dz, dW = ops.simvq_backward(dz_q, 1.5, cache)
    close(dz, their_dz, 10)
    close(dW, their_dW.T, 10)


@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.floats(0, 4))
@at_most(30)
def test_product_quantize(seed, G, K, d, beta):
    r = np.random.default_rng(seed)
    z, E, dz_q = r.standard_normal((6, G * d)), r.standard_normal((G, K, d)), r.standard_normal((6, G * d))
    tz, tE = tensor(z), tensor(E)
    parts = [quantized(tz[:, g * d : (g + 1) * d], tE[g], beta, "straight_through") for g in range(G)]
    their_z_q, their_L = torch.cat([p[0] for p in parts], -1), sum(p[1] for p in parts) / G
    z_q, codebook, commitment, k, cache = ops.product_quantize_forward(z, E, beta=beta)
    assert np.array_equal(k, torch.stack([p[2] for p in parts], -1))
    close(z_q, their_z_q, 10)
    close(codebook + commitment, their_L)
    theirs = gradients([their_z_q, their_L], [dz_q, 1.5], [tz, tE])
    for ours, their in zip(ops.product_quantize_backward(dz_q, 1.5, cache), theirs, strict=True):
        close(ours, their, 10)


@given(seeds, st.integers(1, 6), st.floats(0.1, 5), st.booleans())
@at_most(40)
def test_gumbel_softmax(seed, K, tau, hard):
    """F.gumbel_softmax with the noise that it draws."""
    r = np.random.default_rng(seed)
    a, dy = r.standard_normal((2, 5, K))
    ta = tensor(a)
    torch.manual_seed(seed % 1000)
    their_y = F.gumbel_softmax(ta, tau, hard)
    torch.manual_seed(seed % 1000)
    noise = -torch.empty_like(ta, memory_format=torch.legacy_contiguous_format).exponential_().log()
    y, cache = ops.gumbel_softmax_forward(a, noise.detach().numpy(), tau, hard)
    size = 1e2 / tau
    close(y, their_y, size)
    close(ops.gumbel_softmax_backward(dy, cache)[0], *gradients([their_y], [dy], [ta]), size)


@given(seeds, st.integers(1, 6), st.floats(0, 20))
@at_most(40)
def test_categorical_kl(seed, K, scale):
    a = scale * np.random.default_rng(seed).standard_normal((5, K))
    ta = tensor(a)
    q, uniform = (torch.distributions.Categorical(logits=x) for x in (ta, torch.zeros(5, K).double()))
    their_L = torch.distributions.kl_divergence(q, uniform).mean()
    L, cache = ops.categorical_kl_forward(a)
    close(L, their_L, 10 + scale)
    close(ops.categorical_kl_backward(1.5, cache), *gradients([their_L], [1.5], [ta]), 10 + scale)


@given(seeds, st.integers(1, 6))
@at_most(40)
def test_logit_laplace(seed, D):
    r = np.random.default_rng(seed)
    arrays = (*r.standard_normal((2, 5, D)), r.uniform(0.01, 0.99, (5, D)))
    mu, logb, x = tensors = [tensor(a) for a in arrays]
    D_ = torch.distributions
    density = D_.TransformedDistribution(D_.Laplace(mu, logb.exp()), [D_.SigmoidTransform()])
    their_L = -density.log_prob(x).sum(-1).mean()
    L, cache = ops.logit_laplace_nll_forward(*arrays)
    close(L, their_L, 100 * D)
    theirs = gradients([their_L], [1.5], tensors)
    for ours, their in zip(ops.logit_laplace_nll_backward(1.5, cache), theirs, strict=True):
        close(ours, their, 1e3)
