"""Text and codes as one sequence against DALL-E's form in PyTorch: one head over words and codes, masked."""

import os

import numpy as np
import pytest

from vqnp.priors import TextTransformer

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

from .test_torch_prior import Block  # noqa: E402

F = torch.nn.functional


class Joint(torch.nn.Module):
    """Words, codes and the three special tokens in one table of embeddings, and one head with a mask."""

    def __init__(self, V, T, K, M, C, L, heads):
        super().__init__()
        self.V, self.T, self.K = V, T, K
        self.embedding = torch.nn.Embedding(V + 2 + K + 2, C)  # words, end, none; codes; text start, start
        self.positions = torch.nn.Parameter(torch.zeros(T + 1 + M, C))
        self.blocks = torch.nn.ModuleList([Block(C, heads) for _ in range(L)])
        self.norm = torch.nn.LayerNorm(C)
        self.head = torch.nn.Linear(C, V + 1 + K)

    def forward(self, t, k):
        B, special = len(k), self.V + 2 + self.K
        start = torch.full((B, 1), special)
        tokens = torch.cat([start, t, start + 1, self.V + 2 + k[:, :-1]], dim=1)
        x = self.embedding(tokens) + self.positions
        for block in self.blocks:
            x = block(x)
        a = self.head(self.norm(x))
        is_text = torch.arange(a.shape[1])[:, None] <= self.T
        is_word = torch.arange(a.shape[2])[None] <= self.V
        return a.masked_fill(is_text != is_word, -torch.inf)


def load(theirs, ours):
    """Our values in their parameters, in the parts that a part of each is ours."""
    V, K = theirs.V, theirs.K
    table = [ours.text.E, ours.embedding.E, ours.text_start, ours.start]
    parts = {
        "embedding.weight": [np.atleast_2d(p.value) for p in table],
        "head.weight": [ours.text_head.W.value.T, ours.head.W.value.T],
        "head.bias": [ours.text_head.b.value, ours.head.b.value],
        "positions": [ours.positions.value],
    }
    names = {"gamma": "weight", "beta": "bias", "W": "weight", "b": "bias"}
    for name, param in ours.named_parameters():
        place, _, own = name.rpartition(".")
        if place.startswith(("blocks", "norm")):
            parts[f"{place}.{names[own]}"] = [param.value.T if own == "W" else param.value]
    by_name = dict(theirs.named_parameters())
    assert parts.keys() == by_name.keys() and V + 2 + K + 2 == len(theirs.embedding.weight)
    for name, arrays in parts.items():
        with torch.no_grad():
            by_name[name].copy_(torch.tensor(np.concatenate(arrays)))
    return by_name


@pytest.mark.parametrize("weights", [(1 / 8, 7 / 8), (0.6, 2.0)])
def test_loss_logits_and_gradients(weights):
    r = np.random.default_rng(0)
    words, T, K, M, C, L, heads = ("a", "b", "c", "d"), 3, 7, 12, 12, 3, 4
    ours = TextTransformer(K, (3, 4), words, T, C, L, heads, 0.0, 0.4, *weights, rng=1, dtype="float64")
    for param in ours.parameters():
        param.value += 0.3 * r.standard_normal(param.value.shape)
    theirs = Joint(4, T, K, M, C, L, heads).double()
    by_name = load(theirs, ours)
    k = r.integers(0, K, (8, M))
    t = ours.vocabulary.encode(["a b c", "d", "b a", "c", "d d d", "a", "b", "c c"])
    losses, cache = ours.loss((k, t), np.random.default_rng(5))
    ours.backward(cache)
    read = ours.dropped(t, np.random.default_rng(5))
    gone = (read == 5).all(axis=1)
    assert 0 < gone.sum() < 8
    a = theirs(torch.tensor(read), torch.tensor(k))
    target = np.where(gone[:, None], -100, t)
    after_the_end = np.cumsum(t == 4, axis=1) > 1
    target[after_the_end] = -100
    text = F.cross_entropy(a[:, :T].reshape(-1, K + 5), torch.tensor(target).reshape(-1))
    image = F.cross_entropy(a[:, T + 1 :].reshape(-1, K + 5), 5 + torch.tensor(k).reshape(-1))
    loss = weights[0] * text + weights[1] * image
    loss.backward()
    for name, their in (("loss", loss), ("text_loss", text), ("image_loss", image)):
        assert abs(losses[name] - their.item()) < 1e-12 * their.item()
    logits = ours.logits_forward(k, read)[0]
    np.testing.assert_allclose(logits, a[:, T + 1 :, 5:].detach().numpy(), rtol=1e-12, atol=1e-12)
    for param in ours.parameters():
        param.value = param.grad
    grads = {name: param.grad.numpy().copy() for name, param in by_name.items()}
    mine = load(theirs, ours)  # the same parts, now of gradients
    whole = max(np.abs(grad).max() for grad in grads.values())
    for name, grad in grads.items():
        difference = np.abs(mine[name].detach().numpy() - grad).max()
        assert difference <= 1e-12 * max(np.abs(grad).max(), 0.1 * whole), name
