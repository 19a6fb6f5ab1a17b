"""Do logits that are computed chunk by chunk, with a cache, equal those of the whole sequence?

begin(B) -> state, a_1;  extend(state, k: (B, t)) -> a: (B, t, K) of the codes after each
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.autoregressive.asking import Question, Unanswered, size
from vqnp.crosscheck.autoregressive.influence import rows
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.questions.calls import to_array

WHOLE = 5
"""Codes that are cut in every way: 16 ways. Longer sequences are cut in some ways more."""

SINGLE = 64 * float(np.finfo(np.float32).eps)
"""A rounding difference of float32: float64 logits may have been computed partly in float32."""

Chunks = tuple[int, ...]


def find_cache(ask: Question, rng: np.random.Generator, first: int, cached: Any, comparable: bool) -> Finding:
    """Every way to cut a short prefix, and some ways to cut the whole.

    comparable: whether the full logits depend on earlier codes of their own item only, as cached logits must
    """
    if cached is None:
        return Finding("cache", None, "no cached function was given")
    N = ask.M - 1  # the last code is only predicted
    if N < 2:
        return Finding("cache", None, f"with {ask.M} positions there is nothing to cut")
    k = ask.random(rng, 2)
    full = rows(ask(k), ask.M, first)
    ways = [*compositions(min(N, WHOLE)), (N,), (1,) * N, *_other_cuts(N, rng)]
    answers = {way: run(ask, cached, k, way, first) for way in dict.fromkeys(ways)}
    tolerance = ask.loose * size(full)
    worst = max(_difference(a, full) for a in answers.values())
    number = f"{len(answers)} ways to cut up to {N} codes"
    again = run(ask, cached, k, ways[0], first)
    if _difference(again, answers[ways[0]]) > tolerance:
        return Finding("cache", "state_kept", "the same chunks give other logits the second time")
    if worst <= tolerance or worst <= SINGLE * size(full):
        single = "" if worst <= tolerance else ", as if some of it were computed in float32"
        return Finding("cache", "agrees", f"{number}, largest difference {worst:.1g}{single}")
    if not comparable:
        reason = "since the full logits see codes that they must not see"
        return Finding("cache", None, f"they differ by {worst:.2g}, {reason}")
    variant = _mistake(ask, rng, cached, first, answers, tolerance)
    wrong = sum(_difference(a, full) > tolerance for a in answers.values())
    return Finding("cache", variant, f"{number}, {wrong} wrong, largest difference {worst:.2g}")


def _mistake(
    ask: Question, rng: np.random.Generator, cached: Any, first: int, answers: dict[Chunks, Array],
    tolerance: float,
) -> str:  # fmt: skip
    """Identify the mistake by the codes that each row sees in chunks of 1, 2 and 3 codes."""
    way = tuple(n for n in (1, 2, 3) if sum(range(n + 1)) < ask.M)
    N = sum(way)
    chunk = np.repeat(np.arange(len(way)), way)  # of code j, whose row is that of code j + 1
    seen = np.zeros((N + 1, N), bool)
    for base in ask.random(rng, 3):
        changed = np.repeat(base[None], N + 1, axis=0)
        changed[np.arange(1, N + 1), np.arange(N)] += rng.integers(1, ask.K, N)
        a = run(ask, cached, changed % ask.K, way, first)
        seen |= (np.abs(a[1:] - a[0]).max(axis=-1) > tolerance).T
    after, code = np.arange(N)[:, None], np.arange(N)  # the row after code `after`
    seen, same = seen[1:], chunk[:, None] == chunk
    if (seen & same & (code > after)).any():
        return "mask_skipped"
    expected = (code <= after) & _usual(ask, rng, first, N)
    hidden = expected & ~seen
    if hidden.any():
        own_chunk_alone = np.array_equal(seen & expected, expected & same)
        return "prefix_ignored" if own_chunk_alone else "mask_upper_left"
    values = list(answers.items())
    cuts = [a[:, : min(ask.M - 1, WHOLE) + 1] for way, a in values]
    apart = max(_difference(cut, cuts[0]) for cut in cuts[1:])
    return "positions_restart" if apart > tolerance else "other"


def _usual(ask: Question, rng: np.random.Generator, first: int, N: int) -> Array:
    """What the full logits after each of the first N codes see of these codes: (N, N)."""
    seen = np.zeros((N, N), bool)
    for base in ask.random(rng, 2):
        changed = np.repeat(base[None], N + 1, axis=0)
        changed[np.arange(1, N + 1), np.arange(N)] += rng.integers(1, ask.K, N)
        a = rows(ask(changed % ask.K), ask.M, first)[:, 1 : N + 1]
        seen |= (np.abs(a[1:] - a[0]).max(axis=-1) > ask.loose * size(a)).T
    return seen


def compositions(n: int) -> list[Chunks]:
    """Every way to cut n codes into chunks: 2^(n − 1)."""
    cuts = ([0, *(i for i in range(1, n) if bits >> (i - 1) & 1), n] for bits in range(2 ** (n - 1)))
    return [tuple(stop - start for start, stop in pairwise(cut)) for cut in cuts]


def _other_cuts(N: int, rng: np.random.Generator) -> list[Chunks]:
    """Pairs, and two random ways."""
    ways: list[Chunks] = [(2,) * (N // 2) + (1,) * (N % 2)]
    for _ in range(2):
        cut = [0, *np.flatnonzero(rng.random(N - 1) < 0.4) + 1, N]
        ways.append(tuple(int(stop - start) for start, stop in pairwise(cut)))
    return ways


def _difference(a: Array, full: Array) -> float:
    """The largest difference in the rows that both contain."""
    n = min(a.shape[1], full.shape[1])
    return float(np.nanmax(np.abs(a[:, :n] - full[:, :n])))


def run(ask: Question, cached: Any, k: Array, way: Chunks, first: int) -> Array:
    """The cached logits of codes 0 to sum(way), one row each; NaN for code 0 if begin returns none."""
    N = sum(way)
    if callable(cached):
        a = _logits(ask, "cached", ask.run("cached", cached, k[:, :N], way), len(k), (N, N + 1))
        return a if a.shape[1] == N + 1 else _without_first(a)
    begin, extend = cached
    state, parts = _begin(ask, begin, len(k))
    stop = np.cumsum(way)
    for start, end in zip(stop - way, stop, strict=True):
        result = ask.run("extend", extend, state, k[:, start:end])
        pair = result if isinstance(result, (tuple, list)) and len(result) == 2 else (result,)
        a, i = _find(ask, pair, len(k), (int(end - start),))
        state = pair[1 - i] if len(pair) == 2 else state
        parts.append(a)
    out = np.concatenate(parts, axis=1)
    return out if out.shape[1] == N + 1 else _without_first(out)


def _without_first(a: Array) -> Array:
    return np.concatenate([np.full_like(a[:, :1], np.nan), a], axis=1)


def _begin(ask: Question, begin: Callable[..., Any], B: int) -> tuple[Any, list[Array]]:
    """The state, and the logits of the first code if there are any."""
    result = ask.run("begin", begin, B)
    if isinstance(result, (tuple, list)) and len(result) == 2:
        array, _ = to_array(result[1])
        if array is not None and array.dtype.kind == "f" and array.size == B * array.shape[-1]:
            return result[0], [ask.usable("begin", array.reshape(B, 1, -1))]
    return result, []


def _find(ask: Question, pair: Any, B: int, lengths: tuple[int, ...]) -> tuple[Array, int]:
    """The logits in what extend returned, and their place in it."""
    for i, one in enumerate(pair):
        try:
            return _logits(ask, "extend", one, B, lengths), i
        except Unanswered as problem:
            last = problem
    raise last


def _logits(ask: Question, where: str, value: Any, B: int, lengths: tuple[int, ...]) -> Array:
    a = None if isinstance(value, (tuple, list, dict)) else to_array(value)[0]
    if a is None or a.ndim != 3 or len(a) != B or a.shape[1] not in lengths or a.shape[2] < ask.K:
        shape = f"({B}, {' or '.join(map(str, lengths))}, {ask.K})"
        came = type(value).__name__ if a is None else f"shape {a.shape}"
        raise Unanswered(f"{where}: must return logits of shape {shape}; got {came}")
    return ask.usable(where, a)
