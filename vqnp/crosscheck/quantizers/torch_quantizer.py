"""A PyTorch module or function z -> z_q, codes, loss as a quantizer: `check_quantizer(TorchQuantizer(f))`.

z: (N, D) as the module wants it (`layout`) -> what it returns, recognised by names or shapes
"""

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vqnp._check import Array, fail
from vqnp.crosscheck.adapters.arrays import to_numpy
from vqnp.crosscheck.adapters.base import float_dtype
from vqnp.crosscheck.adapters.layouts import layouts
from vqnp.crosscheck.adapters.luck import seeded
from vqnp.crosscheck.quantizers.outputs import sort_quantizer_outputs

Books = str | Sequence[str] | Callable[[Any], Any] | torch.Tensor | None


class TorchQuantizer:
    """A module, copied for each question and asked in training mode; or a function of tensors.

    Parameters
    ----------
    module : torch.nn.Module or callable
        z -> z_q, codes, loss, in any order that shapes and dtypes tell, or by name.
    codebooks : str, sequence of str, callable or tensor, optional
        Dotted names of the parameters or buffers that are the codebooks, (K, D) or (n, K, D), one for each
        depth or one for all; a function module -> tensor or list of tensors; or E. Default: the attribute
        `codebooks` or `codebook` if that is a tensor or a list of tensors, else the weights of all
        nn.Embedding, else none.
    decode : str or callable, optional
        A method's name, or a function of (module, codes), that gives the vectors of codes.
    layout : str
        What the module wants for z, and gives for z_q, as "(1, N, D)": see TorchModule.
    outputs : callable, optional
        What the module returned -> (z_q, k, L) or a mapping with z_q, k and L. Default: see
        quantizers.outputs.
    kwargs : mapping, optional
        Further arguments by keyword of each call.
    levels, embedding_dim, kind : optional
        As in QuantizerFunctions and check_quantizer.
    dtype : float32 or float64, optional
        To which the copy is converted. Default: float64, or float32 if it raises in float64.
    name : str, optional
        The name in the report. Default: that of the class or function.
    """

    def __init__(
        self, module: Callable[..., Any], *, codebooks: Books = None, decode: Any = None,
        layout: str = "(N, D)", outputs: Callable[..., Any] | None = None,
        kwargs: Mapping[str, Any] | None = None, levels: Sequence[int] | None = None,
        embedding_dim: int | None = None, kind: str | None = None, dtype: Any = None, name: str | None = None,
    ) -> None:  # fmt: skip
        self.module, self.where, self.outputs, self.kwargs = module, codebooks, outputs, dict(kwargs or {})
        self.into, self.out = layouts("TorchQuantizer", layout)
        self.name = name or getattr(module, "__name__", type(module).__name__)
        self.levels, self.embedding_dim, self.kind, self.seed = levels, embedding_dim, kind, 0
        self.unclear: list[str] = []
        self.decode = None if decode is None else self._decode
        self.decoder = decode
        self.dtype = float_dtype("TorchQuantizer", np.float64 if dtype is None else dtype)
        if dtype is None and self._raises():
            self.dtype = np.dtype("float32")

    @property
    def codebooks(self) -> Array | None:
        return self._numpy(self._books(self._new()))

    def forward(self, z: Array) -> dict[str, Any]:
        out, _ = self._run(self._new(), z)
        plain: dict[str, Any] = {"z_q": to_numpy(out["z_q"]), "k": None, "L": None}
        if out["k"] is not None:
            several = isinstance(out["k"], (list, tuple))
            plain["k"] = [to_numpy(k) for k in out["k"]] if several else to_numpy(out["k"])
        if out["L"] is not None:
            plain["L"] = to_numpy(torch.as_tensor(out["L"]))
        return plain

    def backward(self, z: Array, G: Array) -> tuple[Array, Array | None]:
        module = self._new()
        out, leaf = self._run(module, z)
        total = (torch.from_numpy(G) * out["z_q"]).sum()
        if isinstance(out["L"], torch.Tensor):
            total = total + out["L"].sum()
        if total.requires_grad:
            total.backward()
        dz = np.zeros_like(z) if leaf.grad is None else to_numpy(leaf.grad)
        books = self._books(module)
        if books is None or any(b.requires_grad and not b.is_leaf for b in books):
            return dz, None  # a codebook that the module computes
        return dz, self._numpy([torch.zeros_like(b) if b.grad is None else b.grad for b in books])

    def after(self, z: Array) -> Array | None:
        module = self._new()
        self._run(module, z)
        return self._numpy(self._books(module))

    def _decode(self, k: Array) -> Array:
        module, N = self._new(), len(k)
        axes = self.into.axes
        codes = torch.from_numpy(k[:, 0] if k.shape[1] == 1 else k)
        codes = codes[(None,) * axes[: min(axes.index("N"), axes.index("D"))].count("1")]
        f = getattr(module, self.decoder) if isinstance(self.decoder, str) else None
        result = f(codes) if f is not None else self.decoder(module, codes)
        return to_numpy(self.out.back(result, N, result.numel() // N))

    def _new(self) -> Any:
        if not isinstance(self.module, torch.nn.Module):
            return self.module
        return copy.deepcopy(self.module).to(getattr(torch, self.dtype.name)).train()

    def _run(self, module: Any, z: Array) -> tuple[dict[str, Any], torch.Tensor]:
        """z_q: (N, D), k and L with gradients; and the leaf that z became."""
        leaf = torch.from_numpy(np.array(z)).requires_grad_()
        with seeded(self.seed):
            result = module(self.into.into(leaf), **self.kwargs)
        if self.outputs is not None:
            told = self.outputs(result)
            names = "z_q", "k", "L"
            named = dict(zip(names, told, strict=False)) if isinstance(told, tuple) else told
            out: dict[str, Any] = {**dict.fromkeys(names), **named}
        else:
            self.unclear = []
            out = sort_quantizer_outputs(result, z.shape[0], z.shape[1], self.unclear)
        out["z_q"] = self.out.back(out["z_q"], *z.shape)
        return out, leaf

    def _books(self, module: Any) -> list[torch.Tensor] | None:
        """The codebooks of a module, or None."""
        where = self.where
        if isinstance(where, torch.Tensor):
            found: Any = where
        elif callable(where):
            found = where(module)
        elif where is not None:
            names = [where] if isinstance(where, str) else list(where)
            try:
                found = [operator.attrgetter(name)(module) for name in names]
            except AttributeError as error:
                needed = "must name parameters or buffers of the module"
                fail("TorchQuantizer", "codebooks", needed, str(error))
        else:
            found = next((a for a in map(_tensors, ("codebooks", "codebook"), [module] * 2) if a), None)
            if found is None and isinstance(module, torch.nn.Module):
                found = [m.weight for m in module.modules() if isinstance(m, torch.nn.Embedding)]
        if found is None or isinstance(found, torch.Tensor):
            return None if found is None else [found]
        return list(found) or None

    def _numpy(self, books: list[torch.Tensor] | None) -> Array | None:
        """(n, K, D) of n tensors, or None."""
        if books is None:
            return None
        sizes = {tuple(b.shape[-2:]) for b in books}
        if len(sizes) > 1:
            raise ValueError(f"codebooks of different sizes cannot be asked: {sorted(sizes)}")
        rows = [to_numpy(b).reshape(-1, *b.shape[-2:]) for b in books]
        return np.concatenate(rows).astype(self.dtype)

    def _raises(self) -> bool:
        """Whether a training pass in float64 raises, and one in float32 does not."""
        books = self._books(self._new())
        D = self.embedding_dim or (books[0].shape[-1] if books else None) or len(self.levels or ()) or None
        if D is None:
            return False
        raised = []
        for dtype in (np.float64, np.float32):
            self.dtype = np.dtype(dtype)
            try:
                self._run(self._new(), np.random.default_rng(0).standard_normal((8, D)).astype(dtype))
                raised.append(False)
            except (Exception, SystemExit):
                raised.append(True)
        self.dtype = np.dtype("float64")
        return raised == [True, False]


def _tensors(name: str, module: Any) -> list[torch.Tensor]:
    """The tensor of that name, or the tensors if it is a list of them; else none."""
    found = getattr(module, name, None)
    several = isinstance(found, (list, tuple, torch.nn.ParameterList))
    tensors: list[Any] = list(found) if several else [found]  # type: ignore[arg-type]
    return tensors if all(isinstance(a, torch.Tensor) for a in tensors) else []
