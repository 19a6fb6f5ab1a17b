"""Is your VQ layer right, and if not, which known variant or bug is it? From its behaviour alone.

    report = vqnp.crosscheck.check(vqnp.crosscheck.Adapter(forward=..., backward=...))

docs/crosscheck.md is the guide. check_autoregressive asks the same of a model of codes
(docs/crosscheck-autoregressive.md), check_quantizer a residual, finite scalar, lookup-free, cosine or rotated
quantizer (docs/crosscheck-quantizers.md). What imports a framework is loaded when first used.
"""

import importlib
from typing import Any

from vqnp.crosscheck.adapters.base import Adapter
from vqnp.crosscheck.adapters.own import QuantizerAdapter
from vqnp.crosscheck.autoregressive.checking import check_autoregressive
from vqnp.crosscheck.autoregressive.report import AutoregressiveReport
from vqnp.crosscheck.quantizers.checking import check_quantizer
from vqnp.crosscheck.quantizers.layer import QuantizerFunctions
from vqnp.crosscheck.quantizers.own import OwnQuantizer
from vqnp.crosscheck.quantizers.report import QuantizerReport
from vqnp.crosscheck.report.checking import assert_conforms, check, conformance_tests
from vqnp.crosscheck.report.report import Report
from vqnp.crosscheck.variants.reference import Reference
from vqnp.crosscheck.variants.table import VARIANTS

_FRAMEWORKS = {
    "TorchModule": "adapters.torch_module", "VQPytorch": "adapters.vq_pytorch",
    "JaxFunction": "adapters.jax_function", "TorchLogits": "autoregressive.torch_logits",
    "JaxLogits": "autoregressive.jax_logits", "TensorFlowFunction": "adapters.tensorflow_function",
    "TorchQuantizer": "quantizers.torch_quantizer", "JaxQuantizer": "quantizers.jax_quantizer",
    "VQPytorchQuantizer": "quantizers.vq_pytorch",
}  # fmt: skip

__all__ = [
    "VARIANTS", "Adapter", "AutoregressiveReport", "OwnQuantizer", "QuantizerAdapter",
    "QuantizerFunctions", "QuantizerReport", "Reference", "Report",
    "assert_conforms", "check", "check_autoregressive", "check_quantizer", "conformance_tests",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _FRAMEWORKS:
        raise AttributeError(f"module 'vqnp.crosscheck' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vqnp.crosscheck.{_FRAMEWORKS[name]}"), name)
