"""What a model does to a whole data set, in constant memory."""

from __future__ import annotations

from typing import Any

from vqnp.evaluation.codes import Evaluation, evaluate_codes
from vqnp.evaluation.latents import LatentEvaluation, evaluate_latents, evaluate_vae


def evaluate(model: Any, data: Any, history: Any = None, progress: bool = False) -> Any:
    """The model's own report on a data set: error, and the health of its codes or latents.

    data: what the model takes, in memory or streamed -> a report with .row(), .as_dict() and str()

    Parameters
    ----------
    model : VQVAE, VAE, Autoencoder, or anything with a method `evaluate`
    data : ndarray or ArrayStream
    history : optional
        Of the training, for a VQ-VAE's diagnosis: see metrics.diagnose.
    progress : bool
        A bar on standard error once it takes longer than a second.

    Returns
    -------
    Evaluation (of a VQ-VAE) or LatentEvaluation (of an autoencoder or a VAE)

    Raises
    ------
    InputError
        No examples, or examples of another shape than the model's.
    """
    return model.evaluate(data, history, progress)


__all__ = ["Evaluation", "LatentEvaluation", "evaluate", "evaluate_codes", "evaluate_latents", "evaluate_vae"]
