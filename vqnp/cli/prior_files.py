"""RUN/prior.npz: a network with the state of its training, or the codes that a Markov chain has counted.

Either names the model whose codes it is about, so that no prior is used with another model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import InputError, fail
from vqnp._files import write_arrays
from vqnp.checkpoint import load_all, read_arrays
from vqnp.cli.runs import Opened, Run, open_run
from vqnp.priors.autoregressive import AutoregressivePrior
from vqnp.priors.generation import check_fits
from vqnp.priors.hierarchical import HierarchicalPrior
from vqnp.priors.markov import Markov
from vqnp.priors.transformer import Transformer

CHAIN = {"format": "vqnp-checkpoint", "format_version": 2, "kind": "markov"}
"""The meta of a chain: that of a checkpoint, which vqnp.load refuses, for a chain is no module."""


class Stored(NamedTuple):
    """A prior, its kind on the command line, and the state of its training in so far as it is plain.

    captions: of a prior whose classes are captions, the caption of each class
    """

    prior: Any
    kind: str
    trainer: dict[str, Any]
    captions: tuple[str, ...] = ()


def open_codes_run(path: str | Path) -> Opened:
    """The model of a run folder, which must be a VQ-VAE."""
    opened = open_run(path)
    if not Path(path).is_dir():
        fail("RUN", "", "must be a run folder, for the prior is in it", f"the file {path}")
    if not opened.model.num_embeddings:
        needed = "must be the run of a VQ-VAE, whose latents are codes"
        fail("RUN", "", needed, f"{path}, the run of a model of kind {opened.model.kind}")
    return opened


def about(model: Any, captions: Sequence[str] = ()) -> dict[str, Any]:
    """What a prior's file says about the model whose codes it is about, and about its classes."""
    return {"codes_of": model.fingerprint()} | ({"captions": list(captions)} if captions else {})


def write_chain(run: Run, chain: Markov, model: Any) -> None:
    """Write a Markov chain, atomically."""
    codes = chain.codes.reshape(-1, *chain.latent_shape)
    codes = codes.astype(np.min_scalar_type(chain.num_embeddings - 1))
    meta = {**CHAIN, "num_embeddings": chain.num_embeddings, "about": about(model)}
    write_arrays(run.prior, meta, {"codes": codes})


def read_prior(run: Run, model: Any) -> Stored:
    """The prior in a run folder, if it is about the codes of this model; else InputError."""
    path = run.prior
    if not path.exists():
        needed = "must be a run with a prior (vqnp prior RUN trains one)"
        fail("RUN", "", needed, f"{run.folder}, which has no {path.name}")
    meta, arrays = read_arrays(path)
    if meta.get("kind") == "markov":
        try:
            prior, kind, trainer = Markov(arrays["codes"], meta["num_embeddings"]), "markov", {}
        except (InputError, KeyError) as error:
            raise InputError(f"prior {path}", "", "must hold a whole chain", error) from None
    else:
        prior, meta, _ = load_all(path)
        one = prior.levels[0] if isinstance(prior, HierarchicalPrior) else prior
        kind = "transformer" if isinstance(one, Transformer) else type(one).__name__.lower()
        trainer = meta.get("trainer", {})
        if not isinstance(one, AutoregressivePrior):
            fail(f"prior {path}", "", "must be a prior over codes", type(prior).__name__)
    captions = _captions(meta, prior)
    if meta.get("about") != about(model, captions):
        needed = "must be the prior of the model beside it (vqnp prior --force replaces it)"
        fail(f"prior {path}", "", needed, "one of another model's codes")
    check_fits(f"prior {path}", model, prior)
    return Stored(prior, kind, trainer, captions)


def _captions(meta: Any, prior: Any) -> tuple[str, ...]:
    """The captions of a prior's classes, if its file has one for each."""
    own = meta.get("about")
    found = own.get("captions") if isinstance(own, dict) else None
    if not isinstance(found, list) or len(found) != getattr(prior, "num_classes", 0):
        return ()
    return tuple(found) if all(isinstance(each, str) for each in found) else ()
