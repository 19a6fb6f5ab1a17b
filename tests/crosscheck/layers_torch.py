"""Layers as people write them in PyTorch, which the tests break: `Classic` and `Ema`. Needs PyTorch.

Both take z: (N, D) and return (z_q, k, L); beta, decay and epsilon are attributes.
"""

import torch

F = torch.nn.functional


def nearest(z, E):
    return ((z[:, None] - E) ** 2).sum(-1).argmin(1)


class Classic(torch.nn.Module):
    """A right codebook by gradient: L = codebook term + beta · commitment term."""

    beta = 0.25

    def __init__(self, K, D):
        super().__init__()
        self.E = torch.nn.Parameter(torch.randn(K, D))

    def loss(self, commitment, codebook):
        return self.beta * commitment + codebook

    def forward(self, z):
        k = nearest(z, self.E)
        e = self.E[k]
        L = self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))
        return z + (e - z).detach(), k, L


class Ema(torch.nn.Module):
    """The right consistent average, with a hook `after(z)` at the end of its training step."""

    beta, decay, epsilon, start = 0.25, 0.95, 1e-5, 1.0

    def __init__(self, K, D):
        super().__init__()
        self.register_buffer("E", torch.randn(K, D))
        self.register_buffer("N", torch.full((K,), float(self.start)))
        self.register_buffer("m", self.E.clone())

    def average(self, k, z):
        onehot = F.one_hot(k, len(self.E)).to(z.dtype)
        self.N.mul_(self.decay).add_(onehot.sum(0), alpha=1 - self.decay)
        self.m.mul_(self.decay).add_(onehot.T @ z, alpha=1 - self.decay)
        n = self.N.sum()
        smooth = (self.N + self.epsilon) / (n + len(self.N) * self.epsilon) * n
        self.E.copy_(self.m / smooth[:, None])

    def after(self, z):
        pass

    def before(self, z):
        pass

    def forward(self, z):
        self.before(z.detach())
        k = nearest(z, self.E)
        e = self.E[k]
        if self.training:
            self.average(k, z.detach())
            self.after(z.detach())
        return z + (e - z).detach(), k, self.beta * F.mse_loss(z, e.detach())


def with_(base, **attributes):
    """A subclass of base with other attributes or methods."""
    return type(base.__name__, (base,), attributes)


def rows(z, n):
    """n random rows of the batch."""
    return z[torch.randint(len(z), (n,))]


def set_all(layer, dead, x, count=1.0):
    """A restart that resets all three."""
    layer.E[dead], layer.N[dead], layer.m[dead] = x, count, count * x
