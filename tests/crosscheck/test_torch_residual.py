"""Lookup-free and residual quantization against PyTorch's autograd in float64, and vector-quantize-pytorch.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most

from vqnp import ops
from vqnp.nn import LookupFreeQuantizer

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

seeds = st.integers(0, 2**32 - 1)
NO_PACKAGE = "vector-quantize-pytorch is not installed"


def close(ours, theirs, size=1.0):
    """Equal to 1e-12 of the largest entry, or of size where a sum cancels."""
    theirs = theirs.detach().numpy()
    assert np.shape(ours) == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= 1e-12 * max(np.abs(theirs).max(initial=0), size)


def entropy(p):
    return -(p * p.log()).sum(-1)


def their_lookup_free(z, beta, w, gamma, tau, batch, spherical):
    """z_q and both losses as sums over all codes, written as one writes them in PyTorch."""
    D = z.shape[-1]
    bits = torch.arange(1 << D)[:, None] >> torch.arange(D) & 1
    codes = (2.0 * bits.to(z.dtype) - 1) * (D**-0.5 if spherical else 1.0)
    u = torch.nn.functional.normalize(z, dim=-1) if spherical else z
    distance = ((u[:, None] - codes) ** 2).sum(-1)
    e = codes[distance.argmin(-1)]
    p = (-distance / tau).softmax(-1)
    ones = p.mean(0) @ bits.to(z.dtype)
    whole = entropy(p.mean(0)) if batch == "exact" else entropy(ones) + entropy(1 - ones)
    commitment = beta * ((u - e.detach()) ** 2).mean()
    return u + (e - u).detach(), w * (entropy(p).mean() - gamma * whole), commitment


@pytest.mark.parametrize("batch", ["exact", "bound"])
@pytest.mark.parametrize("spherical", [False, True])
@given(seeds, st.integers(1, 6), st.integers(1, 5), st.floats(0.5, 2))
@at_most(20)
def test_lookup_free(batch, spherical, seed, N, D, tau):
    r = np.random.default_rng(seed)
    z, dz_q, dL = r.standard_normal((N, D)), r.standard_normal((N, D)), 1.5
    quantizer = LookupFreeQuantizer(D, 0.7, 0.2, 0.9, tau, batch, spherical, dtype="float64")
    *outputs, _, cache = quantizer.forward(z)
    theirs_z = torch.tensor(z, requires_grad=True)
    theirs = their_lookup_free(theirs_z, 0.7, 0.2, 0.9, tau, batch, spherical)
    for a, b in zip(outputs, theirs, strict=True):
        close(a, b)
    objective = (torch.tensor(dz_q) * theirs[0]).sum() + dL * (theirs[1] + theirs[2])
    (dz,) = torch.autograd.grad(objective, theirs_z)
    shortest = np.linalg.norm(z, axis=-1).min() if spherical else 1.0
    close(quantizer.backward(dz_q, cache, dL), dz, 10 / shortest)


def their_residual(z, E, n, beta):
    """RQ-VAE's form: the codes of detached residuals, and one straight-through step around their sum."""
    r, total, codebook, commitment = z.detach(), 0, 0, 0
    for i in range(n):
        e = E[i % len(E)]
        chosen = e[((r[:, None] - e) ** 2).sum(-1).argmin(-1)]
        codebook = codebook + ((r - chosen) ** 2).mean() / n
        total = total + chosen.detach()
        commitment = commitment + beta * ((z - total) ** 2).mean() / n
        r = r - chosen.detach()
    return z + (total - z).detach(), codebook, commitment


@given(seeds, st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.floats(0, 2))
def test_residual(seed, N, n, D, shared, beta):
    r = np.random.default_rng(seed)
    z, E = r.standard_normal((N, D)), r.standard_normal((1 if shared else n, 4, D))
    dz_q, dL = r.standard_normal((N, D)), 1.5
    *outputs, _, cache = ops.residual_quantize_forward(z, E, n, beta=beta)
    tensors = [torch.tensor(a, requires_grad=True) for a in (z, E)]
    theirs = their_residual(*tensors, n, beta)
    for a, b in zip(outputs, theirs, strict=True):
        close(a, b)
    objective = (torch.tensor(dz_q) * theirs[0]).sum() + dL * (theirs[1] + theirs[2])
    gradients = torch.autograd.grad(objective, tensors)
    for a, b in zip(ops.residual_quantize_backward(dz_q, dL, cache), gradients, strict=True):
        close(a, b, 10)


# vector-quantize-pytorch 1.32.0.


def test_its_lookup_free_quantizer_has_our_losses_and_its_bits_in_the_other_order():
    """In float32, and with probabilities of at least 1e-5, where it clamps the logarithm."""
    package = pytest.importorskip("vector_quantize_pytorch", reason=NO_PACKAGE)
    for spherical in (False, True):
        theirs = package.LFQ(
            dim=3, codebook_size=8, entropy_loss_weight=0.2, commitment_loss_weight=0.7, diversity_gamma=0.9,
            spherical=spherical,
        ).train()  # fmt: skip
        ours = LookupFreeQuantizer(3, 0.7, 0.2, 0.9, 2.0, spherical=spherical)
        x = torch.randn(1, 40, 3, requires_grad=True)
        found, parts = theirs(x, inv_temperature=0.5, return_loss_breakdown=True)
        z_q, entropy_loss, commitment, k, cache = ours.forward(x.detach().numpy()[0])
        np.testing.assert_allclose(found.quantized.detach().numpy()[0], z_q, rtol=1e-5)
        reverse = [int(f"{j:03b}"[::-1], 2) for j in range(8)]
        np.testing.assert_array_equal(found.indices.numpy()[0], np.take(reverse, k))
        aux = 0.2 * (parts.per_sample_entropy - 0.9 * parts.batch_entropy)
        assert entropy_loss == pytest.approx(float(aux.detach()), rel=1e-4)
        assert commitment == pytest.approx(0.7 * float(parts.commitment.detach()), rel=1e-4)
        (dx,) = torch.autograd.grad(found.entropy_aux_loss, x)
        dz = ours.backward(np.zeros_like(z_q), cache, 1.0)
        np.testing.assert_allclose(dz, dx.numpy()[0], atol=1e-5)


def test_its_residual_quantizer_has_our_codes_and_the_gradient_n_times():
    package = pytest.importorskip("vector_quantize_pytorch", reason=NO_PACKAGE)
    n, r = 3, np.random.default_rng(0)
    theirs = package.ResidualVQ(
        dim=3, num_quantizers=n, codebook_size=5, rotation_trick=False, commitment_weight=1.0
    ).train()
    E = r.standard_normal((n, 5, 3)).astype(np.float32)
    for layer, e in zip(theirs.layers, E, strict=True):
        layer._codebook.embed.data.copy_(torch.tensor(e)[None])
    x = torch.tensor(r.standard_normal((1, 40, 3)).astype(np.float32), requires_grad=True)
    out, indices, losses = theirs(x)
    z_q, _, commitment, k, cache = ops.residual_quantize_forward(x.detach().numpy()[0], E, n, beta=1.0)
    np.testing.assert_allclose(out.detach().numpy()[0], z_q, atol=1e-5)
    np.testing.assert_array_equal(indices.numpy()[0], k)
    assert float(losses.detach().mean()) == pytest.approx(float(commitment), rel=1e-4)
    (dx,) = torch.autograd.grad(out.sum(), x)
    dz, _ = ops.residual_quantize_backward(np.ones_like(z_q), 0.0, cache)
    np.testing.assert_array_equal(dz, 1)
    np.testing.assert_allclose(dx.numpy()[0], n, rtol=1e-5)
