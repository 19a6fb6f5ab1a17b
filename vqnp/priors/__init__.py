"""Distributions over codes, which give the bits that codes need, and new codes to decode.

Each module is loaded when one of its names is first used, so counting does not load the networks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqnp.priors.autoregressive import PriorEvaluation
    from vqnp.priors.baselines import baseline_bits
    from vqnp.priors.bound import LikelihoodBound, likelihood_bound
    from vqnp.priors.coding import conditionals
    from vqnp.priors.generation import generate
    from vqnp.priors.hierarchical import HierarchicalPrior, HierarchicalPriorEvaluation
    from vqnp.priors.markov import Markov, code_length
    from vqnp.priors.pixelcnn import PixelCNN
    from vqnp.priors.reranking import best_of, evidence
    from vqnp.priors.text import TextTransformer
    from vqnp.priors.transformer import Transformer
    from vqnp.priors.upsampler import Upsampler

_HOME = {
    "HierarchicalPrior": "hierarchical", "HierarchicalPriorEvaluation": "hierarchical",
    "LikelihoodBound": "bound", "Markov": "markov", "PixelCNN": "pixelcnn",
    "PriorEvaluation": "autoregressive", "TextTransformer": "text", "Transformer": "transformer",
    "Upsampler": "upsampler",
    "baseline_bits": "baselines", "best_of": "reranking", "code_length": "markov", "conditionals": "coding",
    "evidence": "reranking", "generate": "generation", "likelihood_bound": "bound",
}  # fmt: skip

__all__ = [
    "HierarchicalPrior", "HierarchicalPriorEvaluation", "LikelihoodBound", "Markov", "PixelCNN",
    "PriorEvaluation", "TextTransformer", "Transformer", "Upsampler", "baseline_bits", "best_of",
    "code_length", "conditionals", "evidence", "generate", "likelihood_bound",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the module that defines the name, and return the name from it."""
    if name not in _HOME:
        raise AttributeError(f"module 'vqnp.priors' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"vqnp.priors.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
