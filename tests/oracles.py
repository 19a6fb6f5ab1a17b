"""The equations as plain loops: slow, and too simple to be wrong. Imports math and NumPy, nothing of ours."""

import math


def perplexity(counts):
    """exp(−Σ p log p), 0 log 0 = 0."""
    total = math.fsum(float(n) for n in counts)
    entropy = 0.0
    for n in counts:
        p = float(n) / total
        if p > 0:
            entropy -= p * math.log(p)
    return math.exp(entropy)
