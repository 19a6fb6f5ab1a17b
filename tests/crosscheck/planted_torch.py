"""A small VQ layer as people write it in PyTorch, with any variant or bug of the table planted in it.

It shares nothing with vqnp: autograd makes its gradients. Needs PyTorch.
"""

import numpy as np
import torch

RIGHT = {
    "distance": "exact",
    "ties": "lowest",
    "beta_on": "commitment",
    "reduction": "mean",
    "loss_from": "codes",
    "straight_through": "copy",
    "leak": "no",
    "evaluation_loss": "same",
    "perplexity": "exact",
}
"""What the layer is where nothing is planted; "exact" in float64, "direct_float32" in float32."""

PLANTS = {
    "distance": ("expanded_float32", "cosine", "other"),
    "ties": ("highest",),
    "beta_on": ("codebook", "complement", "both", "none", "undetached"),
    "reduction": ("mean_of_sums", "sum", "sum_of_means"),
    "loss_from": ("straight_through",),
    "straight_through": ("rotation", "none", "other"),
    "leak": ("yes",),
    "evaluation_loss": ("zero", "other"),
    "perplexity": ("log_offset", "entropy", "entropy_bits", "utilization", "used", "other"),
}


def distances(z, E, form):
    if form == "expanded_float32":
        z, E = z.float(), E.float()
        return (z**2).sum(1, keepdim=True) - 2 * z @ E.T + (E**2).sum(1)
    if form == "cosine":
        return -torch.nn.functional.normalize(z, dim=1) @ torch.nn.functional.normalize(E, dim=1).T
    d = ((z[:, None] - E) ** 2).sum(-1)
    return -d if form == "other" else d  # a maximum in place of a minimum


def reduce(squares, how):
    return {
        "mean": lambda s: s.mean(),
        "mean_of_sums": lambda s: s.sum(1).mean(),
        "sum": lambda s: s.sum(),
        "sum_of_means": lambda s: s.mean(1).sum(),
    }[how](squares)


def rotate(z, e):
    """The rotation trick: z_q = (‖e‖/‖z‖) R z with R and the norms constant."""
    u, q = (torch.nn.functional.normalize(a.detach(), dim=1) for a in (z, e))
    w = torch.nn.functional.normalize(u + q, dim=1)
    turned = z - 2 * (z * w).sum(1, keepdim=True) * w + 2 * (z * u).sum(1, keepdim=True) * q
    return (
        e.detach().norm(dim=1, keepdim=True) / z.detach().norm(dim=1, keepdim=True).clamp(min=1e-6) * turned
    )


def perplexity(k, K, how):
    p = torch.bincount(k, minlength=K).double() / len(k)
    used = p[p > 0]
    entropy = -(used * used.log()).sum()
    return {
        "exact": entropy.exp(),
        "log_offset": (-(p * (p + 1e-10).log()).sum()).exp(),
        "entropy": entropy,
        "entropy_bits": entropy / np.log(2),
        "utilization": entropy.exp() / K,
        "used": torch.tensor(float(len(used))),
        "other": 1 / (p**2).sum(),
    }[how]


class Layer(torch.nn.Module):
    """z: (N, D) -> k: (N,), z_q: (N, D), L: (), perplexity: ()."""

    def __init__(self, E, beta, v):
        super().__init__()
        self.E, self.beta, self.v = torch.nn.Parameter(E), beta, v

    def forward(self, z):
        v, beta, E = self.v, self.beta, self.E
        d = distances(z, E, v["distance"])
        k = len(E) - 1 - d.flip(1).argmin(1) if v["ties"] == "highest" else d.argmin(1)
        e = E[k]
        through = {
            "copy": lambda e: z + (e - z).detach(),
            "rotation": lambda e: rotate(z, e),
            "none": lambda e: e.detach(),
            "other": lambda e: 0.5 * z + (e - 0.5 * z).detach(),
        }[v["straight_through"]]
        z_q = through(e)
        if v["leak"] == "yes":
            z_q = z_q + e - e.detach()
        of = z_q if v["loss_from"] == "straight_through" else e
        commitment = reduce((z - of.detach()) ** 2, v["reduction"])
        # What people write for a late loss: F.mse_loss(z_q, z.detach()), z_q being z + sg(e − z) already.
        codebook = reduce((of - z.detach()) ** 2, v["reduction"])
        p, q = {
            "commitment": (beta, 1),
            "codebook": (1, beta),
            "complement": (1 - beta, beta),
            "both": (beta, beta),
            "none": (beta, 0),
            "undetached": (0, 0),
        }[v["beta_on"]]
        L = p * commitment + q * codebook
        if v["beta_on"] == "undetached":
            L = beta * reduce((z - of) ** 2, v["reduction"])
        if not self.training and v["evaluation_loss"] != "same":
            L = 0 * L if v["evaluation_loss"] == "zero" else commitment + 7
        return k, z_q, L, perplexity(k, len(E), v["perplexity"])


class TorchAdapter:
    """The adapter that anyone would write for it."""

    name = "a planted layer"

    def __init__(self, beta=0.25, dtype=np.float64, **plants):
        self.beta, self.dtype = beta, np.dtype(dtype)
        self.v = RIGHT | plants

    def _run(self, z, E, training=True):
        z = torch.tensor(z, requires_grad=True)
        layer = Layer(torch.tensor(E), self.beta, self.v).train(training)
        return z, layer, layer(z)

    def forward(self, z, E):
        return tuple(out.detach().numpy() for out in self._run(z, E)[2])

    def evaluate(self, z, E):
        return tuple(out.detach().numpy() for out in self._run(z, E, training=False)[2])

    def backward(self, z, E, G):
        z, layer, (_, z_q, L, _) = self._run(z, E)
        (L + (torch.tensor(G) * z_q).sum()).backward()
        dE = layer.E.grad
        return z.grad.numpy(), None if dE is None else dE.numpy()
