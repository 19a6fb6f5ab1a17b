"""MSE = ⟨(x̂ − x)²⟩ over a whole data set, in batches: what every evaluation needs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, fail, kind_of
from vqnp.data import ArrayStream, Dataset
from vqnp.data.batches import BATCH, batches, origin
from vqnp.data.datasets import images_of


class SquaredError:
    """Σ (x̂ − x)² and the number of its terms, in float64."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, x_hat: Array, x: Array) -> None:
        """Add a batch, x_hat and x of one shape, x in float64."""
        error = x_hat.astype(np.float64) - x
        self.total += float((error * error).sum())
        self.count += error.size

    def mean(self) -> float:
        """The MSE, in the data's own units, squared."""
        return self.total / self.count


class Variance:
    """⟨Var x⟩: the variance of each number of an example over the examples, averaged; the MSE of their mean.

    In one pass without cancellation (Chan et al. 1979).
    """

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, np.zeros(()), np.zeros(())

    def add(self, x: Array) -> None:
        """Add a batch, x: (m, ...)."""
        m, n = len(x), self.n
        step = x.mean(axis=0, dtype=np.float64) - self.mean
        self.squares = self.squares + x.var(axis=0, dtype=np.float64) * m + step * step * (n * m / (n + m))
        self.mean = self.mean + step * (m / (n + m))
        self.n += m

    def value(self) -> Array:
        """The variance of each number, divided by n."""
        return self.squares / self.n


def checked_batches(
    model: Any, data: Array | ArrayStream | Dataset, progress: bool
) -> Iterator[tuple[int, Array, Array]]:
    """(index of its first image, batch, x in float64); an error names an image by its index in the data set.

    With a bar on standard error if it takes longer than a second.
    """
    images = images_of(data)
    where = origin(images, "evaluate")
    name = "images" if isinstance(images, ArrayStream) else "data"
    if not isinstance(images, (np.ndarray, ArrayStream)):
        needed = "must be a NumPy array, a Dataset or an ArrayStream of images"
        fail(where, name, needed, kind_of(images))
    model.data.check_shape(images.shape, where, name)  # before anything is read
    if len(images) == 0:
        fail(where, name, "must hold at least one image", "none")
    first = 0
    total = -(-len(images) // BATCH)
    for batch in tqdm(batches(images), total=total, unit="batch", delay=1, disable=not progress):
        yield first, batch, model.data.to_array(batch, np.float64, where, first, name)
        first += len(batch)


def aligned(rows: Iterable[tuple[str, str]]) -> str:
    """A line for each (name, value), the values aligned."""
    return "\n".join(f"{name:<21}{value}" for name, value in rows)
