"""MSE = ⟨(x̂ − x)²⟩ of a hierarchy; of each level perplexity, bits, and the MSE with another image's codes.

swapped_l = ⟨(x̂(k, but k_l from another image) − x)²⟩: as large as MSE if level l carries nothing
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.data import ArrayStream
from vqnp.evaluation.codes import CodeUse, with_restarts
from vqnp.evaluation.error import SquaredError, Variance, aligned, checked_batches
from vqnp.metrics.codebook import perplexity
from vqnp.metrics.diagnosis import CODES_PER_EMBEDDING, Diagnosis, diagnose

CARRIES_NOTHING = 0.02
"""Of the data's variance: a level whose codes change the MSE by less is hardly used by the decoder."""


@dataclass(frozen=True)
class LevelEvaluation(CodeUse):
    """The report on one level.

    shape: of its grid of codes; counts: (K,) how often each code is used; swapped_mse: the MSE if its codes,
    and no others, are those of another image, NaN for a single image; own_mse: of the reconstruction from
    this level and those above by its own decoder, NaN without one; mse, data_variance: of the whole model

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:4]
    >>> model = vqnp.HierarchicalVQVAE.conv(channels=8, residual_channels=4, num_embeddings=(16, 8))
    >>> top, bottom = evaluate_levels(model, images).levels
    >>> top.bits_per_image, int(top.counts.sum()), top.own_mse  # there is no decoder of the top alone
    (196.0, 196, nan)
    """

    shape: tuple[int, ...]
    num_embeddings: int
    bits_per_image: float
    counts: Array
    perplexity: float
    swapped_mse: float
    own_mse: float
    mse: float
    data_variance: float
    diagnosis: Diagnosis

    @property
    def carries_nothing(self) -> bool:
        """Whether codes of another image change the MSE by less than 2 % of the data's variance."""
        return self.swapped_mse - self.mse < CARRIES_NOTHING * self.data_variance

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON; None for an MSE that does not exist."""
        return {
            "shape": list(self.shape), "num_embeddings": self.num_embeddings,
            "bits_per_image": self.bits_per_image, "perplexity": self.perplexity,
            "utilization": self.utilization, "codes_used": self.codes_used,
            "dead_codes": self.dead_codes[0],
            "swapped_mse": None if math.isnan(self.swapped_mse) else self.swapped_mse,
            "own_mse": None if math.isnan(self.own_mse) else self.own_mse,
            "carries_nothing": bool(self.carries_nothing),
            "diagnosis": str(self.diagnosis), "diagnosis_level": self.diagnosis.level,
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """(name, value) for each line of the report."""
        swapped = f"{self.swapped_mse:.5f}" if math.isfinite(self.swapped_mse) else "needs two images"
        advice = "" if math.isfinite(self.own_mse) else "; a level_loss may help"
        remark = f" (the level carries almost nothing{advice})" if self.carries_nothing else ""
        rows = [
            ("  bits per image", f"{self.bits_per_image:g}"),
            ("  perplexity", f"{self.perplexity:.1f} of {self.num_embeddings}"),
            ("  codes used", f"{self.codes_used} of {self.num_embeddings}"),
            ("  MSE if swapped", f"{swapped}{remark}"),
        ]
        if math.isfinite(self.own_mse):
            rows.append(("  MSE down to here", f"{self.own_mse:.5f}"))
        return [*rows, ("  diagnosis", str(self.diagnosis))]


@dataclass(frozen=True)
class HierarchyEvaluation:
    """The report on a hierarchical VQ-VAE over a data set; levels: the top first.

    mse is the mean over all pixels of all images, in the data's own units, squared; data_variance is that of
    the mean image.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:4]
    >>> model = vqnp.HierarchicalVQVAE.conv(channels=8, residual_channels=4, num_embeddings=(16, 8))
    >>> report = vqnp.evaluate(model, images)
    >>> report.bits_per_image, [level.bits_per_image for level in report.levels]
    (784.0, [196.0, 588.0])
    """

    mse: float
    bits_per_image: float
    images: int
    data_variance: float
    levels: tuple[LevelEvaluation, ...]

    def row(self) -> dict[str, float]:
        """The columns of the history for the test images."""
        row = {"test_mse": self.mse}
        for l, level in enumerate(self.levels, 1):
            row[f"test_perplexity_{l}"] = level.perplexity
            if math.isfinite(level.swapped_mse):
                row[f"test_swapped_mse_{l}"] = level.swapped_mse
        return row

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON."""
        return {
            "mse": self.mse, "data_variance": self.data_variance, "bits_per_image": self.bits_per_image,
            "images": self.images, "levels": [level.as_dict() for level in self.levels],
        }  # fmt: skip

    def __str__(self) -> str:
        codes = sum(int(level.counts.sum()) for level in self.levels)
        rows = [
            ("images", f"{self.images} ({codes} codes)"), ("test MSE", f"{self.mse:.5f}"),
            ("data's variance", f"{self.data_variance:.5f}"), ("bits per image", f"{self.bits_per_image:g}"),
        ]  # fmt: skip
        for l, level in enumerate(self.levels, 1):
            rows += [(f"level {l}", f"{' × '.join(map(str, level.shape))} codes"), *level.rows()]
        return aligned(rows)


def evaluate_levels(
    model: Any, images: Array | ArrayStream, history: Any = None, progress: bool = False
) -> HierarchyEvaluation:
    """MSE of x̂ = decode(encode(x)), and of each level its perplexity and what it carries, over all images.

    images: (n, *data.shape), in memory or streamed -> HierarchyEvaluation

    Parameters, returns and errors are those of `evaluate`; model is a HierarchicalVQVAE. The other image, the
    codes of which replace those of a level, is half a batch away, in the same batch: no image is its own.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:4]
    >>> model = vqnp.HierarchicalVQVAE.conv(channels=8, residual_channels=4, level_loss=0.5)
    >>> report = evaluate_levels(model, images)
    >>> [level.shape for level in report.levels], report.levels[0].own_mse > 0  # the top has a decoder
    ([(7, 7), (14, 14)], True)
    """
    L, n = len(model.levels), 0
    error, spread = SquaredError(), Variance()
    swapped, own = ([SquaredError() for _ in range(L)] for _ in range(2))
    counts = [np.zeros(K, np.int64) for K in model.num_embeddings]
    for _, batch, x in checked_batches(model, images, progress):
        k = model.encode(batch)
        error.add(model.decode(k), x)
        spread.add(x)
        for l in range(L):
            counts[l] += model.levels[l].quantizer.counts(k[l])
            if len(batch) > 1:
                other = np.roll(k[l], len(batch) // 2, axis=0)
                swapped[l].add(model.decode((*k[:l], other, *k[l + 1 :])), x)
            if model.levels[l].decoder is not None:
                own[l].add(model.decode_level(k, l + 1), x)
        n += len(batch)
    mse, variance = error.mean(), float(spread.value().mean())
    levels = []
    for l, level in enumerate(model.levels):
        K, value, total = model.num_embeddings[l], perplexity(counts[l]), int(counts[l].sum())
        past = history_of_level(history, l + 1) if total >= CODES_PER_EMBEDDING * K else None
        diagnosis = with_restarts(diagnose(value, K, past, total, mse, variance), level.quantizer, past)
        other, alone = (e.mean() if e.count else math.nan for e in (swapped[l], own[l]))
        form = model.latent_shape[l], K, model.bits_per_level[l]
        levels.append(LevelEvaluation(*form, counts[l], value, other, alone, mse, variance, diagnosis))
    return HierarchyEvaluation(mse, model.bits_per_image, n, variance, tuple(levels))


def history_of_level(history: Any, l: int) -> list[dict[str, float]]:
    """The rows of a training's history as those of a model with this level alone, counted from 1."""
    rows = history if isinstance(history, Sequence) else []
    known = [row for row in rows if isinstance(row, Mapping) and f"perplexity_{l}" in row]
    return [{**row, "perplexity": row[f"perplexity_{l}"]} for row in known]
