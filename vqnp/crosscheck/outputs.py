"""Whatever a layer returns -> z_q, k, L and perplexity: told by names, else by shapes and dtypes.

z: (N, D) -> z_q: as z, k: (N,) integers or (N, K) one-hot, L: a number, perplexity: a number
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

NAMES = {
    "z_q": ("z_q", "zq", "quantized", "quantize", "z_quantized", "quant", "latents_q"),
    "k": ("k", "codes", "indices", "encoding_indices", "min_encoding_indices", "code", "embed_ind", "ids"),
    "L": ("L", "loss", "vq_loss", "commit_loss", "commitment_loss", "q_loss", "qloss", "latent_loss"),
    "perplexity": ("perplexity", "ppl"),
}
"""Names that layers give their outputs, in public code; case does not matter, but for L and l."""


class Unclear(TypeError):
    """The outputs cannot be told apart; the message says what they were."""


def sort_outputs(result: Any, size: int, num_embeddings: int) -> dict[str, Any]:
    """The four outputs, those that are missing being None.

    Parameters
    ----------
    result : mapping, named tuple, dataclass, (nested) tuple or list, or one array
        Arrays of any framework: what has `shape` and `dtype`. Python numbers and None are taken too.
    size : int
        Entries of z.
    num_embeddings : int
        K.

    Raises
    ------
    Unclear
        Two outputs could be the same thing, or none is as large as z.
    """
    found: dict[str, Any] = dict.fromkeys(NAMES)
    named = _named(result)
    values = []
    for name, value in named or [("", value) for value in _flat(result)]:
        known = next((output for output, names in NAMES.items() if _matches(name, names)), None)
        if known is not None and found[known] is None:
            found[known] = value
        else:
            values.append((name, value))
    for name, value in values:
        output = None if value is None else _by_shape(value, size, num_embeddings)
        if output is None or (named and found[output] is not None):
            continue  # an output of another kind: a distance matrix, a histogram
        if output == "k" and found["k"] is not None:
            if found["k"].shape != value.shape or _is_integer(value):
                found["k"] = found["k"] if _is_integer(found["k"]) else value
            continue  # one-hot codes beside the codes themselves
        if output == "L" and found["L"] is not None:
            output = _which_number(found, value, result)
        if found[output] is not None:
            raise Unclear(f"two outputs could be {output}: {_describe(result)}; name them, or give `outputs`")
        found[output] = value
    if found["z_q"] is None:
        raise Unclear(f"no output of {size} floats, as z has: {_describe(result)}")
    return found


def _named(result: Any) -> list[tuple[str, Any]]:
    """(name, value) of a mapping, a named tuple or a dataclass; else nothing."""
    if isinstance(result, Mapping):
        return [(str(name), value) for name, value in result.items()]
    if hasattr(result, "_fields"):
        return list(zip(result._fields, result, strict=True))
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return [(field.name, getattr(result, field.name)) for field in dataclasses.fields(result)]
    return []


def _flat(result: Any) -> Iterator[Any]:
    if isinstance(result, (tuple, list)):
        for item in result:
            yield from _flat(item)
    else:
        yield result


def _matches(name: str, names: tuple[str, ...]) -> bool:
    return name in names or (len(name) > 1 and name.lower() in names)


def _is_integer(value: Any) -> bool:
    return "int" in str(value.dtype)


def _by_shape(value: Any, size: int, K: int) -> str | None:
    """Which output has this shape and this dtype."""
    if isinstance(value, (int, float)):
        return "L"
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return None
    entries = int(np.prod(tuple(value.shape), dtype=np.int64))
    if _is_integer(value):
        return "k"
    if entries == 1 and size > 1:
        return "L"
    if tuple(value.shape)[-1:] == (K,) and _one_hot(value):
        return "k"
    return "z_q" if entries == size else None


def _one_hot(value: Any) -> bool:
    try:
        a = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception:
        return False  # a value that is traced has none yet; codes are integers there
    return bool(np.isin(a, (0, 1)).all() and (a.sum(-1) == 1).all())


def _which_number(found: dict[str, Any], value: Any, result: Any) -> str:
    """Of two numbers the loss is the one with a gradient; where that does not tell, nothing does."""
    first, second = (bool(getattr(v, "requires_grad", False)) for v in (found["L"], value))
    if first == second:
        raise Unclear(f"two numbers, and no telling which is the loss: {_describe(result)}")
    if second:
        found["perplexity"], found["L"] = found["L"], None
        return "L"
    return "perplexity"


def _describe(result: Any) -> str:
    """The outputs by name, dtype and shape."""
    parts = []
    for name, value in _named(result) or [("", v) for v in _flat(result)]:
        shape = tuple(getattr(value, "shape", ()))
        kind = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        parts.append(f"{name}{': ' if name else ''}{kind} {shape}")
    return ", ".join(parts) or "nothing"
