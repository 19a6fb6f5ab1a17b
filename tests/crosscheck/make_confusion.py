"""Write docs/crosscheck-confusion.md: what was planted, and what the fingerprint reported. Needs PyTorch.

python tests/crosscheck/make_confusion.py [draws of each variant]
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import planted_numpy
import planted_torch

from vqnp.crosscheck import check
from vqnp.crosscheck.variants.table import TITLES, VARIANTS

ROOT = Path(__file__).parents[2]
HEAD = """# Cross-check: the confusion table

Each variant and bug was planted in a small layer, {draws} draws of each with random K (3 to 17), D (2 to 9),
beta (0.05 to 0.95), decay (0.5 to 0.999; 0.96 to 0.999 for restarts) and epsilon (1e-7 to 1e-3), in float64.
Each row is one planted variant. The third column is what the fingerprint reported in that dimension, and
how often. The last column counts the false alarms: other dimensions for which it reported a variant that is
not there. `tests/crosscheck/make_confusion.py` writes this page; the tests do the same with other draws, and
with pairs of variants.

| layer | planted | reported | false alarms |
|---|---|---|---|
"""


def run(name, make, right, plants, draws, r):
    """One line of the table."""
    reported, alarms = Counter(), 0
    for _ in range(draws):
        K, D, seed = int(r.integers(3, 18)), int(r.integers(2, 10)), int(r.integers(1000))
        low = 0.96 if "dead_codes" in plants else 0.5
        decay, epsilon = r.uniform(low, 0.999), 10 ** r.uniform(-7, -3)
        layer = make(r.uniform(0.05, 0.95), decay, epsilon, plants)
        found = check(layer, seed=seed, num_embeddings=K, embedding_dim=D).fingerprint
        for d in plants:
            reported[VARIANTS[d][found[d]].label if found[d] else "cannot tell"] += 1
        alarms += sum(found[d] not in (None, v) for d, v in right.items() if d not in plants)
    what = "; ".join(f"{TITLES[d]} {VARIANTS[d][v].label}" for d, v in plants.items()) or "nothing"
    named = ", ".join(f"{label}: {n}" for label, n in reported.most_common()) or "-"
    return f"| {name} | {what} | {named} | {alarms} |\n"


def main(draws):
    r = np.random.default_rng(0)
    ema = planted_numpy.RIGHT | {"beta_on": "none"}
    kinds = [
        ("PyTorch", lambda b, g, e, v: planted_torch.TorchAdapter(b, **v), planted_torch),
        ("NumPy, EMA", lambda b, g, e, v: planted_numpy.NumpyEMA(b, g, e, **v), planted_numpy),
    ]
    text = HEAD.format(draws=draws)
    for name, make, module in kinds:
        right = module.RIGHT if module is planted_torch else ema
        text += run(name, make, right, {}, draws, r)
        for dimension, variants in module.PLANTS.items():
            waits = {"codebook_init": "waits"} if dimension == "kmeans_start" else {}
            for variant in variants:
                text += run(name, make, right | waits, {dimension: variant}, draws, r)
    (ROOT / "docs" / "crosscheck-confusion.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
