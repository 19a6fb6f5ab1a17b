"""vqnp's own quantizers as other people's layers: `check_quantizer(OwnQuantizer(SimVQ(64, 8)))`."""

import copy
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.nn.quantizers.base import Quantizer


class OwnQuantizer:
    """Any vqnp.nn quantizer whose codes are taken from embeddings, signs or levels.

    Parameters
    ----------
    quantizer : vqnp.nn.Quantizer
        It is copied, and the copy is asked in its dtype.

    Examples
    --------
    >>> from vqnp.crosscheck import check_quantizer
    >>> from vqnp.nn import LookupFreeQuantizer
    >>> report = check_quantizer(OwnQuantizer(LookupFreeQuantizer(4)))
    >>> report.ok, report.name, report.kind
    (True, 'vqnp.LookupFreeQuantizer', 'lookup_free')
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self.quantizer: Any = copy.deepcopy(quantizer)
        self.name, self.dtype = f"vqnp.{type(quantizer).__name__}", quantizer.dtype
        self.levels = getattr(quantizer, "levels", None)
        self.embedding_dim = quantizer.embedding_dim

    @property
    def codebooks(self) -> Array | None:
        has = not self.quantizer.fixed_codes or hasattr(self.quantizer, "C")
        return self.quantizer.embeddings if has else None

    def forward(self, z: Array) -> dict[str, Any]:
        z_q, *losses, k, _ = self.quantizer.forward(z)
        return {"z_q": z_q, "k": k, "L": np.asarray(sum(losses), z.dtype)}

    def backward(self, z: Array, G: Array) -> Any:
        *_, cache = self.quantizer.forward(z)
        self.quantizer.zero_grad()
        dz = self.quantizer.backward(G, cache)
        books = [p.grad for name, p in self.quantizer.named_parameters() if name.endswith("E")]
        return (dz, np.stack(books)) if books else dz

    def decode(self, k: Array) -> Array:
        return np.asarray(self.quantizer.decode(k if self.quantizer.num_codebooks > 1 else k[:, 0]))
