"""Distributions over codes: how many bits a code costs, and new codes to decode."""

from vqnp.priors.markov import CodeChain, code_length

__all__ = [
    "CodeChain",
    "code_length",
]
