"""The transformer prior against one written in PyTorch: loss, logits, every gradient; float64, to 1e-12."""

import os

import numpy as np
import pytest

from vqnp.priors import Transformer

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
F = torch.nn.functional


class Block(torch.nn.Module):
    """Pre-LayerNorm, as in nanoGPT: the mask is built once, heads are a view."""

    def __init__(self, C, heads):
        super().__init__()
        self.attention_norm, self.mlp_norm = torch.nn.LayerNorm(C), torch.nn.LayerNorm(C)
        self.attention = torch.nn.ModuleDict(
            {"qkv": torch.nn.Linear(C, 3 * C), "out": torch.nn.Linear(C, C)}
        )
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(C, 4 * C), torch.nn.GELU(), torch.nn.Linear(4 * C, C)
        )
        self.heads = heads

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.attention["qkv"](self.attention_norm(x)).chunk(3, dim=-1)
        q, k, v = (a.view(B, T, self.heads, C // self.heads).transpose(1, 2) for a in (q, k, v))
        scores = q @ k.transpose(-1, -2) / (C // self.heads) ** 0.5
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        o = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + self.attention["out"](o.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.mlp_norm(x))


class Prior(torch.nn.Module):
    def __init__(self, K, M, C, L, heads, classes, tied, above=()):
        super().__init__()
        self.embedding = torch.nn.Embedding(K, C)
        self.start = torch.nn.Parameter(torch.randn(C))
        self.positions = torch.nn.Parameter(torch.randn(M + (classes > 0) + sum(m for _, m in above), C))
        self.levels = len(above)
        for i, (count, _) in enumerate(above, 1):
            setattr(self, f"above_{i}", torch.nn.Embedding(count, C))
        if classes:
            self.classes = torch.nn.Embedding(classes + 1, C)
        self.blocks = torch.nn.ModuleList([Block(C, heads) for _ in range(L)])
        self.norm = torch.nn.LayerNorm(C)
        if tied:
            self.head = torch.nn.Linear(C, K, bias=False)
            self.head.weight = self.embedding.weight
        else:
            self.head = torch.nn.Linear(C, K)

    def forward(self, k, y, above=()):
        tokens = [self.start.expand(len(k), 1, -1), self.embedding(k[:, :-1])]
        tokens[:0] = [getattr(self, f"above_{i}")(each) for i, each in enumerate(above, 1)]
        if hasattr(self, "classes"):
            tokens.insert(0, self.classes(y)[:, None])
        x = torch.cat(tokens, dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))[:, -k.shape[1] :]


def load(theirs, ours):
    """Our values in their parameters, by name; -> {our name: their parameter, ours to their axes}."""
    torch_names = {"gamma": "weight", "beta": "bias", "E": "weight", "W": "weight", "b": "bias"}
    by_name, pairs = dict(theirs.named_parameters()), {}
    for name, param in ours.named_parameters():
        place, _, own = name.rpartition(".")
        their = by_name[f"{place}.{torch_names[own]}" if place else own]
        turned = own == "W"
        with torch.no_grad():
            their.copy_(torch.tensor(param.value.T if turned else param.value))
        pairs[name] = their, turned
    assert len(pairs) == len(by_name)
    return pairs


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("above", [(), ((5, (1, 2)), (4, (2, 2)))])
def test_loss_logits_and_gradients(classes, tied, above):
    """above: a level of two levels' codes below which the prior stands."""
    r = np.random.default_rng(0)
    K, shape, C, L, heads = 7, (3, 4), 12, 3, 4
    ours = Transformer(K, shape, C, L, heads, 0.1, classes, tied=tied, rng=1, dtype="float64", above=above)
    for param in ours.parameters():
        param.value += 0.3 * r.standard_normal(param.value.shape)
    flat = [(count, int(np.prod(each))) for count, each in above]
    theirs = Prior(K, 12, C, L, heads, classes, tied, flat).double()
    pairs = load(theirs, ours)
    k, y = r.integers(0, K, (5, 12)), r.integers(0, classes + 1, 5)
    up = tuple(r.integers(0, count, (5, *each)) for count, each in above)
    ours_loss, cache = ours.cross_entropy(k, y if classes else None, up, None)
    ours.backward(cache)
    a = theirs(torch.tensor(k), torch.tensor(y), [torch.tensor(each.reshape(5, -1)) for each in up])
    loss = F.cross_entropy(a.reshape(-1, K), torch.tensor(k).reshape(-1))
    loss.backward()
    assert abs(ours_loss - loss.item()) < 1e-12 * loss.item()
    labels = y if classes else np.zeros(5, int)
    logits = ours.logits_forward(k, labels, None, up)[0]
    np.testing.assert_allclose(logits, a.detach().numpy(), rtol=1e-12, atol=1e-12)
    whole = max(float(their.grad.abs().max()) for their, _ in pairs.values())
    for name, param in ours.named_parameters():
        their, turned = pairs[name]
        grad = their.grad.numpy().T if turned else their.grad.numpy()
        # The keys' bias has no gradient: it cancels in the softmax, up to the rounding of the others.
        assert np.abs(param.grad - grad).max() <= 1e-12 * max(np.abs(grad).max(), 0.1 * whole), name
