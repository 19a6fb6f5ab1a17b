"""vqnp: the reference VQ-VAE in NumPy and Numba (van den Oord et al. 2017, arXiv 1711.00937)."""
