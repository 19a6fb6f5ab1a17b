"""Figures of merit: of codes, of reconstructions, of samples."""

from vqnp.metrics.codebook import bits_per_image, dead_codes, perplexity, utilization
from vqnp.metrics.copying import Memorization, memorization
from vqnp.metrics.diagnosis import Diagnosis, diagnose
from vqnp.metrics.frechet import frechet_distance
from vqnp.metrics.generation import EnergyDistance, energy_distance, nearest_distance
from vqnp.metrics.information import (
    ClassInformation, CodeInformation, class_information, code_changes, code_information,
)
from vqnp.metrics.likelihood import fit_scale, grey_level_nats
from vqnp.metrics.neighbours import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from vqnp.metrics.posterior import ACTIVE, Information, active_units, kl_per_unit, mutual_information
from vqnp.metrics.rate import RateDistortion, psnr, rate_distortion
from vqnp.metrics.sound import SoundError, cents, pitch, signal_to_noise, spectral_convergence
from vqnp.metrics.spectra import gradient_energy, radial_spectrum, relative_spectrum, sharpness

__all__ = [
    "ACTIVE", "ClassInformation", "CodeInformation", "DensityCoverage", "Diagnosis", "EnergyDistance",
    "Information", "Memorization", "PrecisionRecall", "RateDistortion", "SoundError", "active_units",
    "bits_per_image",
    "cents",
    "class_information", "code_changes", "code_information", "dead_codes", "density_coverage", "diagnose",
    "energy_distance", "fit_scale", "frechet_distance", "gradient_energy", "grey_level_nats", "kl_per_unit",
    "memorization", "mutual_information", "nearest_distance", "perplexity", "pitch", "precision_recall",
    "psnr",
    "radial_spectrum", "rate_distortion", "relative_spectrum", "sharpness", "signal_to_noise",
    "spectral_convergence", "utilization",
]
