"""MSE = ⟨(x̂ − x)²⟩ over a whole data set, a batch at a time: what every evaluation shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, fail
from vqnp.data import ArrayStream
from vqnp.data.batches import BATCH, batches


class SquaredError:
    """Σ (x̂ − x)² and how many numbers it is over, in float64."""

    def __init__(self, model: Any) -> None:
        self.data, self.total, self.count = model.data, 0.0, 0

    def add(self, x_hat: Array, images: Array, first: int, where: str) -> None:
        """x_hat: (n, *data.shape), images: the same, as they came; first is the number of images[0]."""
        error = x_hat.astype(np.float64) - self.data.to_array(images, np.float64, where, first)
        self.total += float((error * error).sum())
        self.count += error.size

    def mean(self) -> float:
        """The MSE, in units of the data's range squared."""
        return self.total / self.count


def numbered_batches(images: Array | ArrayStream, progress: bool) -> Iterator[tuple[int, Array]]:
    """(number of its first image, batch), with a bar on standard error once it takes longer than a second."""
    if len(images) == 0:
        fail("evaluate", "images", "must hold at least one image", "none")
    first = 0
    total = -(-len(images) // BATCH)
    for batch in tqdm(batches(images), total=total, unit="batch", delay=1, disable=not progress):
        yield first, batch
        first += len(batch)
