"""Whatever a quantizer returns -> z_q, k and L: recognised by names, else by shapes and dtypes.

z: (N, D) -> z_q: N·D floats, k: N or N·n integers, L: a number, or one for each depth
"""

from typing import Any

import numpy as np

from vqnp.crosscheck.adapters.outputs import OUTPUT, TERMS, Unclear, _describe, _parts

SUMMED = ("entropyauxloss", "auxloss", "entropyloss", "vqloss", "losses")
"""Further names of a loss in public code for these families."""


def sort_quantizer_outputs(result: Any, N: int, D: int, strange: list[str]) -> dict[str, Any]:
    """z_q, k (an array, or a list of one for each depth) and L, None where missing; of any framework.

    strange takes a description of each output that was not understood. Raises Unclear where two outputs
    could be the same one, or where none is as large as z.
    """
    found: dict[str, list[Any]] = {"z_q": [], "k": [], "L": []}
    parts, named, terms = list(_parts(result)), [], []
    for name, value in parts:
        plain = name.lower().replace("_", "").replace("-", "")
        kind = _kind(value, N, D)
        if value is None or isinstance(value, (str, bool)):
            continue
        if kind == "L" and plain in TERMS:
            terms.append(value)
        elif kind is not None and (OUTPUT.get(plain) == kind or (kind == "L" and plain in SUMMED)):
            named.append((kind, value))
        elif kind is not None and not (plain and OUTPUT.get(plain)) and OUTPUT.get(plain) != "perplexity":
            found[kind].append((name, value))
        else:
            strange.append(_describe([(name, value)]))
    for kind in found:
        told = [value for which, value in named if which == kind]
        if told:
            strange += [_describe([one]) for one in found[kind]]
            found[kind] = told
        else:
            found[kind] = [value for _, value in found[kind]]
    graded = [v for v in found["L"] if getattr(v, "requires_grad", False)]
    if len(found["L"]) > 1 and len(graded) == 1:  # a perplexity has no gradient
        strange += [_describe([("", v)]) for v in found["L"] if v is not graded[0]]
        found["L"] = graded
    if terms:
        found["L"] = found["L"] or [sum(_total(t) for t in terms[1:]) + _total(terms[0])]
    for kind, what in (("z_q", "z_q"), ("L", "the loss")):
        if len(found[kind]) > 1:
            raise Unclear(f"two outputs could be {what}: {_describe(parts)}; name them, or give `outputs`")
    if not found["z_q"]:
        raise Unclear(f"no output of {N * D} floats, as z has: {_describe(parts)}")
    k = found["k"]
    if len(k) > 1 and any(_entries(one) != N for one in k):
        raise Unclear(f"two outputs could be k: {_describe(parts)}; name them, or give `outputs`")
    L = found["L"][0] if found["L"] else None
    return {"z_q": found["z_q"][0], "k": None if not k else k[0] if len(k) == 1 else k, "L": L}


def by_depth(k: Any, N: int) -> np.ndarray[Any, Any]:
    """k as (N, n) from an array with n as its last or first axis, or from a list of n arrays."""
    if isinstance(k, (list, tuple)):
        return np.stack([np.asarray(one).reshape(N) for one in k], axis=1)
    a = np.asarray(k)
    n = a.size // N
    long = [length for length in a.shape if length > 1]
    if n > 1 and long and long[0] == n and long[-1] != n:
        return np.ascontiguousarray(a.reshape(n, N).T)
    return a.reshape(N, n)


def _total(value: Any) -> Any:
    return value.sum() if hasattr(value, "sum") else value


def _kind(value: Any, N: int, D: int) -> str | None:
    """z_q, k or L by shape and dtype; None: neither."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "L"
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return None
    n = _entries(value)
    if "int" in str(value.dtype):
        return "k" if n and n % N == 0 and n // N <= 64 else None
    if "float" not in str(value.dtype):
        return None
    if n == N * D:
        return "z_q"
    long = [length for length in value.shape if length > 1]
    return "L" if n and n < N and len(long) <= 1 else None


def _entries(value: Any) -> int:
    return int(np.prod(tuple(value.shape), dtype=np.int64))
