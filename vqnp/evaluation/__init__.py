"""Reports on a model over a whole data set, in constant memory."""

from typing import Any

from vqnp._check import fail
from vqnp.evaluation.captions import CaptionAccuracy, caption_accuracy
from vqnp.evaluation.classifier import DigitClassifier, digit_classifier
from vqnp.evaluation.codes import Evaluation, evaluate_codes
from vqnp.evaluation.latents import LatentEvaluation, evaluate_latents, evaluate_vae
from vqnp.evaluation.levels import HierarchyEvaluation, LevelEvaluation, evaluate_levels
from vqnp.evaluation.samples import SampleQuality, sample_quality
from vqnp.evaluation.sounds import SoundEvaluation, SoundLevelEvaluation, evaluate_sounds

__all__ = [
    "CaptionAccuracy", "DigitClassifier", "Evaluation", "HierarchyEvaluation", "LatentEvaluation",
    "LevelEvaluation", "SampleQuality", "SoundEvaluation", "SoundLevelEvaluation", "caption_accuracy",
    "digit_classifier", "evaluate", "evaluate_codes", "evaluate_latents", "evaluate_levels",
    "evaluate_sounds", "evaluate_vae", "sample_quality",
]  # fmt: skip


def evaluate(model: Any, data: Any, history: Any = None, progress: bool = False) -> Any:
    """MSE = ⟨(x̂ − x)²⟩ over a data set, and the health of the model's codes or latents.

    data: (n, *data.shape), in memory or streamed -> a report with .row(), .as_dict() and str()

    Parameters
    ----------
    model : VQVAE, VAE, Autoencoder, HierarchicalVQVAE, SoundVQVAE, or any object with a method `evaluate`
    data : ndarray, Dataset or ArrayStream
        Images that the model takes: uint8, or float in the data's range.
    history : optional
        Of the training, for a VQ-VAE's diagnosis: see metrics.diagnose.
    progress : bool, default False
        Whether to draw a bar on standard error if it takes longer than a second.

    Returns
    -------
    Evaluation (of a VQ-VAE), HierarchyEvaluation, SoundEvaluation, or LatentEvaluation (of an autoencoder or
    a VAE)

    Raises
    ------
    InputError
        If there are no examples, or they have another shape than the model's.

    Examples
    --------
    >>> import vqnp
    >>> report = evaluate(vqnp.VQVAE.mlp(), vqnp.load_dataset("digits", "test").images[:100])
    >>> report.images, report.num_embeddings
    (100, 128)
    """
    if not callable(getattr(model, "evaluate", None)):
        fail("evaluate", "model", "must be a model: an object with a method evaluate", type(model).__name__)
    return model.evaluate(data, history, progress)
