"""What the trainer requires of a model; it knows about neither images nor quantizers."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vqnp._check import Array
from vqnp.nn.module import Cache

Batch = tuple[Array, ...]
"""Some rows of each array that `prepare` returned."""

Losses = dict[str, Array]
"""Losses by name, the first being the one to minimize."""


class Trainable(Protocol):
    """The methods of anything that training.fit can train, in addition to those of a Module.

    prepare, loss, backward and evaluate are required; the others do nothing unless they are overridden.
    """

    def prepare(self, data: Any) -> Batch:
        """The arrays from which minibatches are taken, all of one length: images, or codes and labels."""

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """The losses, and what backward needs; changes nothing.

        rng, a numpy.random.Generator, is for noise; step counts from 0.
        """

    def backward(self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False) -> Any:
        """Add dL · ∂L/∂θ to every Param's grad; return dx if need_dx."""

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> Any:
        """A report on a data set, with .row(), .as_dict() and str()."""

    def initialize(self, batch: Batch, rng: np.random.Generator) -> None:
        """Prepare for the first step, given some of the data."""
        return None

    def after_step(self, cache: Cache, rng: np.random.Generator) -> dict[str, Array]:
        """Make the model's own changes after a step; return {parameter name: rows that were restarted}."""
        return {}

    def batch_arrays(self, cache: Cache) -> tuple[Array, ...]:
        """The arrays of the cache that after_step and statistics read, each with the batch as first axis.

        When a batch is computed in shards, cache_of is given these arrays of all shards together.
        """
        return ()

    def cache_of(self, arrays: tuple[Array, ...]) -> Cache:
        """A cache for after_step and statistics alone, with these arrays in place of its own."""
        return None

    def statistics(self, cache: Cache) -> dict[str, Array]:
        """Integer arrays, by name, which the trainer adds up over an epoch."""
        return {}

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """What the history records about an epoch besides its losses; step is its last step."""
        return {}
