"""Is your VQ layer right, and if not, which known variant or bug is it? From its behaviour alone.

    report = vqnp.crosscheck.check(vqnp.crosscheck.Adapter(forward=..., backward=...))

docs/crosscheck.md is the guide. Adapters for PyTorch and JAX are in the modules torch_module,
vq_pytorch and jax_function; nothing else here imports a framework.
"""

from vqnp.crosscheck.adapter import Adapter as Adapter
from vqnp.crosscheck.asserting import assert_conforms as assert_conforms
from vqnp.crosscheck.asserting import conformance_tests as conformance_tests
from vqnp.crosscheck.checking import check as check
from vqnp.crosscheck.own import QuantizerAdapter as QuantizerAdapter
from vqnp.crosscheck.reference import Reference as Reference
from vqnp.crosscheck.report import Report as Report
from vqnp.crosscheck.variants import VARIANTS as VARIANTS

__all__ = [
    "VARIANTS",
    "Adapter",
    "QuantizerAdapter",
    "Reference",
    "Report",
    "assert_conforms",
    "check",
    "conformance_tests",
]
