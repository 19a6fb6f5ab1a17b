"""Reads what version 0.1 wrote: flat arguments, and layers numbered without Flatten.

A model was described by the arguments that `VQVAE.mlp`, `VAE.mlp` and `Autoencoder.mlp` now take.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, fail
from vqnp.models.autoencoder import Autoencoder
from vqnp.models.base import Model
from vqnp.models.vae import VAE
from vqnp.models.vqvae import VQVAE, quantizer_of
from vqnp.nn import VectorQuantizer

Arrays = dict[str, Array]

# Options of quantizers that this version does not have, with the value that means what this version does.
REMOVED = {"beta_on": "commitment", "write_back": False, "codes": "before", "start": "consistent"}


def model_of(kind: Any, config: Mapping[str, Any], restart_dead_codes: float = 0.0) -> Model:
    """The model for flat arguments as version 0.1 stored them, with newly drawn parameters."""
    check_choice("checkpoint", "kind", kind, ("vqvae", "vae", "autoencoder"))
    config = dict(config)
    if kind == "vae":
        return VAE.mlp(**config)
    if kind == "autoencoder":
        return Autoencoder.mlp(**config)
    options = dict(config.pop("quantizer_options", {}))
    if options.get("zero_debias") and options.get("start") == "zero":
        del options["start"]  # Sonnet's averages, now given by zero_debias alone
    for name, value in REMOVED.items():
        if (found := options.pop(name, value)) != value:
            fail("checkpoint", f"the quantizer's {name}", f"must be {value!r} in this version", repr(found))
    K, D = config.pop("num_embeddings"), config.pop("embedding_dim")
    beta, epsilon = config.pop("commitment_cost"), config.pop("epsilon")
    options |= {name: config.pop(name) for name in ("decay", "codebook_init")}
    options |= {"dtype": config["dtype"], "restart_dead_codes": restart_dead_codes}
    quantizer = quantizer_of(config.pop("codebook"), K, D, beta, epsilon, **options)
    return VQVAE.mlp(quantizer=quantizer, **config)


def renamed(name: str) -> str:
    """An array's name in this version: a Flatten now comes before each network's first layer."""
    return re.sub(r"\b(encoder|decoder)\.(\d+)\.", lambda m: f"{m[1]}.{int(m[2]) + 1}.", name)


def checkpoint_of(meta: dict[str, Any], arrays: Arrays) -> tuple[Model, dict[str, Any], Arrays]:
    """The model, its parameters newly drawn, and a checkpoint's meta and arrays in this version's terms."""
    trainer = meta.get("trainer")
    restart = trainer["schedule"]["restart_dead_codes"] if trainer else 0.0
    model = model_of(meta.get("kind", "vqvae"), meta["model"], restart)
    arrays = {renamed(name): array for name, array in arrays.items()}
    if trainer:
        trainer, arrays = _trainer(trainer, model, arrays)
    return model, {**meta, "trainer": trainer} if trainer else meta, arrays


def _trainer(saved: Mapping[str, Any], model: Model, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """A trainer's entries and arrays, as Trainer.restore reads them."""
    schedule = dict(saved["schedule"])
    schedule.pop("restart_dead_codes")
    n, size = len(arrays["trainer.order"]), schedule["batch_size"]
    seen = min(saved["step"] % -(-n // size) * size, n)
    quantizer = getattr(model, "quantizer", None)
    beta, gradient = getattr(quantizer, "commitment_cost", 0.0), type(quantizer) is VectorQuantizer
    names = {"vqvae": ("loss", "mse", "quantization_loss"), "vae": ("loss", "reconstruction_loss", "kl")}
    sums = dict(zip(names.get(model.kind, ("loss", "mse")), arrays["trainer.sums"].tolist(), strict=True))
    history = [_row(row, beta, gradient) for row in saved["history"]]
    entries = {**saved, "schedule": schedule, "history": history, "data": saved["images"], "seen": seen}
    entries |= {"losses": _row(sums, beta, gradient) if seen else {}, "restarted": None}
    if model.kind == "vqvae" and seen:
        entries["restarted"] = saved["restarted"]
        arrays["statistics.quantizer"] = arrays["trainer.counts"]
    return entries, arrays


def _row(row: Mapping[str, float], beta: float, gradient: bool) -> dict[str, float]:
    """A row of the history with this version's columns: L_vq = codebook + commitment, in the ratio 1 : β."""
    new: dict[str, float] = {}
    for name, value in row.items():
        if name == "quantization_loss":
            codebook = value / (1 + beta) if gradient else 0.0
            new |= {"codebook_loss": codebook, "commitment_loss": value - codebook}
        else:
            new["reconstruction_loss" if name == "mse" else name] = value
    return new


def fingerprint_of(model: Model) -> str | None:
    """The fingerprint of an MLP model in version 0.1's files of codes; None for other networks."""
    layers = list(getattr(model.decoder, "layers", ()))
    kinds = [type(layer).__name__ for layer in layers]
    if kinds[:1] != ["Flatten"] or kinds[-1:] != ["Reshape"] or set(kinds[1:-1]) - {"Linear", "Activation"}:
        return None
    hidden = [layer.W.value.shape[0] for layer in layers if type(layer).__name__ == "Linear"][1:]
    activation = next((layer.name for layer in layers if type(layer).__name__ == "Activation"), "relu")
    size = model.num_latents if model.kind == "vqvae" else model.latent_dim
    meaning = [list(model.data.shape), size, hidden[::-1], activation, model.dtype.name]
    if model.kind == "vae":
        meaning.append(model.likelihood)  # type: ignore[attr-defined]
    digest = hashlib.sha256(repr(meaning).encode())
    for array in model.defining_arrays():
        digest.update(np.ascontiguousarray(array).tobytes())
    for name, param in model.decoder.named_parameters():
        number, _, rest = name.partition(".")
        digest.update(f"{int(number) - 1}.{rest}".encode() + param.value.tobytes())
    return digest.hexdigest()
