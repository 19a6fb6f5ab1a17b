"""A layer of moving averages with any variants of the table planted in it."""

import numpy as np

from vqnp.crosscheck import QuantizerAdapter
from vqnp.crosscheck.variants.quantizers import planted
from vqnp.nn import EMAVectorQuantizer

RIGHT = {
    "reduction": "mean",
    "codes": "before",
    "evaluation_loss": "same",
    "start": "consistent",
    "zero_debias": "no",
    "write_back": "no",
    "smoothing": "laplace",
    "dead_codes": "never",
    "kmeans_start": "unused",
    "codebook_init": "uniform",
}

PLANTS = {
    "reduction": ("mean_of_sums", "sum", "sum_of_means"),
    "codes": ("after", "mixed"),
    "evaluation_loss": ("zero",),
    "start": ("zero_counts", "zero", "independent", "one_count_independent"),
    "zero_debias": ("yes",),
    "write_back": ("yes",),
    "smoothing": ("additive", "none"),
    "dead_codes": ("restart", "undone"),
    "kmeans_start": ("stays", "collapses"),
    "codebook_init": ("normal", "scaled_uniform"),
}


class Idle(EMAVectorQuantizer):
    """A code that no vector of twenty batches has starts again; `keep`: and keeps its N and m."""

    keep, restarts = False, 0

    def update(self, z, k, rng):
        state = self.next_state(z, k)
        used = np.bincount(k, minlength=len(state.N)) > 0
        self.idle = np.where(used, 0, getattr(self, "idle", 0) + np.ones(len(used)))
        dead = np.flatnonzero(self.idle >= 20)
        E, N, m = state.E.copy(), state.N.copy(), state.m.copy()
        E[dead] = z[np.random.default_rng(state.t).integers(len(z), size=len(dead))]
        if not self.keep:
            N[dead], m[dead] = N.mean(), N.mean() * E[dead]
        self.idle[dead] = 0
        self.ema = state._replace(E=E, N=N, m=m)
        type(self).restarts += len(dead)
        return dead


class NumpyEMA(QuantizerAdapter):
    """An adapter of vqnp's moving averages and its variants."""

    def __init__(self, beta=0.25, decay=0.99, epsilon=1e-5, dtype=np.float64, seed=0, **plants):
        self.v = RIGHT | plants
        restart = plants.pop("dead_codes", "never")
        kind = EMAVectorQuantizer if restart == "never" else Idle
        kind, options = planted(kind, plants)
        kind.keep = restart == "undone"
        constants = {"commitment_cost": beta, "decay": decay, "epsilon": epsilon, "rng": seed}
        super().__init__(kind, dtype=dtype, **constants, **options)
        self.name = "a planted EMA layer"

    @property
    def restarts(self):
        """How many codes have started again in all that it was asked."""
        return getattr(self.kind, "restarts", 0)

    def evaluate(self, z, E):
        k, z_q, L, figure = super().evaluate(z, E)
        return k, z_q, 0 * L if self.v["evaluation_loss"] == "zero" else L, figure
