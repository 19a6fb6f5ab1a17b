"""θ of a VQVAE under PyTorch's names and in its layouts, and back: nn.Linear's weight is our Wᵀ.

encoder.0.W: (I, O) <-> encoder.0.weight: (O, I);  quantizer.E: (K, D) <-> quantizer.embedding.weight: (K, D)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_finite, fail
from vqnp.models import MODELS, VAE, VQVAE, Autoencoder, build
from vqnp.nn.ema_quantizer import EMAVectorQuantizer
from vqnp.nn.layers import Linear
from vqnp.nn.quantizer import VectorQuantizer
from vqnp.ops.ema import ema_start

CODEBOOK = {"E": "embedding.weight"}
STATISTICS = {"N": "cluster_size", "m": "embedding_sum", "t": "num_updates"}
"""What the quantizer keeps beside its codes, in buffers: no code depends on it, further training does."""


class TorchName(NamedTuple):
    """What PyTorch calls one of our arrays; whether it holds it transposed; whether it is a statistic."""

    name: str
    transposed: bool = False
    statistic: bool = False


def torch_names(model: VQVAE | VAE | Autoencoder) -> dict[str, TorchName]:
    """PyTorch's name of every array in model.state(), by ours.

    Raises
    ------
    InputError
        The model has a layer with arrays that is neither a Linear nor a quantizer.
    """
    names: dict[str, TorchName] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, Linear):
            names[f"{prefix}W"] = TorchName(f"{prefix}weight", transposed=True)
            names[f"{prefix}b"] = TorchName(f"{prefix}bias")
        elif isinstance(module, VectorQuantizer):
            for own in {**module.params(), **module.buffers()}:
                statistic = own in STATISTICS
                theirs = (STATISTICS if statistic else CODEBOOK)[own]
                names[f"{prefix}{own}"] = TorchName(f"{prefix}{theirs}", statistic=statistic)
        elif module.params() or module.buffers():
            fail("to_torch", f"{prefix[:-1]}", "must be a Linear or a quantizer", type(module).__name__)
    return names


def to_torch(model: VQVAE | VAE | Autoencoder) -> dict[str, Array]:
    """Every parameter and buffer under PyTorch's names and in its layouts: copies, bit for bit.

    weight: (O, I) = Wᵀ, bias: (O,) = b, embedding.weight: (K, D) = E

    Parameters
    ----------
    model : VQVAE, VAE or Autoencoder

    Returns
    -------
    arrays : dict of ndarray
        What ``load_state_dict`` takes once each array has gone through ``torch.from_numpy``, for a
        module with the parts ``encoder`` and ``decoder`` (each an ``nn.Sequential``) and
        ``quantizer`` (``embedding``, an ``nn.Embedding(K, D)``; the buffers ``cluster_size``: (K,), N,
        and with an EMA codebook ``embedding_sum``: (K, D), m, and ``num_updates``: (), t).

    Raises
    ------
    InputError
        The model has a layer with arrays that is neither a Linear nor a quantizer.
    """
    state = model.state()
    return {
        theirs.name: np.ascontiguousarray(state[ours].T) if theirs.transposed else state[ours]
        for ours, theirs in torch_names(model).items()
    }


def from_torch(
    arrays: Mapping[str, Any], config: Mapping[str, Any], kind: str = "vqvae"
) -> VQVAE | VAE | Autoencoder:
    """The model with these parameters: what to_torch gave, or what was trained in PyTorch.

    weight: (O, I) = Wᵀ, bias: (O,) = b, embedding.weight: (K, D) = E

    Parameters
    ----------
    arrays : mapping of str to array_like
        Arrays, or a ``state_dict()`` on the CPU, under the names that to_torch gives. The statistics
        of the quantizer (``cluster_size``, ``embedding_sum``, ``num_updates``) may all be absent: they
        are then those with which training would begin at these codes. Codes do not depend on them.
    config : mapping
        The arguments of the model, such as ``model.config``.
    kind : {"vqvae", "vae", "autoencoder"}
        Which model: ``model.kind``.

    Returns
    -------
    model : VQVAE, VAE or Autoencoder
        With copies of the arrays, bit for bit.

    Raises
    ------
    InputError
        config is of no such model; a name is missing or unknown; an array has another shape or dtype than
        config says, is NaN or infinite, or cannot become a NumPy array (it is on a GPU, say).
    """
    where = "from_torch"
    try:
        model = build(kind, config)
    except TypeError as error:
        fail(where, "config", f"must be a mapping of {MODELS[kind].__name__}'s arguments", error)
    names, state = torch_names(model), model.state()
    statistics = {theirs.name for theirs in names.values() if theirs.statistic}
    _check_names(where, arrays, {theirs.name for theirs in names.values()}, statistics)
    new: dict[str, Array] = {}
    for ours, (theirs, transposed, _) in names.items():
        if theirs in arrays:
            form = state[ours].T if transposed else state[ours]
            array = _checked(where, theirs, arrays[theirs], form)
            new[ours] = array.T if transposed else array
    fresh = _fresh(model, new) if isinstance(model, VQVAE) else {}
    model.load_state({**state, **fresh, **new})
    return model


def _fresh(model: VQVAE, new: Mapping[str, Array]) -> dict[str, Array]:
    """The statistics with which training would begin at the new codes."""
    E, quantizer = new["quantizer.E"], model.quantizer
    if isinstance(quantizer, EMAVectorQuantizer):
        _, N, m, t = ema_start(E, quantizer.start, rng=0)
        return {"quantizer.N": N, "quantizer.m": m, "quantizer.t": np.asarray(t, np.int64)}
    return {"quantizer.N": np.ones(len(E), E.dtype)}


def _check_names(where: str, arrays: Mapping[str, Any], names: set[str], statistics: set[str]) -> None:
    """Raise if a name is missing or unknown; statistics may be absent, but all of them."""
    needed = names if statistics & arrays.keys() else names - statistics
    for what, wrong in (("missing", needed - arrays.keys()), ("unknown", arrays.keys() - names)):
        if wrong:
            fail(
                where,
                "arrays", f"must be named {', '.join(sorted(names))}",
                f"{what} {', '.join(sorted(map(str, wrong)))}",
            )


def _checked(where: str, name: str, value: Any, form: Array) -> Array:
    """value as an array of the dtype and shape of form, else raise."""
    try:
        array = np.asarray(value)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # a GPU's tensor, bfloat16, one that wants a gradient
        sentence = " ".join(str(error).split())
        fail(where, name, "must be an array in the CPU's memory, or a tensor's .detach().cpu()", sentence)
    if array.dtype != form.dtype:
        fail(where, name, f"must be {form.dtype}, as config says", array.dtype)
    if array.shape != form.shape:
        transposed = array.ndim == 2 and array.shape == form.shape[::-1]
        hint = ", its transpose: PyTorch's weight is (out, in)" if transposed else ""
        fail(where, name, f"must have shape {form.shape}, as config says", f"shape {array.shape}{hint}")
    if array.dtype.kind == "f":
        check_finite(where, name, array)
    return array
