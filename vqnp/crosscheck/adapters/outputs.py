"""Whatever a layer returns -> z_q, k, L and perplexity: recognised by names, else by shapes and dtypes.

z: (N, D) -> z_q: as z, k: (N,) integers or (N, K) one-hot, L: a number, perplexity: a number
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Names that layers give their outputs, in public code, without case and underscores.
NAMES = {  # fmt: off
    "z_q": ("zq", "quantized", "quantize", "zquantized", "quant", "latentsq"),
    "k": ("k", "codes", "indices", "encodingindices", "minencodingindices", "code", "embedind", "ids"),
    "L": ("l", "loss", "total", "totalloss", "vqloss", "qloss", "latentloss", "quantizerloss",
          "quantizationloss"),
    "perplexity": ("perplexity", "ppl"),
}  # fmt: on
OUTPUT = {name: output for output, names in NAMES.items() for name in names}
# The terms of a loss: their sum is the loss, unless it is there too.
TERMS = ("commitmentloss", "commitloss", "commitment", "commit", "codebookloss", "codebook", "embeddingloss")


class Unclear(TypeError):
    """The outputs cannot be told apart; the message says what they were."""


def sort_outputs(
    result: Any, size: int, num_embeddings: int, unclear: list[str] | None = None
) -> dict[str, Any]:
    """The four outputs, those that are missing being None; size: entries of z, num_embeddings: K.

    result : mapping, named tuple, dataclass, (nested) tuple or list, or one array, of any framework
    unclear : list, optional
        Takes a description of each output that was not understood.

    Raises Unclear where two outputs could be the same thing, or none is as large as z.
    """
    found: dict[str, Any] = dict.fromkeys(NAMES)
    parts, rest, terms = list(_parts(result)), [], dict[str, Any]()
    for name, value in parts:
        plain = name.lower().replace("_", "").replace("-", "")
        known = OUTPUT.get(plain)
        number = known in ("L", "perplexity") or plain in TERMS
        if value is None or (number and not _is_number(value)):
            rest.append((name, value))
        elif plain in TERMS:
            terms[plain] = value
        elif known is not None and found[known] is None:
            found[known] = value
            if plain == "vqloss":
                terms["vqloss"] = value
        else:
            rest.append((name, value))
    found["L"] = _total(found["L"], terms, parts)
    strange = []
    for name, value in rest:
        output = None if value is None else _by_shape(value, size, num_embeddings)
        if output is None or (name and found[output] is not None):
            if value is not None and not isinstance(value, (str, bool)):
                strange.append((name, value))  # of another kind: a distance matrix, a histogram
            continue
        if output == "k" and found["k"] is not None:
            if tuple(found["k"].shape) != tuple(value.shape) or _is_integer(value):
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
    if unclear is not None:
        unclear.extend(_describe([part]) for part in strange)
    return found


def _total(named: Any, terms: dict[str, Any], parts: list[tuple[str, Any]]) -> Any:
    """The loss: what is named so, else the sum of its terms."""
    others = [value for name, value in terms.items() if name != "vqloss"]
    if named is None:
        return sum(others[1:], others[0]) if others else None
    if "vqloss" in terms and others and not any(name.startswith(("codebook", "embedding")) for name in terms):
        raise Unclear(f"vq_loss may be the whole loss or a term of it: {_describe(parts)}; give `outputs`")
    return named


def as_codes(k: Any, N: int, K: int) -> Any:
    """k: (N,) from codes of any shape, or from one-hot codes along any axis."""
    if _entries(k) == N * K and K > 1:
        axis = _one_hot_axis(k, K)
        return k.argmax(-1 if axis is None else axis).reshape(-1)
    return k.reshape(-1)


def _parts(result: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of a mapping, a named tuple or a dataclass; those of a tuple's items; ("", value)."""
    if isinstance(result, Mapping):
        named: Any = [(str(key), value) for key, value in result.items()]
    elif hasattr(result, "_fields"):
        named = zip(result._fields, result, strict=True)
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        named = [(field.name, getattr(result, field.name)) for field in dataclasses.fields(result)]
    elif isinstance(result, (tuple, list)):
        named = [("", item) for item in result]
    else:
        yield name, result
        return
    for key, value in named:
        yield from _parts(value, key)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (hasattr(value, "shape") and _entries(value) == 1)


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
    if _is_integer(value) and _entries(value) == 1 and size > 1:
        return None  # a counter
    if _one_hot_axis(value, K) is not None or (_is_integer(value) and value.shape):
        return "k"
    return "z_q" if _entries(value) == size else None


def _one_hot_axis(value: Any, K: int) -> int | None:
    """The axis of length K along which value has one 1 and else 0, if there is one."""
    shape = tuple(value.shape)
    if K not in shape:
        return None
    try:
        a = np.asarray(value.detach().cpu().float() if hasattr(value, "detach") else value)
        if not np.isin(a, (0, 1)).all():
            return None
    except Exception:
        return None  # a value that is traced has none yet; codes are integers there
    axes = [i for i, length in enumerate(shape) if length == K and (a.sum(i) == 1).all()]
    return axes[-1] if axes else None


def _describe(parts: list[tuple[str, Any]]) -> str:
    """The outputs by name, dtype and shape."""
    told = []
    for name, value in parts:
        kind = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        told.append(f"{name}{': ' if name else ''}{kind} {tuple(getattr(value, 'shape', ()))}")
    return ", ".join(told) or "nothing"
