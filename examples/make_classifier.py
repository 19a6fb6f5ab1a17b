"""Train the classifier of digits that is part of vqnp, and write vqnp/evaluation/classifier.npz.

The loss is the cross-entropy. In each step every image is turned, stretched, slanted and moved a little, at
random, which is worth more than a larger network: 10,000 digits are few. The weights are stored as float16.

python examples/make_classifier.py          about five minutes
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import vqnp
from vqnp._check import Array, InputError
from vqnp._files import write_npz
from vqnp._images import to_float
from vqnp.evaluation.classifier import WEIGHTS, DigitClassifier
from vqnp.nn.trainable import Trainable
from vqnp.ops.dropout import dropout_backward, dropout_forward
from vqnp.ops.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward

TURN_RADIANS, STRETCH, SLANT, MOVE_PIXELS = 0.2, 0.12, 0.2, 2.0
"""The largest distortions: at twice these a person too begins to take one digit for another."""

DROPOUT = 0.3
"""The part of the features that is set to 0 in training, before the last ReLU."""


class Training(DigitClassifier, Trainable):
    """L = ⟨−log p(c | distorted x)⟩: the classifier, as vqnp.fit trains it."""

    def prepare(self, data: Any) -> tuple[Array, ...]:
        """Images in [0, 1], float32, and labels."""
        return to_float(data.images), data.labels.astype(np.int64)

    def loss(self, batch: tuple[Array, ...], rng: Any = None, step: int = 0) -> Any:
        """The loss and what backward needs; without rng there is neither distortion nor dropout."""
        x, labels = batch
        g, body_cache = self.body.forward(x if rng is None else distort(x, rng))
        g, drop_cache = dropout_forward(g, DROPOUT, rng)
        a, head_cache = self.head.forward(g)
        L, loss_cache = softmax_cross_entropy_forward(a, labels)
        return {"loss": L}, (body_cache, drop_cache, head_cache, loss_cache)

    def backward(self, cache: Any, dL: Array | float = 1.0, need_dx: bool = False) -> None:
        """The chain rule, last layer first."""
        body_cache, drop_cache, head_cache, loss_cache = cache
        dg = self.head.backward(softmax_cross_entropy_backward(dL, loss_cache), head_cache)
        self.body.backward(dropout_backward(dg, drop_cache), body_cache, need_dx=False)

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> Report:
        """The share of images whose class is the likeliest."""
        return Report(float((self.probabilities(data.images).argmax(axis=1) == data.labels).mean()))


class Report(float):
    """The accuracy on test images."""

    def row(self) -> dict[str, float]:
        """The column of the history."""
        return {"test_accuracy": float(self)}


def distort(x: Array, rng: np.random.Generator) -> Array:
    """y(p) = x(A (p − c) + c + t), bilinear, c the centre, A and t drawn for each image: (B, H, W)."""
    B, H, W = x.shape
    turn, slant = rng.uniform(-1, 1, (2, B)) * [[TURN_RADIANS], [SLANT]]
    stretch, move = 1 + rng.uniform(-STRETCH, STRETCH, (2, B)), rng.uniform(-MOVE_PIXELS, MOVE_PIXELS, (2, B))
    cos, sin = np.cos(turn), np.sin(turn)
    A = np.array([[stretch[0] * cos, stretch[0] * (slant * cos - sin)],
                  [stretch[1] * sin, stretch[1] * (slant * sin + cos)]])  # fmt: skip
    rows, columns = np.mgrid[:H, :W] - np.array([H - 1, W - 1])[:, None, None] / 2
    i, j = (
        a[0][:, None, None] * rows + a[1][:, None, None] * columns + t[:, None, None] + (size - 1) / 2
        for a, t, size in zip(A, move, (H, W), strict=True)
    )
    padded = np.pad(x, ((0, 0), (1, 2), (1, 2)))
    i, j = np.clip(i, -1, H) + 1, np.clip(j, -1, W) + 1
    i0, j0 = i.astype(np.int64), j.astype(np.int64)
    u, v = (i - i0).astype(x.dtype), (j - j0).astype(x.dtype)
    n = np.arange(B)[:, None, None]
    top = (1 - v) * padded[n, i0, j0] + v * padded[n, i0, j0 + 1]
    low = (1 - v) * padded[n, i0 + 1, j0] + v * padded[n, i0 + 1, j0 + 1]
    return (1 - u) * top + u * low


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="data to train with (default: %(default)s)")
    parser.add_argument("--images", type=int, help="how many of them (default: all)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over them (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="output file (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        train, test = vqnp.load_splits(args.data)
        few = vqnp.data.Dataset(
            train.name, "train", train.images[: args.images], train.labels[: args.images]
        )
        model = Training(args.seed)
        vqnp.fit(
            model, few, test, epochs=args.epochs, batch_size=64, lr=2e-3, seed=args.seed, weight_decay=1e-4,
            progress=sys.stderr.isatty(), on_epoch=lambda h: print(h[-1], file=sys.stderr, flush=True),
        )  # fmt: skip
        arrays = {name: array.astype(np.float16) for name, array in model.state_dict().items()}
        model.load_state_dict({name: array.astype(np.float32) for name, array in arrays.items()})
        write_npz(args.out, arrays)
    except (InputError, OSError) as error:
        print(f"make_classifier.py: {error}", file=sys.stderr)
        return 2
    size, name = args.out.stat().st_size, f"{test.name} ({test.split})"
    print(f"{args.out}: {size:,} bytes; right on {100 * model.evaluate(test):.2f} % of {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
