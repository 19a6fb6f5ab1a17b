"""TensorFlow functions as adapters: both kinds of codebook, and a bug that is named.

Skipped where TensorFlow is not installed (the tensorflow extra).
"""

import numpy as np
import pytest

from vqnp.crosscheck import check

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the tensorflow extra)")

from vqnp.crosscheck.adapters.tensorflow_function import TensorFlowFunction  # noqa: E402

sg = tf.stop_gradient


def nearest(z, E):
    return tf.argmin(tf.reduce_sum((z[:, None] - E) ** 2, -1), 1)


def classical(z, E, p=0.25, q=1.0):
    k = nearest(z, E)
    e = tf.gather(E, k)
    L = p * tf.reduce_mean((z - sg(e)) ** 2) + q * tf.reduce_mean((sg(z) - e) ** 2)
    return {"quantized": z + sg(e - z), "codes": k, "loss": L}


def commitment(z, E):
    k = nearest(z, E)
    e = sg(tf.gather(E, k))
    return z + sg(e - z), k, 0.25 * tf.reduce_mean((z - e) ** 2)


def update(state, z):
    E, N, m = state
    onehot = tf.one_hot(nearest(z, E), len(E), dtype=z.dtype)
    N = 0.95 * N + 0.05 * tf.reduce_sum(onehot, 0)
    m = 0.95 * m + 0.05 * tf.transpose(onehot) @ z
    n = tf.reduce_sum(N)
    return m / ((N + 1e-5) / (n + len(E) * 1e-5) * n)[:, None], N, m


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_right_layers_conform(dtype):
    report = check(TensorFlowFunction(classical, evaluate=classical, dtype=dtype))
    assert report.ok and report.fingerprint["beta_on"] == "commitment", report
    averages = {"start": lambda E: (E, tf.ones(len(E), E.dtype), E), "update": update, "read": lambda s: s}
    report = check(TensorFlowFunction(commitment, dtype=dtype, **averages))
    assert report.ok and report.constants["decay"] == pytest.approx(0.95, rel=1e-3), report


def test_a_swapped_beta_is_named():
    report = check(TensorFlowFunction(lambda z, E: classical(z, E, 1.0, 0.25)))
    assert not report.ok and report.fingerprint["beta_on"] == "codebook"
