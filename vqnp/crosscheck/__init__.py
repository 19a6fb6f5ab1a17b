"""Is your VQ layer right, and if not, which known variant or bug is it? From its behaviour alone.

    report = vqnp.crosscheck.check(vqnp.crosscheck.Adapter(forward=..., backward=...))

docs/crosscheck.md is the guide. TorchModule, VQPytorch and JaxFunction are loaded when first used; nothing
else here imports a framework.
"""

import importlib
from typing import Any

from vqnp.crosscheck.adapters.base import Adapter
from vqnp.crosscheck.adapters.own import QuantizerAdapter
from vqnp.crosscheck.report.checking import assert_conforms, check, conformance_tests
from vqnp.crosscheck.report.report import Report
from vqnp.crosscheck.variants.reference import Reference
from vqnp.crosscheck.variants.table import VARIANTS

_FRAMEWORKS = {"TorchModule": "torch_module", "VQPytorch": "vq_pytorch", "JaxFunction": "jax_function"}

__all__ = [
    "VARIANTS", "Adapter", "QuantizerAdapter", "Reference", "Report", "assert_conforms", "check",
    "conformance_tests",
]


def __getattr__(name: str) -> Any:
    if name not in _FRAMEWORKS:
        raise AttributeError(f"module 'vqnp.crosscheck' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vqnp.crosscheck.adapters.{_FRAMEWORKS[name]}"), name)
