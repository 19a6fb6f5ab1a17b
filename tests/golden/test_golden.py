"""vqnp against what Sonnet and vector-quantize-pytorch answered: codes, losses, gradients, 100 EMA steps.

README.md beside this says how each file was made, and why the tolerances are what they are.
"""

from pathlib import Path

import numpy as np
import pytest

from vqnp import EMAVectorQuantizer, nearest_code, ops, perplexity

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def sonnet():
    with np.load(HERE / "sonnet.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def vq_torch():
    with np.load(HERE / "vq_torch.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def rows_close(ours, theirs, rtol):
    """Equal to rtol of each row's largest entry."""
    error = np.abs(ours - theirs).max(axis=-1)
    assert (error <= rtol * np.abs(theirs).max(axis=-1)).all()


def test_sonnets_gradient_codebook(sonnet):
    z_q, codebook, commitment, k, cache = ops.quantize_forward(sonnet["vq_z"], sonnet["vq_E"], beta=0.25)
    np.testing.assert_array_equal(k, sonnet["vq_codes"])
    np.testing.assert_allclose(z_q, sonnet["vq_quantize"], rtol=1e-12, atol=1e-13)  # theirs is z + (z_q - z)
    np.testing.assert_allclose(codebook + commitment, sonnet["vq_loss"], rtol=1e-12)
    np.testing.assert_allclose(commitment, 0.25 * codebook, rtol=1e-15)
    dz, dE = ops.quantize_backward(sonnet["vq_G"], 1.0, cache)
    np.testing.assert_allclose(dz, sonnet["vq_dz"], rtol=1e-12)
    np.testing.assert_allclose(dE, sonnet["vq_dE"], rtol=1e-12, atol=1e-15)
    counts = np.bincount(k.ravel(), minlength=32)
    p = counts / counts.sum()
    np.testing.assert_allclose(np.exp(-(p * np.log(p + 1e-10)).sum()), sonnet["vq_perplexity"], rtol=1e-12)
    np.testing.assert_allclose(perplexity(counts), sonnet["vq_perplexity"], rtol=1e-8)  # ours is exact


def test_sonnets_ema_codebook_over_100_steps(sonnet):
    """What Sonnet does: averages from zero, debiased, Laplace smoothing, codes from before the update."""
    z = sonnet["ema_z"]
    vq = EMAVectorQuantizer(
        16, 4, 0.25, 0.99, 1e-5, zero_debias=True, dtype=np.float64, codebook_init="normal"
    )
    vq.ema = ops.ema_initialize(sonnet["ema_E0"], zero=True)
    at = {int(step): i for i, step in enumerate(sonnet["ema_steps"])}
    for t in range(1, 101):
        z_q, codebook, commitment, k, cache = vq.forward(z[t - 1])
        np.testing.assert_array_equal(k, sonnet["ema_codes"][t - 1])
        np.testing.assert_allclose(commitment, sonnet["ema_loss"][t - 1], rtol=1e-12)
        assert codebook == 0
        value = perplexity(np.bincount(k, minlength=16))
        np.testing.assert_allclose(value, sonnet["ema_perplexity"][t - 1], rtol=1e-8)
        before = vq.embeddings
        vq.update(z[t - 1], k, 0)
        if t in at:
            i = at[t]
            rows_close(before, sonnet["ema_E_before"][i], 1e-12)
            np.testing.assert_allclose(z_q, sonnet["ema_quantize"][i], rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(
                vq.backward(sonnet["ema_G"], cache), sonnet["ema_dz"][i], rtol=1e-12, atol=1e-14
            )
            np.testing.assert_allclose(vq.ema.N, sonnet["ema_hN"][i], rtol=1e-12)
            np.testing.assert_allclose(vq.ema.m, sonnet["ema_hm"][i], rtol=1e-12, atol=1e-14)
            rows_close(vq.embeddings, sonnet["ema_E"][i], 1e-12)


@pytest.mark.parametrize(
    "wrong", [{"smoothing": "additive"}, {"smoothing": "none"}, {"zero_debias": False}], ids=str
)
def test_the_other_variants_are_not_sonnets(sonnet, wrong):
    """So that the agreement above means something: at step 2 each is off by more than its tolerance."""
    state = ops.ema_initialize(sonnet["ema_E0"], zero=True)
    for z in sonnet["ema_z"][:2]:
        k = nearest_code(z, state.E)
        state = ops.ema_update(state, z, k, 0.99, 1e-5, **{"zero_debias": True, **wrong})
    with pytest.raises(AssertionError):
        rows_close(state.E, sonnet["ema_E"][1], 1e-9)


@pytest.mark.parametrize("name", ["one", "zero"])
def test_vector_quantize_pytorch_over_100_steps(vq_torch, name):
    """In float32, as it is inside: every row of E, N and m to 2e-6 of its largest entry; codes equal.

    "one" starts from N = 1, m = e; "zero" from N = 0, m = e, a start that ops leaves to its caller.
    """
    z, steps = vq_torch["z"], {int(step): i for i, step in enumerate(vq_torch["steps"])}
    state = ops.ema_initialize(vq_torch["E0"])
    if name == "zero":
        state = state._replace(N=np.zeros_like(state.N))
    for t in range(1, 101):
        z_q, _, commitment, k, cache = ops.quantize_forward(z[t - 1], state.E, codebook_loss=False)
        np.testing.assert_array_equal(k, vq_torch[f"{name}_codes"][t - 1])
        np.testing.assert_allclose(commitment, vq_torch[f"{name}_loss"][t - 1], rtol=2e-6)
        if t == 1:
            np.testing.assert_allclose(z_q, vq_torch[f"{name}_quantize1"], rtol=1e-6, atol=1e-6)
            dz, dE = ops.quantize_backward(vq_torch["G"], 1.0, cache)
            np.testing.assert_allclose(dz, vq_torch[f"{name}_dz1"], rtol=1e-6, atol=1e-6)
            assert not dE.any()
        state = ops.ema_update(state, z[t - 1], k, 0.99, 1e-5)
        if t in steps:
            i = steps[t]
            rows_close(state.E, vq_torch[f"{name}_E"][i], 2e-6)
            rows_close(state.m, vq_torch[f"{name}_m"][i], 2e-6)
            np.testing.assert_allclose(state.N, vq_torch[f"{name}_N"][i], rtol=2e-6, atol=1e-30)
