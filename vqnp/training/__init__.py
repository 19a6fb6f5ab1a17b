"""The training loop: one step in trainer, many in loop."""

from vqnp.training.loop import Interrupted, fit, resume
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged

__all__ = [
    "Interrupted", "Schedule", "Trainer", "TrainingDiverged", "fit", "resume",
]
