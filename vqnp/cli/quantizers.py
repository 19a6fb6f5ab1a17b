"""vqnp train --quantizer: the quantizers by name, the options of each, and a quantizer from its options.

--quantizer says what replaces a latent, --codebook how the vectors of a codebook are trained. The arguments
of VQVAE.mlp and VQVAE.conv are those of "vector"; another quantizer has those of its class in their place.
"""

import inspect
from collections.abc import Mapping
from typing import Any

QUANTIZERS = {
    "vector": "the nearest of K vectors",
    "cosine": "the nearest of K directions",
    "finite_scalar": "each coordinate rounded to one of a few values",
    "gumbel": "one of K vectors, drawn by a Gumbel-softmax (a discrete VAE)",
    "lookup_free": "the sign of each coordinate",
    "product": "the nearest vectors of G codebooks, each for a part of the latent",
    "residual": "the nearest of K vectors, then that of what is left, n times",
    "simvq": "the nearest of K vectors that one matrix moves together (SimVQ)",
}
"""What --quantizer takes, in words."""

CLASSES = {
    "cosine": "EMACosineVectorQuantizer", "finite_scalar": "FiniteScalarQuantizer",
    "gumbel": "GumbelQuantizer", "lookup_free": "LookupFreeQuantizer",
    "product": "ProductVectorQuantizer", "residual": "ResidualVectorQuantizer", "simvq": "SimVQ",
}  # fmt: skip
"""The class in vqnp.nn of each but "vector"."""

BY_GRADIENT = {"cosine": "CosineVectorQuantizer"}
"""The class for --codebook gradient, where that is another one; both have the same arguments."""

VECTOR = (
    "embedding_dim", "num_embeddings", "codebook", "commitment_cost", "decay", "epsilon", "codebook_init",
    "restart_dead_codes", "estimator",
)  # fmt: skip
"""The arguments of VQVAE.mlp and VQVAE.conv that are about their own quantizer."""

OPTIONS: dict[str, tuple[type | tuple[str, ...], str, str]] = {
    "batch_entropy": (
        ("exact", "bound"), "",
        "the entropy of a batch's codes, over all codes, or its bound from single bits (default: exact)",
    ),
    "bits": (int, "D", "coordinates of a latent, of one bit each (default: 7)"),
    "diversity_weight": (float, "GAMMA", "weight of the entropy of a batch's codes (default: 1.0)"),
    "draw": (
        ("soft", "hard"), "",
        "what the decoder sees in training: mixtures of codes, or single ones (default: soft)",
    ),
    "entropy_temperature": (float, "TAU", "temperature of the entropies' probabilities (default: 0.1)"),
    "entropy_weight": (float, "W", "weight of the entropy loss (default: 0.1)"),
    "final_temperature": (float, "TAU", "temperature at the end of its schedule (default: 0.5)"),
    "groups": (int, "G", "equal parts of a latent, each with a codebook (default: 2)"),
    "levels": (list, "L", "values of each coordinate of a latent (default: 8 6 5)"),
    "num_quantizers": (int, "N", "codes of a latent, each of what the ones before leave (default: 4)"),
    "quantizer_dropout": (
        float, "P", "part of the training examples that have their first codes alone (default: 0.0)"
    ),
    "shared_codebook": (bool, "", "one codebook for all codes of a latent"),
    "spherical": (
        bool, "",
        "codes on the unit sphere: binary spherical quantization; --commitment-cost is then 0, as published, "
        "unless it is given"
    ),
    "temperature": (float, "TAU", "temperature of the Gumbel-softmax at the first step (default: 4.0)"),
    "temperature_steps": (int, "STEPS", "steps over which the temperature falls (default: 5000)"),
}
"""The options of the quantizers in CLASSES that "vector" has not, as in train_options.MODEL_OPTIONS."""


NOT_OFFERED = ("rng", "dtype", "reduction")
"""Arguments of the classes that are no options."""


def arguments(name: str, network: Mapping[str, Any]) -> dict[str, Any]:
    """A VQ-VAE's arguments with this quantizer, given those of its network's constructor, with defaults.

    Where the constructor has an argument of the quantizer's class too, the constructor's default counts.
    """
    if name == "vector":
        return dict(network)
    return {n: value for n, value in network.items() if n not in VECTOR} | own_arguments(name, network)


def own_arguments(name: str, network: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the quantizer's class that JSON can hold, with defaults."""
    found = {n: p.default for n, p in _parameters(name).items() if n not in NOT_OFFERED}
    plain = {n: list(value) if isinstance(value, tuple) else value for n, value in found.items()}
    plain |= {"codebook": "ema"} if name in BY_GRADIENT else {}
    return {n: network.get(n, value) for n, value in plain.items()}


def implied(given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that other options decide: binary spherical quantization has no commitment loss."""
    return {"commitment_cost": 0.0} if given.get("spherical") else {}


def made(name: str, model: Mapping[str, Any], rng: Any = 0) -> dict[str, Any]:
    """A VQ-VAE's arguments as its constructor takes them: in place of the quantizer's own, the quantizer."""
    if name == "vector":
        return dict(model)
    from vqnp import nn

    parameters = _parameters(name)
    rest = {n: value for n, value in model.items() if n not in parameters or n == "dtype"}
    own = {n: value for n, value in model.items() if n in parameters}
    own |= {"rng": rng} if "rng" in parameters else {}
    cls = CLASSES[name]
    if name in BY_GRADIENT and rest.pop("codebook", "ema") == "gradient":
        cls = BY_GRADIENT[name]
    return {**rest, "quantizer": getattr(nn, cls)(**own)}


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    from vqnp import nn

    return inspect.signature(getattr(nn, CLASSES[name])).parameters
