"""The convolutional models beside the same network in PyTorch with the exported weights, float64, to 1e-12.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os

import numpy as np
import pytest

from vqnp import VAE, VQVAE, Autoencoder
from vqnp.export import from_torch, load_torch, save_torch, to_torch
from vqnp.export.names import torch_names
from vqnp.optim import Adam

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
nn = torch.nn
F = nn.functional

CONV = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
SHAPES = {
    "grey": {"image_shape": (12, 8)},
    "colour": {"image_shape": (8, 8, 3), "residual_blocks": 1},
    "one halving": {"image_shape": (6, 10, 2), "downsampling": 1},
    "three halvings": {"image_shape": (16, 8), "downsampling": 3},
    "signal": {"image_shape": (16,)},
    "signal of two channels": {"image_shape": (8, 2), "ndim": 1, "residual_blocks": 0},
}
SIZES = {"channels": 6, "residual_channels": 5, "dtype": "float64", "rng": 0}
MODELS = {
    "ema": lambda **o: VQVAE.conv(**SIZES, embedding_dim=4, num_embeddings=7, codebook_init="normal", **o),
    "gradient": lambda **o: MODELS["ema"](codebook="gradient", **o),
    "autoencoder": lambda **o: Autoencoder.conv(**SIZES, latent_dim=4, **o),
    "bernoulli": lambda **o: VAE.conv(**SIZES, latent_dim=4, **o),
    "gaussian": lambda **o: VAE.conv(**SIZES, latent_dim=4, likelihood="gaussian", noise_std=0.5, **o),
}


class Residual(nn.Module):
    def __init__(self, axes, H, R):
        super().__init__()
        C = CONV[axes]
        self.inner = nn.Sequential(nn.ReLU(), C(H, R, 3, padding=1), nn.ReLU(), C(R, H, 1))

    def forward(self, x):
        return x + self.inner(x)


class Net(nn.Module):
    """docs/convolutional.md in PyTorch: channels second, and none in the images if they are grey."""

    def __init__(self, image_shape, encoded, ndim=None, downsampling=2, residual_blocks=2, H=6, R=5, D=4):
        super().__init__()
        axes = ndim or (1 if len(image_shape) == 1 else 2)
        channelled = len(image_shape) == axes + 1
        colours = image_shape[-1] if channelled else 1
        C, T = CONV[axes], TRANSPOSE[axes]
        width = [H // 2] + [H] * (downsampling - 1)
        encoder, decoder = [], [C(D, H, 3, padding=1)]
        if not channelled:
            encoder.append(nn.Unflatten(1, (1, image_shape[0])))
        for a, b in zip([colours] + width, width, strict=False):
            encoder += [C(a, b, 4, 2, 1), nn.ReLU()]
        encoder += [C(width[-1], H, 3, padding=1), nn.ReLU()]
        for layers in (encoder, decoder):
            layers += [Residual(axes, H, R) for _ in range(residual_blocks)] + [nn.ReLU()]
        encoder.append(C(H, encoded, 1))
        up = [H] + width[-2::-1] + [colours]
        for a, b in zip(up, up[1:], strict=False):
            decoder += [T(a, b, 4, 2, 1), nn.ReLU()]
        decoder.pop()
        if not channelled:
            decoder.append(nn.Flatten(1, 2))
        self.channelled = channelled
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.quantizer = nn.Module()

    def encode(self, x):
        """(B, *image_shape) -> (B, *S, encoded), as vqnp orders them."""
        return self.encoder(x.movedim(-1, 1) if self.channelled else x).movedim(1, -1)

    def decode(self, z):
        y = self.decoder(z.movedim(-1, 1))
        return y.movedim(1, -1) if self.channelled else y


def pair(name, form, rng):
    """A model, and PyTorch's with the exported weights."""
    model = MODELS[name](**SHAPES[form])
    for param in model.parameters():
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    net = Net(encoded=8 if isinstance(model, VAE) else 4, **SHAPES[form])
    arrays = {key: torch.from_numpy(a) for key, a in to_torch(model).items()}
    if isinstance(model, VQVAE):
        net.quantizer.embedding = nn.Embedding(7, 4)
        for key in arrays.keys() - {k for k, _ in net.named_parameters()}:
            net.quantizer.register_buffer(key.removeprefix("quantizer."), torch.zeros_like(arrays[key]))
    net.double().load_state_dict(arrays, strict=True)
    return model, net


def their_losses(name, net, x, eps):
    """The losses by autograd, and the codes."""
    h = net.encode(x)
    if name == "autoencoder":
        return {"reconstruction_loss": F.mse_loss(net.decode(h), x)}, None
    if name in ("bernoulli", "gaussian"):
        mu, logvar = h.chunk(2, dim=-1)
        a = net.decode(mu + torch.exp(logvar / 2) * eps)
        if name == "bernoulli":
            nll = F.binary_cross_entropy_with_logits(a, x, reduction="sum")
        else:
            nll = -torch.distributions.Normal(a, 0.5).log_prob(x).sum()
        kl = (logvar.exp() + mu**2 - 1 - logvar).sum() / 2
        return {"reconstruction_loss": nll / len(x), "kl": kl / len(x)}, None
    E = net.quantizer.embedding.weight
    k = ((h[..., None, :] - E) ** 2).sum(-1).argmin(-1)
    e = net.quantizer.embedding(k)
    x_hat = net.decode(h + (e - h).detach())
    losses = {"reconstruction_loss": F.mse_loss(x_hat, x)}
    moves = torch.zeros((), dtype=x.dtype)  # of an EMA codebook
    losses["codebook_loss"] = F.mse_loss(e, h.detach()) if name == "gradient" else moves
    return losses | {"commitment_loss": 0.25 * F.mse_loss(h, e.detach())}, k


def close(ours, theirs, size=0.0):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-12 * max(np.abs(theirs).max(), size)


each_model = pytest.mark.parametrize("name", MODELS)
each_shape = pytest.mark.parametrize("form", SHAPES)


@each_model
@each_shape
def test_outputs_losses_and_every_parameters_gradient(name, form, rng):
    model, net = pair(name, form, rng)
    x = rng.random((3, *model.data.shape))
    eps = rng.standard_normal((3, *model.latent_shape, 4)) if isinstance(model, VAE) else None
    tx = torch.from_numpy(x)
    h = model.encoder.forward(x)[0]
    close(h, net.encode(tx))
    z = rng.standard_normal((3, *model.latent_shape, 4))
    close(model.decoder.forward(z)[0], net.decode(torch.from_numpy(z)))

    losses, cache = model.loss((x,), eps)
    theirs, k = their_losses(name, net, tx, None if eps is None else torch.from_numpy(eps))
    assert losses.keys() == theirs.keys() | {"loss"}
    total = sum(theirs.values())
    size = float(total.detach())
    close(losses["loss"], total)
    for term, value in theirs.items():
        close(losses[term], value, size)
    if k is not None:
        np.testing.assert_array_equal(model.encode(x), k.numpy())

    model.backward(cache)
    total.backward()
    ours = {key: param.grad for key, param in model.named_parameters()}
    gradients = {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
    names = torch_names(model)
    assert {names[key].name for key in ours} == gradients.keys()
    largest = max(float(g.abs().max()) for g in gradients.values())
    for key, grad in ours.items():
        close(names[key].to_torch(grad), gradients[names[key].name], largest)


def test_ten_steps_of_adam_agree(rng):
    """Parameters to 1e-9: rounding is divided by the root of a small second moment."""
    model, net = pair("gradient", "colour", rng)
    ours, theirs = Adam(model.named_parameters(), 1e-3), torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(10):
        x = rng.random((4, *model.data.shape))
        model.zero_grad()
        model.backward(model.loss((x,))[1])
        ours.step()
        theirs.zero_grad()
        sum(their_losses("gradient", net, torch.from_numpy(x), None)[0].values()).backward()
        theirs.step()
    for key, array in to_torch(model).items():
        if key in dict(net.named_parameters()):
            np.testing.assert_allclose(array, net.state_dict()[key].numpy(), rtol=0, atol=1e-9)


@each_shape
def test_weights_make_the_way_to_pytorch_and_back(form, rng, tmp_path):
    """Out into a file, into PyTorch, and from its own start of the parameters into a model of ours."""
    model, net = pair("ema", form, rng)
    save_torch(tmp_path / "w.npz", model)
    assert load_torch(tmp_path / "w.npz").fingerprint() == model.fingerprint()
    other = Net(encoded=4, **SHAPES[form])
    other.quantizer.embedding = nn.Embedding(7, 4)
    other.double()
    from_torch({key: p.detach() for key, p in other.named_parameters()}, model)
    x = rng.random((3, *model.data.shape))
    z = other.encode(torch.from_numpy(x))
    close(model.latents(x), z)
    k = torch.from_numpy(model.encode(x))
    x_hat = other.decode(other.quantizer.embedding(k)).clip(0, 1)
    close(model.decode(k.numpy()), x_hat)
