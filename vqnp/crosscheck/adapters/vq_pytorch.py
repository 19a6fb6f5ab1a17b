"""vector_quantize_pytorch.VectorQuantize as an adapter: `check(VQPytorch(decay=0.8))`.

The package works in float32 whatever it is given, so it is asked in float32.
"""

from typing import Any

import numpy as np
from vector_quantize_pytorch import VectorQuantize

from vqnp._check import Array
from vqnp.crosscheck.adapters.torch_module import TorchModule

# Settings of version 1.32.0 under which it is vqnp's default EMA quantizer.
CONSISTENT: dict[str, Any] = {
    "decay": 0.99, "eps": 1e-5, "commitment_weight": 0.25, "kmeans_init": False, "ema_update": True,
    "threshold_ema_dead_code": 0, "rotation_trick": False, "use_cosine_sim": False,
    "stochastic_sample_codes": False, "sync_codebook": False,
}  # fmt: skip


class VQPytorch(TorchModule):
    """VectorQuantize(dim=D, codebook_size=K, **settings), made anew for each question.

    Parameters
    ----------
    **settings
        The package's own; none: its defaults. CONSISTENT is vqnp's default.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            lambda K, D: VectorQuantize(dim=D, codebook_size=K, **settings),
            layout="(1, N, D)", dtype=np.float32, name="vector_quantize_pytorch.VectorQuantize",
            codebook="_codebook.embed", cluster_size="_codebook.cluster_size",
            embedding_sum="_codebook.embed_avg", outputs=lambda result: result[:3],
        )  # fmt: skip
        if settings.get("learnable_codebook") and not settings.get("ema_update", True):
            self.names["N"] = self.names["m"] = None  # there, but idle: the codebook follows by gradient
            del self.reset, self.step

    def _new(self, E: Array) -> Any:
        """A layer that has its codebook does not wait for the first batch to draw another."""
        module: Any = super()._new(E)
        module._codebook.initted.fill_(True)
        return module

    def fresh(self, K: int, D: int) -> Array | None:
        E = super().fresh(K, D)
        initted: Any = self.module._codebook.initted  # type: ignore[union-attr]
        return E if bool(initted) else None
