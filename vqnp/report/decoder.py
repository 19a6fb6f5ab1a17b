"""x̂ = decoder(Σ_i E_i[k_i]): what a page needs to decode codes, and what NumPy decodes them to."""

import copy
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.nn import Module, describe
from vqnp.ops.logit_laplace import MARGIN
from vqnp.plots import are_signals
from vqnp.report.packing import compressed_all, fits, packed, packed_bytes, rounded

LAYERS = ("Sequential", "Residual", "Linear", "Conv", "ConvTranspose", "Activation", "Flatten", "Reshape")
"""What network.js computes."""

MOST_TABLE_ENTRIES = 400_000  # of all codebooks: 1.6 MB, beyond which there is no room for a decoder
LEVELS = (
    "The codes of this model are in several levels, and the page computes decoders of one level only; "
    "vqnp decode and vqnp sample take all levels."
)
NUMBERS = "The latents of this model are numbers and not codes, so there are no codes to exchange."


def why_not(model: Any) -> str:
    """Why a page cannot decode this model's codes, in a sentence; "" if it can."""
    if model.encoding.name == "levels":
        return LEVELS
    if model.encoding.name != "codes":
        return NUMBERS
    others = [name for name in _kinds(model.decoder) if name not in LAYERS]
    if others:
        return f"The decoder has a layer that the page cannot compute, {others[0]}."
    quantizer = model.quantizer
    if quantizer.num_codebooks * quantizer.num_embeddings * quantizer.embedding_dim > MOST_TABLE_ENTRIES:
        return f"A codebook of {quantizer.num_embeddings} codes is too large for the page."
    return ""


def _kinds(module: Module) -> list[str]:
    return [type(each).__name__ for _, each in module.named_modules()]


def tables(quantizer: Any) -> Array:
    """E_i[j], what code j of codebook i adds to z_q: (n, K, D)."""
    n, K = quantizer.num_codebooks, quantizer.num_embeddings
    k = np.arange(K) if n == 1 else np.repeat(np.arange(K)[:, None], n, axis=1)
    return np.ascontiguousarray(quantizer.decode_parts(k).swapaxes(0, 1))


def decoder_part(model: Any, precision: str) -> dict[str, Any] | None:
    """The decoder and the codebooks for the page; None if a weight is too large for this precision."""
    arrays, E = model.decoder.state_dict(), tables(model.quantizer)
    if not fits(arrays | {"tables": E}, precision):
        return None
    places = plane_map(E)
    return {
        "layers": describe(model.decoder), "precision": precision,
        "arrays": compressed_all(arrays, precision),
        "tables": packed(E, "float32"), "map": packed(places[0], "float32"), "explained": places[1],
        "latent_shape": list(model.latent_shape), "grid_shape": list(_grid(model)),
        "data_shape": list(model.data.shape), "view": list(view(model)), "signals": bool(are_signals(model)),
        "low": model.data.low, "high": model.data.high,
        "likelihood": model.likelihood, "epsilon": MARGIN,
    }  # fmt: skip


def _grid(model: Any) -> tuple[int, int]:
    """Rows and columns in which the page shows the codes; latents without places are nearly square."""
    *rest, last = model.grid_shape or (1,)
    if rest:
        return int(np.prod(rest)), last
    columns = next(c for c in range(int(np.ceil(np.sqrt(last))), last + 1) if last % c == 0)
    return (last // columns, columns) if columns <= 16 else (-(-last // 16), 16)


def view(model: Any) -> tuple[int, int, int]:
    """Height, width and channels of an example as it is drawn; of signals 1, time and channels."""
    shape = model.data.shape
    if are_signals(model):
        return 1, shape[0], (*shape[1:], 1)[0]
    if len(shape) == 1:
        side = int(np.sqrt(shape[0]))
        return side, side, 1
    return shape[0], shape[1], int(np.prod(shape[2:]))


def plane_map(E: Array) -> tuple[Array, list[float]]:
    """The first two principal components of each codebook's vectors: (n, K, 2), and their share of it all."""
    centred = E.astype(np.float64) - E.mean(axis=1, keepdims=True)
    places, shares = np.zeros((*E.shape[:2], 2)), []
    for i, x in enumerate(centred):
        u, s, _ = np.linalg.svd(x, full_matrices=False)
        d = min(2, len(s))
        places[i, :, :d] = u[:, :d] * s[:d]
        total = float((s**2).sum())
        shares.append(float((s[:d] ** 2).sum()) / total if total else 1.0)
    return places, shares


def with_rounded_decoder(model: Any, precision: str) -> Any:
    """The model with the decoder that a page has."""
    if precision == "float32":
        return model
    other = copy.copy(model)
    other.decoder = copy.deepcopy(model.decoder)
    for param in other.decoder.parameters():
        param.value[...] = rounded(param.value, precision)
    return other


def examples_part(model: Any, images: Array, names: list[str]) -> dict[str, Any]:
    """Images as bytes, and their codes: (m, *data.shape), (m, M)."""
    codes = model.encode(images) if len(images) else np.empty((0, *model.code_shape), np.int64)
    x = model.data.to_array(images, np.float64, "report") if len(images) else np.empty((0, *model.data.shape))
    low, high = model.data.low, model.data.high
    pixels = np.rint(255 * (x - low) / (high - low))
    return {"names": names, "pixels": packed(pixels, "uint8"), "codes": packed_bytes(_rows(model, codes))}


def _rows(model: Any, codes: Array) -> Array:
    return codes.reshape(len(codes), model.num_codes)


def decoder_check(model: Any, precision: str, rng: np.random.Generator) -> dict[str, Any]:
    """Codes drawn at random, and NumPy's image of them: what the page compares its own with."""
    codes = rng.integers(0, model.num_embeddings, (1, *model.code_shape))
    image = with_rounded_decoder(model, precision).decode(codes)[0]
    whole = model.decode(codes)[0]
    return {
        "codes": _rows(model, codes)[0].tolist(), "image": packed(image, "float32"),
        "rounding": float(np.abs(image - whole).max()),
    }  # fmt: skip
