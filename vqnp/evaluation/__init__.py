"""What a model does to a whole data set, in constant memory."""

from vqnp.evaluation.codes import Evaluation, evaluate
from vqnp.evaluation.latents import LatentEvaluation, evaluate_latents

__all__ = [
    "Evaluation",
    "LatentEvaluation",
    "evaluate",
    "evaluate_latents",
]
