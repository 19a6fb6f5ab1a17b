"""Weights in PyTorch: the same numbers give the same latents, codes and images, in both directions.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import math
import os

import numpy as np
import pytest
from helpers import refused, same
from hypothesis import given
from hypothesis import strategies as st

from vqnp import VQVAE, fit
from vqnp.export import from_torch, save_torch, to_torch
from vqnp.nn import (
    Activation, Conv, ConvTranspose, EMAVectorQuantizer, GroupNorm, PixelShuffle, Sequential, Upsample, build,
    describe,
)

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
nn = torch.nn
F = nn.functional

TINY = {"image_shape": (3, 2), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}

seeds = st.integers(0, 2**32 - 1)
models = st.fixed_dictionaries(
    {
        "image_shape": st.tuples(st.integers(1, 5), st.integers(1, 5)),
        "num_latents": st.integers(1, 4),
        "embedding_dim": st.integers(1, 4),
        "num_embeddings": st.integers(1, 9),
        "hidden": st.lists(st.integers(1, 20), max_size=3).map(tuple),
        "activation": st.sampled_from(["relu", "gelu", "tanh", "sigmoid", "silu", "leaky_relu"]),
        "codebook": st.sampled_from(["ema", "gradient"]),
        "dtype": st.sampled_from(["float32", "float64"]),
    }
)


class Net(nn.Module):
    """The model of VQVAE.mlp as docs/weights.md describes it in words, with every buffer."""

    def __init__(self, model, hidden=(5,), activation="relu"):
        super().__init__()
        latents = (*model.latent_shape, model.embedding_dim)
        sizes = [math.prod(model.data.shape), *hidden, math.prod(latents)]
        self.encoder = self.mlp(sizes, activation, latents)
        self.decoder = self.mlp(sizes[::-1], activation, model.data.shape)
        self.quantizer = nn.Module()
        self.quantizer.embedding = nn.Embedding(model.num_embeddings, model.embedding_dim)
        self.quantizer.register_buffer("cluster_size", torch.ones(model.num_embeddings))
        if isinstance(model.quantizer, EMAVectorQuantizer):
            sums = torch.zeros(model.num_embeddings, model.embedding_dim)
            self.quantizer.register_buffer("embedding_sum", sums)
            self.quantizer.register_buffer("num_updates", torch.tensor(0))
        self.to(getattr(torch, model.dtype.name))

    @staticmethod
    def mlp(sizes, activation, shape):
        f = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "silu": nn.SiLU,
             "leaky_relu": nn.LeakyReLU}[activation]  # fmt: skip
        layers = []
        for I, O in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(I, O), f()]
        return nn.Sequential(nn.Flatten(), *layers[:-1], nn.Unflatten(1, shape))

    def latents(self, x):
        return self.encoder(x)

    def distances(self, z):
        return ((z[..., None, :] - self.quantizer.embedding.weight) ** 2).sum(-1)

    def decode(self, k):
        return self.decoder(self.quantizer.embedding(k)).clip(0, 1)


def net_of(model, config):
    return Net(model, config.get("hidden", (5,)), config.get("activation", "relu"))


def shaken(config, seed):
    """A model a few steps into its training, no parameter at its start."""
    r = np.random.default_rng(seed)
    model = VQVAE.mlp(**config, rng=r)
    fit(model, r.random((8, *config["image_shape"])), epochs=2, batch_size=4, progress=False)
    for param in model.parameters():
        param.value += 0.3 * r.standard_normal(param.value.shape).astype(model.dtype)
    return model


def rounding(layers, h):
    """How far two evaluations of layers at h may lie apart: (I + 1)ε Σ|w h| for a sum of I products.

    layers: Linear, activations and reshapes in PyTorch, h: (B, ...) -> (B, ...)
    """
    eps, error = torch.finfo(h.dtype).eps, torch.zeros_like(h)
    for layer in layers:
        if isinstance(layer, (nn.Flatten, nn.Unflatten)):
            error, h = layer(error), layer(h)
        elif isinstance(layer, nn.Linear):
            W, b = layer.weight.abs(), layer.bias.abs()
            error = error @ W.T + (W.shape[1] + 1) * eps * (h.abs() @ W.T + b)
            h = layer(h)
        else:  # no slope is above GELU's 1.13; GELU's 1 + erf cancels at the size of its argument
            error = 1.13 * error + 8 * eps * (1 + h.abs())
            h = layer(h)
    return 2 * error


@torch.no_grad()
def agree(model, net, seed):
    """Latents, codes and images of the two; a code may differ only where it is a tie within rounding."""
    images = np.random.default_rng(seed).random((6, *model.data.shape)).astype(model.dtype)
    x = torch.from_numpy(images)
    z, bound = net.latents(x), rounding(net.encoder, x)
    assert (np.abs(model.latents(images) - z.numpy()) <= bound.numpy()).all()
    d, k = net.distances(z).sqrt(), torch.from_numpy(model.encode(images))
    nearest, chosen = d.min(-1).values, d.gather(-1, k[..., None])[..., 0]
    slack = 2 * bound.norm(dim=-1) + 8 * torch.finfo(z.dtype).eps * d.max()
    assert (chosen - nearest <= slack).all()
    z_q = net.quantizer.embedding(k)
    ours = torch.from_numpy(model.decode(k.numpy()))
    assert ((ours - net.decode(k)).abs() <= rounding(net.decoder, z_q)).all()
    return (net.distances(z).argmin(-1) == k).float().mean().item()


@given(models, seeds)
def test_a_model_of_ours_rebuilt_in_pytorch_is_the_same(config, seed):
    model = shaken(config, seed)
    net = net_of(model, config)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(model).items()}, strict=True)
    agree(model, net, seed)


@given(models, seeds)
def test_a_model_of_pytorchs_loads_as_it_is(config, seed):
    """Its own names, its own start of parameters, tensors as they are; and out again, bit for bit."""
    torch.manual_seed(seed)
    model = VQVAE.mlp(**config)
    net = net_of(model, config)
    assert from_torch(net.state_dict(), model) is model
    agree(model, net, seed)
    for name, array in to_torch(model).items():
        assert torch.equal(torch.from_numpy(array), net.state_dict()[name])


def test_codes_are_equal_on_real_latents_and_not_after_a_transposed_weight():
    """What `agree` allows it must not need; and it can fail."""
    config = {**TINY, "image_shape": (5,), "hidden": (5, 5), "dtype": "float64"}
    model = shaken(config, 0)
    net = net_of(model, config)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(model).items()})
    assert agree(model, net, 1) == 1
    with torch.no_grad():
        net.encoder[3].weight.copy_(net.encoder[3].weight.T.clone())  # square: no shape tells
    with pytest.raises(AssertionError):
        agree(model, net, 1)


def test_trained_in_pytorch_it_encodes_identically():
    """Equation 3 by autograd: parameters without any statistic of the quantizer's."""
    torch.manual_seed(0)
    model = VQVAE.mlp(**TINY, codebook="gradient")
    net = Net(model)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    x = torch.rand(200, 3, 2)
    first = None
    for _ in range(100):
        z = net.latents(x)
        e = net.quantizer.embedding(net.distances(z).argmin(-1))
        x_hat = net.decoder(z + (e - z).detach())
        L = F.mse_loss(x_hat, x) + F.mse_loss(e, z.detach()) + 0.25 * F.mse_loss(z, e.detach())
        first = first or L.item()
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
    assert L.item() < first
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    from_torch(parameters, model)
    with torch.no_grad():
        assert np.array_equal(model.encode(x.numpy()), net.distances(net.latents(x)).argmin(-1).numpy())
    agree(model, net, 0)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (lambda a: nn.Parameter(a), "requires grad"),
        (lambda a: a.to(torch.bfloat16), "BFloat16"),
        (lambda a: a.to("meta"), "meta"),
        (lambda a: a.to_sparse(), "layout"),
    ],
)
def test_a_tensor_that_is_no_array_is_refused_in_a_sentence(tensor, reason):
    model = VQVAE.mlp(**TINY)
    before = model.state_dict()
    arrays = {name: torch.from_numpy(a) for name, a in to_torch(model).items()}
    arrays["encoder.1.weight"] = tensor(arrays["encoder.1.weight"])
    needed = "must be an array in the CPU's memory, or a tensor's .detach().cpu()"
    with refused("encoder.1.weight", needed, reason, where="from_torch") as caught:
        from_torch(arrays, model)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())


def test_a_safetensors_file_opens_in_pytorch(tmp_path):
    if not os.environ.get("VQNP_REQUIRE_TORCH"):
        pytest.importorskip("safetensors", reason="safetensors is not installed (the extra)")
    from safetensors.torch import load_file

    model = shaken({**TINY, "activation": "gelu"}, 3)
    save_torch(tmp_path / "w.safetensors", model, "safetensors")
    net = Net(model, activation="gelu")
    net.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    assert agree(model, net, 3) == 1


def test_weights_of_convolutions_fit_pytorchs_layers(rng):
    """The same numbers from nn.Conv2d and the others with to_torch's arrays; and back, bit for bit."""
    options = {"rng": rng, "dtype": np.float64}
    ours = Sequential(
        Conv(3, 8, 4, 2, 1, **options), Activation("silu"), GroupNorm(2, 8, dtype=np.float64),
        Conv(8, 8, (3, 2), (1, 2), (2, 1), (2, 1), **options), Activation("leaky_relu"),
        ConvTranspose(8, 12, 3, 2, 1, 1, **options), PixelShuffle(2), Upsample(2),
    )  # fmt: skip
    theirs = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.SiLU(), nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, (3, 2), (1, 2), (2, 1), (2, 1)), nn.LeakyReLU(),
        nn.ConvTranspose2d(8, 12, 3, 2, 1, 1), nn.PixelShuffle(2), nn.Upsample(scale_factor=2),
    ).double()  # fmt: skip
    for param in ours.parameters():
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(ours).items()})
    x = rng.standard_normal((2, 9, 8, 3))
    y, _ = ours.forward(x)
    their_y = theirs(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1).detach().numpy()
    np.testing.assert_allclose(y, their_y, rtol=0, atol=1e-12 * np.abs(y).max())
    again = from_torch(theirs.state_dict(), build(describe(ours)))
    assert same(again, ours)
