"""vector-quantize-pytorch 1.32.0 is what semantics.md, read and measured on it, says that it is.

Skipped where it is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os
from importlib import metadata

import pytest

from vqnp.crosscheck import check

if not os.environ.get("VQNP_REQUIRE_TORCH"):
    why = "vector-quantize-pytorch is not installed (the crosscheck extra)"
    pytest.importorskip("vector_quantize_pytorch", reason=why)

from vqnp.crosscheck.adapters.vq_pytorch import CONSISTENT, VQPytorch  # noqa: E402

ALLOWED = {"evaluation_loss": "zero"}


def test_it_is_the_version_that_is_spoken_of():
    assert metadata.version("vector-quantize-pytorch") == "1.32.0"


def test_with_consistent_settings_it_is_our_default_but_for_the_loss_in_evaluation_and_the_distance():
    report = check(VQPytorch(**CONSISTENT), allow=ALLOWED, beta=0.25, decay=0.99, epsilon=1e-5)
    assert report.ok, report
    told = report.fingerprint
    assert told["start"] == "consistent" and told["smoothing"] == "laplace" and told["write_back"] == "no"
    assert told["beta_on"] == "none" and told["straight_through"] == "copy" and told["codes"] == "before"
    assert told["distance"] == "expanded_float32" and told["evaluation_loss"] == "zero"
    (note,) = check(VQPytorch(**CONSISTENT)).notes  # without the allowance
    assert note.startswith("loss in evaluation: 0")


def test_by_default_it_rotates_and_forgets_fast():
    report = check(VQPytorch())
    assert report.fingerprint["straight_through"] == "rotation"
    assert report.constants["decay"] == pytest.approx(0.8, rel=1e-4)
    assert report.constants["beta"] == pytest.approx(1.0, rel=1e-4)
    assert {row.quantity for row in report.rows if row.result == "fail"} == {"dz"}


def test_its_learnable_codebook_is_one_term_without_stop_gradients():
    """The classical loss at β = 1 has its gradients, and no other β has."""
    settings = {"learnable_codebook": True, "ema_update": False, "rotation_trick": False}
    report = check(VQPytorch(**settings))
    assert report.fingerprint["beta_on"] == "undetached" and report.fingerprint["straight_through"] == "copy"
    results = {row.quantity: row.result for row in report.rows}
    assert results["dz"] == results["dE"] == "pass" and results["loss"] == "fail"
    assert report.constants["beta"] == pytest.approx(1.0, rel=1e-4)


def test_its_codebook_waits_for_data_where_it_is_told_to():
    report = check(VQPytorch(**(CONSISTENT | {"kmeans_init": True})))
    assert report.ok and report.fingerprint["codebook_init"] == "waits", report
    assert report.fingerprint["dead_codes"] == "never" and report.fingerprint["kmeans_start"] == "stays"


def test_its_finite_scalars_have_our_codebook_and_bounds_that_are_a_little_wider():
    """h with 1 + ε where the paper has 1 − ε, and the inverse of tanh where the paper has tan."""
    import numpy as np
    import torch
    from vector_quantize_pytorch import FSQ

    from vqnp import ops

    for levels in ([3, 5, 7], [8, 6, 5], [2, 4], [8, 5, 5, 5]):
        odd = all(L % 2 for L in levels)
        if 2 in levels:  # which it refuses
            continue
        theirs = FSQ(levels)
        K = int(np.prod(levels))
        codebook = ops.finite_scalar_decode(np.arange(K), levels)
        np.testing.assert_allclose(theirs.implicit_codebook.numpy(), codebook, atol=1e-7)
        z = torch.randn(1, 4000, len(levels), dtype=torch.float64, requires_grad=True)
        theirs_z_q, theirs_k = theirs(z)
        z_q, k, cache = ops.finite_scalar_forward(z.detach().numpy(), levels)
        share = (theirs_k.numpy() != k).mean()
        assert 0 < share < 0.02 if odd else 0 < share < 0.15
        (dz,) = torch.autograd.grad(theirs_z_q.sum(), z)
        if odd:
            ours = ops.finite_scalar_backward(np.ones_like(z_q), cache)
            np.testing.assert_allclose(dz.numpy(), ours * 1.001 / 0.999, rtol=1e-6)  # it has h in float32
