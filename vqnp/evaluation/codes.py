"""MSE = ⟨(x̂ − x)²⟩,  perplexity = exp(−Σ p log p),  over a whole data set in constant memory."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.data import ArrayStream
from vqnp.evaluation.error import SquaredError, Variance, aligned, checked_batches
from vqnp.metrics.codebook import dead_codes, mean_perplexity, perplexity
from vqnp.metrics.diagnosis import ALARMS, CODES_PER_EMBEDDING, Diagnosis, diagnose
from vqnp.ops.product_codes import joint_codes


class CodeUse:
    """What follows from how often each code is used: counts: (K,), or (n, K) of n codebooks."""

    num_embeddings: int
    counts: Array
    perplexity: float

    @property
    def utilization(self) -> float:
        """perplexity / K, between 1/K and 1."""
        return self.perplexity / self.num_embeddings

    @property
    def codes_used(self) -> int:
        """#{j : n_j > 0}, of all codebooks."""
        return int(np.count_nonzero(self.counts))

    @property
    def dead_codes(self) -> list[list[int]]:
        """{j : n_j = 0} of each codebook."""
        return [dead_codes(n).tolist() for n in np.atleast_2d(self.counts)]


@dataclass(frozen=True)
class Evaluation(CodeUse):
    """The report on a VQ-VAE over a data set.

    mse is the mean over all pixels of all images, in the data's own units, squared; data_variance is that of
    the mean image, ⟨(x̄ − x)²⟩, which a model that reconstructs anything is below;
    counts: (K,), or (n, K) of n codebooks: how often each code is used, over all images and latents; the
    perplexity of n codebooks is the geometric mean of theirs. joint_perplexity is that of the combinations of
    codes, at most the product of the codebooks', and equal to it if their codes are independent; like every
    perplexity it is at most the number of latents.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:20]
    >>> report = vqnp.evaluate(vqnp.VQVAE.mlp(num_latents=4, num_embeddings=8), images)
    >>> list(report.row()), report.diagnosis.level  # of a model that is not trained
    (['test_mse', 'test_perplexity'], 'no reconstruction')
    """

    mse: float
    perplexity: float
    num_embeddings: int
    bits_per_image: float
    images: int
    counts: Array
    diagnosis: Diagnosis
    data_variance: float = math.nan
    joint_perplexity: float = math.nan

    @property
    def perplexities(self) -> list[float]:
        """The perplexity of each codebook."""
        return [perplexity(n) for n in np.atleast_2d(self.counts)]

    def row(self) -> dict[str, float]:
        """The columns of the history for the test images."""
        each = enumerate(self.perplexities, 1) if self.counts.ndim > 1 else ()
        row = {"test_mse": self.mse, "test_perplexity": self.perplexity}
        return row | {f"test_perplexity_{i}": value for i, value in each}

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON; of several codebooks a list of dead codes of each."""
        several = self.counts.ndim > 1
        figures = {
            "mse": self.mse, "data_variance": self.data_variance,
            "perplexity": self.perplexity, "utilization": self.utilization,
            "codes_used": self.codes_used, "dead_codes": self.dead_codes if several else self.dead_codes[0],
            "num_embeddings": self.num_embeddings, "bits_per_image": self.bits_per_image,
            "images": self.images, "diagnosis": str(self.diagnosis), "diagnosis_level": self.diagnosis.level,
        }  # fmt: skip
        own = {"perplexities": self.perplexities, "joint_perplexity": self.joint_perplexity}
        return figures | (own if several else {})

    def __str__(self) -> str:
        several = self.counts.ndim > 1
        each = ", ".join(f"{value:.1f}" for value in self.perplexities)
        latents = int(self.counts.sum()) // len(self.counts) if several else 0
        joint = f"{self.joint_perplexity:.1f}; {math.prod(self.perplexities):.1f} if independent"
        joint += f", at most {latents}, the number of latents" if several else ""
        return aligned([
            ("images", f"{self.images} ({self.counts.sum()} codes)"),
            ("test MSE", f"{self.mse:.5f}"),
            ("data's variance", f"{self.data_variance:.5f}"),
            ("codebook perplexity", f"{self.perplexity:.1f} of {self.num_embeddings}"),
            *([("  of each codebook", each), ("  of combinations", joint)] if several else []),
            ("utilization", f"{100 * self.utilization:.1f} %"),
            ("codes used", f"{self.codes_used} of {self.counts.size}"),
            ("bits per image", f"{self.bits_per_image:g}"),
            ("diagnosis", str(self.diagnosis)),
        ])  # fmt: skip


def evaluate_codes(
    model: Any, images: Array | ArrayStream, history: Any = None, progress: bool = False
) -> Evaluation:
    """MSE = ⟨(x̂ − x)²⟩ of x̂ = decode(encode(x)), and exp(−Σ p log p) of the codes, over all images.

    images: (n, *data.shape), in memory or streamed -> Evaluation

    Parameters, returns and errors are those of `evaluate`; model is a VQVAE.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:20]
    >>> report = evaluate_codes(vqnp.VQVAE.mlp(num_latents=4, num_embeddings=8), images)
    >>> report.images, int(report.counts.sum()), report.bits_per_image
    (20, 80, 12.0)
    """
    K = model.num_embeddings
    errors, spread, n = SquaredError(), Variance(), 0
    together = JointCounts(model.quantizer.num_codebooks, K)
    counts = np.zeros((*model.quantizer.code_shape, K), np.int64)
    for _, batch, x in checked_batches(model, images, progress):
        k = model.encode(batch)
        errors.add(model.decode(k), x)
        spread.add(x)
        counts += model.quantizer.counts(k)
        together.add(k)
        n += len(batch)
    value, codes = mean_perplexity(counts), int(counts.sum()) // model.quantizer.num_codebooks
    if codes < CODES_PER_EMBEDDING * K:
        history = None  # too few codes to compare with the perplexity of the training
    mse, variance = errors.mean(), float(spread.value().mean())
    course = history
    if isinstance(history, list) and getattr(model, "likelihood", "squared_error") != "squared_error":
        course = [row["perplexity"] for row in history]  # its losses are no squared errors
    beta = getattr(model.quantizer, "commitment_cost", None)
    if "codebook_loss" not in model.quantizer.loss_names:
        beta = None  # its latents are bounded without a commitment loss
    diagnosis = diagnose(value, K, course, codes, mse, variance, beta)
    diagnosis = with_restarts(diagnosis, model.quantizer, history)
    joint = together.perplexity()
    return Evaluation(mse, value, K, model.bits_per_image, n, counts, diagnosis, variance, joint)


class JointCounts:
    """How often each combination of the codes of n codebooks occurs; nothing if n = 1 or if K^n ≥ 2⁶³."""

    def __init__(self, num_codebooks: int, num_embeddings: int) -> None:
        self.num_embeddings = num_embeddings
        self.counted = num_codebooks > 1 and num_embeddings**num_codebooks < 2**63
        self.combinations, self.counts = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, k: Array) -> None:
        """Count the codes k: (..., n)."""
        if self.counted:
            joint = joint_codes(k, self.num_embeddings).reshape(-1)
            found, n = np.unique(joint, return_counts=True)
            every = np.concatenate([self.combinations, found])
            self.combinations, place = np.unique(every, return_inverse=True)
            weights = np.concatenate([self.counts, n])
            self.counts = np.bincount(place, weights).astype(np.int64)

    def perplexity(self) -> float:
        """exp(−Σ p log p) of the combinations; NaN if none were counted."""
        return perplexity(self.counts) if self.counts.size else math.nan


COLLAPSES = (*ALARMS[:5], "too early")
"""The levels in which too few codes are used."""


def with_restarts(diagnosis: Diagnosis, quantizer: Any, history: Any) -> Diagnosis:
    """The diagnosis; of a collapse in a training too short for any restart, with advice that says so.

    A code that is never used restarts when γᵗ, what is left of its first count, is below the threshold. Where
    codes are fixed there is no restart to advise.
    """
    if getattr(quantizer, "fixed_codes", False) and "restart" in diagnosis.advice:
        return replace(diagnosis, advice="train longer, or use fewer codes")
    share, decay = (getattr(quantizer, name, 0.0) for name in ("restart_dead_codes", "decay"))
    last = history[-1] if isinstance(history, list) and history else {}
    if diagnosis.level not in COLLAPSES or not 0 < share < 1 or not 0 < decay < 1 or "step" not in last:
        return diagnosis
    if any(row.get("restarted_codes") for row in history):
        return diagnosis
    needed = math.ceil(math.log(share) / math.log(decay))
    if last["step"] >= needed:
        return diagnosis
    advice = f"train for more than {needed} steps first, before which no code is restarted"
    return replace(diagnosis, advice=f"{advice}; this training had {last['step']}")
