"""What a trainer asks of a model: it knows neither images nor quantizers."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vqnp._check import Array
from vqnp.nn.module import Cache


class Trainable(Protocol):
    """The methods of anything that training.fit trains, beside those of a Module.

    prepare, loss, backward and evaluate are needed; the others do nothing unless they are overridden.
    """

    def prepare(self, data: Any) -> tuple[Array, ...]:
        """The arrays that minibatches are taken from, all of one length: images, or codes and labels."""

    def loss(
        self, batch: tuple[Array, ...], rng: Any = None, step: int = 0
    ) -> tuple[dict[str, Array], Cache]:
        """Losses by name, the first being the one to minimise, and what backward needs; changes nothing.

        rng, a numpy.random.Generator, is for noise; step counts from 0.
        """

    def backward(self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False) -> Any:
        """Add dL · ∂L/∂θ to every Param's grad; dx where it is needed."""

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> Any:
        """A report on a data set, with .row(), .as_dict() and str()."""

    def initialize(self, batch: tuple[Array, ...], rng: np.random.Generator) -> None:
        """Before the first step, from some of the data."""

    def after_step(self, cache: Cache, rng: np.random.Generator) -> dict[str, Array]:
        """What the model itself changes after a step; {parameter name: rows that started again}."""
        return {}

    def statistics(self, cache: Cache) -> dict[str, Array]:
        """Integer arrays, by name, that the trainer adds up over an epoch."""
        return {}

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """What the history says about an epoch, beside its losses; step is its last."""
        return {}
