"""SNR, spectral convergence, perplexity and bits a second of each level, over a whole data set of sounds."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.data import ArrayStream
from vqnp.evaluation.codes import CodeUse, with_restarts
from vqnp.evaluation.error import SquaredError, Variance, aligned, checked_batches
from vqnp.evaluation.levels import history_of_level
from vqnp.metrics.codebook import perplexity
from vqnp.metrics.diagnosis import CODES_PER_EMBEDDING, Diagnosis, diagnose
from vqnp.metrics.sound import SoundError


@dataclass(frozen=True)
class SoundLevelEvaluation(CodeUse):
    """The report on one level, which reconstructs a sound on its own.

    hop: samples a code; counts: (K,) how often each code is used, but for stretches of zeros; mse: in the
    data's own units, squared; signal_to_noise, spectral_convergence: in dB, over all samples

    Examples
    --------
    >>> from vqnp.models import SoundVQVAE
    >>> sounds = np.random.default_rng(0).uniform(-1, 1, (3, 256, 1)).astype(np.float32)
    >>> model = SoundVQVAE.conv((256, 1), hops=(64, 16), channels=4, num_embeddings=8, residual_blocks=1)
    >>> top, bottom = evaluate_sounds(model, sounds).levels
    >>> top.hop, int(top.counts.sum()), bottom.bits_per_second  # 3 bits for 16 samples, 8000 a second
    (64, 12, 1500.0)
    """

    hop: int
    num_embeddings: int
    bits_per_second: float
    counts: Array
    perplexity: float
    mse: float
    signal_to_noise: float
    spectral_convergence: float
    diagnosis: Diagnosis

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON; None for a figure that does not exist."""
        return {
            "hop": self.hop, "num_embeddings": self.num_embeddings, "bits_per_second": self.bits_per_second,
            "perplexity": self.perplexity, "utilization": self.utilization, "codes_used": self.codes_used,
            "dead_codes": self.dead_codes[0], "mse": self.mse,
            "signal_to_noise_db": _number(self.signal_to_noise),
            "spectral_convergence_db": _number(self.spectral_convergence),
            "diagnosis": str(self.diagnosis), "diagnosis_level": self.diagnosis.level,
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """(name, value) for each line of the report."""
        return [
            ("  bits a second", f"{self.bits_per_second:g}"),
            ("  MSE", f"{self.mse:.3g}"),
            ("  signal to noise", f"{self.signal_to_noise:.2f} dB"),
            ("  spectral conv.", f"{self.spectral_convergence:.2f} dB"),
            ("  perplexity", f"{self.perplexity:.1f} of {self.num_embeddings}"),
            ("  codes used", f"{self.codes_used} of {self.num_embeddings}"),
            ("  diagnosis", str(self.diagnosis)),
        ]


@dataclass(frozen=True)
class SoundEvaluation:
    """The report on a SoundVQVAE over a data set; levels: the top first; mse: of the last level.

    Examples
    --------
    >>> from vqnp.models import SoundVQVAE
    >>> sounds = np.random.default_rng(0).uniform(-1, 1, (3, 256, 1)).astype(np.float32)
    >>> model = SoundVQVAE.conv((256, 1), hops=(64, 16), channels=4, num_embeddings=8, residual_blocks=1)
    >>> report = evaluate_sounds(model, sounds)
    >>> report.recordings, report.rate, report.levels[0].hop, list(report.row())[:2]
    (3, 8000, 64, ['test_snr_1', 'test_spectral_1'])
    """

    recordings: int
    samples: int
    rate: int
    data_variance: float
    levels: tuple[SoundLevelEvaluation, ...]

    @property
    def mse(self) -> float:
        """The MSE of the level of the shortest hop."""
        return self.levels[-1].mse

    def row(self) -> dict[str, float]:
        """The columns of the history for the test recordings."""
        row: dict[str, float] = {}
        for l, level in enumerate(self.levels, 1):
            figures = {
                f"test_snr_{l}": level.signal_to_noise, f"test_spectral_{l}": level.spectral_convergence,
                f"test_perplexity_{l}": level.perplexity,
            }  # fmt: skip
            row |= {name: value for name, value in figures.items() if math.isfinite(value)}
        return row

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON."""
        return {
            "recordings": self.recordings, "samples": self.samples, "rate": self.rate, "mse": self.mse,
            "data_variance": self.data_variance, "levels": [level.as_dict() for level in self.levels],
        }  # fmt: skip

    def __str__(self) -> str:
        seconds = self.samples / self.rate
        rows = [("recordings", f"{self.recordings} of {self.samples} samples, {seconds:.3g} s, filled up"),
                ("data's variance", f"{self.data_variance:.3g}")]  # fmt: skip
        for l, level in enumerate(self.levels, 1):
            rows += [(f"level {l}", f"a code for {level.hop} samples"), *level.rows()]
        return aligned(rows)


def evaluate_sounds(
    model: Any, sounds: Array | ArrayStream, history: Any = None, progress: bool = False
) -> SoundEvaluation:
    """The errors of each level's x̂_l = decode_level(k_l, l), and the use of its codes, over all recordings.

    sounds: (n, T, 1), in memory or streamed -> SoundEvaluation

    Parameters, returns and errors are those of `evaluate`; model is a SoundVQVAE.

    Examples
    --------
    >>> import vqnp
    >>> sounds = vqnp.load_dataset("spoken-digits", "test").images[:2]
    >>> model = vqnp.models.SoundVQVAE.conv(sounds.shape[1:], hops=(64, 16), channels=4, residual_blocks=1)
    >>> report = evaluate_sounds(model, sounds)
    >>> report.recordings, [level.hop for level in report.levels], report.mse == report.levels[-1].mse
    (2, [64, 16], True)
    """
    L, n, spread = len(model.levels), 0, Variance()
    squared, errors = [SquaredError() for _ in range(L)], [SoundError() for _ in range(L)]
    counts = [np.zeros(K, np.int64) for K in model.num_embeddings]
    for _, batch, x in checked_batches(model, sounds, progress):
        spread.add(x)
        for l, k in enumerate(model.encode(batch)):
            x_hat = model.decode_level(k, l + 1)
            squared[l].add(x_hat, x)
            errors[l].add(x_hat, x)
            heard = x.reshape(len(x), -1, model.hops[l]).any(axis=2)
            counts[l] += model.levels[l].quantizer.counts(k[heard] if x.any() else k)
        n += len(batch)
    variance, levels = float(spread.value().mean()), []
    for l, level in enumerate(model.levels):
        K, value, total = model.num_embeddings[l], perplexity(counts[l]), int(counts[l].sum())
        past, mse = history_of_level(history, l + 1) or None, squared[l].mean()
        if total < CODES_PER_EMBEDDING * K:
            past = None
        diagnosis = with_restarts(diagnose(value, K, past, total, mse, variance), level.quantizer, past)
        quality = errors[l].signal_to_noise(), errors[l].spectral_convergence()
        form = model.hops[l], K, model.bits_per_second[l]
        levels.append(SoundLevelEvaluation(*form, counts[l], value, mse, *quality, diagnosis))
    return SoundEvaluation(n, model.data.shape[0], model.rate, variance, tuple(levels))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
