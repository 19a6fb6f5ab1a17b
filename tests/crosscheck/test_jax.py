"""JAX functions as adapters: both kinds of codebook, 64 bits and 32, and a bug that is named.

Skipped where JAX is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os

import numpy as np
import pytest

from vqnp.crosscheck import check

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import jax
else:
    jax = pytest.importorskip("jax", reason="JAX is not installed (the crosscheck extra)")

from vqnp.crosscheck.adapters.jax_function import JaxFunction  # noqa: E402

jnp, sg = jax.numpy, jax.lax.stop_gradient


def nearest(z, E):
    return ((z[:, None] - E) ** 2).sum(-1).argmin(1)


def classical(z, E):
    k = nearest(z, E)
    e = E[k]
    return k, ((sg(z) - e) ** 2).mean() + 0.25 * ((z - sg(e)) ** 2).mean(), z + sg(e - z)


def late(z, E):
    k = nearest(z, E)
    e = z + sg(E[k] - z)  # as in public code: the loss is of this
    return {"codes": k, "quantized": e, "loss": ((sg(z) - e) ** 2).mean() + 0.25 * ((z - sg(e)) ** 2).mean()}


def commitment(z, E):
    k = nearest(z, E)
    e = sg(E[k])
    return z + sg(e - z), k, 0.25 * ((z - e) ** 2).mean()


def start(E):
    return E, jnp.ones(len(E)), E


def update(state, z):
    E, N, m = state
    onehot = jax.nn.one_hot(nearest(z, E), len(E), dtype=z.dtype)
    N, m = 0.99 * N + 0.01 * onehot.sum(0), 0.99 * m + 0.01 * onehot.T @ z
    smooth = (N + 1e-5) / (N.sum() + len(E) * 1e-5) * N.sum()
    return m / smooth[:, None], N, m


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_classical_layer_conforms(dtype):
    report = check(JaxFunction(classical, evaluate=classical, dtype=dtype))
    assert report.ok and report.fingerprint["beta_on"] == "commitment", report
    assert report.constants["beta"] == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moving_averages_conform(dtype):
    report = check(JaxFunction(commitment, start=start, update=update, read=lambda s: s, dtype=dtype))
    assert report.ok and report.fingerprint["start"] == "consistent", report
    assert report.constants["decay"] == pytest.approx(0.99, rel=1e-3)


def test_a_loss_after_straight_through_is_named():
    report = check(JaxFunction(late))
    assert not report.ok and report.fingerprint["loss_from"] == "straight_through"


def test_64_bits_are_on_for_the_calls_only():
    check(JaxFunction(classical))
    assert jnp.ones(1).dtype == jnp.float32


@pytest.mark.parametrize(("scale", "law"), [(1.0, "uniform"), (None, "waits")])
def test_how_a_codebook_begins(scale, law):
    def fresh(K, D):
        bound = 1 / K
        key = jax.random.key(0)
        return scale and start(jax.random.uniform(key, (K, D), minval=-bound, maxval=bound))

    def begin(state, z):
        return update(start(z[: len(z) // 8]) if state is None else state, z)

    layer = JaxFunction(commitment, start=start, update=begin, read=lambda s: s, fresh=fresh)
    report = check(layer)
    assert report.ok and report.fingerprint["codebook_init"] == law, report


def test_outputs_that_were_not_understood_are_listed():
    def per_vector(z, E):
        k, L, z_q = classical(z, E)
        return k, L * jnp.ones(len(z)), z_q

    report = check(JaxFunction(per_vector))
    assert report.verdict == "not enough was asked" and "not understood" in report.faults[0], report
