"""vqnp against PyTorch's autograd in float64: every op, the quantizers, the whole model, Adam, to 1e-12.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, VectorQuantizer, nearest_code, ops
from vqnp.nn import Linear
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


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        ("relu", F.relu, {}),
        ("tanh", torch.tanh, {}),
        ("sigmoid", torch.sigmoid, {}),
        ("gelu", F.gelu, {}),
        ("gelu", lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
    ],
)
@given(seed=seeds, shape=shapes, scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_activations(name, reference, options, seed, shape, scale):
    r = np.random.default_rng(seed)
    pair = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    # 1 − y² and Φ(x) cancel where the function is flat: their error is ε, not ε of what is left.
    compare(*pair, reference, scale * r.standard_normal(shape), options=options, rng=r, slope=1.0)


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


def torch_quantize(z, E, beta, codebook_loss=True, beta_on="commitment", reduction="mean"):
    """The quantizer as it is written in PyTorch, detach standing for sg."""
    k = ((z[..., None, :] - E) ** 2).sum(-1).argmin(-1)
    e = E[k]
    commitment = reduced((z - e.detach()) ** 2, reduction)
    codebook = reduced((z.detach() - e) ** 2, reduction)
    a, b = {
        "commitment": (beta, 1),
        "codebook": (1, beta),
        "complement": (1 - beta, beta),
        "both": (beta, beta),
    }[beta_on]
    L = a * commitment + (b * codebook if codebook_loss else 0)
    return z + (e - z).detach(), L, k


@pytest.mark.parametrize("beta_on", ["commitment", "codebook", "complement", "both"])
@pytest.mark.parametrize("reduction", ["mean", "mean_of_sums", "sum"])
@given(seed=seeds, shape=shapes, K=st.integers(1, 9), beta=st.floats(0, 4), codebook_loss=st.booleans())
@settings(max_examples=30)
def test_quantize(beta_on, reduction, seed, shape, K, beta, codebook_loss):
    r = np.random.default_rng(seed)
    z, E = r.standard_normal(shape), r.standard_normal((K, shape[-1]))
    options = {"beta": beta, "codebook_loss": codebook_loss, "beta_on": beta_on, "reduction": reduction}
    reference = lambda z, E: (*torch_quantize(z, E, **options)[:2],)
    if codebook_loss:
        compare(ops.quantize_forward, ops.quantize_backward, reference, z, E, options=options, rng=r)
    else:  # E gets no gradient at all, which autograd says with None
        z_q, L, _, cache = ops.quantize_forward(z, E, **options)
        tz, tE = t(z), t(E)
        their_z_q, their_L = reference(tz, tE)
        close(z_q, their_z_q)
        close(L, their_L)
        G = r.standard_normal(z.shape)
        dz, dE = ops.quantize_backward(G, 1.0, cache)
        their = torch.autograd.grad(
            their_L + (torch.tensor(G) * their_z_q).sum(), (tz, tE), allow_unused=True
        )
        close(dz, their[0])
        assert their[1] is None and not dE.any()
    assert np.array_equal(nearest_code(z, E), torch_quantize(t(z), t(E), 1.0)[2].numpy())


@given(
    seed=seeds,
    K=st.integers(1, 8),
    D=st.integers(1, 6),
    decay=st.floats(0.01, 0.999) | st.just(0.0),
    epsilon=st.floats(1e-8, 1e-2),
)
@settings(max_examples=20)
def test_ema_over_100_steps(seed, K, D, decay, epsilon):
    """The EMA codebook against the same updates by one-hot products in PyTorch."""
    r = np.random.default_rng(seed)
    vq = EMAVectorQuantizer(K, D, 0.25, decay, epsilon, codebook_init="normal", rng=r, dtype=np.float64)
    E = torch.tensor(vq.embeddings)
    N, m = torch.ones(K, dtype=torch.float64), E.clone()
    for _ in range(100):
        z = r.standard_normal((11, D))
        tz = torch.tensor(z, requires_grad=True)
        z_q, L, k, cache = vq.forward(z)
        their_z_q, their_L, their_k = torch_quantize(tz, E, 0.25, codebook_loss=False)
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
            else:
                layers.append(
                    {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "tanh": torch.nn.Tanh}[layer.name]()
                )
        return torch.nn.Sequential(*layers)

    E = torch.nn.Parameter(torch.tensor(model.quantizer.embeddings))
    return sequential(model.encoder), sequential(model.decoder), E


def torch_loss(model, encoder, decoder, E, x):
    z = encoder(x).reshape(len(x), model.num_latents, model.embedding_dim)
    z_q, L_vq, k = torch_quantize(
        z, E, model.quantizer.commitment_cost, model.config["codebook"] == "gradient"
    )
    x_hat = decoder(z_q.reshape(len(x), -1))
    return ((x_hat - x) ** 2).mean() + L_vq, x_hat, k


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
    model = VQVAE(**config, codebook_init="uniform", dtype="float64", rng=r)
    x = r.random((B, int(np.prod(config["image_shape"]))))
    encoder, decoder, E = torch_model(model)
    tx = torch.tensor(x, requires_grad=True)
    L, x_hat, k = torch_loss(model, encoder, decoder, E, tx)
    losses, _, our_k, cache = model.loss_forward(x)
    close(losses.total, L)
    close(model.forward(x)[0], x_hat)
    assert np.array_equal(our_k, k.numpy())
    model.zero_grad()
    model.loss_backward(1.0, cache)
    L.backward()
    ours = dict(model.named_params())
    pairs = [("encoder", encoder), ("decoder", decoder)]
    for part, theirs in pairs:
        for i, layer in enumerate(theirs):
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
    model = VQVAE(image_shape=(6,), num_latents=2, embedding_dim=3, num_embeddings=5, hidden=(7,), activation="tanh",  # noqa: E501
                  codebook="gradient", codebook_init="normal", dtype="float64", rng=r)  # fmt: skip
    encoder, decoder, E = torch_model(model)
    ours = Adam(model.named_params(), 1e-2)
    theirs = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), E], 1e-2)
    for _ in range(20):
        x = r.random((8, 6))
        _, _, _, cache = model.loss_forward(x)
        model.zero_grad()
        model.loss_backward(1.0, cache)
        ours.step()
        theirs.zero_grad()
        torch_loss(model, encoder, decoder, E, torch.tensor(x))[0].backward()
        theirs.step()
    close(model.quantizer.embeddings, E, 1e-10)
    close(model.encoder.layers[0].W.value, encoder[0].weight.T, 1e-10)
    close(model.decoder.layers[-1].b.value, decoder[-1].bias, 1e-10)


def test_the_gradient_codebook_layer_is_the_op():
    r = np.random.default_rng(0)
    vq = VectorQuantizer(6, 3, 0.4, codebook_init="normal", rng=r, dtype=np.float64)
    z = r.standard_normal((4, 5, 3))
    tz, E = t(z), t(vq.embeddings)
    their_z_q, their_L, _ = torch_quantize(tz, E, 0.4)
    z_q, L, _, cache = vq.forward(z)
    G = r.standard_normal(z.shape)
    dz, dE = torch.autograd.grad(2.5 * their_L + (torch.tensor(G) * their_z_q).sum(), (tz, E))
    close(z_q, their_z_q)
    close(L, their_L)
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
@settings(max_examples=20)
def test_autoencoder_and_vae(likelihood, seed, B, D, w):
    """The losses, and every parameter's gradient, under PyTorch's names and in its layouts."""
    r = np.random.default_rng(seed)
    options = {"image_shape": (6,), "latent_dim": D, "hidden": (7,), "activation": "tanh", "rng": seed}
    options["dtype"] = "float64"
    x, eps = r.random((B, 6)), r.standard_normal((B, D))
    if likelihood == "none":
        model = Autoencoder(**options)
        losses, _, cache = model.loss_forward(x)
    else:
        model = VAE(**options, likelihood=likelihood, noise_std=0.5, kl_weight=w)
        losses, *_, cache = model.loss_forward(x, eps)
    model.loss_backward_params(1.0, cache)
    p = {name: t(p.value) for name, p in model.named_params()}
    net = lambda v, part: torch.tanh(v @ p[f"{part}.0.W"] + p[f"{part}.0.b"]) @ p[f"{part}.2.W"] + p[f"{part}.2.b"]  # noqa: E501
    tx = t(x, False)
    h = net(tx, "encoder")
    if likelihood == "none":
        L = [F.mse_loss(net(h, "decoder"), tx)]
    else:
        mu, logvar = h[:, :D], h[:, D:]
        a = net(mu + torch.exp(logvar / 2) * t(eps, False), "decoder")
        if likelihood == "bernoulli":
            nll = F.binary_cross_entropy_with_logits(a, tx, reduction="sum") / B
        else:
            nll = -torch.distributions.Normal(a, 0.5).log_prob(tx).sum() / B
        kl = (logvar.exp() + mu**2 - 1 - logvar).sum() / 2 / B
        L = [nll + w * kl, nll, kl]
    size = 1 + abs(float(L[0].detach()))
    for ours, theirs in zip(losses, L, strict=False):
        close(ours, theirs, size=size)
    gradients = torch.autograd.grad(L[0], list(p.values()))
    for (_, ours), theirs in zip(model.named_params(), gradients, strict=True):
        close(ours.grad, theirs, size=1.0)
