"""vqnp: the reference VQ-VAE in NumPy and Numba (van den Oord et al. 2017, arXiv 1711.00937).

Names are loaded when first used, so that `import vqnp` costs nothing: neither numba nor matplotlib
is imported, and nothing is compiled.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vqnp._version import __version__ as __version__

# The function takes the name of the module that it is in, so it must come last: hence not lazily.
from vqnp.gradcheck.checks import gradcheck as gradcheck
from vqnp.gradcheck.checks import gradcheck_module as gradcheck_module
from vqnp.gradcheck.checks import surrogate_check as surrogate_check

if TYPE_CHECKING:
    from vqnp import crosscheck as crosscheck
    from vqnp import export as export
    from vqnp import nn as nn
    from vqnp import ops as ops
    from vqnp._check import InputError as InputError
    from vqnp.checkpoint import load as load
    from vqnp.checkpoint import save as save
    from vqnp.data import load_dataset as load_dataset
    from vqnp.data import load_splits as load_splits
    from vqnp.evaluation.codes import evaluate as evaluate
    from vqnp.inspection.influence import position_influence as position_influence
    from vqnp.inspection.influence import swap_agreement as swap_agreement
    from vqnp.inspection.influence import swap_interaction as swap_interaction
    from vqnp.inspection.interpolation import interpolate as interpolate
    from vqnp.inspection.interpolation import step_sizes as step_sizes
    from vqnp.kernels.nearest import nearest_code as nearest_code
    from vqnp.kernels.statistics import code_statistics as code_statistics
    from vqnp.metrics.codebook import dead_codes as dead_codes
    from vqnp.metrics.codebook import perplexity as perplexity
    from vqnp.metrics.codebook import utilization as utilization
    from vqnp.metrics.diagnosis import diagnose as diagnose
    from vqnp.metrics.generation import energy_distance as energy_distance
    from vqnp.metrics.generation import nearest_distance as nearest_distance
    from vqnp.metrics.information import class_information as class_information
    from vqnp.metrics.information import code_changes as code_changes
    from vqnp.metrics.information import code_information as code_information
    from vqnp.metrics.posterior import active_units as active_units
    from vqnp.metrics.posterior import kl_per_unit as kl_per_unit
    from vqnp.metrics.posterior import mutual_information as mutual_information
    from vqnp.metrics.rate import psnr as psnr
    from vqnp.metrics.rate import rate_distortion as rate_distortion
    from vqnp.metrics.sharpness import gradient_energy as gradient_energy
    from vqnp.metrics.sharpness import radial_spectrum as radial_spectrum
    from vqnp.metrics.sharpness import relative_spectrum as relative_spectrum
    from vqnp.models.autoencoder import Autoencoder as Autoencoder
    from vqnp.models.vae import VAE as VAE
    from vqnp.models.vqvae import VQVAE as VQVAE
    from vqnp.nn.ema_quantizer import EMAVectorQuantizer as EMAVectorQuantizer
    from vqnp.nn.quantizer import VectorQuantizer as VectorQuantizer
    from vqnp.priors.markov import CodeChain as CodeChain
    from vqnp.priors.markov import code_length as code_length
    from vqnp.training.fit import fit as fit
    from vqnp.training.fit import resume as resume

_WHERE = {
    "VQVAE": "vqnp.models.vqvae",
    "VAE": "vqnp.models.vae",
    "Autoencoder": "vqnp.models.autoencoder",
    "VectorQuantizer": "vqnp.nn.quantizer",
    "EMAVectorQuantizer": "vqnp.nn.ema_quantizer",
    "fit": "vqnp.training.fit",
    "resume": "vqnp.training.fit",
    "evaluate": "vqnp.evaluation.codes",
    "load_dataset": "vqnp.data",
    "load_splits": "vqnp.data",
    "save": "vqnp.checkpoint",
    "load": "vqnp.checkpoint",
    "perplexity": "vqnp.metrics.codebook",
    "utilization": "vqnp.metrics.codebook",
    "dead_codes": "vqnp.metrics.codebook",
    "kl_per_unit": "vqnp.metrics.posterior",
    "active_units": "vqnp.metrics.posterior",
    "mutual_information": "vqnp.metrics.posterior",
    "diagnose": "vqnp.metrics.diagnosis",
    "code_information": "vqnp.metrics.information",
    "class_information": "vqnp.metrics.information",
    "code_changes": "vqnp.metrics.information",
    "rate_distortion": "vqnp.metrics.rate",
    "code_length": "vqnp.priors.markov",
    "psnr": "vqnp.metrics.rate",
    "CodeChain": "vqnp.priors.markov",
    "energy_distance": "vqnp.metrics.generation",
    "nearest_distance": "vqnp.metrics.generation",
    "radial_spectrum": "vqnp.metrics.sharpness",
    "relative_spectrum": "vqnp.metrics.sharpness",
    "gradient_energy": "vqnp.metrics.sharpness",
    "position_influence": "vqnp.inspection.influence",
    "interpolate": "vqnp.inspection.interpolation",
    "step_sizes": "vqnp.inspection.interpolation",
    "swap_interaction": "vqnp.inspection.influence",
    "swap_agreement": "vqnp.inspection.influence",
    "nearest_code": "vqnp.kernels.nearest",
    "code_statistics": "vqnp.kernels.statistics",
    "InputError": "vqnp._check",
    "crosscheck": "vqnp",
    "export": "vqnp",
    "ops": "vqnp",
    "nn": "vqnp",
}

__all__ = ["__version__", "gradcheck", "gradcheck_module", "surrogate_check", *_WHERE]


def __getattr__(name: str) -> Any:
    """Import the module that has the name, and take the name from it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'vqnp' has no attribute {name!r}")
    home = _WHERE[name]
    value = (
        importlib.import_module(f"vqnp.{name}")
        if home == "vqnp"
        else getattr(importlib.import_module(home), name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
