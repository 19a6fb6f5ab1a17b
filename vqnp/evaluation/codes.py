"""MSE = ⟨(x̂ − x)²⟩,  perplexity = exp(−Σ p log p),  over a whole data set in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.data import ArrayStream
from vqnp.data.batches import origin
from vqnp.evaluation.error import SquaredError, numbered_batches
from vqnp.metrics.codebook import dead_codes, perplexity
from vqnp.metrics.diagnosis import Diagnosis, diagnose

CODES_PER_EMBEDDING = 10
"""Codes for each of the K from which on a perplexity is compared with the training's: over n codes it is at
most n, and below about ten for each it is biased low whatever the codebook is (our measurement)."""


@dataclass(frozen=True)
class Evaluation:
    """What a model does to a data set.

    mse is the mean over all pixels of all images, in units of the pixel range [0, 1] squared;
    counts: (K,) how often each code was used, over all images and latents.
    """

    mse: float
    perplexity: float
    num_embeddings: int
    bits_per_image: float
    images: int
    counts: Array
    diagnosis: Diagnosis

    @property
    def utilization(self) -> float:
        """perplexity / K, between 1/K and 1."""
        return self.perplexity / self.num_embeddings

    @property
    def codes_used(self) -> int:
        """#{j : n_j > 0}."""
        return self.num_embeddings - len(dead_codes(self.counts))

    def row(self) -> dict[str, float]:
        """What an epoch's row of the history says of the test images."""
        return {"test_mse": self.mse, "test_perplexity": self.perplexity}

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as JSON has it."""
        return {
            "mse": self.mse,
            "perplexity": self.perplexity,
            "utilization": self.utilization,
            "codes_used": self.codes_used,
            "dead_codes": [int(j) for j in dead_codes(self.counts)],
            "num_embeddings": self.num_embeddings,
            "bits_per_image": self.bits_per_image,
            "images": self.images,
            "diagnosis": str(self.diagnosis),
            "diagnosis_level": self.diagnosis.level,
        }

    def __str__(self) -> str:
        K = self.num_embeddings
        rows = [
            ("images", f"{self.images} ({self.counts.sum()} codes)"),
            ("test MSE", f"{self.mse:.5f}"),
            ("codebook perplexity", f"{self.perplexity:.1f} of {K}"),
            ("utilization", f"{100 * self.utilization:.1f} %"),
            ("codes used", f"{self.codes_used} of {K}"),
            ("bits per image", f"{self.bits_per_image:g}"),
            ("diagnosis", str(self.diagnosis)),
        ]
        return "\n".join(f"{name:<21}{value}" for name, value in rows)


def evaluate_codes(
    model: Any, images: Array | ArrayStream, history: Any = None, progress: bool = False
) -> Evaluation:
    """MSE = ⟨(x̂ − x)²⟩ of x̂ = decode(encode(x)), and exp(−Σ p log p) of the codes, over all images.

    images: (n, *data.shape), uint8 or float in the data's range, in memory or streamed -> Evaluation

    Parameters
    ----------
    model : VQVAE
    images : ndarray or ArrayStream
    history : optional
        Of the training, for the diagnosis: see metrics.diagnose.
    progress : bool
        A bar on standard error once it takes longer than a second.

    Raises
    ------
    InputError
        No images, or images of another shape than the model's.
    """
    K = model.num_embeddings
    errors, counts, n = SquaredError(model), np.zeros(K, np.int64), 0
    for first, batch in numbered_batches(images, progress):
        k = model.encode(batch)
        errors.add(model.decode(k), batch, first, origin(images, "evaluate"))
        counts += np.bincount(k.reshape(-1), minlength=K)
        n += len(batch)
    value = perplexity(counts)
    if counts.sum() < CODES_PER_EMBEDDING * K:
        history = None  # so few codes cannot show the perplexity that training saw
    return Evaluation(
        mse=errors.mean(),
        perplexity=value,
        num_embeddings=K,
        bits_per_image=model.bits_per_image,
        images=n,
        counts=counts,
        diagnosis=diagnose(value, K, history),
    )
