"""θ of a model under PyTorch's names and in its layouts, and back: nn.Linear's weight is our Wᵀ.

encoder.1.W: (I, O) <-> encoder.1.weight: (O, I);  quantizer.E: (K, D) <-> quantizer.embedding.weight: (K, D)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_finite, fail
from vqnp.nn import Module, Param, VectorQuantizer
from vqnp.nn.module import TorchName


def torch_names(model: Module) -> dict[str, TorchName]:
    """PyTorch's name of every array in model.state_dict(), by ours.

    Raises
    ------
    InputError
        The model has a layer with arrays that does not know PyTorch's names for them.
    """
    names: dict[str, TorchName] = {}
    for prefix, module in model.named_modules():
        theirs = module.torch_names()
        own = {name for name, value in vars(module).items() if isinstance(value, Param)}
        own |= set(module.buffers())
        if own - theirs.keys():
            fail("to_torch", prefix[:-1], "must have names for PyTorch", type(module).__name__)
        for name, torch in theirs.items():
            names[prefix + name] = torch._replace(name=prefix + torch.name)
    return names


def to_torch(model: Module) -> dict[str, Array]:
    """Every parameter and buffer under PyTorch's names and in its layouts: copies, bit for bit.

    weight: (O, I) = Wᵀ, bias: (O,) = b, embedding.weight: (K, D) = E

    Parameters
    ----------
    model : Module
        A VQVAE, a VAE, an Autoencoder or any module whose layers know PyTorch's names.

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
        The model has a layer with arrays that does not know PyTorch's names for them.
    """
    state = model.state_dict()
    return {
        theirs.name: np.ascontiguousarray(state[ours].T) if theirs.transposed else state[ours]
        for ours, theirs in torch_names(model).items()
    }


def from_torch(arrays: Mapping[str, Any], model: Module) -> Module:
    """The model with these parameters: what to_torch gave, or what was trained in PyTorch.

    weight: (O, I) = Wᵀ, bias: (O,) = b, embedding.weight: (K, D) = E

    Parameters
    ----------
    arrays : mapping of str to array_like
        Arrays, or a ``state_dict()`` on the CPU, under the names that to_torch gives. The statistics
        of the quantizer (``cluster_size``, ``embedding_sum``, ``num_updates``) may all be absent: they
        are then those with which training would begin at these codes. Codes do not depend on them.
    model : Module
        Of the same parts, such as VQVAE.mlp(...) with the same arguments; changed in place.

    Returns
    -------
    model : Module
        The same, with copies of the arrays, bit for bit.

    Raises
    ------
    InputError
        A name is missing or unknown; an array has another shape or dtype than the model's, is NaN or
        infinite, or cannot become a NumPy array (it is on a GPU, say). The model is then unchanged.
    """
    where = "from_torch"
    names, state = torch_names(model), model.state_dict()
    statistics = {theirs.name for theirs in names.values() if theirs.statistic}
    _check_names(where, arrays, {theirs.name for theirs in names.values()}, statistics)
    new: dict[str, Array] = {}
    for ours, (theirs, transposed, _) in names.items():
        if theirs in arrays:
            form = state[ours].T if transposed else state[ours]
            array = _checked(where, theirs, arrays[theirs], form)
            new[ours] = array.T if transposed else array
    model.load_state_dict({**state, **_first_statistics(model, new), **new})
    return model


def _first_statistics(model: Module, new: Mapping[str, Array]) -> dict[str, Array]:
    """The buffers with which training would begin at the new codes."""
    first: dict[str, Array] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, VectorQuantizer) and f"{prefix}E" in new:
            buffers = module.first_buffers(new[f"{prefix}E"])
            first |= {prefix + name: array for name, array in buffers.items()}
    return first


def _check_names(where: str, arrays: Mapping[str, Any], names: set[str], statistics: set[str]) -> None:
    """Raise if a name is missing or unknown; statistics may be absent, but all of them."""
    needed = names if statistics & arrays.keys() else names - statistics
    for problem, wrong in (("missing", needed - arrays.keys()), ("unknown", arrays.keys() - names)):
        if wrong:
            fail(
                where,
                "arrays", f"must be named {', '.join(sorted(names))}",
                f"{problem} {', '.join(sorted(map(str, wrong)))}",
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
        fail(where, name, f"must be {form.dtype}, as the model's", array.dtype)
    if array.shape != form.shape:
        transposed = array.ndim == 2 and array.shape == form.shape[::-1]
        hint = ", its transpose: PyTorch's weight is (out, in)" if transposed else ""
        fail(where, name, f"must have shape {form.shape}, as the model's", f"shape {array.shape}{hint}")
    if array.dtype.kind == "f":
        check_finite(where, name, array)
    return array
