"""The quality of images that a model makes: several measures, each beside its value for real images.

x: (n, 28, 28) images from a source, y: (n', 28, 28) other real images, t: training images
"""

from dataclasses import asdict, dataclass
from typing import Any

from vqnp._check import Array, check_codes, fail
from vqnp._images import to_float
from vqnp.evaluation.classifier import CLASSES, digit_classifier
from vqnp.metrics.copying import memorization
from vqnp.metrics.frechet import frechet_distance
from vqnp.metrics.generation import energy_distance
from vqnp.metrics.neighbours import density_coverage, precision_recall

LEAST_ACCURACY = 0.9
"""Of the classifier on real images: those on which it is less often right are not the digits it knows."""

LEAST_IMAGES = 10
"""Fewer have no 5th neighbour worth the name."""

COLUMNS = (
    ("frechet", "Fréchet", "8.2f"), ("precision", "precis.", "8.3f"), ("recall", "recall", "7.3f"),
    ("density", "density", "8.3f"), ("coverage", "coverage", "9.3f"), ("energy", "energy %", "9.2f"),
    ("accuracy", "accuracy", "9.3f"), ("confidence", "confid.", "8.3f"), ("nearest", "nearest", "8.3f"),
    ("near", "near", "6.2f"),
)  # fmt: skip
"""The figures of the table: name, heading, format."""


@dataclass(frozen=True)
class SampleQuality:
    """How images from one source compare with real ones.

    frechet: the Fréchet distance of the classifier's features; precision, recall (k = 3), density, coverage
    (k = 5): of the same features; energy: the energy distance of pixels, in % of its largest value; accuracy:
    the share of images to which the classifier gives their label, NaN without labels; confidence: the mean
    probability of the likeliest class; nearest: the median distance from the nearest training image; near:
    the share of images that are nearer to one than 95 % of the real images y

    Examples
    --------
    >>> import vqnp
    >>> train, test = vqnp.load_splits("digits")
    >>> quality = sample_quality(test.images[:90], test.images[90:180], train.images[:90], test.labels[:90])
    >>> quality.images, quality.accuracy > 0.95, abs(quality.energy) < 5  # %, of samples that are real
    (90, True, True)
    """

    images: int
    frechet: float
    precision: float
    recall: float
    density: float
    coverage: float
    energy: float
    accuracy: float
    confidence: float
    nearest: float
    near: float

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as plain values for JSON; None for an accuracy without labels."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def sample_quality(samples: Any, images: Any, training_images: Any, labels: Any = None) -> SampleQuality:
    """Compare images from any source with real images, by features of the classifier and by pixels.

    x: (n, 28, 28), y: (n', 28, 28), t: (n'', 28, 28) -> SampleQuality

    Parameters
    ----------
    samples : ndarray, shape (n, 28, 28), n at least 10
        Of handwritten digits; uint8, or float in [0, 1].
    images : ndarray, shape (n', 28, 28), n' at least 10
        Real images, to which the model was not fitted, and none of which was used to make the samples.
    training_images : ndarray, shape (n'', 28, 28)
        Those that the model was trained on.
    labels : array_like of integers in [0, 10), shape (n,), optional
        The class of each sample, as it was asked for.

    Raises
    ------
    InputError
        Images of another shape, or too few; labels that are no classes of digits.

    Notes
    -----
    Every figure depends on n and n'. What it would be for perfect samples is found by giving real images for
    the samples, as many and others than y.

    Examples
    --------
    >>> import numpy as np
    >>> import vqnp
    >>> train, test = (part.images[:400] for part in vqnp.load_splits("digits"))
    >>> real, noise = test[:200], np.random.default_rng(0).random((200, 28, 28))
    >>> good, bad = (sample_quality(each, test[200:], train) for each in (real, noise))
    >>> good.frechet < bad.frechet, good.coverage > bad.coverage
    (True, True)
    """
    where, classifier = "sample_quality", digit_classifier()
    x, y, t = (
        _images(where, name, each)
        for name, each in (("samples", samples), ("images", images), ("training_images", training_images))
    )
    h, g, p = classifier.features(x), classifier.features(y), classifier.probabilities(x)
    accuracy = float("nan")
    if labels is not None:
        c = check_codes(where, labels, CLASSES, "labels", (len(x),))
        accuracy = float((p.argmax(axis=1) == c).mean())
    near = memorization(x, y, t)
    return SampleQuality(
        len(x), frechet_distance(h, g), *precision_recall(h, g), *density_coverage(h, g),
        100 * energy_distance(x, y).coefficient, accuracy, float(p.max(axis=1).mean()), near.samples,
        near.near,
    )  # fmt: skip


def check_digits(where: str, images: Any, labels: Any) -> None:
    """Raise unless these are real images, with labels, of digits that the classifier recognizes."""
    needed = "must be labelled images of 28 x 28 pixels of the digits that the classifier knows"
    if labels is None or images.shape[1:] not in ((28, 28), (28, 28, 1)):
        got = f"images without labels, shape {images.shape}" if labels is None else f"shape {images.shape}"
        fail(where, "the images", needed, got)
    right = float((digit_classifier().probabilities(images).argmax(axis=1) == labels).mean())
    if right < LEAST_ACCURACY:
        fail(where, "the images", needed, f"images of which it recognizes {100 * right:.0f} %")


def table(rows: dict[str, SampleQuality]) -> str:
    """A line for each source; the figures in columns."""
    head = "".join(f"{heading:>{form.partition('.')[0]}}" for _, heading, form in COLUMNS)
    lines = [f"{'':<28}{head}"]
    for name, quality in rows.items():
        values = ((getattr(quality, each), form) for each, _, form in COLUMNS)
        cells = (f"{v:{f}}" if v == v else f"{'-':>{f.partition('.')[0]}}" for v, f in values)
        lines.append(f"{name:<28}" + "".join(cells))
    return "\n".join(lines)


def _images(where: str, name: str, images: Any) -> Array:
    x = to_float(images, where=where, name=name)
    if x.shape[1:] not in ((28, 28), (28, 28, 1)) or len(x) < LEAST_IMAGES:
        needed = f"must be at least {LEAST_IMAGES} images of 28 x 28 pixels"
        fail(where, name, needed, f"shape {x.shape}")
    return x.reshape(len(x), 28, 28)
