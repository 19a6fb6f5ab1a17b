"""sonnet.npz: frozen float64 vectors from DeepMind Sonnet's two vector quantizers.

    python -m venv oracles-tf
    oracles-tf/bin/pip install dm-sonnet==2.0.2 tensorflow-cpu==2.21.0 numpy==2.4.6
    oracles-tf/bin/python make_sonnet.py [OUT.npz]      # default: beside this file

Made with Python 3.11, dm-sonnet 2.0.2, tensorflow-cpu 2.21.0, dm-tree 0.1.10,
tabulate 0.10.0, wrapt 2.5.2, NumPy 2.4.6. The tests read the npz only:
TensorFlow is no test dependency.

Sonnet keeps its codebook as (D, K). Everything here is stored as (K, D), row j is e_j.

What Sonnet 2.0.2 computes (read in its source, confirmed by recomputation)
---------------------------------------------------------------------------
Both modules, with z flattened to (N, D):

    k_n        = argmax_j -(|z_n|^2 - 2 z_n.e_j + |e_j|^2)       first index wins a tie
    quantize   = z + sg(E[k] - z)
    perplexity = exp(-sum_j p_j log(p_j + 1e-10)),  p_j = n_j / N
                 (not the exact entropy: smaller by a factor of about 1 - 1e-10 * used codes)

VectorQuantizer (codebook by gradient):

    loss = mean((E[k] - sg z)^2) + beta mean((sg E[k] - z)^2)    means over all N * D entries
    d(loss + <G, quantize>)/dz   = G + 2 beta (z - E[k]) / (N D)
    d(loss + <G, quantize>)/de_j = 2 sum_{n: k_n = j} (e_j - z_n) / (N D)       no G in it

VectorQuantizerEMA, step t = 1, 2, ... with is_training=True:

    1. k, E[k], loss and quantize all use E_{t-1}, the codebook *before* this step's update:
           loss = beta mean((sg E_{t-1}[k] - z)^2)
    2. raw averages, which start at *zero* (not at E, not at 1):
           hN_t = hN_{t-1} - (hN_{t-1} - n)     (1 - gamma),  hN_0 = 0,  n_j = #{n: k_n = j}
           hm_t = hm_{t-1} - (hm_{t-1} - sum z) (1 - gamma),  hm_0 = 0
    3. zero-debias, as in Adam:
           N_t = hN_t / (1 - gamma^t),   m_t = hm_t / (1 - gamma^t)
    4. Laplace smoothing of the *debiased* N_t; the smoothed value is not stored:
           S_t = sum_j N_t,   Ns_t = (N_t + eps) / (S_t + K eps) * S_t
    5. E_t = m_t / Ns_t

    The debias factor cancels in m/N but for eps, which is added to N_t and not to hN_t.
    E_0 enters only through the first assignment: m forgets it at once. So a code
    that no vector has used yet is *exactly* 0 after step 1, whatever E_0 was.

Three traps: `ema_dw.initialize(self.embeddings)` takes only the shape (the hidden value
is zeros_like); the docstring of snt.ExponentialMovingAverage says
hidden_i = (hidden_{i-1} - value) * (1 - decay), while its code subtracts that from
hidden_{i-1} (step 2 above is the code); and in float64 the decay should be np.float64:
a Python float gives the same numbers eagerly, but inside tf.function tf.pow(0.99, t)
makes it float32 and raises.

The data
--------
Nearest and second nearest code differ by at least MARGIN in squared distance
at every step (asserted), so the codes do not depend on rounding. In the EMA run,
15 of 16 codes have a data cluster from the start (each is used in step 1); the 16th
has none, falls to exactly 0 in step 1, and from step ORIGIN_FROM on wins a cluster at
the origin. The clusters drift, so that E_t lags behind a moving target.
"""

import json
import os
import pathlib
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402
import sonnet as snt  # noqa: E402
import tensorflow as tf  # noqa: E402

SEED = 20261
BETA = 0.25
GAMMA = 0.99
EPSILON = 1e-5
STEPS = (1, 2, 5, 10, 50, 100)  # the steps whose state is stored
MARGIN = 0.1
ORIGIN_FROM = 31

FACTS = {
    "library": "dm-sonnet 2.0.2, tensorflow-cpu 2.21.0, numpy 2.4.6, float64",
    "seed": [[SEED, 1], [SEED, 2]],
    "codebook_layout": "Sonnet stores (D, K); stored here as (K, D)",
    "beta": BETA,
    "gamma": GAMMA,
    "epsilon": EPSILON,
    "steps": STEPS,
    "ties": "lowest index",
    "reduction": "mean over all N * D entries",
    "straight_through": "quantize = z + sg(E[k] - z)",
    "perplexity": "exp(-sum p log(p + 1e-10)) over the batch",
    "vq_loss": "mean((E[k] - sg z)^2) + beta mean((sg E[k] - z)^2)",
    "vq_dz": "G + 2 beta (z - E[k]) / (N D)",
    "vq_dE": "2 sum_{n: k_n = j} (e_j - z_n) / (N D); G does not enter",
    "ema_loss": "beta mean((sg E_{t-1}[k] - z)^2)",
    "ema_order": "codes, loss and quantize use E_{t-1}; then hN, hm, E are updated",
    "ema_start": "hN_0 = 0, hm_0 = 0 (E_0 enters only through the first codes)",
    "ema_hidden": "h_t = h_{t-1} - (h_{t-1} - value) (1 - gamma)",
    "ema_zero_debias": "N_t = hN_t / (1 - gamma^t), m_t = hm_t / (1 - gamma^t), t from 1",
    "ema_smoothing": "Ns = (N_t + eps) / (sum N_t + K eps) * sum N_t of the debiased N; not stored",
    "ema_codebook": "E_t = m_t / Ns",
    "ema_unused_code": "exactly 0 from step 1 until its first use",
}


def margin(z, E):
    """Least gap between the two smallest |z - e|^2, over all z.  z (..., D), E (K, D)."""
    d = ((z.reshape(-1, 1, E.shape[1]) - E) ** 2).sum(-1)
    d.sort(axis=1)
    return float((d[:, 1] - d[:, 0]).min())


def with_codebook(module, E):
    module.embeddings.assign(E.T)
    return module


def run_gradient(rng, K=32, D=8, lead=(4, 16)):
    """One forward and backward pass of snt.nets.VectorQuantizer."""
    E = 2 * rng.standard_normal((K, D))
    used = (K * rng.random(lead) ** 2).astype(int)  # some codes many times, some never
    z = E[used] + 0.5 * rng.standard_normal((*lead, D))
    G = rng.standard_normal(z.shape)
    assert margin(z, E) > MARGIN

    vq = with_codebook(snt.nets.VectorQuantizer(D, K, BETA, dtype=tf.float64), E)
    x = tf.Variable(z)
    with tf.GradientTape() as tape:
        out = vq(x, is_training=True)
        total = out["loss"] + tf.reduce_sum(G * out["quantize"])
    dz, dE = tape.gradient(total, [x, vq.embeddings])
    return {
        "vq_z": z,
        "vq_E": E,
        "vq_G": G,
        "vq_codes": out["encoding_indices"].numpy(),
        "vq_quantize": out["quantize"].numpy(),
        "vq_loss": out["loss"].numpy(),
        "vq_perplexity": out["perplexity"].numpy(),
        "vq_dz": dz.numpy(),
        "vq_dE": dE.numpy().T,
    }


def ema_data(rng, K, N, D, steps):
    """z (steps, N, D), E_0 (K, D), for K = 2^D: clusters at the corners of a cube but the last."""
    corners = 2.0 * (1 - 2 * ((np.arange(K)[:, None] >> np.arange(D)) & 1))
    centres = corners + 0.2 * rng.standard_normal((K, D))
    E0 = corners + 0.3 * rng.standard_normal((K, D))
    drift = 0.004 * rng.standard_normal((K, D))
    centres[-1] = 0  # the last code starts at its corner, where no data will be
    z = np.empty((steps, N, D))
    for t in range(1, steps + 1):
        # squares make the clusters unequal: late ones are rare and miss many batches
        cluster = ((K - 1) * rng.random(N) ** 2).astype(int)
        if t == 1:
            cluster[: K - 1] = np.arange(K - 1)
        if t >= ORIGIN_FROM:
            cluster[:2] = K - 1
        z[t - 1] = centres[cluster] + t * drift[cluster] + 0.2 * rng.standard_normal((N, D))
    return z, E0


def run_ema(rng, K=16, D=4, N=32):
    """STEPS[-1] training steps of snt.nets.VectorQuantizerEMA."""
    z, E0 = ema_data(rng, K, N, D, STEPS[-1])
    G = rng.standard_normal((N, D))
    vq = with_codebook(
        snt.nets.VectorQuantizerEMA(
            D, K, BETA, np.float64(GAMMA), np.float64(EPSILON), dtype=tf.float64
        ),
        E0,
    )
    every = {"codes": [], "loss": [], "perplexity": []}
    at = {name: [] for name in ("E_before", "quantize", "dz", "hN", "hm", "N", "m", "E")}
    for t, batch in enumerate(z, 1):
        before = vq.embeddings.numpy().T
        assert margin(batch, before) > MARGIN, t
        x = tf.Variable(batch)
        with tf.GradientTape() as tape:
            out = vq(x, is_training=True)
            total = out["loss"] + tf.reduce_sum(G * out["quantize"])
        every["codes"].append(out["encoding_indices"].numpy())
        every["loss"].append(out["loss"].numpy())
        every["perplexity"].append(out["perplexity"].numpy())
        if t in STEPS:
            at["E_before"].append(before)
            at["quantize"].append(out["quantize"].numpy())
            at["dz"].append(tape.gradient(total, x).numpy())
            at["hN"].append(vq.ema_cluster_size._hidden.numpy())
            at["hm"].append(vq.ema_dw._hidden.numpy().T)
            at["N"].append(vq.ema_cluster_size.average.numpy())
            at["m"].append(vq.ema_dw.average.numpy().T)
            at["E"].append(vq.embeddings.numpy().T)
    result = {"z": z, "E0": E0, "G": G, "steps": np.array(STEPS), **every, **at}
    return {"ema_" + name: np.array(value) for name, value in result.items()}


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(SEED)  # Sonnet draws an initial codebook, which we replace
    arrays = {
        "facts": np.array(json.dumps(FACTS)),
        **run_gradient(np.random.default_rng([SEED, 1])),
        **run_ema(np.random.default_rng([SEED, 2])),
    }
    for name, value in arrays.items():
        assert name == "facts" or value.dtype in (np.float64, np.int64), (name, value.dtype)
    out = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("sonnet.npz")
    # (K, D) arrays came from transposes: store them in C order
    np.savez_compressed(out, **{name: value.copy(order="C") for name, value in arrays.items()})


if __name__ == "__main__":
    main()
