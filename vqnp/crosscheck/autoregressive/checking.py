"""check_autoregressive(logits, …) -> AutoregressiveReport: measure what is seen, and name the mistake."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vqnp._check import check_choice, check_float, check_int, check_lengths, fail
from vqnp.crosscheck.adapters.base import float_dtype
from vqnp.crosscheck.autoregressive.asking import Question, Unanswered
from vqnp.crosscheck.autoregressive.behaviour import find_batch, find_repeat, find_start
from vqnp.crosscheck.autoregressive.cache import find_cache
from vqnp.crosscheck.autoregressive.field import find_field
from vqnp.crosscheck.autoregressive.influence import Influence, measure
from vqnp.crosscheck.autoregressive.order import find_order
from vqnp.crosscheck.autoregressive.report import AutoregressiveReport
from vqnp.crosscheck.autoregressive.sampling import find_sampling
from vqnp.crosscheck.autoregressive.table import TITLES, VARIANTS
from vqnp.crosscheck.findings import Finding

WHERE = "check_autoregressive"
MOST_POSITIONS = 4096
"""Positions in a grid: memory grows with their square, and a smaller grid has the same mistakes."""

Allow = Mapping[str, str | Iterable[str]] | Iterable[str]


def check_autoregressive(
    logits: Callable[..., Any], shape: tuple[int, ...] | int, num_embeddings: int, *, predicts: str = "this",
    axis: int | None = None, cached: Any = None, starting_with: Callable[..., Any] | None = None,
    probabilities: Callable[..., Any] | None = None, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, allow: Allow = (), dtype: Any = None, probes: int = 4, batch: int = 64,
    seed: int = 0, name: str | None = None,
) -> AutoregressiveReport:  # fmt: skip
    """Report what an autoregressive model sees that it must not, or fails to see, and which mistake it is.

    The function is a black box: one code is changed at a time, and the logits that change are recorded.

    Parameters
    ----------
    logits : callable, codes (B, *shape) int64 -> logits (B, *shape, K)
        Any function of NumPy arrays. The logits may also be (B, M, K) for all M positions in raster order,
        (B, M + 1, K) if those after the last code are returned too, or have K as axis 1, as PyTorch's do.
        A torch.nn.Module is wrapped in TorchLogits; pass a function of PyTorch tensors as
        TorchLogits(function), and one of JAX arrays as JaxLogits(function). A condition, such as a class,
        must be part of the function.
    shape : tuple of int, or int
        The shape of a grid of codes: (M,), (H, W), or (H, W, C) with C codes at each place; at most 4096
        positions.
    num_embeddings : int
        K, at least 2: codes are in [0, K).
    predicts : {"this", "next"}
        Whether row m of the logits is for code m itself, because a start token comes first, or for the code
        after it, as in a GPT whose targets are the codes from the second on.
    axis : int, optional
        The axis of the K logits. Default: the last axis or axis 1, whichever fits.
    cached : (begin, extend) or callable, optional
        begin(B) -> (state, logits of the first code (B, K)), or the state alone; extend(state, codes (B, t))
        -> logits (B, t, K) of the codes after each, or (logits, state) if it returns a new state. Or
        f(codes (B, N), chunks) -> logits (B, N, K) of the codes after each, in chunks of these lengths.
    starting_with : callable, (codes, first (B,)) -> logits, optional
        Like logits, but with the code `first` in place of the start token. Without it a shared embedding is
        found only in models with relative positions or with none.
    probabilities : callable, logits (n, K) float32 -> (n, K), optional
        How sampling turns logits into probabilities.
    temperature, top_k, top_p : optional
        What `probabilities` is intended to do. Default: softmax alone.
    allow : mapping of dimension to variant or variants, or the names of dimensions
        Intended deviations, such as {"field": "blind_spot"}: keys of
        vqnp.crosscheck.autoregressive.table.VARIANTS.
    dtype : float32 or float64, optional
        The precision in which the function computes, if it is lower than that of its result. Default: the
        dtype of the result.
    probes : int
        The number of random grids in which each code is changed.
    batch : int
        The largest batch of one call.
    seed : int
        The seed of the random codes.
    name : str, optional
        The name in the report. Default: the function's.

    Returns
    -------
    AutoregressiveReport
        Its `calls` is the number of calls. For J = min(M, 256) codes, logits is called at most
        20 + probes (⌈J/batch⌉ + 1) + 3 ⌈K/batch⌉ times or, if items depend on each other,
        20 + 2 (J + 1) + 3 ⌈K/batch⌉ times; cached functions are called about 100 + 4 M times.

    Raises
    ------
    InputError
        For wrong arguments only; anything that the functions do wrong is reported.

    References
    ----------
    docs/crosscheck-autoregressive.md

    Examples
    --------
    A Markov chain that reads the code that it predicts:

    >>> import numpy as np
    >>> table = np.random.default_rng(0).standard_normal((5, 5))
    >>> report = check_autoregressive(lambda codes: table[codes], shape=(6,), num_embeddings=5)
    >>> report.verdict, report.fingerprint["order"]
    ('does not conform', 'no_shift')
    """
    shape = check_lengths(WHERE, "shape", (shape,) if isinstance(shape, int) else shape)
    if not 1 <= len(shape) <= 3:
        fail(WHERE, "shape", "must have one, two or three axes", shape)
    if math.prod(shape) > MOST_POSITIONS:
        fail(WHERE, "shape", f"must have at most {MOST_POSITIONS} positions", shape)
    K = check_int(WHERE, "num_embeddings", num_embeddings, 2)
    first = 1 if check_choice(WHERE, "predicts", predicts, ("this", "next")) == "next" else 0
    probes, batch = check_int(WHERE, "probes", probes), check_int(WHERE, "batch", batch)
    rng = np.random.default_rng(check_int(WHERE, "seed", seed, 0))
    check_float(WHERE, "temperature", temperature, "(0, inf)")
    if top_k is not None:
        check_int(WHERE, "top_k", top_k)
    if top_p is not None:
        check_float(WHERE, "top_p", top_p, "(0, 1]")
    for argument, function in (
        ("logits", logits), ("starting_with", starting_with), ("probabilities", probabilities),
    ):  # fmt: skip
        if not callable(function) and (argument == "logits" or function is not None):
            fail(WHERE, argument, "must be callable", type(function).__name__)
    if cached is not None and not callable(cached):
        if not (isinstance(cached, (tuple, list)) and len(cached) == 2 and all(map(callable, cached))):
            fail(WHERE, "cached", "must be a pair (begin, extend) or callable", type(cached).__name__)
    allowed = _allowances(allow)
    name = name or getattr(logits, "name", None) or getattr(logits, "__name__", type(logits).__name__)
    epsilon = 0.0 if dtype is None else float(np.finfo(float_dtype(WHERE, dtype)).eps)
    ask = Question(_wrapped(logits), shape, K, axis, epsilon)
    findings: dict[str, Finding] = {}
    found = _ask(ask, findings, rng, first, probes, batch)
    if found is not None:
        right = findings["batch"].variant == "independent" and findings["order"].variant == "causal"
        later: dict[str, Callable[[], Finding]] = {
            "start": lambda: find_start(ask, rng, first, batch, starting_with, findings["order"].variant),
            "cache": lambda: find_cache(ask, rng, first, cached, right),
        }  # fmt: skip
        for dimension, find in later.items():
            _answer(ask, findings, dimension, find)
    options = (probabilities, temperature, top_k, top_p)
    _answer(ask, findings, "sampling", lambda: find_sampling(ask, rng, *options))
    asked = [findings.get(d, Finding(d, None, "not asked")) for d in TITLES]
    notes = _notes(ask, findings, found)
    return AutoregressiveReport(
        name=str(name), shape=shape, num_embeddings=K, dtype=ask.dtype, calls=ask.calls, findings=asked,
        influence=found, faults=ask.faults, notes=notes, allowed=allowed,
    )  # fmt: skip


def _ask(
    ask: Question, findings: dict[str, Finding], rng: np.random.Generator, first: int, probes: int, batch: int
) -> Influence | None:
    """Test repeat, batch, order and field; None if what is seen could not be measured."""
    _answer(ask, findings, "repeat", lambda: find_repeat(ask, rng))
    repeat = findings["repeat"].variant
    if repeat != "deterministic":
        return None
    _answer(ask, findings, "batch", lambda: find_batch(ask, rng))
    others = findings["batch"].variant
    alone = others != "independent"
    try:
        found = measure(ask, rng, first, 2 if alone else probes, batch, alone)
        findings["order"] = find_order(found, ask, rng, others)
        findings["field"] = find_field(found, findings["order"].variant, ask.tolerance)
    except Unanswered as problem:
        ask.note(str(problem))
        return None
    return found


def _answer(ask: Question, findings: dict[str, Finding], dimension: str, find: Callable[[], Finding]) -> None:
    """A finding; a function that returns nothing usable is recorded as a fault."""
    try:
        findings[dimension] = find()
    except Unanswered as problem:
        ask.note(str(problem))
        findings[dimension] = Finding(dimension, None, "no answer that can be used")


def _notes(ask: Question, findings: dict[str, Finding], found: Influence | None) -> list[str]:
    notes = []
    if ask.extra:
        ids = f"{ask.extra} logit{'s' * (ask.extra > 1)} for ids that are no code"
        notes.append(f"{ids}: leave them out when a code is drawn, and before top-k is taken")
    if found is not None and not found.told[found.first :].all():
        notes.append(f"{int(found.told.any(axis=0).sum())} of {found.M} codes were changed, spread evenly")
    single = ask.epsilon > 1e-10 and found is not None
    if single and found is not None and (found.unseen.any() or not found.leaks.any()):
        notes.append(f"{ask.dtype}: influences below {ask.tolerance:.0e} are not seen; float64 shows them")
    field = findings.get("field")
    if field is not None and field.variant == "window":
        notes.append("codes beyond the reach are not seen: more layers or larger kernels reach them")
    return notes


def _wrapped(logits: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a torch.nn.Module, which takes tensors; anything else is already a function of arrays."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(logits, torch.nn.Module):
        from vqnp.crosscheck.autoregressive.torch_logits import TorchLogits

        return TorchLogits(logits)
    return logits


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
