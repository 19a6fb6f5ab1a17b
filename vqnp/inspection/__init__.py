"""The effect of single codes and positions of a trained model on the image."""

from vqnp.inspection.anatomy import CodeAnatomy, code_anatomy
from vqnp.inspection.influence import position_influence, swap_agreement, swap_interaction
from vqnp.inspection.interpolation import Path, interpolate, step_sizes

__all__ = [
    "CodeAnatomy", "Path", "code_anatomy", "interpolate", "position_influence", "step_sizes",
    "swap_agreement", "swap_interaction",
]  # fmt: skip
