"""Where a module keeps E: (K, D), N: (K,) and m: (K, D): the names that are given, else those that tell."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vqnp._check import Array, fail

Name = str | Callable[[Any], Any] | None

# Of arrays of a codebook's shape, those that are named so are sums.
SUMS = ("avg", "ema_w", "sum", "moving")


def get(module: torch.nn.Module, name: Name) -> Any:
    """The array of that name, or what a function makes of the module."""
    if name is None:
        return None
    return name(module) if callable(name) else operator.attrgetter(name)(module)


def to_numpy(a: torch.Tensor) -> Array:
    """As NumPy; bfloat16, which NumPy has not, as float32."""
    a = a.detach()
    result: Array = (a.float() if a.dtype == torch.bfloat16 else a).numpy().copy()
    return result


def find_arrays(
    module: torch.nn.Module, given: dict[str, Name], shape: tuple[int, int] | None, transposed: bool
) -> dict[str, Name]:
    """Names of E, N and m in module: those given, else those that their shapes tell."""
    arrays = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    listed = ", ".join(f"{name} {tuple(a.shape)}" for name, a in arrays.items()) or "none at all"
    for name in given.values():
        if isinstance(name, str) and name not in arrays:
            fail("TorchModule", "", f"must have a parameter or buffer {name}", listed)
    free = {n: a for n, a in arrays.items() if a.is_floating_point() and n not in given.values()}
    long = {n: tuple(length for length in a.shape if length > 1) for n, a in free.items()}
    books = [n for n in free if len(long[n]) == 2 and (shape is None or long[n] in (shape, shape[::-1]))]
    E = given["E"]
    if E is None:
        graded = [n for n in books if arrays[n].requires_grad]
        plain = [n for n in books if not _is_sum(n)]
        only = [n for n in books if len(books) == 1 and (n in graded or n in plain)]
        E = next((c[0] for c in (only, graded, plain) if len(c) == 1), None)
        if E is None:
            fail("TorchModule", "codebook", "must name one parameter or buffer", listed)
    if callable(E):  # what it is made of is neither N nor m, unless that is given
        return {"E": E, "N": given["N"], "m": given["m"]}
    others = [n for n in books if n != E and arrays[n].shape == arrays[E].shape]
    K = shape[0] if shape else arrays[E].shape[-1 if transposed else -2]
    counts = [n for n, a in free.items() if a.numel() == K and max(a.shape, default=0) == K]
    found = {"N": counts[0] if len(counts) == 1 else None, "m": others[0] if len(others) == 1 else None}
    return {"E": E, "N": given["N"] or found["N"], "m": given["m"] or found["m"]}


def _is_sum(name: str) -> bool:
    last = name.lower().split(".")[-1]
    return last in ("m", "ema") or any(part in name.lower() for part in SUMS)


def put(module: torch.nn.Module, make: Callable[[Any], Any], E: torch.Tensor) -> None:
    """Set the array whose rows are, each times a number, those of make(module), so that this becomes E."""
    for a in (*module.parameters(), *module.buffers()):
        if a.shape != E.shape or not a.is_floating_point():
            continue
        before = a.detach().clone()
        a.copy_(torch.from_numpy(np.random.default_rng(0).uniform(1, 2, tuple(E.shape))))
        share = make(module) / a
        if torch.isfinite(share).all() and torch.allclose(share, share[:, :1].expand_as(share)):
            a.copy_(E / share[:, :1])
            if torch.allclose(make(module).to(E), E):
                return
        a.copy_(before)
    fail("TorchModule", "set_codebook", "must set what `codebook` reads", "a codebook of no one array")
