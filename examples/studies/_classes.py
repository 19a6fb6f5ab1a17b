"""p(c | k) ∝ p(c) Π_m p(k_m | c): how codes predict the class, at each position and over all positions."""

from __future__ import annotations

import numpy as np

import vqnp

SHARE = 0.5
"""A code belongs to a class if the class accounts for more than this share of its use."""


def accuracy(codes: np.ndarray, labels: np.ndarray, k: np.ndarray, c: np.ndarray, K: int) -> dict:
    """Naive Bayes fitted to codes and labels: % of k whose class c is predicted; 1/2 is added to each count.

    one: from a single position, the mean over positions; best: the best position; bag: from the counts of
    the codes over all positions; every: from all positions, each with its own p(k_m | c). Codes have any
    latent shape.
    """
    codes, k = codes.reshape(len(codes), -1), k.reshape(len(k), -1)
    C, M = int(labels.max()) + 1, codes.shape[1]
    at = np.zeros((M, C, K))
    for m in range(M):
        np.add.at(at[m], (labels, codes[:, m]), 1)
    prior = np.log(np.bincount(labels))
    score = log_p(at)[np.arange(M), :, k]  # (n, M, C)
    bag = log_p(at.sum(axis=0)).T[k].sum(axis=1)
    hit = lambda s: 100 * float((np.argmax(prior + s, axis=-1) == c).mean())
    one = [hit(score[:, m]) for m in range(M)]
    return {"one": float(np.mean(one)), "best": max(one), "bag": hit(bag), "every": hit(score.sum(axis=1))}


def log_p(counts: np.ndarray) -> np.ndarray:
    """log p(j | c) from counts: (..., C, K)."""
    return np.log((counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + counts.shape[-1] / 2))


def sharing(k: np.ndarray, c: np.ndarray, K: int) -> tuple[dict, np.ndarray]:
    """Which classes use which codes, over all positions ("bag") and at each position ("at", the mean).

    said: I(c; j), corrected for bias, in % of H(c); classes: number of classes that share a code, the mean
    over uses; own: uses, in %, of codes that belong to one class; subset: codes in effective use by one
    class, in % of those by all. Also the overlap of each pair of classes at a position: (C, C).
    """
    k = k.reshape(len(k), -1)
    M = k.shape[1]
    pooled = [vqnp.metrics.class_information(k.reshape(-1, 1), np.repeat(c, M), K)]
    each = [vqnp.metrics.class_information(k[:, m : m + 1], c, K) for m in range(M)]
    figures = {}
    for where, tables in (("bag", pooled), ("at", each)):
        use = [table.usage.mean(axis=0) for table in tables]
        shares = [class_shares(table.usage) for table in tables]
        figures |= {
            f"{where}_said": 100 * np.mean([(t.per_position - t.bias)[0] / t.class_entropy for t in tables]),
            f"{where}_classes": np.mean([u @ t.classes_per_code for u, t in zip(use, tables, strict=True)]),
            f"{where}_own": 100 * np.mean([u @ (s.max(0) > SHARE) for u, s in zip(use, shares, strict=True)]),
            f"{where}_subset": 100 * np.mean([
                np.mean([vqnp.perplexity(row) for row in t.usage]) / vqnp.perplexity(u)
                for u, t in zip(use, tables, strict=True)
            ]),
        }  # fmt: skip
    return figures, np.mean([table.overlap for table in each], axis=0)


def class_shares(usage: np.ndarray) -> np.ndarray:
    """p(c | j) for equally frequent classes: (C, K); 0 for a code that is not used."""
    return usage / np.maximum(usage.sum(axis=0), 1e-12)
