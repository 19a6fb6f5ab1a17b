"""Compiled loops over plain arrays, each beside the plain NumPy twin that says what it computes."""

from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import CodeStatistics, code_statistics

__all__ = ["CodeStatistics", "code_statistics", "nearest_code"]
