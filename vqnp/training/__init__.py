"""Training: trainer runs one step, loop runs many."""

from vqnp.training.loop import Interrupted, fit, resume
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged

__all__ = ["Interrupted", "Schedule", "Trainer", "TrainingDiverged", "fit", "resume"]
