"""Exchange weights: rebuild vqnp's model in plain PyTorch, train it further there, and load it back.

Needs PyTorch.

python examples/weights_travel.py                      trains for an epoch first; some ten seconds in total
python examples/weights_travel.py --model runs/digits-1
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import vqnp
from vqnp.nn import Activation, Flatten, Linear, Reshape, Sequential, VectorQuantizer, build, describe

# The whole model in PyTorch. Modules and parameters have the names that vqnp.export uses.

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def in_torch(network: Sequential) -> nn.Sequential:
    """Flatten, Linear, f, …, Linear, Reshape: the same layers in PyTorch, their parameters newly drawn."""
    layers: list[nn.Module] = []
    for layer in network.layers:
        match layer:
            case Flatten():
                layers.append(nn.Flatten())
            case Linear():
                layers.append(nn.Linear(*layer.W.value.shape))
            case Activation():
                layers.append(ACTIVATIONS[layer.name]())
            case Reshape():
                layers.append(nn.Unflatten(1, layer.shape))
    return nn.Sequential(*layers)


class TorchVQVAE(nn.Module):
    """z = encoder(x), k = argmin ‖z − e‖², x̂ = decoder(e_k); x: (B, 28, 28) -> z: (B, M, D), k: (B, M)."""

    def __init__(self, model: vqnp.VQVAE) -> None:
        super().__init__()
        self.encoder, self.decoder = in_torch(model.encoder), in_torch(model.decoder)
        self.quantizer = nn.Module()
        self.quantizer.embedding = nn.Embedding(model.num_embeddings, model.embedding_dim)
        self.to(getattr(torch, model.dtype.name))

    def latents(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def codes(self, z: Tensor) -> Tensor:
        E = self.quantizer.embedding.weight
        return ((z[..., None, :] - E) ** 2).sum(-1).argmin(-1)

    def decode(self, z_q: Tensor) -> Tensor:
        return self.decoder(z_q)  # vqnp's decode also clips to [0, 1]


def read(path: Path, net: nn.Module) -> None:
    """Load the arrays of a file written by vqnp into net, except the quantizer's statistics."""
    with np.load(path) as arrays:
        net.load_state_dict({name: torch.from_numpy(arrays[name]) for name in net.state_dict()})


def loss(net: TorchVQVAE, x: Tensor, beta: float, codebook_loss: bool) -> tuple[Tensor, Tensor, Tensor]:
    """L = ⟨(x̂ − x)²⟩ + ⟨(sg z − e)²⟩ + β⟨(z − sg e)²⟩, z, k; the middle term if E is trained by gradient."""
    mse = nn.functional.mse_loss
    z = net.latents(x)
    k = net.codes(z)
    e = net.quantizer.embedding(k)
    x_hat = net.decode(z + (e - z).detach())  # straight through
    L = mse(x_hat, x) + beta * mse(z, e.detach())
    return L + mse(e, z.detach()) if codebook_loss else L, z, k


# The round trip.


@torch.no_grad()
def compare(model: vqnp.VQVAE, net: TorchVQVAE, images: np.ndarray, where: str) -> None:
    """Print how far the two differ on images; raise if by more than float32 rounding."""
    x = torch.from_numpy(*model.prepare(images))
    z = torch.cat([net.latents(part) for part in x.split(100)])
    k = torch.cat([net.codes(part) for part in z.split(100)]).numpy()
    ours = model.encode(images)
    differ = np.argwhere(ours != k)
    print(f"{where}: {len(images)} images, {ours.size} codes")
    print(f"  codes that differ                     {len(differ)}")
    for n, m in differ:  # allowed if both codes are equally far, up to rounding
        e = model.quantizer.embeddings[[ours[n, m], k[n, m]]].astype("d")
        d = ((z[n, m].double().numpy() - e) ** 2).sum(-1)
        print(f"    image {n}, latent {m}: codes {ours[n, m]} and {k[n, m]}, at distances² {d[0]} and {d[1]}")
        assert abs(d[1] - d[0]) <= 1e-5 * d[0], "this is not a tie"
    # Both decoders get the same codes, so that a tie is counted only once.
    x_hat = net.decode(net.quantizer.embedding(torch.from_numpy(ours))).clip(0, 1).numpy()
    for name, a, b in (
        ("latents", z.numpy(), model.latents(images)),
        ("reconstructions", x_hat, model.decode(ours)),
    ):
        apart, size = np.abs(a - b).max(), np.abs(b).max()
        print(f"  {name + ', largest difference':<38}{apart:.1e}, or {apart / size:.1e} of the largest entry")
        assert apart <= 1e-5 * size, "this is more than rounding error"


def main() -> None:
    """Export, rebuild, compare; train in PyTorch, import, compare."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", help="a run folder (default: train one epoch on the digits)")
    parser.add_argument("--steps", type=int, default=100, help="training steps in PyTorch (default: 100)")
    args = parser.parse_args()

    train, test = vqnp.load_splits("digits")
    if args.model:
        model = vqnp.load(args.model)
    else:
        model = vqnp.VQVAE.mlp()
        vqnp.fit(model, train.images, epochs=1)

    net = TorchVQVAE(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        vqnp.export.save_torch(path, model)  # vqnp export RUN --out weights.npz
        read(path, net)
    compare(model, net, test.images, "vqnp to PyTorch")

    quantizer = model.quantizer
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    batches = np.random.default_rng(0).integers(0, len(train.images), (args.steps, 32))
    for batch in batches:
        x = torch.from_numpy(*model.prepare(train.images[batch]))
        L, _, _ = loss(net, x, quantizer.commitment_cost, codebook_loss=True)
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
    encoder, decoder = (build(describe(part)) for part in (model.encoder, model.decoder))
    by_gradient = VectorQuantizer(
        model.num_embeddings, model.embedding_dim, quantizer.commitment_cost, dtype=model.dtype
    )
    back = vqnp.VQVAE(encoder, by_gradient, decoder, model.data)
    vqnp.export.from_torch(net.state_dict(), back)
    moved = (model.encode(test.images) != back.encode(test.images)).mean()
    compare(
        back,
        net,
        test.images,
        f"PyTorch to vqnp, {args.steps} steps later ({moved:.0%} of the codes have changed)",
    )


if __name__ == "__main__":
    main()
