"""The number of codes of each contender that are not the nearest, on easy and on hard vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import OURS
from searches import ANSWERS

Array = np.ndarray[Any, Any]


def oracle(z: Array, E: Array) -> Array:
    """argmin Σ (z_d − e_d)², summed in order of d in float64; the lowest index in a tie."""
    k = np.empty(len(z), np.int64)
    for i in range(0, len(z), 2048):
        part = z[i : i + 2048].astype(np.float64)
        d2 = np.zeros((len(part), len(E)))
        for d in range(z.shape[1]):
            d2 += (part[:, d, None] - E[:, d].astype(np.float64)) ** 2
        k[i : i + 2048] = d2.argmin(1)
    return k


def hard_and_easy(n: int) -> dict[str, tuple[Array, Array]]:
    """Ten kinds of data, n vectors of each, D = 32, K = 128."""
    D, K, rng = 32, 128, np.random.default_rng(1)
    z, E = rng.standard_normal((n, D), dtype=np.float32), rng.standard_normal((K, D), dtype=np.float32)
    pair = E[rng.integers(0, K, (2, n))]
    scale = 10 ** rng.uniform(-8, 8, (n, 1))
    close = E.copy()
    close[1::2] = np.nextafter(E[::2], np.float32(np.inf))
    return {
        "standard normal": (z, E),
        "offset 10": (z + 10, E + 10),
        "offset 100": (z + 100, E + 100),
        "offset 1000": (z + 1000, E + 1000),
        "midway between two codes": (pair.mean(0), E),
        "every code twice": (z, np.concatenate([E[: K // 2], E[: K // 2]])),
        "codes one ulp apart": (z, close),
        "the codes, each moved by one ulp": (np.nextafter(pair[0], np.float32(np.inf)), E),
        "norms from 1e-8 to 1e8": ((z * scale).astype(np.float32), E),
        "small integers: many exact ties": (
            rng.integers(-1, 2, (n, D)).astype(np.float32),
            rng.integers(-1, 2, (K, D)).astype(np.float32),
        ),
    }


def wrong_codes(n: int) -> str:
    """A table of the number of codes of each contender that differ from the oracle's."""
    lines = [
        f"| {n:,} vectors of each kind, D = 32, K = 128 | " + " | ".join(ANSWERS) + " |",
        "|---" * (1 + len(ANSWERS)) + "|",
    ]
    total = dict.fromkeys(ANSWERS, 0)
    for kind, (z, E) in hard_and_easy(n).items():
        right = oracle(z, E)
        wrong = {name: int((answer(z, E) != right).sum()) for name, answer in ANSWERS.items()}
        total = {name: total[name] + wrong[name] for name in ANSWERS}
        lines.append(f"| {kind} | " + " | ".join(f"{w:,}" for w in wrong.values()) + " |")
        print(lines[-1], flush=True)
    lines.append(f"| **all {10 * n:,}** | " + " | ".join(f"**{w:,}**" for w in total.values()) + " |")
    if total[OURS]:
        raise SystemExit(f"vqnp returned {total[OURS]} wrong codes: nothing is timed")
    return "\n".join(lines)
