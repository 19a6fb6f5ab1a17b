"""p(c | x) = softmax(W ReLU(g(x)) + b): which digit an image shows, and features to compare images by.

x: (n, 28, 28) in [0, 1] -> g: (n, 64), p: (n, 10)

g = linear(c₄), c_i = ReLU(conv(c_{i−1})), c_0 = x: four convolutions, from 28 × 28 × 1 to 4 × 4 × 64. The
features are h = g/√⟨g²⟩, of length √64. An image that shows no digit has a short g: without the division it
would lie between all classes, near many real images, and codes drawn at random would be the most precise.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from vqnp._check import Array, fail
from vqnp._files import read_npz
from vqnp._images import to_float
from vqnp.data.batches import batches
from vqnp.nn import Activation, Conv, Flatten, Linear, Module, Reshape, Sequential
from vqnp.nn.module import Cache

WEIGHTS = Path(__file__).with_name("classifier.npz")
SHAPE = (28, 28)
CLASSES = 10
FEATURES = 64


class DigitClassifier(Module):
    """a = W ReLU(g(x)) + b, g: four convolutions and a linear layer; 144,394 parameters.

    x: (n, 28, 28) -> a: (n, 10)

    `digit_classifier` gives it with the weights that come with vqnp.
    """

    def __init__(self, rng: np.random.Generator | int = 0) -> None:
        rng = np.random.default_rng(rng)
        relu = functools.partial(Activation, "relu")
        self.body = Sequential(
            Reshape(*SHAPE, 1),
            Conv(1, 16, 3, padding=1, rng=rng), relu(),
            Conv(16, 32, 4, stride=2, padding=1, rng=rng), relu(),
            Conv(32, 64, 4, stride=2, padding=1, rng=rng), relu(),
            Conv(64, 64, 3, stride=2, padding=1, rng=rng), relu(),
            Flatten(), Linear(4 * 4 * 64, FEATURES, rng),
        )  # fmt: skip
        self.head = Sequential(relu(), Linear(FEATURES, CLASSES, rng))

    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """a, cache: the logits of the ten digits."""
        g, body_cache = self.body.forward(x)
        a, head_cache = self.head.forward(g)
        return a, (body_cache, head_cache)

    def backward(self, da: Array, cache: Cache, need_dx: bool = True) -> Any:
        """The chain rule, last layer first."""
        body_cache, head_cache = cache
        return self.body.backward(self.head.backward(da, head_cache), body_cache, need_dx)

    def features(self, images: Any) -> Array:
        """h = g/√⟨g²⟩: (n, 28, 28), uint8 or float in [0, 1] -> (n, 64) float64, each row of length √64."""
        parts = [self.body.forward(x)[0] for x in batches(_digits("features", images))]
        g = np.concatenate(parts).astype(np.float64)
        return np.asarray(g / np.sqrt(np.square(g).mean(axis=1, keepdims=True)))

    def probabilities(self, images: Any) -> Array:
        """p(c | x): (n, 28, 28), uint8 or float in [0, 1] -> (n, 10) float64."""
        a = np.concatenate([self.forward(x)[0] for x in batches(_digits("probabilities", images))])
        p = np.exp(a.astype(np.float64) - a.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))


@functools.cache
def digit_classifier() -> DigitClassifier:
    """The classifier of handwritten digits that comes with vqnp, right on 99.15 % of the 2,000 test digits.

    It was trained by examples/make_classifier.py on the 10,000 embedded training digits, with random affine
    distortions. Its weights are stored as float16 and computed with as float32.

    Examples
    --------
    >>> import vqnp
    >>> test = vqnp.load_dataset("digits", "test")
    >>> p = digit_classifier().probabilities(test.images[:200])
    >>> float((p.argmax(axis=1) == test.labels[:200]).mean()) > 0.98
    True
    """
    classifier = DigitClassifier()
    stored = read_npz(f"classifier {WEIGHTS}", WEIGHTS)
    classifier.load_state_dict({name: array.astype(np.float32) for name, array in stored.items()})
    return classifier


def _digits(where: str, images: Any) -> Array:
    """(n, 28, 28) or (n, 28, 28, 1) or (n, 784) -> float32 (n, 28, 28), n at least 1, else InputError."""
    where = f"DigitClassifier.{where}"
    x = to_float(images, where=where)
    if len(x) == 0 or x[0].size != SHAPE[0] * SHAPE[1] or x.shape[1:] not in (SHAPE, (*SHAPE, 1), (784,)):
        fail(where, "images", "must be images of 28 x 28 pixels, at least one", f"shape {x.shape}")
    return x.reshape(len(x), *SHAPE)
