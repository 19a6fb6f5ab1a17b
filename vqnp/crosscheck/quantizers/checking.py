"""check_quantizer(layer, kind=…) -> QuantizerReport: ask a quantizer, and name the variant or bug."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_int, check_lengths, fail
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers import families
from vqnp.crosscheck.quantizers.asking import Question, Unanswered
from vqnp.crosscheck.quantizers.layer import QuantizerFunctions
from vqnp.crosscheck.quantizers.report import QuantizerReport
from vqnp.crosscheck.quantizers.residual import find_decode, vectors
from vqnp.crosscheck.quantizers.table import DIMENSIONS, VARIANTS

WHERE = "check_quantizer"
KINDS = tuple(DIMENSIONS)

Allow = Mapping[str, str | Iterable[str]] | Iterable[str]


def check_quantizer(
    layer: Any, kind: str | None = None, *, levels: Sequence[int] | None = None,
    embedding_dim: int | None = None, allow: Allow = (), vectors: int = 256, seed: int = 0,
    name: str | None = None,
) -> QuantizerReport:  # fmt: skip
    """Report how a residual, finite scalar, lookup-free, cosine or vector quantizer behaves, and its bugs.

    The layer is a black box: its answers and gradients for random vectors are compared with those of every
    variant that is known, vqnp's own among them. What no variant explains is reported as not checked.

    Parameters
    ----------
    layer : QuantizerFunctions, TorchQuantizer, JaxQuantizer, torch.nn.Module or callable
        A module of PyTorch is wrapped in TorchQuantizer, a function z -> z_q, k, L of NumPy arrays in
        QuantizerFunctions, without gradients.
    kind : {"vector", "residual", "cosine", "finite_scalar", "lookup_free"}, optional
        The family. Default: as its answers tell, if they do.
    levels : sequence of int, optional
        Of a finite scalar quantizer. Default: the layer's attribute `levels`; without it the number of
        levels is measured, and not compared.
    embedding_dim : int, optional
        D. Default: that of the codebooks, the number of levels, or the layer's attribute.
    allow : mapping of dimension to variant or variants, or the names of dimensions
        Intended deviations, such as {"estimator": "n_times"}: keys of
        vqnp.crosscheck.quantizers.table.VARIANTS.
    vectors : int
        The number of vectors of one call.
    seed : int
        The seed of the vectors.
    name : str, optional
        The name in the report. Default: the layer's.

    Returns
    -------
    QuantizerReport

    Raises
    ------
    InputError
        For wrong arguments only; anything that the layer does wrong is reported.

    References
    ----------
    docs/crosscheck-quantizers.md

    Examples
    --------
    Signs whose gradient is forgotten:

    >>> import numpy as np
    >>> from vqnp.crosscheck import QuantizerFunctions, check_quantizer
    >>> layer = QuantizerFunctions(
    ...     lambda z: (np.sign(z), (z > 0) @ (1 << np.arange(4))), lambda z, G: np.zeros_like(z),
    ...     embedding_dim=4, name="signs",
    ... )
    >>> report = check_quantizer(layer, "lookup_free")
    >>> report.verdict, report.fingerprint["estimator"], report.fingerprint["sign_of_zero"]
    ('does not conform', 'zero', 'no_code')
    """
    N = check_int(WHERE, "vectors", vectors, 16)
    rng = np.random.default_rng(check_int(WHERE, "seed", seed, 0))
    allowed = _allowances(allow)
    layer = _wrapped(layer)
    levels = getattr(layer, "levels", None) if levels is None else levels
    L = None if levels is None else tuple(check_lengths(WHERE, "levels", levels))
    if L is not None and (not L or min(L) < 2):
        fail(WHERE, "levels", "must be integers from 2", L)
    ask = Question(layer)
    name = name or getattr(layer, "name", None) or type(layer).__name__
    E: Array | None = None
    found = families.Findings(ask)
    try:
        E = ask.codebooks()
    except Unanswered as problem:
        ask.hinder(problem)
    kind = getattr(layer, "kind", None) if kind is None else kind
    if kind in ("finite_scalar", "lookup_free"):
        E = None
    if ask.faults:
        D, kind = embedding_dim or 1, kind or "vector"
    else:
        D = _dimension(layer, E, L, embedding_dim)
        kind = _kind(ask, kind, E, L, D, rng)
    if kind in ("vector", "residual", "cosine") and E is None and not ask.faults:
        fail(WHERE, "layer", f"must have codebooks for kind {kind!r}", "None")
    if not ask.faults:
        try:
            _ask(ask, found, kind, E, L, D, N, rng)
        except Unanswered as problem:
            ask.hinder(problem)
    findings = [found.get(d, Finding(d, None, "not asked")) for d in DIMENSIONS[kind]]
    shape = (D,) if E is None else E.shape if kind == "residual" else E.shape[1:]
    return QuantizerReport(
        name=str(name), kind=kind, shape=shape, dtype=ask.dtype.name, calls=ask.calls, findings=findings,
        faults=ask.faults, notes=ask.notes, hindrances=ask.hindrances, allowed=allowed,
    )  # fmt: skip


def _ask(
    ask: Question, found: families.Findings, kind: str, E: Array | None, L: tuple[int, ...] | None, D: int,
    N: int, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Everything that is asked of one kind."""
    if kind in ("vector", "residual"):
        assert E is not None
        z = vectors(E, 1, 16, rng)
        answer = ask.forward(z)
        n = 1 if answer.k is None else answer.k.shape[1]
        families.ask_codebook(ask, found, E, n, N, rng)
    elif kind == "cosine":
        assert E is not None
        families.ask_cosine(ask, found, E, N, rng)
    elif kind == "finite_scalar":
        families.ask_finite_scalar(ask, found, D, L, N, rng)
    else:
        families.ask_lookup_free(ask, found, D, N, rng)
    if found.variant("repeat") == "deterministic" and ask.has("decode"):
        z = rng.standard_normal((N, D)) if E is None else vectors(E, len(E), N, rng)
        answer = ask.forward(z)
        found.answer("decode", lambda: find_decode(ask, answer, answer.k))


def _kind(
    ask: Question, kind: str | None, E: Array | None, L: tuple[int, ...] | None, D: int,
    rng: np.random.Generator,
) -> str:  # fmt: skip
    """The family that was given, or that the answers tell."""
    if kind is not None:
        return check_choice(WHERE, "kind", kind, KINDS)
    if L is not None:
        return "finite_scalar"
    z = rng.standard_normal((64, D)) if E is None else vectors(E, 1, 64, rng)
    try:
        answer = ask.forward(z)
        if E is None:
            sizes = np.abs(answer.z_q)
            if sizes.min() > 0 and np.ptp(sizes) <= 1e-5 * sizes.max():
                return "lookup_free"
            needed = f"must be given, one of {', '.join(KINDS)}"
            fail(WHERE, "kind", needed, "None, and the answers do not tell")
        if answer.k is not None and answer.k.shape[1] > 1:
            return "residual"
        larger = ask.forward(3 * z)
    except Unanswered as problem:
        ask.hinder(problem)
        return "vector" if E is not None else "lookup_free"
    same = answer.k is not None and larger.k is not None and bool((answer.k == larger.k).all())
    lengths = np.linalg.norm(E, axis=-1)
    if same and (np.ptp(lengths) > 1e-4 * lengths.max() or answer.L == larger.L):
        return "cosine"
    if same:
        fail(WHERE, "kind", "must be given, 'vector' or 'cosine'", "None, and all codes have one length")
    return "vector"


def _dimension(layer: Any, E: Array | None, L: tuple[int, ...] | None, given: int | None) -> int:
    own = getattr(layer, "embedding_dim", None)
    D = E.shape[-1] if E is not None else given if given is not None else len(L) if L is not None else own
    if D is None:
        fail(WHERE, "embedding_dim", "must be given where neither codebooks nor levels tell it", "None")
    return check_int(WHERE, "embedding_dim", D)


def _wrapped(layer: Any) -> Any:
    """A torch.nn.Module or a function as an object with `forward`."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(layer, torch.nn.Module):
        from vqnp.crosscheck.quantizers.torch_quantizer import TorchQuantizer

        return TorchQuantizer(layer)
    if callable(getattr(layer, "forward", None)):
        return layer
    if not callable(layer):
        fail(WHERE, "layer", "must have a function forward, or be one", type(layer).__name__)
    return QuantizerFunctions(layer, name=getattr(layer, "__name__", type(layer).__name__))


def _allowances(allow: Allow) -> dict[str, tuple[str, ...]]:
    """Dimension -> variants that are allowed in it, from either form of the argument."""
    if isinstance(allow, str):
        allow = (allow,)
    pairs = allow.items() if isinstance(allow, Mapping) else ((d, tuple(VARIANTS.get(d, ()))) for d in allow)
    found: dict[str, tuple[str, ...]] = {}
    for dimension, variants in pairs:
        check_choice(WHERE, "allow's dimension", dimension, tuple(VARIANTS))
        found[dimension] = (variants,) if isinstance(variants, str) else tuple(variants)
        for variant in found[dimension]:
            check_choice(WHERE, f"allow[{dimension!r}]", variant, tuple(VARIANTS[dimension]))
    return found
