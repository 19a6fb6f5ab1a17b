"""STUB until the real one lands."""

from dataclasses import asdict, dataclass

import numpy as np


def perplexity(counts):
    n = np.asarray(counts, float)
    p = n[n > 0] / n.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def utilization(a, K=None):
    return perplexity(a) / len(a) if K is None else a / K


def dead_codes(counts):
    return np.flatnonzero(np.asarray(counts) == 0)


def bits_per_image(M, K):
    return float(M * np.log2(K))


@dataclass(frozen=True)
class Diagnosis:
    level: str
    perplexity: float
    num_embeddings: int
    utilization: float

    def as_dict(self):
        return asdict(self)

    def __str__(self):
        return self.level


def diagnose(p, K, history=None):
    return Diagnosis("stub", p, K, p / K)
