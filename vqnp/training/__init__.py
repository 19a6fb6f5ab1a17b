"""The training loop: one step in trainer, many in fit."""

from vqnp.training.fit import Interrupted, fit, resume
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged

__all__ = [
    "Interrupted",
    "Schedule",
    "Trainer",
    "TrainingDiverged",
    "fit",
    "resume",
]
