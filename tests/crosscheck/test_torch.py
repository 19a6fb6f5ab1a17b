"""vqnp against PyTorch's autograd in float64: every op, the quantizers, the whole model, Adam, to 1e-12.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, VectorQuantizer, nearest_code, ops
from vqnp.nn import Flatten, Linear, Param, Reshape
from vqnp.optim import Adam

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
F = torch.nn.functional

seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


def t(a, grad=True):
    """A NumPy array as a tensor that wants a gradient."""
    return torch.tensor(a, requires_grad=grad and a.dtype.kind == "f")


def close(ours, theirs, rtol=1e-12, size=0.0):
    """Equal to rtol of the largest entry, or of size where a difference cancels."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert np.shape(ours) == theirs.shape
    scale = max(np.abs(theirs).max(initial=0), size, np.finfo(np.float64).tiny)
    assert np.abs(ours - theirs).max(initial=0) <= rtol * scale


def compare(forward, backward, reference, *arrays, options=None, rng, slope=0.0):
    """Outputs and gradients of an op pair and of the same function in PyTorch; slope: the largest |f'|."""
    options = options or {}
    *outputs, cache = forward(*arrays, **options)
    tensors = [t(a) for a in arrays]
    theirs = reference(*tensors)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    floats = [out for out in outputs if np.asarray(out).dtype.kind == "f"]
    cotangents = [rng.standard_normal(np.shape(out)) for out in floats]
    for ours, their in zip(floats, theirs, strict=True):
        close(ours, their, size=slope * np.abs(arrays[0]).max(initial=0))
    wanted = [x for x in tensors if x.requires_grad]
    objective = sum((torch.tensor(c) * their).sum() for c, their in zip(cotangents, theirs, strict=True))
    gradients = torch.autograd.grad(objective, wanted)
    mine = backward(*cotangents, cache)
    for a, b in zip(mine if isinstance(mine, tuple) else (mine,), gradients, strict=True):
        close(a, b, size=slope * max(np.abs(c).max(initial=0) for c in cotangents))


@given(seeds, shapes, st.integers(1, 6))
def test_linear(seed, shape, out):
    r = np.random.default_rng(seed)
    x, W, b = r.standard_normal(shape), r.standard_normal((shape[-1], out)), r.standard_normal(out)
    compare(ops.linear_forward, ops.linear_backward, lambda x, W, b: x @ W + b, x, W, b, rng=r)
    layer = torch.nn.Linear(shape[-1], out, dtype=torch.float64)
    layer.weight.data, layer.bias.data = torch.tensor(W.T), torch.tensor(b)
    close(ops.linear_forward(x, W, b)[0], layer(torch.tensor(x)))


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def kernel_last(W):
    """(O, C, *k) or (C, O, *k) of our (*k, C, O) or (*k, O, C)."""
    return W.movedim((-1, -2), (0, 1)).contiguous()


convolutions = given(
    seed=seeds,
    axes=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    geometry=st.lists(st.tuples(*(st.integers(*span) for span in ((1, 4), (1, 4), (0, 5), (1, 3), (1, 9)))),
                      min_size=2, max_size=2),
)  # fmt: skip


@convolutions
def test_conv(seed, axes, channels, geometry):
    """kernel, stride, padding, dilation and size per axis."""
    r = np.random.default_rng(seed)
    k, s, p, d, S = (g[:axes] for g in zip(*geometry, strict=True))
    S = tuple(max(n, d[i] * (k[i] - 1) + 1 - 2 * p[i]) for i, n in enumerate(S))
    C, O = channels
    x, W, b = r.standard_normal((2, *S, C)), r.standard_normal((*k, C, O)), r.standard_normal(O)
    theirs = (F.conv1d, F.conv2d)[axes - 1]

    def reference(x, W, b):
        return channels_last(theirs(channels_first(x), kernel_last(W), b, s, p, d))

    options = {"stride": s, "padding": p, "dilation": d}
    compare(ops.conv_forward, ops.conv_backward, reference, x, W, b, options=options, rng=r)


@convolutions
def test_conv_transpose(seed, axes, channels, geometry):
    r = np.random.default_rng(seed)
    k, s, p, d, S = (g[:axes] for g in zip(*geometry, strict=True))
    more = tuple(int(r.integers(n)) for n in s)
    S = tuple(max(n, 1 + (2 * p[i] - d[i] * (k[i] - 1)) // s[i] + 1) for i, n in enumerate(S))
    C, O = channels
    x, W, b = r.standard_normal((2, *S, C)), r.standard_normal((*k, O, C)), r.standard_normal(O)
    theirs = (F.conv_transpose1d, F.conv_transpose2d)[axes - 1]

    def reference(x, W, b):
        return channels_last(theirs(channels_first(x), kernel_last(W), b, s, p, more, 1, d))

    options = {"stride": s, "padding": p, "dilation": d, "output_padding": more}
    pair = ops.conv_transpose_forward, ops.conv_transpose_backward
    compare(*pair, reference, x, W, b, options=options, rng=r)


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        ("relu", F.relu, {}),
        ("tanh", torch.tanh, {}),
        ("sigmoid", torch.sigmoid, {}),
        ("gelu", F.gelu, {}),
        ("silu", F.silu, {}),
        ("leaky_relu", F.leaky_relu, {}),
        ("leaky_relu", lambda x: F.leaky_relu(x, 0.2), {"slope": 0.2}),
        ("gelu", lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
    ],
)
@given(seed=seeds, shape=shapes, scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_activations(name, reference, options, seed, shape, scale):
    r = np.random.default_rng(seed)
    pair = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    # 1 − y² and Φ(x) cancel where the function is flat: their error is ε, not ε of what is left.
    compare(*pair, reference, scale * r.standard_normal(shape), options=options, rng=r, slope=1.0)


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple), st.integers(1, 3))
def test_upsample(seed, S, factor):
    r = np.random.default_rng(seed)
    x = r.standard_normal((2, *S, 3))
    reference = lambda x: channels_last(F.interpolate(channels_first(x), scale_factor=factor, mode="nearest"))
    compare(ops.upsample_forward, ops.upsample_backward, reference, x, options={"factor": factor}, rng=r)


@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_pixel_shuffle(seed, H, W, C, factor):
    r = np.random.default_rng(seed)
    x = r.standard_normal((2, H, W, C * factor**2))
    reference = lambda x: channels_last(F.pixel_shuffle(channels_first(x), factor))
    pair = ops.pixel_shuffle_forward, ops.pixel_shuffle_backward
    compare(*pair, reference, x, options={"factor": factor}, rng=r)


def their_finite_scalar(z, levels):
    """The published code's equations, in torch."""
    L = torch.tensor(levels, dtype=torch.float64)
    h, o = (L - 1) * (1 - 1e-3) / 2, torch.where(L % 2 == 1, 0.0, 0.5)
    y = torch.tanh(z + torch.tan(o / h)) * h - o
    return (y + (y.round() - y).detach()) / (L // 2)


@given(seeds, st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_finite_scalar(seed, levels):
    r = np.random.default_rng(seed)
    z, options = 2 * r.standard_normal((4, 3, len(levels))), {"levels": levels}
    pair = ops.finite_scalar_forward, ops.finite_scalar_backward
    # 1 − tanh² cancels where tanh is flat.
    compare(*pair, lambda z: their_finite_scalar(z, levels), z, options=options, rng=r, slope=2.0)


@given(seeds, shapes)
def test_layer_norm(seed, shape):
    r = np.random.default_rng(seed)
    x, gamma, beta = r.standard_normal(shape), *r.standard_normal((2, shape[-1]))
    reference = lambda x, gamma, beta: F.layer_norm(x, shape[-1:], gamma, beta, 1e-3)
    pair = ops.layer_norm_forward, ops.layer_norm_backward
    # Three terms of dx cancel; each is at most about |dy| / √ε.
    compare(*pair, reference, x, gamma, beta, options={"epsilon": 1e-3}, rng=r, slope=1e3**0.5)


@given(seeds, shapes, st.integers(1, 3), st.integers(1, 3))
def test_group_norm(seed, shape, groups, size):
    r = np.random.default_rng(seed)
    x, gamma, beta = r.standard_normal((2, *shape, groups * size)), *r.standard_normal((2, groups * size))

    def reference(x, gamma, beta):
        return channels_last(F.group_norm(channels_first(x), groups, gamma, beta, 1e-3))

    options, pair = {"groups": groups, "epsilon": 1e-3}, (ops.group_norm_forward, ops.group_norm_backward)
    compare(*pair, reference, x, gamma, beta, options=options, rng=r, slope=1e3**0.5)


@given(seeds, st.integers(1, 5), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3))
def test_attention(seed, T, heads, d, before):
    """PyTorch's scaled_dot_product_attention, heads before positions, with the mask written out."""
    r = np.random.default_rng(seed)
    q, k, v = (r.standard_normal((2, n, heads, d)) for n in (T, before + T, before + T))
    seen = torch.ones(T, before + T, dtype=torch.bool).tril(before)

    def reference(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)

    # dP − rowsum cancels where a row of P is nearly one-hot, or has one entry.
    compare(ops.attention_forward, ops.attention_backward, reference, q, k, v, rng=r, slope=10.0)


@given(seeds, shapes, st.integers(1, 6), st.integers(1, 4))
def test_embedding(seed, shape, K, D):
    r = np.random.default_rng(seed)
    E, k = r.standard_normal((K, D)), r.integers(0, K, shape)
    reference = lambda E, k: F.embedding(k.long(), E)
    compare(ops.embedding_forward, ops.embedding_backward, reference, E, k, rng=r, slope=1.0)


@given(seeds, shapes, st.floats(0.1, 0.9))
def test_dropout(seed, shape, p):
    """With the same mask; PyTorch draws another."""
    r = np.random.default_rng(seed)
    mask = torch.tensor(np.random.default_rng(seed).random(shape, np.float32) >= p)
    reference = lambda x: torch.where(mask, x / (1 - p), 0.0)
    options = {"p": p, "rng": seed}
    pair = ops.dropout_forward, ops.dropout_backward
    compare(*pair, reference, r.standard_normal(shape), options=options, rng=r)


@given(seeds, shapes, st.sampled_from([1e-3, 1.0, 30.0]))
def test_gate(seed, shape, scale):
    r = np.random.default_rng(seed)
    a, b = scale * r.standard_normal(shape), scale * r.standard_normal(shape)
    reference = lambda a, b: torch.tanh(a) * torch.sigmoid(b)
    compare(ops.gate_forward, ops.gate_backward, reference, a, b, rng=r, slope=1.0)


@given(seeds, st.integers(1, 2), st.booleans(), st.integers(0, 2), st.integers(0, 2))
def test_causal_conv(seed, axes, centre, k_y, k_x):
    """PyTorch's convolution with the whole kernel, of which autograd gives the taps' gradients."""
    r = np.random.default_rng(seed)
    kernel = tuple(2 * n + 1 for n in (k_y, k_x))[:axes]
    taps = torch.tensor(ops.causal_taps(kernel, centre))
    shapes = (2, *(5, 4)[:axes], 3), (int(taps.sum()), 3, 2), (2,)
    x, W, b = (r.standard_normal(shape) for shape in shapes)

    def reference(x, W, b):
        whole = torch.zeros(*kernel, 3, 2, dtype=torch.float64)
        whole[taps] = W
        y = (F.conv1d, F.conv2d)[axes - 1](channels_first(x), kernel_last(whole), b, padding="same")
        return channels_last(y)

    options, pair = {"kernel": kernel, "centre": centre}, (ops.causal_conv_forward, ops.causal_conv_backward)
    compare(*pair, reference, x, W, b, options=options, rng=r)


def reduced(terms, reduction):
    """PyTorch's side of ops.loss.reduction_scale."""
    if reduction == "mean_of_sums":
        return terms.sum(-1).mean()
    return terms.mean() if reduction == "mean" else terms.sum()


@pytest.mark.parametrize("reduction", ["mean", "mean_of_sums", "sum"])
@given(seed=seeds, shape=shapes)
def test_losses(reduction, seed, shape):
    r = np.random.default_rng(seed)
    a, x, options = r.standard_normal(shape), r.random(shape), {"reduction": reduction}
    mse = lambda a, x: reduced((a - x) ** 2, reduction)
    compare(ops.mse_forward, ops.mse_backward, mse, a, x, options=options, rng=r)
    bce = lambda a, x: reduced(F.binary_cross_entropy_with_logits(a, x, reduction="none"), reduction)
    compare(ops.bce_logits_forward, ops.bce_logits_backward, bce, 9 * a, x, options=options, rng=r)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(seed=seeds, shape=shapes)
def test_softmax_cross_entropy(reduction, seed, shape):
    r = np.random.default_rng(seed)
    a, k = 9 * r.standard_normal(shape), r.integers(0, shape[-1], shape[:-1])
    reference = lambda a, k: F.cross_entropy(
        a.reshape(-1, a.shape[-1]), k.reshape(-1).long(), reduction=reduction
    )
    pair = ops.softmax_cross_entropy_forward, ops.softmax_cross_entropy_backward
    # p − 1 cancels where the right class is nearly certain: its error is ε, not ε of what is left.
    slope = 1 / max(k.size, 1) if reduction == "mean" else 1.0
    compare(*pair, reference, a, k, options={"reduction": reduction}, rng=r, slope=slope)


def torch_quantize(z, E, beta, codebook_loss=True, reduction="mean"):
    """The quantizer as it is written in PyTorch, detach standing for sg: z_q, codebook, commitment, k."""
    k = ((z[..., None, :] - E) ** 2).sum(-1).argmin(-1)
    e = E[k]
    commitment = beta * reduced((z - e.detach()) ** 2, reduction)
    codebook = reduced((z.detach() - e) ** 2, reduction) if codebook_loss else torch.zeros((), dtype=z.dtype)
    return z + (e - z).detach(), codebook, commitment, k


@pytest.mark.parametrize("reduction", ["mean", "mean_of_sums", "sum"])
@given(seed=seeds, shape=shapes, K=st.integers(1, 9), beta=st.floats(0, 4), codebook_loss=st.booleans())
@at_most(30)
def test_quantize(reduction, seed, shape, K, beta, codebook_loss):
    """Both losses apart, and the gradients of z_q, of their sum, and of both together."""
    r = np.random.default_rng(seed)
    z, E = r.standard_normal(shape), r.standard_normal((K, shape[-1]))
    options = {"beta": beta, "codebook_loss": codebook_loss, "reduction": reduction}
    z_q, codebook, commitment, k, cache = ops.quantize_forward(z, E, **options)
    tz, tE = t(z), t(E)
    their_z_q, their_codebook, their_commitment, their_k = torch_quantize(tz, tE, **options)
    close(z_q, their_z_q)
    close(codebook, their_codebook)
    close(commitment, their_commitment)
    assert np.array_equal(k, their_k.numpy()) and np.array_equal(nearest_code(z, E), k)
    G, dL = r.standard_normal(z.shape), float(r.standard_normal())
    for dz_q, dloss in ((G, 0.0), (0 * G, dL), (G, dL)):
        objective = dloss * (their_codebook + their_commitment) + (torch.tensor(dz_q) * their_z_q).sum()
        theirs = torch.autograd.grad(objective, (tz, tE), allow_unused=True, retain_graph=True)
        dz, dE = ops.quantize_backward(dz_q, dloss, cache)
        close(dz, theirs[0])
        if codebook_loss:
            close(dE, theirs[1])
        else:  # E gets no gradient at all, which autograd says with None
            assert theirs[1] is None and not dE.any()


@given(
    seed=seeds,
    K=st.integers(1, 8),
    D=st.integers(1, 6),
    decay=st.floats(0.01, 0.999) | st.just(0.0),
    epsilon=st.floats(1e-8, 1e-2),
)
@at_most(20)
def test_ema_over_100_steps(seed, K, D, decay, epsilon):
    """The EMA codebook against the same updates by one-hot products in PyTorch."""
    r = np.random.default_rng(seed)
    vq = EMAVectorQuantizer(K, D, 0.25, decay, epsilon, codebook_init="normal", rng=r, dtype=np.float64)
    E = torch.tensor(vq.embeddings)
    N, m = torch.ones(K, dtype=torch.float64), E.clone()
    for _ in range(100):
        z = r.standard_normal((11, D))
        tz = torch.tensor(z, requires_grad=True)
        z_q, codebook, L, k, cache = vq.forward(z)
        their_z_q, _, their_L, their_k = torch_quantize(tz, E, 0.25, codebook_loss=False)
        assert codebook == 0
        assert np.array_equal(k, their_k.numpy())
        close(z_q, their_z_q, size=np.abs(z).max())  # z + (e − z) rounds at the size of z
        close(L, their_L)
        G = r.standard_normal(z.shape)
        (dz,) = torch.autograd.grad(their_L + (torch.tensor(G) * their_z_q).sum(), tz)
        close(vq.backward(G, cache), dz)
        onehot = F.one_hot(their_k, K).double()
        N = decay * N + (1 - decay) * onehot.sum(0)
        m = decay * m + (1 - decay) * onehot.T @ tz.detach()
        smooth = (N + epsilon) / (N.sum() + K * epsilon) * N.sum()
        E = m / smooth[:, None]
        vq.update(z, k, r)
        close(vq.embeddings, E, size=1.0)  # the size of z: a sum of them may cancel
        E = torch.tensor(vq.embeddings)  # so that a near-tie cannot send the two apart


def torch_model(model):
    """The same VQ-VAE as torch.nn.Sequential encoder and decoder, and E."""

    def sequential(ours):
        layers = []
        for layer in ours.layers:
            if isinstance(layer, Linear):
                theirs = torch.nn.Linear(*layer.W.value.shape, dtype=torch.float64)
                theirs.weight.data, theirs.bias.data = (
                    torch.tensor(layer.W.value.T),
                    torch.tensor(layer.b.value),
                )
                layers.append(theirs)
            elif isinstance(layer, Flatten):
                layers.append(torch.nn.Flatten())
            elif isinstance(layer, Reshape):
                layers.append(torch.nn.Unflatten(1, layer.shape))
            else:
                layers.append(
                    {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "tanh": torch.nn.Tanh}[layer.name]()
                )
        return torch.nn.Sequential(*layers)

    E = torch.nn.Parameter(torch.tensor(model.quantizer.embeddings))
    return sequential(model.encoder), sequential(model.decoder), E


def torch_loss(model, encoder, decoder, E, x):
    """What model.loss gives, by its names, and the codes."""
    by_gradient = not isinstance(model.quantizer, EMAVectorQuantizer)
    z_q, codebook, commitment, k = torch_quantize(
        encoder(x), E, model.quantizer.commitment_cost, by_gradient
    )
    mse = ((decoder(z_q) - x) ** 2).mean()
    losses = {
        "loss": mse + codebook + commitment,
        "reconstruction_loss": mse,
        "codebook_loss": codebook,
        "commitment_loss": commitment,
    }
    return losses, k


models = st.fixed_dictionaries(
    {
        "image_shape": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "num_latents": st.integers(1, 4),
        "embedding_dim": st.integers(1, 4),
        "num_embeddings": st.integers(1, 8),
        "hidden": st.lists(st.integers(1, 9), min_size=0, max_size=2).map(tuple),
        "activation": st.sampled_from(["relu", "gelu", "tanh"]),
        "codebook": st.sampled_from(["ema", "gradient"]),
        "commitment_cost": st.floats(0, 2),
    }
)


@given(models, st.integers(1, 5), seeds)
def test_the_whole_model_and_every_parameters_gradient(config, B, seed):
    r = np.random.default_rng(seed)
    model = VQVAE.mlp(**config, codebook_init="uniform", dtype="float64", rng=r)
    x = r.random((B, *config["image_shape"]))
    encoder, decoder, E = torch_model(model)
    tx = torch.tensor(x)
    theirs, k = torch_loss(model, encoder, decoder, E, tx)
    losses, cache = model.loss((x,))
    assert losses.keys() == theirs.keys()
    for name in losses:
        close(losses[name], theirs[name])
    assert np.array_equal(model.quantize(model.encoder.forward(x)[0]), k.numpy())
    model.backward(cache)
    theirs["loss"].backward()
    ours = dict(model.named_parameters())
    for part, net in (("encoder", encoder), ("decoder", decoder)):
        for i, layer in enumerate(net):
            if isinstance(layer, torch.nn.Linear):
                close(ours[f"{part}.{i}.W"].grad, layer.weight.grad.T)
                close(ours[f"{part}.{i}.b"].grad, layer.bias.grad)
    if config["codebook"] == "gradient":
        close(ours["quantizer.E"].grad, E.grad)
    else:
        assert "quantizer.E" not in ours and E.grad is None


def test_training_steps_with_adam_agree():
    """Twenty steps of the whole model with Adam: parameters to 1e-10 of their size."""
    r = np.random.default_rng(0)
    options = {"image_shape": (6,), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 5, "hidden": (7,)}
    options |= {"activation": "tanh", "codebook": "gradient", "codebook_init": "normal", "dtype": "float64"}
    model = VQVAE.mlp(**options, rng=r)
    encoder, decoder, E = torch_model(model)
    ours = Adam(model.named_parameters(), 1e-2)
    theirs = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), E], 1e-2)
    for _ in range(20):
        x = r.random((8, 6))
        _, cache = model.loss((x,))
        model.zero_grad()
        model.backward(cache)
        ours.step()
        theirs.zero_grad()
        torch_loss(model, encoder, decoder, E, torch.tensor(x))[0]["loss"].backward()
        theirs.step()
    close(model.quantizer.embeddings, E, 1e-10)
    close(model.encoder.layers[1].W.value, encoder[1].weight.T, 1e-10)
    close(model.decoder.layers[-2].b.value, decoder[-2].bias, 1e-10)


def test_adamw_with_clipping_agrees():
    """A matrix and a bias, grouped as in the usual code for GPT-2; the norm is clipped in most steps."""
    r = np.random.default_rng(0)
    W, b = Param(r.standard_normal((4, 3))), Param(r.standard_normal(3))
    tW, tb = t(W.value.copy()), t(b.value.copy())
    ours = Adam([("W", W), ("b", b)], 1e-2, weight_decay=0.3, clip=1.0)
    groups = [{"params": [tW], "weight_decay": 0.3}, {"params": [tb], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, 1e-2)
    for step in range(20):
        scale = 10.0 ** r.uniform(-2, 1)
        for param, tensor in ((W, tW), (b, tb)):
            param.grad[...] = scale * r.standard_normal(param.value.shape)
            tensor.grad = torch.tensor(param.grad.copy())
        norm = float((tW.grad.square().sum() + tb.grad.square().sum()).sqrt())
        for tensor in (tW, tb):  # as clip_grad_norm_, which divides by the norm plus 1e-6
            tensor.grad *= min(1.0, 1.0 / norm)
        ours.step(1e-2 / (1 + step))
        for group in theirs.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        theirs.step()
    close(W.value, tW, 1e-10)
    close(b.value, tb, 1e-10)


def test_the_gradient_codebook_layer_is_the_op():
    r = np.random.default_rng(0)
    vq = VectorQuantizer(6, 3, 0.4, codebook_init="normal", rng=r, dtype=np.float64)
    z = r.standard_normal((4, 5, 3))
    tz, E = t(z), t(vq.embeddings)
    their_z_q, *their_losses, _ = torch_quantize(tz, E, 0.4)
    z_q, *losses, _, cache = vq.forward(z)
    G = r.standard_normal(z.shape)
    dz, dE = torch.autograd.grad(2.5 * sum(their_losses) + (torch.tensor(G) * their_z_q).sum(), (tz, E))
    close(z_q, their_z_q)
    for ours, theirs in zip(losses, their_losses, strict=True):
        close(ours, theirs)
    close(vq.backward(G, cache, 2.5), dz)
    close(vq.E.grad, dE)


# The Gaussian of a VAE; torch.distributions has its own KL and density.


@pytest.mark.parametrize("reduction", ["mean", "mean_of_sums", "sum"])
@given(seed=seeds, shape=shapes)
def test_gaussian(reduction, seed, shape):
    r = np.random.default_rng(seed)
    mu, logvar, eps = r.standard_normal(shape), r.uniform(-4, 3, shape), r.standard_normal(shape)
    draw = lambda mu, logvar, eps: mu + torch.exp(logvar / 2) * eps
    compare(ops.reparameterise_forward, ops.reparameterise_backward, draw, mu, logvar, eps, rng=r)
    options = {"reduction": reduction}
    kl = lambda mu, logvar: reduced((logvar.exp() + mu**2 - 1 - logvar) / 2, reduction)
    pair = ops.gaussian_kl_forward, ops.gaussian_kl_backward
    compare(*pair, kl, mu, logvar, options=options, rng=r, slope=1.0)  # exp ℓ − 1 cancels in PyTorch
    prior = torch.distributions.Normal(torch.zeros(shape, dtype=torch.float64), 1.0)
    posterior = torch.distributions.Normal(t(mu, False), torch.exp(t(logvar, False) / 2))
    theirs = reduced(torch.distributions.kl_divergence(posterior, prior), reduction)
    close(ops.gaussian_kl_forward(mu, logvar, reduction)[0], theirs, size=1.0)
    for s in (0.1, 1.0):
        density = lambda a, x, s=s: -reduced(torch.distributions.Normal(a, s).log_prob(x), reduction)
        pair = ops.gaussian_nll_forward, ops.gaussian_nll_backward
        size = 1 / (s * s)
        compare(*pair, density, mu, eps, options={**options, "noise_std": s}, rng=r, slope=size)


@pytest.mark.parametrize("likelihood", ["none", "bernoulli", "gaussian"])
@given(seed=seeds, B=st.integers(1, 5), D=st.integers(1, 4), w=st.floats(0, 3))
@at_most(20)
def test_autoencoder_and_vae(likelihood, seed, B, D, w):
    """The losses, and every parameter's gradient, under PyTorch's names and in its layouts."""
    r = np.random.default_rng(seed)
    options = {"image_shape": (6,), "latent_dim": D, "hidden": (7,), "activation": "tanh", "rng": seed}
    options["dtype"] = "float64"
    x, eps = r.random((B, 6)), r.standard_normal((B, D))
    if likelihood == "none":
        model = Autoencoder.mlp(**options)
        losses, cache = model.loss((x,))
    else:
        model = VAE.mlp(**options, likelihood=likelihood, noise_std=0.5, kl_weight=w)
        losses, cache = model.loss((x,), eps)
    model.backward(cache)
    p = {name: t(p.value) for name, p in model.named_parameters()}
    net = lambda v, part: torch.tanh(v @ p[f"{part}.1.W"] + p[f"{part}.1.b"]) @ p[f"{part}.3.W"] + p[f"{part}.3.b"]  # noqa: E501
    tx = t(x, False)
    h = net(tx, "encoder")
    if likelihood == "none":
        L = {"reconstruction_loss": F.mse_loss(net(h, "decoder"), tx)}
        L["loss"] = L["reconstruction_loss"]
    else:
        mu, logvar = h[:, :D], h[:, D:]
        a = net(mu + torch.exp(logvar / 2) * t(eps, False), "decoder")
        if likelihood == "bernoulli":
            nll = F.binary_cross_entropy_with_logits(a, tx, reduction="sum") / B
        else:
            nll = -torch.distributions.Normal(a, 0.5).log_prob(tx).sum() / B
        kl = (logvar.exp() + mu**2 - 1 - logvar).sum() / 2 / B
        L = {"loss": nll + w * kl, "reconstruction_loss": nll, "kl": kl}
    assert losses.keys() == L.keys()
    size = 1 + abs(float(L["loss"].detach()))
    for name in losses:
        close(losses[name], L[name], size=size)
    gradients = torch.autograd.grad(L["loss"], list(p.values()))
    for ours, theirs in zip(model.parameters(), gradients, strict=True):
        close(ours.grad, theirs, size=1.0)
