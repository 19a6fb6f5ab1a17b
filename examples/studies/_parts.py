"""The effect of a code on images: how much it explains, and whether it is the same at all positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from _classes import class_shares
from _pictures import pack

import vqnp
from vqnp.inspection.anatomy import code_anatomy


def explained(k: np.ndarray, x: np.ndarray) -> float:
    """% of the pixels' variance that lies between images with different codes; the mean over positions.

    k: (n, *latent_shape), x: (n, P)
    """
    k, x = k.reshape(len(k), -1), x - x.mean(axis=0)
    between = 0.0
    for codes in k.T:
        order = np.argsort(codes, kind="stable")
        counts = np.unique(codes, return_counts=True)[1]
        sums = np.add.reduceat(x[order], np.cumsum(counts) - counts, axis=0)
        between += float((sums**2 / counts[:, None]).sum())
    return 100 * between / (x**2).sum(dtype=np.float64) / k.shape[1]


def often_and_rare(model: vqnp.VQVAE, x: np.ndarray) -> dict:
    """The most used eighth of the codes and the least used eighth: energy of the effects, and net ink."""
    anatomy = code_anatomy(model, x)
    order = np.argsort(-anatomy.counts, kind="stable")[: np.count_nonzero(anatomy.counts)]
    some = max(len(order) // 8, 1)
    effect = anatomy.effect.reshape(len(anatomy.effect), -1).astype(np.float64)
    energy, ink = (effect**2).sum(axis=1), effect.sum(axis=1) / np.abs(effect).sum(axis=1).clip(1e-12)
    ranks = [np.argsort(np.argsort(v[order])) for v in (anatomy.counts, energy)]
    return {
        "often_uses": 100 * anatomy.counts[order[:some]].sum() / anatomy.counts.sum(),
        "rare_uses": 100 * anatomy.counts[order[-some:]].sum() / anatomy.counts.sum(),
        "energy": energy[order[:some]].mean() / energy[order[-some:]].mean(),
        "rank": np.corrcoef(*ranks)[0, 1],
        "often_ink": 100 * ink[order[:some]].mean(),
        "rare_ink": 100 * ink[order[-some:]].mean(),
    }


def replaced(model: vqnp.VQVAE, k: np.ndarray, rng: np.random.Generator) -> dict:
    """often_and_rare's energy with another reference: a code of the same position, drawn from those in use.

    The effect of a code is what changes when it takes that code's place in up to 20 images. (A code that is
    used often is near the mean latent, the reference of code_anatomy, whatever it does.)
    """
    k = k.reshape(len(k), -1)
    counts = np.bincount(k.ravel(), minlength=model.num_embeddings)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    some = max(len(order) // 8, 1)
    energies = []
    for group in (order[:some], order[-some:]):
        own, other = [], []
        for j in group:
            where = np.argwhere(k == j)
            for i, m in where[rng.permutation(len(where))[:20]]:
                row = k[i].copy()
                row[m] = rng.choice(np.setdiff1d(k[:, m], j)) if (k[:, m] != j).any() else j
                own.append(k[i])
                other.append(row)
        shape = (-1, *model.latent_shape)
        with_j, without = (model.decode(np.reshape(rows, shape)) for rows in (own, other))
        energies.append(((with_j - without).astype(np.float64) ** 2).sum() / len(own))
    return {"energy_replaced": energies[0] / energies[1]}


def adding(decode: Callable[[np.ndarray], np.ndarray], z: np.ndarray, rng: np.random.Generator) -> dict:
    """100 ⟨‖Δ_S − Σ_{m∈S} Δ_m‖²⟩/⟨‖Δ_S‖²⟩ for two blocks of a latent and for all, as in swap_interaction.

    decode: (n, M, D) -> images, z: (n, M, D); Δ_S is the effect of giving an image the blocks S of another
    """
    n, M = z.shape[:2]
    donor = np.roll(np.arange(n), 1)
    whole = decode(z).astype(np.float64)
    figures = {}
    for name, size in (("pair", 2), ("all", M)):
        S = rng.permuted(np.tile(np.arange(M), (n, 1)), axis=1)[:, :size]
        together, apart, rows = z.copy(), np.zeros_like(whole), np.arange(n)
        for m in S.T:
            alone = z.copy()
            alone[rows, m] = together[rows, m] = z[donor, m]
            apart += decode(alone) - whole
        change = decode(together) - whole
        figures[name] = 100 * float(((change - apart) ** 2).sum() / (change**2).sum())
    return figures


def elsewhere(model: vqnp.VQVAE, k: np.ndarray) -> float:
    """⟨Δ·Δ'⟩/⟨‖Δ‖²⟩ of a code at two positions, where Δ is its effect relative to the mean latents."""
    k = k.reshape(len(k), -1)
    z_q = model.quantizer.decode(k).mean(axis=0)
    M, K = model.num_latents, model.num_embeddings
    used = np.stack([np.bincount(k[:, m], minlength=K) >= 10 for m in range(M)], axis=1)  # (K, M)
    put = np.tile(z_q, (K, M, 1, 1))
    put[:, np.arange(M), np.arange(M)] = model.quantizer.embeddings[:, None]
    shape = (-1, *model.latent_shape, model.embedding_dim)
    images = model.decode_latents(put.reshape(shape)).reshape(K, M, -1).astype(np.float64)
    change = (images - model.decode_latents(z_q.reshape(shape)).reshape(-1)) * used[:, :, None]
    own = (change**2).sum(axis=(1, 2))
    shared = (change.sum(axis=1) ** 2).sum(axis=1) - own
    return float(shared.sum() / (own * (used.sum(axis=1) - 1)).clip(0).sum())


def pictures(model: vqnp.VQVAE, x: np.ndarray, c: np.ndarray, test: np.ndarray) -> dict:
    """Heat maps over all positions and at the most informative one; the most used codes; a swap of two."""
    k, K = model.encode(x).reshape(len(x), -1), model.num_embeddings
    whole = vqnp.metrics.class_information(k, c, K)
    m = int((whole.per_position - whole.bias).argmax())
    at = vqnp.metrics.class_information(k[:, m : m + 1], c, K)
    anatomy = code_anatomy(model, x)
    top = np.argsort(-anatomy.counts, kind="stable")[:10]
    effect = anatomy.effect[top]
    one, other = model.encode(test[[0, 1]]).reshape(2, -1)
    states = np.tile(one, (model.num_latents + 2, 1))
    for m_ in range(model.num_latents):
        states[m_, m_] = other[m_]
    states[-1] = other
    images = model.decode(states.reshape(-1, *model.latent_shape)).astype(np.float64)
    a, b = images[-2], images[-1]
    m1, m2 = np.argsort(-((images[:-2] - a) ** 2).sum(axis=(1, 2)))[:2]
    both = one.copy()
    both[[m1, m2]] = other[[m1, m2]]
    together = model.decode(both.reshape(1, *model.latent_shape))[0]
    row = np.stack([a, b, images[m1], images[m2], together, images[m1] + images[m2] - a])
    return {
        "map": class_shares(whole.usage).tolist(),
        "map_at": class_shares(at.usage).tolist(),
        "position": m,
        "uses": (100 * anatomy.counts[top] / anatomy.counts.sum()).tolist(),
        "contexts": pack(anatomy.context[top]),
        "effects": pack(0.5 + 0.5 * effect / np.abs(effect).max()),
        "swap": pack(row),
    }
