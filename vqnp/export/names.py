"""θ of a model under PyTorch's names and in its layouts, and back: nn.Linear's weight is our Wᵀ.

encoder.1.W: (I, O) <-> encoder.1.weight: (O, I), of a convolution (*k, C, O) <-> (O, C, *k)
quantizer.E: (K, D) <-> quantizer.embedding.weight: (K, D)
"""

from collections.abc import Iterable, Mapping
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

    Examples
    --------
    >>> from vqnp.nn import Activation, Linear, Sequential
    >>> names = torch_names(Sequential(Linear(3, 4), Activation("relu"), Linear(4, 2)))
    >>> {ours: (torch.name, torch.axes) for ours, torch in names.items()}
    {'0.W': ('0.weight', (1, 0)), '0.b': ('0.bias', None),
     '2.W': ('2.weight', (1, 0)), '2.b': ('2.bias', None)}
    """
    names: dict[str, TorchName] = {}
    for prefix, module in model.named_modules():
        theirs = module.torch_names()
        own = {name for name, value in vars(module).items() if isinstance(value, Param)}
        if (own | module.buffers().keys()) - theirs.keys():
            fail("to_torch", prefix[:-1], "must have names for PyTorch", type(module).__name__)
        names |= {prefix + ours: torch._replace(name=prefix + torch.name) for ours, torch in theirs.items()}
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
        What ``load_state_dict`` takes, after ``torch.from_numpy``, for a module with the parts ``encoder``
        and ``decoder`` (each an ``nn.Sequential``) and ``quantizer`` (``embedding``, an
        ``nn.Embedding(K, D)``; the buffers ``cluster_size``: (K,), N, and with an EMA codebook
        ``embedding_sum``: (K, D), m, and ``num_updates``: (), t).

    Raises
    ------
    InputError
        The model has a layer with arrays that does not know PyTorch's names for them.
    """
    state = model.state_dict()
    return {
        theirs.name: np.asarray(theirs.to_torch(state[ours]), order="C")
        for ours, theirs in torch_names(model).items()
    }


def from_torch(arrays: Mapping[str, Any], model: Module) -> Module:
    """The model with these parameters: what to_torch gave, or what was trained in PyTorch.

    weight: (O, I) = Wᵀ, bias: (O,) = b, embedding.weight: (K, D) = E

    Parameters
    ----------
    arrays : mapping of str to array_like
        Arrays, or a ``state_dict()`` on the CPU, under the names that to_torch gives. The statistics of
        the quantizer (``cluster_size``, ``embedding_sum``, ``num_updates``), on which codes do not depend,
        may all be absent: they are then those with which training would begin at these codes.
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
    names, state = torch_names(model), model.state_dict()
    _check_names(arrays, names.values())
    new: dict[str, Array] = {}
    for ours, theirs in names.items():
        if theirs.name in arrays:
            array = _checked(theirs.name, arrays[theirs.name], theirs.to_torch(state[ours]))
            new[ours] = theirs.from_torch(array)
    for prefix, module in model.named_modules():
        if isinstance(module, VectorQuantizer) and f"{prefix}E" in new:
            state |= {prefix + name: a for name, a in module.first_buffers(new[f"{prefix}E"]).items()}
    model.load_state_dict(state | new)
    return model


def _check_names(arrays: Mapping[str, Any], known: Iterable[TorchName]) -> None:
    """Raise if a name is missing or unknown; statistics may be absent, but all of them."""
    names = {torch.name for torch in known}
    statistics = {torch.name for torch in known if torch.statistic}
    needed = names if statistics & arrays.keys() else names - statistics
    for problem, wrong in (("missing", needed - arrays.keys()), ("unknown", arrays.keys() - names)):
        if wrong:
            got = f"{problem} {', '.join(sorted(map(str, wrong)))}"
            fail("from_torch", "arrays", f"must be named {', '.join(sorted(names))}", got)


def _checked(name: str, value: Any, form: Array) -> Array:
    """value as an array of the dtype and shape of form, else raise."""
    where = "from_torch"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a GPU's tensor, bfloat16, one with a gradient
        needed = "must be an array in the CPU's memory, or a tensor's .detach().cpu()"
        fail(where, name, needed, " ".join(str(error).split()))
    if array.dtype != form.dtype:
        fail(where, name, f"must be {form.dtype}, as the model's", array.dtype)
    if array.shape != form.shape:
        transposed = array.ndim == 2 and array.shape == form.shape[::-1]
        hint = ", its transpose: PyTorch's weight is (out, in)" if transposed else ""
        fail(where, name, f"must have shape {form.shape}, as the model's", f"shape {array.shape}{hint}")
    if array.dtype.kind == "f":
        check_finite(where, name, array)
    return array
