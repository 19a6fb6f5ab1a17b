"""Compiled loops over plain arrays; in each file the plain NumPy form comes before the kernel."""

from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import CodeStatistics, code_statistics

__all__ = ["CodeStatistics", "code_statistics", "nearest_code"]
