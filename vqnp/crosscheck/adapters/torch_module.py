"""Any torch.nn.Module that maps z to (z_q, codes, loss) as an adapter: `check(TorchModule(layer))`.

z: (N, D) as the module wants it (`layout`) -> what it returns, recognised by names or shapes.
"""

import copy
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vqnp._check import Array, check_choice, fail
from vqnp.crosscheck.adapters.base import float_dtype
from vqnp.crosscheck.adapters.outputs import NAMES, as_codes, sort_outputs

# How a module may want N vectors of D dimensions: bare, as a sequence, or channels first.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "(N, D)": lambda z: z,
    "(1, N, D)": lambda z: z[None],
    "(1, D, N)": lambda z: z.T[None],
    "(1, D, N, 1)": lambda z: z.T[None, ..., None],
    "(1, D, 1, N)": lambda z: z.T[None, :, None],
}


class TorchModule:
    """A module, made anew for each question by a deep copy, or by calling a factory.

    Parameters
    ----------
    make : torch.nn.Module, or callable (K, D) -> torch.nn.Module
        A factory lets the checker ask with any K and D, which tells reductions for certain.
    layout : str
        A key of LAYOUTS: what the module wants for z, and gives for z_q.
    codebook, cluster_size, embedding_sum : str, optional
        Dotted names of the parameters or buffers that are E: (K, D), or (1, K, D), or (D, K); N: (K,); and
        m, as E. Default: the only parameter, else the only buffer, of E's shape, InputError if that does not
        tell; and the only other ones of N's and m's, but none where E has a gradient and one training pass
        leaves it alone: such counts are for show.
    transposed : bool, optional
        Whether E is kept as (D, K). Default: what a factory's shapes say; no, for a module.
    outputs : callable, optional
        What the module returned -> (z_q, k, L) or a mapping with z_q, k, L, perplexity. Default: see
        outputs.sort_outputs.
    dtype : float32 or float64
        The module is converted to it.
    """

    def __init__(
        self, make: Any, *, layout: str = "(N, D)", codebook: str | None = None,
        cluster_size: str | None = None, embedding_sum: str | None = None, transposed: bool | None = None,
        outputs: Callable[[Any], Any] | None = None, dtype: Any = np.float64, name: str | None = None,
    ) -> None:  # fmt: skip
        self.layout = check_choice("TorchModule", "layout", layout, tuple(LAYOUTS))
        self.dtype, self.outputs = float_dtype("TorchModule", dtype), outputs
        self.make, self.fixed = make, isinstance(make, torch.nn.Module)
        example = self._module(7, 5)
        given = {"E": codebook, "N": cluster_size, "m": embedding_sum}
        self.names = find_arrays(example, given, None if self.fixed else (7, 5), bool(transposed))
        book = _get(example, self.names["E"])
        shape = tuple(book.shape[-2:])
        self.transposed = shape == (5, 7) and not self.fixed if transposed is None else transposed
        if self.fixed:
            self.num_embeddings, self.embedding_dim = shape[::-1] if self.transposed else shape
        self.name, self.module = name or type(example).__name__, example
        if cluster_size is None and book.requires_grad and not self._moves():
            self.names["N"] = self.names["m"] = None
        if self.names["N"] is not None or not book.requires_grad:
            self.reset, self.step = self._reset, self._step  # a codebook that moves in forward

    def forward(self, z: Array, E: Array) -> dict[str, Any]:
        return self._answer(self._new(E).train(), z)[0]

    def evaluate(self, z: Array, E: Array) -> dict[str, Any]:
        return self._answer(self._new(E).eval(), z)[0]

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Any, Any]:
        module = self._new(E).train()
        out, leaf = self._answer(module, z)
        total = (torch.from_numpy(G) * out["z_q"]).sum()
        total = total + out["L"].sum() if isinstance(out["L"], torch.Tensor) else total
        if total.requires_grad:
            total.backward()
        book = _get(module, self.names["E"])
        dz, dE = (torch.zeros_like(a) if a.grad is None else a.grad for a in (leaf, book))
        by_averages = not book.requires_grad or (book.grad is None and self.names["N"] is not None)
        return dz, None if by_averages else self._rows(dE)

    def fresh(self, K: int, D: int) -> Array | None:
        self.module = self._module(K, D).train()
        return self._rows(_get(self.module, self.names["E"])).detach().numpy().copy()

    def _reset(self, E: Array) -> None:
        self.module = self._new(E).train()

    def _step(self, z: Array) -> tuple[Any, ...]:
        self._answer(self.module, z)
        E, N, m = (_get(self.module, name) for name in self.names.values())
        rows = [None if a is None else self._rows(a.detach()).clone() for a in (E, m)]
        return rows[0], None if N is None else N.detach().reshape(-1).clone(), rows[1]

    def _module(self, K: int, D: int) -> torch.nn.Module:
        module = copy.deepcopy(self.make) if self.fixed else self.make(K, D)
        if not isinstance(module, torch.nn.Module):
            fail("TorchModule", "make", "must be, or return, a torch.nn.Module", type(module).__name__)
        return module.to(torch.from_numpy(np.empty(0, self.dtype)).dtype)

    def _moves(self) -> bool:
        """Whether a training pass changes the codebook; yes, if it raises: then the report will say so."""
        K, D = (self.num_embeddings, self.embedding_dim) if self.fixed else (7, 5)
        E, z = np.random.default_rng(0).standard_normal((2, 4 * K, D)).astype(self.dtype)
        self._reset(E[:K])
        try:
            return not np.array_equal(self._step(z)[0].numpy(), E[:K])
        except (Exception, SystemExit):
            return True

    def _new(self, E: Array) -> torch.nn.Module:
        """A module whose codebook is E, and whose m is E, too, where it was equal to the codebook."""
        module = self._module(*E.shape)
        book, m = (_get(module, self.names[name]) for name in ("E", "m"))
        with torch.no_grad():
            start = torch.from_numpy(E.T.copy() if self.transposed else E).reshape(book.shape)
            if m is not None and torch.equal(m, book):
                m.copy_(start)
            book.copy_(start)
        return module

    def _rows(self, a: torch.Tensor) -> torch.Tensor:
        """E, its gradient or m as (K, D)."""
        a = a.reshape(a.shape[-2:])
        return a.T if self.transposed else a

    def _answer(self, module: torch.nn.Module, z: Array) -> tuple[dict[str, Any], torch.Tensor]:
        """z_q: (N, D), k: (N,), L, perplexity, with gradients; and the leaf that z became."""
        leaf, K = torch.from_numpy(z).requires_grad_(), len(self._rows(_get(module, self.names["E"])))
        given = LAYOUTS[self.layout](leaf)
        result = module(given)
        if self.outputs is not None:
            told = self.outputs(result)
            named = dict(zip(NAMES, told, strict=False) if isinstance(told, tuple) else told)
            out: dict[str, Any] = dict.fromkeys(NAMES) | named
        else:
            out = sort_outputs(result, z.size, K)
        z_q = out["z_q"]
        if self.layout.startswith("(1, D") and z_q.shape == given.shape:
            z_q = z_q.reshape(z.shape[1], z.shape[0]).T
        out["z_q"] = z_q.reshape(z.shape)
        if isinstance(out["k"], torch.Tensor):
            out["k"] = as_codes(out["k"].detach(), len(z), K)
        return out, leaf


def find_arrays(
    module: torch.nn.Module, given: dict[str, str | None], shape: tuple[int, int] | None, transposed: bool
) -> dict[str, str | None]:
    """Names of E, N and m in module: those given, else those that their shapes tell."""
    arrays = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    listed = ", ".join(f"{name} {tuple(a.shape)}" for name, a in arrays.items()) or "none at all"
    for name in given.values():
        if name is not None and name not in arrays:
            fail("TorchModule", "", f"must have a parameter or buffer {name}", listed)
    free = {n: a for n, a in arrays.items() if a.is_floating_point() and n not in given.values()}
    long = {n: tuple(length for length in a.shape if length > 1) for n, a in free.items()}
    books = [n for n in free if len(long[n]) == 2 and (shape is None or long[n] in (shape, shape[::-1]))]
    E = given["E"]
    if E is None:
        graded = [n for n in books if arrays[n].requires_grad]
        plain = [n for n in books if not any(part in n.lower() for part in ("avg", "ema_w", "sum", "moving"))]
        E = next((c[0] for c in (books, graded, plain) if len(c) == 1), None)
        if E is None:
            fail("TorchModule", "codebook", "must name one parameter or buffer", listed)
    others = [n for n in books if n != E and arrays[n].shape == arrays[E].shape]
    K = shape[0] if shape else arrays[E].shape[-1 if transposed else -2]
    counts = [n for n, a in free.items() if a.numel() == K and max(a.shape, default=0) == K]
    only = {"N": counts[0] if len(counts) == 1 else None, "m": others[0] if len(others) == 1 else None}
    return {"E": E, "N": given["N"] or only["N"], "m": given["m"] or only["m"]}


def _get(module: torch.nn.Module, name: str | None) -> Any:
    return None if name is None else operator.attrgetter(name)(module)
