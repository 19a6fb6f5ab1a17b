"""Distributions over codes: the number of bits that codes need, and new codes to decode."""

from vqnp.priors.markov import Markov, code_length

__all__ = ["Markov", "code_length"]
