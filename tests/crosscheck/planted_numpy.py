"""A small EMA quantizer in plain NumPy, with any variant of the table planted in it; nothing of vqnp's."""

import numpy as np

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


class NumpyEMA:
    """An adapter that is its own layer: forward, evaluate, backward, reset, step, fresh."""

    name = "a planted EMA layer"

    def __init__(self, beta=0.25, decay=0.99, epsilon=1e-5, dtype=np.float64, seed=0, **plants):
        self.beta, self.decay, self.epsilon, self.dtype = beta, decay, epsilon, np.dtype(dtype)
        self.v, self.seed = RIGHT | plants, seed

    def reset(self, E):
        r = np.random.default_rng(self.seed)
        start, K = self.v["start"], len(E)
        self.E, self.t = E.copy(), 0
        self.N = (
            np.ones(K, E.dtype) if start in ("consistent", "one_count_independent") else np.zeros(K, E.dtype)
        )
        self.m = E.copy() if start in ("consistent", "zero_counts") else np.zeros_like(E)
        if "independent" in start:
            self.m = r.standard_normal(E.shape).astype(E.dtype)
        self.rng, self.waits, self.idle = r, False, np.zeros(K)

    def fresh(self, K, D):
        r = np.random.default_rng(self.seed)
        law = self.v["codebook_init"]
        bound = 1 / K if law == "uniform" else np.sqrt(3 / D)
        E = r.standard_normal((K, D)) if law == "normal" else r.uniform(-bound, bound, (K, D))
        self.reset(E.astype(self.dtype))
        self.waits = self.v["kmeans_start"] != "unused"
        return None if self.waits else self.E

    def start_from(self, z):
        """Five rounds of Lloyd's, from vectors of the batch that are not all of one place."""
        K = len(self.E)
        E = z[:K].copy()
        for _ in range(5):
            k = ((z[:, None] - E) ** 2).sum(-1).argmin(1)
            for j in range(K):
                if (k == j).any():
                    E[j] = z[k == j].mean(0)
        n = np.maximum(np.bincount(k, minlength=K), 1).astype(E.dtype)
        self.E, self.N = E, n
        self.m = E.copy() if self.v["kmeans_start"] == "collapses" else E * n[:, None]
        self.waits = False

    def step(self, z):
        if self.waits:
            self.start_from(z)
        v, g, K = self.v, self.decay, len(self.E)
        k = ((z[:, None] - self.E) ** 2).sum(-1).argmin(1)
        hot = np.eye(K, dtype=z.dtype)[k]
        n, s = hot.sum(0), hot.T @ z
        self.t += 1
        self.N = g * self.N + (1 - g) * n
        self.m = g * self.m + (1 - g) * s
        N, m = self.N, self.m
        if v["zero_debias"] == "yes":
            N, m = N / (1 - g**self.t), m / (1 - g**self.t)
        if v["smoothing"] == "laplace":
            N = (N + self.epsilon) / (N.sum() + K * self.epsilon) * N.sum()
        elif v["smoothing"] == "additive":
            N = N + self.epsilon
        with np.errstate(all="ignore"):
            self.E = np.where(N[:, None] > 0, m / N[:, None], self.E).astype(z.dtype)
        if v["write_back"] == "yes":
            self.N = N
        self.idle = np.where(n > 0, 0, self.idle + 1)
        dead = np.flatnonzero(self.idle >= 20)
        if v["dead_codes"] != "never" and len(dead):
            self.E[dead] = z[self.rng.integers(len(z), size=len(dead))]
            self.idle[dead] = 0
            if v["dead_codes"] == "restart":
                self.N[dead], self.m[dead] = self.N.mean(), self.N.mean() * self.E[dead]
        return self.E.copy(), self.N.copy(), self.m.copy()

    def _loss(self, z, e):
        squares = (z - e) ** 2
        how = self.v["reduction"]
        scale = {"mean": squares.size, "mean_of_sums": len(z), "sum": 1, "sum_of_means": z.shape[1]}[how]
        return scale, self.beta * squares.sum() / scale

    def _quantize(self, z, E):
        """k, e for z_q, e for the loss."""
        self.reset(E)
        k = ((z[:, None] - E) ** 2).sum(-1).argmin(1)
        if self.v["codes"] == "before":
            return k, E[k], E[k]
        after = self.step(z)[0]
        return k, after[k], after[k] if self.v["codes"] == "after" else E[k]

    def forward(self, z, E):
        k, z_q, e = self._quantize(z, E)
        return k, z_q, self._loss(z, e)[1]

    def evaluate(self, z, E):
        k = ((z[:, None] - E) ** 2).sum(-1).argmin(1)
        return (
            k,
            E[k],
            np.zeros((), z.dtype) if self.v["evaluation_loss"] == "zero" else self._loss(z, E[k])[1],
        )

    def backward(self, z, E, G):
        _, _, e = self._quantize(z, E)
        return G + 2 * self.beta / self._loss(z, e)[0] * (z - e), None
