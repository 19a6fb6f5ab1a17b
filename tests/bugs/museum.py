"""Bugs that famous repositories had for years, each as an edit of one line of ours.

A mutant is (file, the line's text, what stands in its place, the tests that must fail). Each edit
is made on a copy of the package; see test_bugs.py.
"""

from typing import NamedTuple


class Bug(NamedTuple):
    """One planted bug and the test that must see it."""

    name: str
    file: str
    right: str
    wrong: str
    caught_by: str


CORE = "tests/bugs/core_checks.py"

MUSEUM = [
    Bug(
        "beta on the codebook term",
        "ops/quantize.py",
        '"commitment": (beta, 1.0)',
        '"commitment": (1.0, beta)',
        "test_surrogate",
    ),
    Bug(
        "loss computed after straight-through: the codebook gets no gradient",
        "ops/quantize.py",
        "    dE = code_statistics(r, k, K).sums * (dL * codebook)",
        "    dE = code_statistics(r, k, K).sums * 0.0",
        "test_surrogate",
    ),
    Bug(
        "the decoder's gradient leaks into the codebook",
        "ops/quantize.py",
        "    dE = code_statistics(r, k, K).sums * (dL * codebook)",
        "    dE = code_statistics(r * (dL * codebook) + dz_q, k, K).sums",
        "test_surrogate",
    ),
    Bug(
        "no straight-through: the encoder gets the commitment gradient alone",
        "ops/quantize.py",
        "    dz = dz_q - r.dtype.type(dL * commitment) * r",
        "    dz = 0 * dz_q - r.dtype.type(dL * commitment) * r",
        "test_surrogate",
    ),
    Bug(
        "the commitment gradient pushes away",
        "ops/quantize.py",
        "    dz = dz_q - r.dtype.type(dL * commitment) * r",
        "    dz = dz_q + r.dtype.type(dL * commitment) * r",
        "test_surrogate",
    ),
    Bug(
        "the loss grows with the batch",
        "ops/loss.py",
        'return (shape[-1] if shape and reduction == "mean_of_sums" else 1) / entries',
        'return 1.0 if shape and reduction == "mean_of_sums" else 1 / entries',
        "test_tiling_a_batch",
    ),
    Bug(
        "smoothing not normalised: codes shrink",
        "ops/ema.py",
        "(N + epsilon) / (total + len(N) * epsilon) * total",
        "(N + epsilon)",
        "test_smoothing_keeps_the_mass",
    ),
    Bug(
        "the smoothed counts written back",
        "ops/ema.py",
        "EMAState(E, N_used if write_back else N, m, t)",
        "EMAState(E, N_used, m, t)",
        "test_ema_is_its_equations",
    ),
    Bug(
        "the averages start from zero counts",
        "ops/ema.py",
        "return EMAState(E.copy(), np.ones(K, E.dtype), E.copy())",
        "return EMAState(E.copy(), np.zeros(K, E.dtype), E.copy())",
        "test_unused_codes_stay",
    ),
    Bug(
        "codes of the EMA used before they exist: forward looks ahead",
        "nn/ema_quantizer.py",
        "self.updated(z, k).E if lookahead else self.embeddings",
        "self.updated(z, k).E",
        "test_forward_uses_the_codes_from_before",
    ),
    Bug(
        "decay and 1 - decay exchanged",
        "ops/ema.py",
        "m = decay * state.m + (1 - decay) * s",
        "m = (1 - decay) * state.m + decay * s",
        "test_ema_is_its_equations",
    ),
    Bug(
        "k-means start with m = mu",
        "nn/ema_quantizer.py",
        "self.ema = EMAState(E, n, n[:, None] * E)",
        "self.ema = EMAState(E, n, E)",
        "test_a_kmeans_start_survives_its_updates",
    ),
    Bug(
        "a restart that leaves m: the next update undoes it",
        "ops/ema.py",
        "    m[j] = N[j, None] * E[j]\n",
        "",
        "test_a_restart_survives_its_updates",
    ),
    Bug(
        "a restart that leaves N",
        "ops/ema.py",
        "    N[j] = state.N.mean()\n",
        "",
        "test_a_restart_survives_its_updates",
    ),
    Bug(
        "ties to the highest index",
        "kernels/nearest.py",
        "if distance[j] < distance[best]:",
        "if distance[j] <= distance[best]:",
        "test_nearest",
    ),
    Bug(
        "distance in float32",
        "kernels/nearest.py",
        "distance = np.empty(K, np.float64)",
        "distance = np.empty(K, np.float32)",
        "test_nearest",
    ),
    Bug(
        "a code certified by any lead",
        "kernels/tile.py",
        "np.float64(lead[n - start]) > 2 * B",
        "np.float64(lead[n - start]) > 0 * B",
        "test_nearest",
    ),
    Bug(
        "rivals sought in other panels only",
        "kernels/tile.py",
        "rival = e.larger(b.load(runner_up), b.load(second[v]))",
        "rival = b.load(second[v])",
        "test_nearest",
    ),
    Bug(
        "W transposed in the backward pass",
        "ops/linear.py",
        "rows.T @ drows, drows.sum(axis=0)",
        "(drows.T @ rows).reshape(W.shape), drows.sum(axis=0)",
        "test_gradients",
    ),
    Bug(
        "the bias gradient averaged",
        "ops/linear.py",
        "rows.T @ drows, drows.sum(axis=0)",
        "rows.T @ drows, drows.mean(axis=0)",
        "test_gradients",
    ),
    Bug(
        "softmax's gradient without the one-hot",
        "ops/loss.py",
        "np.take_along_axis(da, k[..., None], axis=-1) - 1",
        "np.take_along_axis(da, k[..., None], axis=-1)",
        "test_gradients",
    ),
    Bug("GELU's gradient without its second term", "ops/activation.py", "phi + x * slope", "phi", "test_gradients"),  # noqa: E501
    Bug("MSE's gradient without the 2", "ops/loss.py", "r.dtype.type(2 * c *", "r.dtype.type(c *", "test_gradients"),  # noqa: E501
    Bug(
        "gradients overwritten at a fork",
        "nn/module.py",
        "            self._grad += d",
        "            self._grad = d",
        "test_gradients_accumulate",
    ),
    Bug(
        "Adam without bias correction",
        "kernels/adam.py",
        "lr / (1 - beta1**t), 1 / (1 - beta2**t)",
        "lr, 1.0",
        "test_adam",
    ),
    Bug(
        "perplexity of an almost unused code from log(p + 1e-10)",
        "metrics/codebook.py",
        "    p = p[p > 0]\n    return float(np.clip(np.exp(-(p * np.log(p)).sum()), 1, used.size))",
        "    return float(np.exp(-(p * np.log(p + 1e-10)).sum()))",
        "test_perplexity",
    ),
    Bug(
        "a checkpoint without the cluster sizes",
        "nn/ema_quantizer.py",
        '        return {"E": E, "N": N, "m": m, "t": np.asarray(t, np.int64)}',
        '        return {"E": E, "t": np.asarray(t, np.int64)}',
        "test_state_is_complete",
    ),
    Bug(
        "exp(logvar) taken for the standard deviation",
        "ops/gaussian.py",
        "    sigma = np.exp(logvar / 2)",
        "    sigma = np.exp(logvar)",
        "test_moments",
    ),
    Bug(
        "the KL without its mean",
        "ops/gaussian.py",
        "    return (mu * mu + np.maximum(np.expm1(logvar) - logvar, 0)) / 2",
        "    return (np.maximum(np.expm1(logvar) - logvar, 0)) / 2",
        "test_moments",
    ),
]  # fmt: skip

CROSSCHECKED = {
    "beta on the codebook term",
    "loss computed after straight-through: the codebook gets no gradient",
    "the decoder's gradient leaks into the codebook",
    "no straight-through: the encoder gets the commitment gradient alone",
    "the commitment gradient pushes away",
    "the loss grows with the batch",
    "smoothing not normalised: codes shrink",
    "the smoothed counts written back",
    "the averages start from zero counts",
    "codes of the EMA used before they exist: forward looks ahead",
    "decay and 1 - decay exchanged",
    "k-means start with m = mu",
    "a restart that leaves m: the next update undoes it",
    "ties to the highest index",
    "perplexity of an almost unused code from log(p + 1e-10)",
}
"""Those that vqnp.crosscheck must catch too, as it would in anybody's layer."""
