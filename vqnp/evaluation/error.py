"""MSE = ⟨(x̂ − x)²⟩ over a whole data set, in batches: what every evaluation needs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, fail
from vqnp.data import ArrayStream
from vqnp.data.batches import BATCH, batches, origin


class SquaredError:
    """Σ (x̂ − x)² and the number of its terms, in float64."""

    def __init__(self, model: Any, images: Array | ArrayStream) -> None:
        self.data, self.where, self.total, self.count = model.data, origin(images, "evaluate"), 0.0, 0

    def add(self, x_hat: Array, images: Array, first: int) -> None:
        """Add a batch: x_hat, images: (n, *data.shape); first is the index of images[0] in the data set."""
        error = x_hat.astype(np.float64) - self.data.to_array(images, np.float64, self.where, first)
        self.total += float((error * error).sum())
        self.count += error.size

    def mean(self) -> float:
        """The MSE, in units of the data's range squared."""
        return self.total / self.count


def numbered_batches(images: Array | ArrayStream, progress: bool) -> Iterator[tuple[int, Array]]:
    """(index of its first image, batch), with a bar on standard error if it takes longer than a second."""
    if len(images) == 0:
        fail("evaluate", "images", "must hold at least one image", "none")
    first = 0
    total = -(-len(images) // BATCH)
    for batch in tqdm(batches(images), total=total, unit="batch", delay=1, disable=not progress):
        yield first, batch
        first += len(batch)


def aligned(rows: Iterable[tuple[str, str]]) -> str:
    """A line for each (name, value), the values aligned."""
    return "\n".join(f"{name:<21}{value}" for name, value in rows)
