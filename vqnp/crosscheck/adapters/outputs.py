"""Whatever a layer returns -> z_q, k, L and perplexity: recognised by names, else by shapes and dtypes.

z: (N, D) -> z_q: as z, k: (N,) integers or (N, K) one-hot, L: a number, perplexity: a number
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Names that layers give their outputs, in public code; case does not matter, except for L and l.
NAMES = {
    "z_q": ("z_q", "zq", "quantized", "quantize", "z_quantized", "quant", "latents_q"),
    "k": ("k", "codes", "indices", "encoding_indices", "min_encoding_indices", "code", "embed_ind", "ids"),
    "L": ("L", "loss", "vq_loss", "commit_loss", "commitment_loss", "q_loss", "qloss", "latent_loss"),
    "perplexity": ("perplexity", "ppl"),
}
OUTPUT = {name: output for output, names in NAMES.items() for name in names}


class Unclear(TypeError):
    """The outputs cannot be told apart; the message says what they were."""


def sort_outputs(result: Any, size: int, num_embeddings: int) -> dict[str, Any]:
    """The four outputs, those that are missing being None; size: entries of z, num_embeddings: K.

    result : mapping, named tuple, dataclass, (nested) tuple or list, or one array, of any framework

    Raises Unclear where two outputs could be the same thing, or none is as large as z.
    """
    found: dict[str, Any] = dict.fromkeys(NAMES)
    parts, rest = list(_parts(result)), []
    for name, value in parts:
        known = OUTPUT.get(name) or (OUTPUT.get(name.lower()) if len(name) > 1 else None)
        if known is not None and found[known] is None:
            found[known] = value
        else:
            rest.append((name, value))
    for name, value in rest:
        output = None if value is None else _by_shape(value, size, num_embeddings)
        if output is None or (name and found[output] is not None):
            continue  # an output of another kind: a distance matrix, a histogram
        if output == "k" and found["k"] is not None:
            if found["k"].shape != value.shape or _is_integer(value):
                found["k"] = found["k"] if _is_integer(found["k"]) else value
            continue  # one-hot codes beside the codes themselves
        if output == "L" and found["L"] is not None:
            # Of two numbers the loss is the one with a gradient.
            first, second = (bool(getattr(v, "requires_grad", False)) for v in (found["L"], value))
            if first == second:
                raise Unclear(f"two numbers, and no telling which is the loss: {_describe(parts)}")
            if second:
                value, found["L"] = found["L"], value
            output = "perplexity"
        if found[output] is not None:
            raise Unclear(f"two outputs could be {output}: {_describe(parts)}; name them, or give `outputs`")
        found[output] = value
    if found["z_q"] is None:
        raise Unclear(f"no output of {size} floats, as z has: {_describe(parts)}")
    return found


def as_codes(k: Any, N: int, K: int) -> Any:
    """k: (N,) from codes of any shape, or from one-hot rows."""
    return k.argmax(-1) if _entries(k) == N * K and K > 1 else k.reshape(-1)


def _parts(result: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of a mapping, a named tuple or a dataclass; those of a tuple's items; ("", value)."""
    if isinstance(result, Mapping):
        yield from ((str(name), value) for name, value in result.items())
    elif hasattr(result, "_fields"):
        yield from zip(result._fields, result, strict=True)
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        yield from ((field.name, getattr(result, field.name)) for field in dataclasses.fields(result))
    elif isinstance(result, (tuple, list)):
        for item in result:
            yield from _parts(item)
    else:
        yield "", result


def _is_integer(value: Any) -> bool:
    return "int" in str(value.dtype)


def _entries(value: Any) -> int:
    return int(np.prod(tuple(value.shape), dtype=np.int64))


def _by_shape(value: Any, size: int, K: int) -> str | None:
    """Which output has this shape and this dtype."""
    if isinstance(value, (int, float)):
        return "L"
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return None
    if not _is_integer(value) and _entries(value) == 1 and size > 1:
        return "L"
    if _is_integer(value) or (tuple(value.shape)[-1:] == (K,) and _one_hot(value)):
        return "k"
    return "z_q" if _entries(value) == size else None


def _one_hot(value: Any) -> bool:
    try:
        a = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception:
        return False  # a value that is traced has none yet; codes are integers there
    return bool(np.isin(a, (0, 1)).all() and (a.sum(-1) == 1).all())


def _describe(parts: list[tuple[str, Any]]) -> str:
    """The outputs by name, dtype and shape."""
    told = []
    for name, value in parts:
        kind = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        told.append(f"{name}{': ' if name else ''}{kind} {tuple(getattr(value, 'shape', ()))}")
    return ", ".join(told) or "nothing"
