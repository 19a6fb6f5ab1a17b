"""A model's weights under PyTorch's names and in its layouts, and back, bit for bit."""

from vqnp.export.files import FORMATS, load_torch, save_torch
from vqnp.export.names import from_torch, to_torch, torch_names

__all__ = ["FORMATS", "from_torch", "load_torch", "save_torch", "to_torch", "torch_names"]
