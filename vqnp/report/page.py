"""A run as one HTML file: figures, configuration and diagnosis, and a decoder and a prior in JavaScript."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp._version import __version__
from vqnp.report import decoder, priors, words
from vqnp.report.packing import PRECISIONS, packed_bytes

LIMIT_BYTES = 3_000_000
"""A page is below this: it can be sent in a mail, and opens at once."""

SCRIPTS = (
    "network.js", "priors.js", "view.js", "exchange.js", "walk.js", "drawing.js", "explorer.js",
)  # fmt: skip
"""In the order in which they need each other."""

KINDS = {
    "vqvae": "VQ-VAE", "vae": "VAE", "autoencoder": "Autoencoder", "hierarchical": "Hierarchical VQ-VAE",
    "sound": "VQ-VAE of sounds",
}  # fmt: skip

LIVE_BYTES = 20_000  # more than the sections of the live part and the template have

NO_PRIOR = "This run has no prior. vqnp prior RUN trains one; then write the report again."
NO_DECODER = "Without the decoder the page does not draw from the prior either; vqnp sample does."
TOO_LARGE = "The weights of {}, {} numbers, do not fit into a page of 3 MB, so it is left out."


@dataclass
class Contents:
    """What a page is about.

    title: the run's name; model: as vqnp.load returns it; folder: where its figures are; config: of
    config.json; history, prior_history: a row for each epoch; report: of model.evaluate, or None; source: the
    data of the report, or the sentence why there is none; images: (m, *data.shape) to begin with, and a name
    for each; prior: or the sentence why there is none
    """

    title: str
    model: Any
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    prior_history: Sequence[Mapping[str, float]] = ()
    report: Any = None
    source: str = "no data were read"
    images: Array | None = None
    names: Sequence[str] = ()
    prior: Any = NO_PRIOR
    seed: int = 0


def write_page(contents: Contents, limit: int = LIMIT_BYTES) -> str:
    """The page, of fewer bytes than the limit.

    Figures, configuration and diagnosis come first, then the weights: of decoder and prior in float32, or of
    the prior, of the decoder, or of both in float16, whichever of these fits first. If none does, the prior
    is replaced by a sentence, and if the decoder alone is too large, so is the decoder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from vqnp import VQVAE
    >>> model = VQVAE.mlp((4, 4), num_latents=3, embedding_dim=2, num_embeddings=8, hidden=(5,))
    >>> page = write_page(Contents("tiny", model, Path("no/folder")))
    >>> page.startswith("<!DOCTYPE html>"), len(page) < 200_000
    (True, True)
    """
    parts = {
        "version": __version__, "title": words.escape(contents.title), "lead": _lead(contents.model),
        "style": _file("style.css"), "script": "\n".join(map(_file, SCRIPTS)),
        "diagnosis": _diagnosis(contents), "figures": words.figures(contents.folder, contents.history),
        "configuration": words.configuration(contents.config),
        "history": words.history(contents.history, "Each epoch of the training")
        + words.history(contents.prior_history, "Each epoch of the prior's training"),
    }  # fmt: skip
    room = limit - LIVE_BYTES - sum(len(text.encode()) for text in parts.values())
    data, live, prior = _chosen(contents, room)
    parts["walk"] = "" if live else '<a href="#walk">Walk</a>\n'
    parts["live"] = _sentence("explore", "Codes", live) if live else _file("live.html")
    parts["draw"] = _sentence("draw", "Prior", prior) if prior else _file("draw.html")
    parts["data"] = _json(data)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("template.html"))


def _file(name: str) -> str:
    return resources.files("vqnp.report").joinpath(name).read_text("utf-8")


def _json(data: Any) -> str:
    """The data as JSON that may stand in a script element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _sentence(name: str, heading: str, text: str) -> str:
    """A section with a heading and a sentence in place of the live part."""
    title = f'<h2 id="{name}-title">{heading}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{title}<p>{words.escape(text)}</p></section>'


def _lead(model: Any) -> str:
    """The model in a line."""
    parts = [KINDS.get(model.kind, model.kind)]
    if model.encoding.name == "codes":
        grid = " × ".join(map(str, model.grid_shape))
        parts += [type(model.quantizer).__name__, f"{grid} codes of {model.num_embeddings}"]
    parts += [model.encoding.size, f"{model.num_parameters():,} parameters"]
    return words.escape(" · ".join(parts))


def _diagnosis(contents: Contents) -> str:
    if contents.report is None:
        return f"<p>{words.escape(contents.source)}</p>"
    return words.diagnosis(contents.report, contents.source)


def _chosen(contents: Contents, room: int) -> tuple[dict[str, Any], str, str]:
    """The data of the live part; for the decoder and for the prior "" or the sentence why it is left out."""
    live, prior = decoder.why_not(contents.model), contents.prior
    without = prior if isinstance(prior, str) else priors.why_not(prior)
    if live:
        return {}, live, without or NO_DECODER

    @functools.cache
    def made(make: Any, precision: str) -> tuple[dict[str, Any] | None, int]:
        part = make(contents, precision)
        return part, len(_json(part))

    both = [] if without else [((_live, a), (_prior, b)) for a in PRECISIONS for b in PRECISIONS]
    for wanted in (*both, *(((_live, a),) for a in PRECISIONS)):  # the best one first
        parts = [made(*one) for one in wanted]
        if all(part for part, _ in parts) and sum(size for _, size in parts) <= room:
            if both and len(wanted) == 1:
                count = prior.codes.size if hasattr(prior, "codes") else prior.num_parameters()
                without = TOO_LARGE.format("the prior", f"{count:,}")
            return {name: value for part, _ in parts for name, value in (part or {}).items()}, "", without
    live = TOO_LARGE.format("the decoder", f"{contents.model.decoder.num_parameters():,}")
    return {}, live, without or NO_DECODER


def _live(contents: Contents, precision: str) -> dict[str, Any] | None:
    """The data of decoder, codebooks and images; None if a weight is too large for the precision."""
    model, images = contents.model, contents.images
    part = decoder.decoder_part(model, precision)
    if part is None:
        return None
    if images is None:
        images = np.empty((0, *model.data.shape), np.uint8)
    n, K = model.quantizer.num_codebooks, model.num_embeddings
    counts = getattr(contents.report, "counts", None)
    counts = np.zeros((n, K), np.int64) if counts is None else np.asarray(counts).reshape(n, K)
    check = decoder.decoder_check(model, precision, np.random.default_rng(contents.seed))
    return {
        "decoder": part, "counts": packed_bytes(counts), "check": check, "seed": contents.seed,
        "examples": decoder.examples_part(model, images, list(contents.names)),
    }  # fmt: skip


def _prior(contents: Contents, precision: str) -> dict[str, Any] | None:
    """The data of the prior; None if a weight is too large for the precision."""
    part = priors.prior_part(contents.prior, precision)
    rng = np.random.default_rng(contents.seed)
    return part and {"prior": part, "prior_check": priors.prior_check(contents.prior, precision, rng)}
