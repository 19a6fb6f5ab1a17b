"""PixelCNN against one of F.conv2d with masked weights: loss, logits, every gradient; float64, to 1e-12."""

import os

import numpy as np
import pytest

from vqnp.ops import code_conv_backward, code_conv_forward
from vqnp.priors import PixelCNN

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
F = torch.nn.functional


def masked(kernel, which, own):
    """The mask of a whole kernel, the usual way: rows above, positions on the left, or both."""
    mask, r = torch.zeros(kernel, kernel, dtype=torch.bool), kernel // 2
    if which in ("above", "before"):
        mask[:r] = True
    if which == "above" and own:
        mask[r] = True
    if which in ("left", "before"):
        mask[r, : r + own] = True
    return mask


def conv(x, leaves, name, kernel, which, own):
    """F.conv2d with a weight (O, C, k, k), of which the mask leaves our taps; x: (B, C, H, W)."""
    first = name + ".E" in leaves  # then x is one-hot codes
    W, b = leaves[name + (".U" if first else ".W")], leaves[name + ".b"]
    x = torch.einsum("bkhw,kd->bdhw", x, leaves[name + ".E"]) if first else x
    mask = masked(kernel, which, own)
    taps = W.reshape(int(mask.sum()), *W.shape[-2:])
    weight = torch.randn(kernel, kernel, *taps.shape[1:], dtype=W.dtype)  # what is masked may be anything
    weight = weight.masked_scatter(mask[..., None, None], taps) * mask[..., None, None]
    return F.conv2d(x, weight.permute(3, 2, 0, 1), b, padding=kernel // 2)


def linear(x, leaves, name):
    """A 1 × 1 convolution."""
    return F.conv2d(x, leaves[name + ".W"].T[..., None, None], leaves[name + ".b"])


def gate(x):
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def residual(x, leaves, name):
    """x + conv1(ReLU(conv3(ReLU(x))))."""
    y = x
    for i in (1, 3):
        W, b = leaves[f"{name}.{i}.W"].permute(3, 2, 0, 1), leaves[f"{name}.{i}.b"]
        y = F.conv2d(F.relu(y), W, b, padding=W.shape[-1] // 2)
    return x + y


def features(ours, leaves, above):
    """(B, C, H, W) from the codes of the levels above, or None."""
    m = None
    for i, k in enumerate(above, 1):
        layers = f"above_codes.layers_{i}"
        x = F.embedding(torch.tensor(k), leaves[f"above_codes.embedding_{i}.E"]).permute(0, 3, 1, 2)
        x = F.conv2d(x, leaves[layers + ".0.W"].permute(3, 2, 0, 1), leaves[layers + ".0.b"], padding=1)
        x = F.relu(residual(x, leaves, layers + ".1.inner"))
        W = leaves[layers + ".3.W"].permute(3, 2, 0, 1)
        x = F.conv_transpose2d(x, W, leaves[layers + ".3.b"], stride=W.shape[-2:])
        m = x if m is None else m + x
    return m


def their_logits(ours, leaves, k, y, above=()):
    """(B, K, H, W), from our parameters by name."""
    m = features(ours, leaves, above)
    K, C = ours.num_embeddings, len(leaves["blocks.0.out.b"])
    v = h = F.one_hot(torch.tensor(k), K).permute(0, 3, 1, 2).double()
    blocks = ours.config()["layers"] + 1
    for l in range(blocks):
        name, kernel, own = f"blocks.{l}.", ours.kernel if l else ours.first_kernel, int(l > 0)
        c = torch.zeros(1, 4 * C, 1, 1)
        if ours.num_classes:
            c = F.embedding(torch.tensor(y), leaves[name + "classes.E"])[:, :, None, None]
        if m is not None:
            shown = linear(m, leaves, name + "from_above")
            c = shown + (c if ours.num_classes else 0)
        if ours.stacks == 1:
            H = conv(h, leaves, name + "before", kernel, "before", own)
        else:
            V = conv(v, leaves, name + "above", kernel, "above", own)
            H = conv(h, leaves, name + "left", kernel, "left", own) + linear(V, leaves, name + "link")
            if l < blocks - 1:
                v = gate(V + c[:, 2 * C :]) + (v if l else 0)
        out = linear(gate(H + c[:, : 2 * C]), leaves, name + "out")
        h = h + out if l else out
    return linear(F.relu(linear(F.relu(h), leaves, "head.1")), leaves, "head.3")


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "layers", "above"), [(3, 4, ()), (5, 2, ()), (5, 2, ((5, (1, 2)), (4, (2, 3))))]
)
def test_loss_logits_and_gradients(classes, stacks, kernel, layers, above):
    r = np.random.default_rng(0)
    ours = PixelCNN(
        7, (4, 6), 5, layers, kernel, 5, stacks, num_classes=classes, rng=1, dtype="float64", above=above
    )  # fmt: skip
    for param in ours.parameters():
        param.value += 0.3 * r.standard_normal(param.value.shape)
    leaves = {name: torch.tensor(p.value, requires_grad=True) for name, p in ours.named_parameters()}
    k, y = r.integers(0, 7, (3, 4, 6)), r.integers(0, classes + 1, 3)
    flat = k.reshape(3, 24)
    up = tuple(r.integers(0, count, (3, *each)) for count, each in above)
    ours_loss, cache = ours.cross_entropy(flat, y if classes else None, up, None)
    ours.backward(cache)
    a = their_logits(ours, leaves, k, y, up)
    loss = F.cross_entropy(a, torch.tensor(k))
    loss.backward()
    assert abs(ours_loss - loss.item()) < 1e-12 * loss.item()
    labels = y if classes else np.zeros(3, int)
    theirs = a.detach().permute(0, 2, 3, 1).reshape(3, 24, 7).numpy()
    np.testing.assert_allclose(ours.logits_forward(flat, labels, None, up)[0], theirs, rtol=1e-12, atol=1e-12)
    for name, param in ours.named_parameters():
        grad = leaves[name].grad.numpy()
        assert grad.any() and np.abs(param.grad - grad).max() <= 1e-12 * max(np.abs(grad).max(), 0.1), name


def test_a_convolution_of_codes():
    """F.conv2d of one-hot codes, with the whole kernel."""
    r = np.random.default_rng(0)
    k, W, b = r.integers(0, 6, (2, 4, 5)), r.standard_normal((15, 6, 3)), r.standard_normal(3)
    dy = r.standard_normal((2, 4, 5, 3))
    y, cache = code_conv_forward(k, W, b, [(i, j) for i in (-1, 0, 1) for j in (-2, -1, 0, 1, 2)])
    dW, db = code_conv_backward(dy, cache)
    w, bias = torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)
    onehot = F.one_hot(torch.tensor(k), 6).permute(0, 3, 1, 2).double()
    theirs = F.conv2d(onehot, w.reshape(3, 5, 6, 3).permute(3, 2, 0, 1), bias, padding=(1, 2))
    theirs.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    for mine, other in ((y, theirs.detach().permute(0, 2, 3, 1)), (dW, w.grad), (db, bias.grad)):
        np.testing.assert_allclose(mine, other.numpy(), rtol=1e-12, atol=1e-12)
