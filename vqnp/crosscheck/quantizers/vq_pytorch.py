"""Layers of vector-quantize-pytorch as quantizers: `check_quantizer(VQPytorchQuantizer(FSQ([8, 5, 5])))`.

The package works in float32 whatever it is given, so it is asked in float32.
"""

from typing import Any

import numpy as np
import torch

from vqnp._check import fail
from vqnp.crosscheck.quantizers.torch_quantizer import TorchQuantizer


def _vector(layer: Any) -> dict[str, Any]:
    kind = "cosine" if layer.use_cosine_sim else "vector"
    return {"codebooks": "_codebook.embed", "decode": "get_output_from_indices", "kind": kind}


def _residual(layer: Any) -> dict[str, Any]:
    names = [f"layers.{i}._codebook.embed" for i in range(1 if layer.shared_codebook else len(layer.layers))]
    return {"codebooks": names, "decode": "get_output_from_indices", "kind": "residual"}


def _lookup_free(layer: Any) -> dict[str, Any]:
    return {"embedding_dim": layer.dim, "decode": "indices_to_codes", "kind": "lookup_free"}


def _finite_scalar(layer: Any) -> dict[str, Any]:
    return {"levels": layer._levels.tolist(), "decode": "indices_to_codes", "kind": "finite_scalar"}


def _simvq(layer: Any) -> dict[str, Any]:
    del layer
    return {"codebooks": lambda m: m.codebook, "decode": "indices_to_codes", "kind": "vector"}


READERS = {
    "VectorQuantize": _vector, "ResidualVQ": _residual, "FSQ": _finite_scalar, "LFQ": _lookup_free,
    "SimVQ": _simvq,
}  # fmt: skip
"""Class of version 1.32.0 -> how its layers are asked."""


class VQPytorchQuantizer(TorchQuantizer):
    """A layer of one of the classes READERS, asked in training mode with the codebooks that it has.

    Parameters
    ----------
    layer : VectorQuantize, ResidualVQ, FSQ, LFQ or SimVQ
        Without projections, that is, with `dim` the dimension of its codes. One that waits for data is given
        random codes.
    **kwargs
        Further arguments by keyword of each call, such as inv_temperature for LFQ.
    """

    def __init__(self, layer: torch.nn.Module, **kwargs: Any) -> None:
        name = type(layer).__name__
        if name not in READERS:
            fail("VQPytorchQuantizer", "layer", f"must be of {', '.join(READERS)}", name)
        parts: list[Any] = list(layer.modules())
        for part in parts:
            if hasattr(part, "initted") and not bool(part.initted):
                torch.nn.init.normal_(part.embed.data)
                part.initted.fill_(True)
        super().__init__(
            layer, layout="(1, N, D)", dtype=np.float32, name=f"vector_quantize_pytorch.{name}",
            kwargs=kwargs, **READERS[name](layer),
        )  # fmt: skip
