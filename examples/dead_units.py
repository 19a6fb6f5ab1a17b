"""How many hidden units are dead after training, and what a model without them saves.

python examples/dead_units.py [--epochs 60]      the default training of `vqnp train`, about a minute

A ReLU unit is dead if its output is 0 for every training image. Then the gradients of its weights are 0 as
well, so that it stays dead as long as its input does not change. It can be removed, with its column of the W
before it and its row of the W after it.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import vqnp
from vqnp.nn import Activation, Linear, Sequential

Array = np.ndarray[Any, Any]


def alive_units(network: Sequential, x: Array) -> dict[int, Array]:
    """By the position of a ReLU between two linear layers: which of its units are above 0 for some x."""
    alive, layers = {}, network.layers
    for i, layer in enumerate(layers):
        x, _ = layer.forward(x)
        if isinstance(layer, Activation) and isinstance(layers[i + 1], Linear):
            alive[i] = (x > 0).any(axis=0)
    return alive


def pruned(network: Sequential, alive: dict[int, Array]) -> Sequential:
    """The network without its dead units: y = x W[:, alive] + b[alive] before, y = x W[alive] + b after."""
    layers = []
    for i, layer in enumerate(network.layers):
        if isinstance(layer, Linear):
            rows, columns = alive.get(i - 1, slice(None)), alive.get(i + 1, slice(None))
            W, b = layer.W.value[rows][:, columns], layer.b.value[columns]
            layer = Linear(*W.shape, dtype=W.dtype)
            layer.W.value[...], layer.b.value[...] = W, b
        layers.append(layer)
    return Sequential(*layers)


def size(network: Sequential) -> int:
    """The number of its parameters."""
    return sum(p.value.size for p in network.parameters())


def report(name: str, network: Sequential, training: Array, test: Array) -> Sequential:
    """Print what pruning does to a network, and return it pruned; the outputs on training must not change."""
    alive = alive_units(network, training)
    small = pruned(network, alive)
    y, y_small = network.forward(training)[0], small.forward(training)[0]
    difference = np.abs(y - y_small).max() / np.abs(y).max()
    dead, units = sum(int((~a).sum()) for a in alive.values()), sum(a.size for a in alive.values())
    again = alive_units(network, test)
    revived = sum(int((again[i] & ~a).sum()) for i, a in alive.items())
    print(f"{name}: {dead} of {units} hidden units are dead ({100 * dead / units:.1f} %)")
    saved = 100 * (1 - size(small) / size(network))
    print(f"  parameters: {size(network)} -> {size(small)}, {saved:.1f} % less")
    print(f"  output on the training images: differs by {difference:.1e} of its largest entry")
    print(f"  dead on the training images, but not on all test images: {revived}")
    if not difference < 1e-5:
        raise SystemExit(f"pruning changed the output of the {name}")
    return small


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=60, help="(default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--kill", type=int, default=0, metavar="N",
        help="set the biases of N units of each network to -1e6 after training, for a test (default: 0)",
    )  # fmt: skip
    args = parser.parse_args()

    training, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(rng=args.seed)
    vqnp.fit(model, training.images, epochs=args.epochs, seed=args.seed, progress=False)
    for network in (model.encoder, model.decoder):
        network.layers[1].b.value[: args.kill] = -1e6

    (x,), (x_test,) = model.prepare(training.images), model.prepare(test.images)
    before = model.evaluate(test.images)
    z_q, z_q_test = (model.quantizer.decode(model.encode(images.images)) for images in (training, test))
    encoder = report("encoder", model.encoder, x, x_test)
    decoder = report("decoder", model.decoder, z_q, z_q_test)
    small = vqnp.VQVAE(encoder, model.quantizer, decoder, model.data)
    codes, codes_small = model.encode(test.images), small.encode(test.images)
    print(f"codes of the test images that change: {(codes != codes_small).sum()} of {codes.size}")
    print("test MSE:", before.row()["test_mse"], "->", small.evaluate(test.images).row()["test_mse"])


if __name__ == "__main__":
    main()
