"""vqnp: the reference VQ-VAE in NumPy and Numba (van den Oord et al. 2017, arXiv 1711.00937).

Names and subpackages are loaded when first used, so that `import vqnp` costs nothing: neither numba nor
matplotlib is imported, and nothing is compiled.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from vqnp._version import __version__ as __version__

if TYPE_CHECKING:
    from vqnp import (
        bench, bulk, checkpoint, crosscheck, data, evaluation, export, gradcheck, inspection, kernels,
        metrics, models, nn, ops, optim, plots, priors, report, training,
    )
    from vqnp._check import InputError
    from vqnp.checkpoint import load, save
    from vqnp.data import DataSpec, load_dataset, load_splits
    from vqnp.evaluation import evaluate
    from vqnp.kernels import code_statistics, nearest_code
    from vqnp.metrics import diagnose, perplexity, utilization
    from vqnp.models import VAE, VQVAE, Autoencoder, HierarchicalVQVAE
    from vqnp.nn import EMAVectorQuantizer, VectorQuantizer
    from vqnp.priors import generate
    from vqnp.training import fit, resume

SUBPACKAGES = (
    "bench", "bulk", "checkpoint", "crosscheck", "data", "evaluation", "export", "gradcheck", "inspection",
    "kernels", "metrics", "models", "nn", "ops", "optim", "plots", "priors", "report", "training",
)  # fmt: skip

NAMES = {
    "_check": ("InputError",), "checkpoint": ("load", "save"),
    "data": ("DataSpec", "load_dataset", "load_splits"), "evaluation": ("evaluate",),
    "kernels": ("code_statistics", "nearest_code"), "metrics": ("diagnose", "perplexity", "utilization"),
    "models": ("VAE", "VQVAE", "Autoencoder", "HierarchicalVQVAE"),
    "nn": ("EMAVectorQuantizer", "VectorQuantizer"), "priors": ("generate",),
    "training": ("fit", "resume"),
}  # fmt: skip
"""The names that vqnp itself has, by the subpackage that they come from."""

MOVED = {
    "gradcheck": ("gradcheck_module", "surrogate_check"),
    "inspection": ("interpolate", "position_influence", "step_sizes", "swap_agreement", "swap_interaction"),
    "metrics": (
        "active_units", "class_information", "code_changes", "code_information", "dead_codes",
        "energy_distance", "gradient_energy", "kl_per_unit", "mutual_information", "nearest_distance", "psnr",
        "radial_spectrum", "rate_distortion", "relative_spectrum",
    ),
    "priors": ("CodeChain", "code_length"),
}  # fmt: skip
"""Names that vqnp itself had in version 0.1, by the subpackage that they are in now."""

RENAMED = {"CodeChain": "Markov"}
"""Names in MOVED that changed too, and the new ones."""

_HOME = {name: home for home, names in NAMES.items() for name in names}
_NEW_HOME = {name: home for home, names in MOVED.items() for name in names}

__all__ = ["__version__", *SUBPACKAGES, *_HOME]


def __getattr__(name: str) -> Any:
    """Import the subpackage that has the name, and take the name from it."""
    if name in SUBPACKAGES:
        return importlib.import_module(f"vqnp.{name}")
    if name in _NEW_HOME:
        home, new = f"vqnp.{_NEW_HOME[name]}", RENAMED.get(name, name)
        warnings.warn(f"vqnp.{name} has moved: use {home}.{new}", DeprecationWarning, stacklevel=2)
        value = getattr(importlib.import_module(home), new)
    elif name in _HOME:
        value = getattr(importlib.import_module(f"vqnp.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'vqnp' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
