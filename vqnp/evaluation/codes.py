"""MSE = ⟨(x̂ − x)²⟩,  perplexity = exp(−Σ p log p),  over a whole data set in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, fail
from vqnp._images import to_float
from vqnp.data import ArrayStream
from vqnp.data.batches import BATCH as BATCH
from vqnp.data.batches import batches as batches
from vqnp.data.batches import origin as origin
from vqnp.evaluation.latents import LatentEvaluation, evaluate_latents
from vqnp.metrics.codebook import dead_codes, perplexity
from vqnp.metrics.diagnosis import Diagnosis, diagnose
from vqnp.models import VAE, VQVAE, Autoencoder

FEW = 10
"""Codes for each of the K from which on a perplexity is judged beside the training's: over n codes it
is at most n, and below about ten for each it is biased low whatever the codebook is (ours)."""


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


@overload
def evaluate(
    model: VQVAE, images: Array | ArrayStream, history: Any = None, progress: bool = False
) -> Evaluation: ...


@overload
def evaluate(
    model: Autoencoder, images: Array | ArrayStream, history: Any = None, progress: bool = False
) -> LatentEvaluation: ...


def evaluate(
    model: VQVAE | VAE | Autoencoder, images: Array | ArrayStream, history: Any = None, progress: bool = False
) -> Evaluation | LatentEvaluation:
    """MSE = ⟨(x̂ − x)²⟩ of x̂ = decode(encode(x)), and exp(−Σ p log p) of the codes, over all images.

    images: (n, *image_shape), uint8 or float in [0, 1], in memory or streamed -> Evaluation

    Parameters
    ----------
    model : VQVAE, VAE or Autoencoder
        Of the last two: see latent_evaluation.evaluate_latents, whose LatentEvaluation is returned.
    images : ndarray or ArrayStream
    history : optional
        Of the training, for the diagnosis: see diagnosis.diagnose.
    progress : bool
        A bar on standard error once it takes longer than a second.

    Raises
    ------
    InputError
        No images, or images of another shape than the model's.
    """
    if isinstance(model, Autoencoder):
        return evaluate_latents(model, images, progress)
    counts = np.zeros(model.num_embeddings, np.int64)
    total, entries, n = 0.0, 0, 0
    for batch in tqdm(
        batches(images), total=-(-len(images) // BATCH), unit="batch", delay=1, disable=not progress
    ):
        x = to_float(batch, np.float64, first=n, where=origin(images, "evaluate"))
        k = model.encode(batch)
        error = model.decode(k).astype(np.float64) - x.reshape(-1, *model.image_shape)
        total += float((error * error).sum())
        entries += error.size
        n += len(batch)
        counts += np.bincount(k.reshape(-1), minlength=model.num_embeddings)
    if n == 0:
        fail("evaluate", "images", "must hold at least one image", "none")
    value = perplexity(counts)
    if counts.sum() < FEW * model.num_embeddings:
        history = None  # so few codes cannot show the perplexity that training saw
    return Evaluation(
        mse=total / entries,
        perplexity=value,
        num_embeddings=model.num_embeddings,
        bits_per_image=model.bits_per_image,
        images=n,
        counts=counts,
        diagnosis=diagnose(value, model.num_embeddings, history),
    )
