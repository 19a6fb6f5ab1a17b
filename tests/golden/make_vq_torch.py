"""vq_torch.npz: frozen float32 vectors from vector-quantize-pytorch's EMA codebook.

    python -m venv oracles
    oracles/bin/pip install torch==2.13.0
    oracles/bin/pip install vector-quantize-pytorch==1.32.0 numpy==2.4.6
    oracles/bin/python make_vq_torch.py [OUT.npz]       # default: beside this file

Made with Python 3.11, torch 2.13.0 (CPU), vector-quantize-pytorch 1.32.0, einops 0.8.2,
einx 0.4.3, NumPy 2.4.6. The tests read the npz only: PyTorch is no test dependency.

What vector-quantize-pytorch 1.32.0 computes with the constructor below
------------------------------------------------------------------------
(read in its source, confirmed by recomputation; float32 whatever it is given)

Step t = 1, 2, ... in training mode, z flattened to (N, D):

    1. k, E[k], loss and quantize all use E_{t-1}, the codebook *before* this step's update:
           k_n      = argmax_j -sqrt(max(|z_n|^2 + |e_j|^2 - 2 z_n.e_j, 1e-8))
                      first index wins a tie; every code within 1e-4 of z_n ties
           quantize = z + sg(E[k] - z)      only when z requires grad; else E[k] itself
           loss     = beta mean((z - sg E[k])^2)         mean over all N * D entries
    2. the raw averages, by torch.lerp:
           N_t = N_{t-1} + (1 - gamma) (n - N_{t-1}),      n_j = #{n: k_n = j}
           m_t = m_{t-1} + (1 - gamma) (sum z - m_{t-1})
       no zero-debias
    3. Laplace smoothing; the smoothed value is not stored:
           S_t = sum_j N_t,   Ns_t = (N_t + eps) / (S_t + K eps) * S_t
    4. E_t = m_t / Ns_t

    d(loss + <G, quantize>)/dz = G + 2 beta (z - E_{t-1}[k]) / (N D)

The start
---------
The library's own default start *is* the consistent one: cluster_size = 1 for every code,
embed_avg = embed (asserted below), with embed ~ U(-b, b), b = sqrt(6 / (K D))
(kaiming_uniform_ on a (1, K, D) tensor, whose fan_in is K D). Here embed and embed_avg
are set to E_0. Its other defaults differ from the constructor below: decay 0.8,
commitment_weight 1, rotation_trick on for D > 1.

    one_*   N_0 = 1, m_0 = E_0     the library's default start, from our E_0
    zero_*  N_0 = 0, m_0 = E_0     *not* a default of 1.32.0: the cluster_size buffer was
                                   set to 0 by hand, for the variant met in other code

In zero_*, a code used n_j times in step 1 becomes (gamma / (1 - gamma)) e_j / n_j + mean z,
about 99 / n_j times too long, and an unused code becomes about gamma e_j / eps, 1e5 times
too long. From step 2 on every vector takes the same one code, the most used in step 1.

The data
--------
At every step the nearest and the second nearest code differ in squared distance by more
than MARGIN + ROUNDING * (|z|^2 + max |e|^2) over those two codes (asserted, from the float32
state in float64), so the codes do not depend on rounding. The last two codes have no data
and are never used; the clusters drift, so that E_t lags behind a moving target.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from vector_quantize_pytorch import VectorQuantize

SEED = 20262
K, D, N = 32, 8, 64
BETA = 0.25
GAMMA = 0.99
EPSILON = 1e-5
STEPS = (1, 2, 5, 10, 50, 100)  # the steps whose state is stored
MARGIN = 1e-2
ROUNDING = 2.0**-20  # 16 float32 roundings, relative to the terms of the expanded distance

FACTS = {
    "library": "vector-quantize-pytorch 1.32.0, torch 2.13.0 (CPU), numpy 2.4.6, float32",
    "seed": SEED,
    "beta": BETA,
    "gamma": GAMMA,
    "epsilon": EPSILON,
    "steps": STEPS,
    "ties": "lowest index; squared distances are clamped to >= 1e-8 first",
    "reduction": "mean over all N * D entries",
    "straight_through": "quantize = z + sg(E[k] - z), only if z requires grad",
    "loss": "beta mean((z - sg E_{t-1}[k])^2)",
    "dz": "G + 2 beta (z - E_{t-1}[k]) / (N D)",
    "order": "codes, loss and quantize use E_{t-1}; then N, m, E are updated",
    "ema": "N_t = lerp(N_{t-1}, n, 1 - gamma), m_t = lerp(m_{t-1}, sum z, 1 - gamma); no debias",
    "smoothing": "Ns = (N_t + eps) / (sum N_t + K eps) * sum N_t; not stored",
    "codebook": "E_t = m_t / Ns",
    "default_start": "cluster_size = 1, embed_avg = embed, embed ~ U(-b, b), b = sqrt(6 / (K D))",
    "one": "N_0 = 1, m_0 = E_0: the library's default start, from our E_0",
    "zero": "N_0 = 0, m_0 = E_0: set by hand, not a default of this version",
}


def quantizer():
    vq = VectorQuantize(
        dim=D,
        codebook_size=K,
        decay=GAMMA,
        eps=EPSILON,
        commitment_weight=BETA,
        kmeans_init=False,
        threshold_ema_dead_code=0,
        rotation_trick=False,
        use_cosine_sim=False,
        stochastic_sample_codes=False,
        sync_codebook=False,
        ema_update=True,
    )
    book = vq._codebook
    assert torch.all(book.cluster_size == 1) and torch.equal(book.embed_avg, book.embed)
    assert book.embed.abs().max() <= (6 / (K * D)) ** 0.5
    return vq.train()


def assert_well_separated(z, E, t):
    """Nearest and second nearest code differ by more than float32 can get wrong."""
    z, E = z.astype(np.float64), E.astype(np.float64)
    d = ((z[:, None] - E) ** 2).sum(-1)
    two = np.argsort(d, axis=1)[:, :2]
    gap = np.diff(np.take_along_axis(d, two, 1), axis=1)[:, 0]
    scale = (z**2).sum(-1) + (E**2).sum(-1)[two].max(1)
    assert np.all(gap > MARGIN + ROUNDING * scale), (t, gap.min())


def data(rng):
    """z (steps, N, D) and E_0 (K, D), float32: drifting clusters, none for the last two codes."""
    signs = 1 - 2 * ((np.arange(1 << D)[:, None] >> np.arange(D)) & 1)
    even = signs[signs.prod(1) == 1]  # any two of these corners differ in two places or more
    centres = 1.5 * rng.permutation(even)[:K] + 0.1 * rng.standard_normal((K, D))
    E0 = centres + 0.2 * rng.standard_normal((K, D))
    drift = 0.005 * rng.standard_normal((K, D))
    z = np.empty((STEPS[-1], N, D))
    for t in range(1, STEPS[-1] + 1):
        # squares make the clusters unequal: late ones are rare and miss many batches
        cluster = ((K - 2) * rng.random(N) ** 2).astype(int)
        z[t - 1] = centres[cluster] + t * drift[cluster] + 0.25 * rng.standard_normal((N, D))
    return z.astype(np.float32), E0.astype(np.float32)


def run(z, E0, G, N0):
    vq = quantizer()
    book = vq._codebook
    book.embed.data.copy_(torch.from_numpy(E0))
    book.embed_avg.data.copy_(torch.from_numpy(E0))
    book.cluster_size.data.fill_(N0)
    every = {"codes": [], "loss": []}
    at = {name: [] for name in ("E_before", "N_before", "m_before", "N", "m", "E")}
    first = {}
    for t, batch in enumerate(z, 1):
        state = [a[0].numpy().copy() for a in (book.embed, book.cluster_size, book.embed_avg)]
        assert_well_separated(batch, state[0], t)
        x = torch.from_numpy(batch)[None].requires_grad_()
        quantize, codes, loss = vq(x)
        every["codes"].append(codes[0].numpy())
        every["loss"].append(loss.item())
        if t == 1:
            (loss.sum() + (torch.from_numpy(G) * quantize).sum()).backward()
            first = {"quantize1": quantize[0].detach().numpy(), "dz1": x.grad[0].numpy()}
        if t in STEPS:
            for name, value in zip(("E_before", "N_before", "m_before"), state):
                at[name].append(value)
            at["N"].append(book.cluster_size[0].numpy().copy())
            at["m"].append(book.embed_avg[0].numpy().copy())
            at["E"].append(book.embed[0].numpy().copy())
    every["loss"] = np.array(every["loss"], np.float32)
    return {name: np.array(value) for name, value in {**every, **first, **at}.items()}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)  # the library draws an initial codebook, which we replace
    rng = np.random.default_rng(SEED)
    z, E0 = data(rng)
    G = rng.standard_normal((N, D)).astype(np.float32)
    arrays = {"facts": np.array(json.dumps(FACTS)), "z": z, "E0": E0, "G": G}
    arrays["steps"] = np.array(STEPS)
    for name, N0 in (("one", 1.0), ("zero", 0.0)):
        arrays.update({f"{name}_{key}": value for key, value in run(z, E0, G, N0).items()})
    for name, value in arrays.items():
        assert name == "facts" or value.dtype in (np.float32, np.int64), (name, value.dtype)
    out = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("vq_torch.npz")
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main()
