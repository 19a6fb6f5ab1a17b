"""p(k_m | k_1, …, k_{m−1}, c): what a page needs to draw from a prior, and NumPy's logits to compare with."""

import copy
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.priors import Markov, PixelCNN, TextTransformer, Transformer
from vqnp.report.packing import compressed, compressed_all, fits, packed, rounded, smallest_type

NOT_READ = ("text_head.",)  # it predicts words, of which the page draws none


def why_not(prior: Any) -> str:
    """Why a page cannot draw from this prior, in a sentence; "" if it can."""
    if isinstance(prior, Markov) or type(prior) in (Transformer, TextTransformer, PixelCNN):
        return ""
    return f"The page does not compute a {type(prior).__name__}; vqnp sample draws from it."


def prior_part(prior: Any, precision: str) -> dict[str, Any] | None:
    """The prior for the page; None if a weight is too large for this precision."""
    same = {"num_embeddings": prior.num_embeddings, "grid_shape": list(prior.latent_shape)}
    if isinstance(prior, Markov):
        codes = compressed(prior.codes, smallest_type(prior.codes))
        own = {"order": prior.order, "weight": prior.weight, "codes": codes}
        return {"kind": "markov", "precision": "float32", **same, **own}
    arrays = {name: x for name, x in prior.state_dict().items() if not name.startswith(NOT_READ)}
    if not fits(arrays, precision):
        return None
    config = prior.config()
    same |= {
        "precision": precision, "arrays": compressed_all(arrays, precision), "layers": config["layers"],
        "num_classes": prior.num_classes,
    }  # fmt: skip
    if isinstance(prior, PixelCNN):
        names = ("stacks", "kernel", "first_kernel")
        return {"kind": "pixelcnn", **same, **{name: config[name] for name in names}}
    same |= {"heads": config["heads"], "tied": config["tied"], "epsilon": prior.norm.epsilon}
    if isinstance(prior, TextTransformer):
        same |= {"words": list(prior.vocabulary.words), "text_length": prior.vocabulary.length}
    return {"kind": "transformer", **same}


def with_rounded_weights(prior: Any, precision: str) -> Any:
    """The prior that a page has."""
    if precision == "float32" or isinstance(prior, Markov):
        return prior
    other = copy.deepcopy(prior)
    for param in other.parameters():
        param.value[...] = rounded(param.value, precision)
    return other


def prior_check(prior: Any, precision: str, rng: np.random.Generator) -> dict[str, Any]:
    """Codes and a condition drawn at random, NumPy's logits at three positions, and what rounding changes.

    logits: (3, K), of the first, the middle and the last position; rounding: the largest difference of a
    probability from that of the prior itself, at all positions
    """
    K, shape = prior.num_embeddings, prior.latent_shape
    codes = rng.integers(0, K, (1, *shape))
    flat = codes.reshape(-1)
    places = sorted({0, len(flat) // 2, len(flat) - 1})
    condition = _condition(prior, rng)
    if isinstance(prior, Markov):
        a = np.stack([np.log(prior.conditional(m, flat[m - 1 : m] if m and prior.order else None)[0])
                      for m in places])  # fmt: skip
        difference = 0.0
    else:
        given = None if condition is None else np.array([condition])
        every = with_rounded_weights(prior, precision).logits(codes, given).reshape(len(flat), K)
        whole = prior.logits(codes, given).reshape(len(flat), K)
        a, difference = every[places], float(np.abs(_softmax(every) - _softmax(whole)).max())
    return {
        "codes": flat.tolist(), "condition": condition, "positions": places, "logits": packed(a, "float32"),
        "rounding": difference,
    }  # fmt: skip


def _condition(prior: Any, rng: np.random.Generator) -> Any:
    """A class, or the T integers of a text; None for a prior without either."""
    if isinstance(prior, TextTransformer):
        return rng.integers(0, len(prior.vocabulary), prior.vocabulary.length).tolist()
    return int(rng.integers(prior.num_classes)) if getattr(prior, "num_classes", 0) else None


def _softmax(a: Array) -> Array:
    p = np.exp(a.astype(np.float64) - a.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)
