"""Any torch.nn.Module that maps z to (z_q, codes, loss) as an adapter: `check(TorchModule(layer))`.

z: (N, D) as the module wants it (`layout`) -> what it returns, recognised by names or shapes.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from vqnp._check import Array, fail
from vqnp.crosscheck.adapters.arrays import Name, find_arrays, get, put, to_numpy
from vqnp.crosscheck.adapters.base import float_dtype
from vqnp.crosscheck.adapters.layouts import layouts
from vqnp.crosscheck.adapters.luck import seeded
from vqnp.crosscheck.adapters.outputs import NAMES, as_codes, sort_outputs
from vqnp.crosscheck.questions.calls import describe_error

# Some ways in which a module may want N vectors of D dimensions: bare, as a sequence, or channels first.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    text: layouts("TorchModule", text)[0].into
    for text in ("(N, D)", "(1, N, D)", "(1, D, N)", "(1, D, N, 1)", "(1, D, 1, N)")
}
HALVES = {"float16": torch.float16, "half": torch.float16, "bfloat16": torch.bfloat16}


class TorchModule:
    """A module, made anew for each question by a deep copy, or by calling a factory.

    Whatever the module draws at random, it draws the same for each question: PyTorch's, NumPy's and Python's
    generators are seeded around each call, and afterwards left as they were.

    Parameters
    ----------
    make : torch.nn.Module, or callable (K, D) -> torch.nn.Module
        A factory lets the checker ask with any K and D, which tells reductions for certain.
    layout : str
        What the module wants for z, and gives for z_q: N, D and axes of length 1 in any order, as in
        "(1, D, N, 1)". With another layout out than in: "(1, D, N, 1) -> (1, N, D)".
    codebook, cluster_size, embedding_sum : str, optional
        Dotted names of the parameters or buffers that are E: (K, D), or (1, K, D), or (D, K); N: (K,); and
        m, as E. Default: the only parameter, else the only buffer, of E's shape, InputError if that does not
        tell; and the only other ones of N's and m's, but none where E has a gradient and one training pass
        leaves it alone: such counts are for show. codebook may be a function, module -> E, of what the
        module computes it from.
    set_codebook : callable, (module, E) -> None, optional
        Where codebook is a function: makes it give E. Default: the one array of E's shape is set whose rows,
        each times a number, are E's.
    transposed : bool, optional
        Whether E is kept as (D, K). Default: what a factory's shapes say; no, for a module.
    outputs : callable, optional
        What the module returned -> (z_q, k, L) or a mapping with z_q, k, L, perplexity. Default: see
        outputs.sort_outputs.
    kwargs : mapping, optional
        Further arguments by keyword, of each call of the module.
    update : str or callable, optional
        For a module whose training pass does not move its codebook: a method's name, called without
        arguments after each pass of `step`, or a function of (module, what it was given, what it returned).
    dtype : float64, float32, float16 or bfloat16, optional
        The module is converted to it. Default: float64, or float32 with a note if it answers in that only.
    """

    seed = 0  # of the random numbers in each call; those in `make` are always the same

    def __init__(
        self, make: Any, *, layout: str = "(N, D)", codebook: Name = None,
        cluster_size: str | None = None, embedding_sum: str | None = None, transposed: bool | None = None,
        outputs: Callable[[Any], Any] | None = None, dtype: Any = None, name: str | None = None,
        set_codebook: Callable[[Any, Any], Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        update: str | Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        self.into, self.out = layouts("TorchModule", layout)
        self.outputs, self.kwargs = outputs, kwargs or {}
        self.update, self.set_codebook = update, set_codebook
        self.notes: list[str] = []
        self.unclear: list[str] = []  # outputs that were not understood
        self.hint = ""
        half = HALVES.get(str(dtype).removeprefix("torch."))
        self.precision = None if half is None else str(half).removeprefix("torch.")
        self.dtype = np.dtype("float32") if half else float_dtype("TorchModule", dtype or np.float64)
        self.inside = half or torch.from_numpy(np.empty(0, self.dtype)).dtype
        self.make, self.fixed = make, isinstance(make, torch.nn.Module)
        example = self._module(7, 5)
        given: dict[str, Name] = {"E": codebook, "N": cluster_size, "m": embedding_sum}
        self.names = find_arrays(example, given, None if self.fixed else (7, 5), bool(transposed))
        book = get(example, self.names["E"])
        shape = tuple(book.shape[-2:])
        self.transposed = shape == (5, 7) and not self.fixed if transposed is None else transposed
        if self.fixed:
            self.num_embeddings, self.embedding_dim = shape[::-1] if self.transposed else shape
        self.name, self.module = name or type(example).__name__, example
        self._settle_dtype(dtype is None)
        counts_for_show = cluster_size is None and update is None and book.requires_grad
        if counts_for_show and not self._moves():
            self.names["N"] = self.names["m"] = None
        if self.names["N"] is not None or not book.requires_grad or update is not None:
            self.reset, self.step = self._reset, self._step  # a codebook that moves in forward

    def forward(self, z: Array, E: Array) -> dict[str, Any]:
        return self._answer(self._new(E).train(), z)[0]

    def evaluate(self, z: Array, E: Array) -> dict[str, Any]:
        return self._answer(self._new(E).eval(), z)[0]

    def backward(self, z: Array, E: Array, G: Array) -> Any:
        module = self._new(E).train()
        out, leaf = self._answer(module, z)
        total = (torch.from_numpy(G) * out["z_q"]).sum()
        total = total + out["L"].sum() if isinstance(out["L"], torch.Tensor) else total
        if total.requires_grad:
            total.backward()
        dz = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        if callable(self.names["E"]):  # of what E is made of there may be a gradient, of E there is none
            return {"dz": dz} if any(p.requires_grad for p in module.parameters()) else (dz, None)
        book = get(module, self.names["E"])
        by_averages = not book.requires_grad or (book.grad is None and self.names["N"] is not None)
        dE = torch.zeros_like(book) if book.grad is None else book.grad
        dE = dE.to_dense() if dE.is_sparse else dE
        return dz, None if by_averages else self._rows(dE).to(leaf.dtype)

    def fresh(self, K: int, D: int) -> Array | None:
        self.module, self.steps = self._module(K, D).train(), 0
        return to_numpy(self._rows(get(self.module, self.names["E"]))).astype(self.dtype)

    def flags(self) -> list[str]:
        """Names of the numbers and switches in a module that its first training pass changes."""
        K, D = (self.num_embeddings, self.embedding_dim) if self.fixed else (7, 5)
        E, z = np.random.default_rng(0).standard_normal((2, 4 * K, D)).astype(self.dtype)
        module = self._new(E[:K]).train()
        before = _switches(module)
        self._answer(module, z)
        return [name for name, value in _switches(module).items() if before.get(name) != value]

    def _reset(self, E: Array) -> None:
        self.module, self.steps = self._new(E).train(), 0

    def _step(self, z: Array) -> tuple[Any, ...]:
        self.steps += 1
        self._answer(self.module, z, self.steps)
        if self.update is not None:
            with seeded(self.seed + self.steps):
                given, result = self.last
                if callable(self.update):
                    self.update(self.module, given, result)
                else:
                    get(self.module, self.update)()
        E, N, m = (get(self.module, name) for name in self.names.values())
        rows = [None if a is None else to_numpy(self._rows(a)).astype(self.dtype) for a in (E, m)]
        return rows[0], None if N is None else to_numpy(N).reshape(-1).astype(self.dtype), rows[1]

    def _module(self, K: int, D: int) -> torch.nn.Module:
        with seeded(0):
            module = copy.deepcopy(self.make) if self.fixed else self.make(K, D)
        if not isinstance(module, torch.nn.Module):
            fail("TorchModule", "make", "must be, or return, a torch.nn.Module", type(module).__name__)
        return module.to(self.inside)

    def _settle_dtype(self, free: bool) -> None:
        """float32 where float64 raises and float32 does not, if the dtype is free; else a hint."""
        if self.inside != torch.float64 or (error := self._raises()) is None:
            return
        self.dtype, self.inside = np.dtype("float32"), torch.float32
        answers = self._raises() is None
        if answers and free:
            self.notes.append(f"asked in float32, for in float64 it raises {describe_error(error)}")
        else:
            self.dtype, self.inside = np.dtype("float64"), torch.float64
            self.hint = ' (in float32 it answers: give dtype="float32")' if answers else ""

    def _raises(self) -> BaseException | None:
        """What a training pass raises."""
        K, D = (self.num_embeddings, self.embedding_dim) if self.fixed else (7, 5)
        E, z = np.random.default_rng(0).standard_normal((2, 4 * K, D)).astype(self.dtype)
        try:
            self._answer(self._new(E[:K]).train(), z)
        except (Exception, SystemExit) as error:
            return error
        return None

    def _moves(self) -> bool:
        """Whether a training pass changes the codebook; yes, if it raises: then the report will say so."""
        K, D = (self.num_embeddings, self.embedding_dim) if self.fixed else (7, 5)
        E, z = np.random.default_rng(0).standard_normal((2, 4 * K, D)).astype(self.dtype)
        try:
            self._reset(E[:K])
            before = to_numpy(self._rows(get(self.module, self.names["E"]))).astype(self.dtype)
            return not np.array_equal(self._step(z)[0], before)
        except (Exception, SystemExit):
            return True

    def _new(self, E: Array) -> torch.nn.Module:
        """A module whose codebook is E, and whose m is E, too, where it was equal to the codebook."""
        module = self._module(*E.shape)
        book, m = (get(module, self.names[name]) for name in ("E", "m"))
        with torch.no_grad():
            start = torch.from_numpy(E.T.copy() if self.transposed else E.copy()).reshape(book.shape)
            if m is not None and torch.equal(m, book):
                m.copy_(start)
            if self.set_codebook is not None:
                self.set_codebook(module, start.to(self.inside))
            elif callable(self.names["E"]):
                put(module, self.names["E"], start.to(self.inside))
            else:
                book.copy_(start)
        return module

    def _rows(self, a: torch.Tensor) -> torch.Tensor:
        """E, its gradient or m as (K, D)."""
        a = a.reshape(a.shape[-2:])
        return a.T if self.transposed else a

    def _answer(
        self, module: torch.nn.Module, z: Array, step: int = 0
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """z_q: (N, D), k: (N,), L, perplexity, with gradients; and the leaf that z became."""
        leaf, K = torch.from_numpy(z).requires_grad_(), len(self._rows(get(module, self.names["E"])))
        given = self.into.into(leaf if self.precision is None else leaf.to(self.inside))
        with seeded(self.seed + step):
            try:
                result = module(given, **self.kwargs)
            except Exception as error:
                if self.hint:
                    raise RuntimeError(f"{describe_error(error)}{self.hint}") from error
                raise
        self.last = given, result
        if self.outputs is not None:
            told = self.outputs(result)
            named = dict(zip(NAMES, told, strict=False) if isinstance(told, tuple) else told)
            out: dict[str, Any] = dict.fromkeys(NAMES) | named
        else:
            strange: list[str] = []
            out = sort_outputs(result, z.size, K, strange)
            self.unclear = strange
        out["z_q"] = self.out.back(out["z_q"], *z.shape)
        if isinstance(out["k"], torch.Tensor):
            out["k"] = as_codes(out["k"].detach(), len(z), K)
        if self.precision is not None:
            halves = {n: v for n, v in out.items() if torch.is_tensor(v) and v.is_floating_point()}
            out |= {name: value.float() for name, value in halves.items()}
        return out, leaf


def _switches(module: torch.nn.Module) -> dict[str, Any]:
    """Every number and truth value that a module and its parts keep, by dotted name."""
    found = {n: a.item() for n, a in (*module.named_buffers(), *module.named_parameters()) if a.numel() == 1}
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if isinstance(value, (bool, int, float)) and not attribute.startswith("_"):
                found[f"{name}.{attribute}" if name else attribute] = value
    return found
