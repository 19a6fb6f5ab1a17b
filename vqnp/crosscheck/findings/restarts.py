"""Dead codes: an unused code that moves otherwise than along m was restarted, whatever to. Does it stay?

Unused, m ← γm, so that E_t = m_t/Ñ_t keeps its direction: any other move is a restart. What follows tells
whether it stays: with n ≥ 0 vectors of sum s, E_{t+1} is a·E_t + b·s where e, N and m were all reset, and
a·E_{t−1} + b·s where m was not: the restart is undone. Each is a fit that holds to rounding or does not hold,
and a code that takes up a third direction was restarted again. Where N and m can be seen, e = m/Ñ tells.
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.questions.plain import distances, sums_of
from vqnp.crosscheck.questions.plan import LONG_STEPS
from vqnp.crosscheck.questions.record import Record

EXACT = "vectors of the batch"
NEAR = 0.1  # of a vector's length: a restart with noise is as near to a vector, or to a code, as this


class Move(NamedTuple):
    """Code j, unused at step t, was put at another place; it had been on a line through `line`."""

    t: int
    j: int
    to: str
    line: Array


def moved(before: Array, now: Array, z: Array, n: Array, first: bool, eps: float) -> list[tuple[int, str]]:
    """(j, where to) of each unused code that leaves its line; before, now: (K, D), z: (N, D), n: (K,).

    first: before the first step m may be anything, and may lead near a code or a vector by chance, so that a
    code counts only if it is put exactly at a vector; and so it is on a line, where there is one direction
    only.
    """
    idle, D = np.flatnonzero(n == 0), now.shape[1]
    found: list[tuple[int, str]] = []
    for j in idle[_left(now[idle], before[idle], eps)] if D > 1 else idle:
        to = _target(now, j, z, eps, np.flatnonzero(n))
        if to == EXACT or (D > 1 and not first):
            found.append((int(j), to or "elsewhere"))
    return found


def moves(E0: Array, E: Array, batches: Array, eps: float) -> tuple[list[Move], Array]:
    """Every restart, and the counts (T, K) of the steps up to one after which E is not finite.

    E: (T, K, D), batches: (T, N, D)
    """
    found, n, before = list[Move](), np.zeros(E.shape[:2]), E0
    lines: dict[int, Array] = {}  # of the codes that restarted at the step before: where they were at first
    for t, z in enumerate(batches):
        if not np.isfinite(E[t]).all():
            return found, n[:t]
        n[t] = np.bincount(distances(z, before).argmin(axis=1), minlength=len(E0))
        still = {}
        for j, to in moved(before, E[t], z, n[t], t == 0, eps):
            if j in lines and to == "elsewhere" and not _left(E[t, [j]], lines[j][None], eps)[0]:
                continue  # back to where it was: that was undone, and is no restart
            still[j] = lines.get(j, before[j])
            found.append(Move(t, j, to, still[j]))
        lines, before = still, E[t]
    return found, n


def _left(now: Array, before: Array, eps: float) -> Array:
    """Whether each code has left the line through the origin on which it was: (n,)."""
    length, was = (np.linalg.norm(a, axis=1, keepdims=True) for a in (now, before))
    u = before / np.maximum(was, 1e-300)
    off = np.linalg.norm(now - (now * u).sum(1, keepdims=True) * u, axis=1)
    result: Array = (off > 1e3 * eps * length[:, 0]) & (was[:, 0] > 0)
    return result


def _target(E: Array, j: int, z: Array, eps: float, used: Array) -> str | None:
    """What the code was put at: exactly a vector, nearly one, or nearly another code."""
    e, size = E[j], float(np.linalg.norm(E[j]))
    if not size:
        return None
    nearest = float(np.sqrt(((z - e) ** 2).sum(1).min()))
    if np.abs(z - e).max(axis=1).min() <= 64 * eps * np.abs(z).max():
        return EXACT
    if len(E.T) == 1:
        return None
    if nearest <= NEAR * size:
        return "near vectors of the batch"
    beside = float(np.sqrt(((E[used] - e) ** 2).sum(1).min())) if len(used) else np.inf
    return "near other codes" if beside <= NEAR * size else None


def find_dead_codes(record: Record) -> Finding:
    """Whether an unused code is ever restarted, and whether it stays."""
    if not record.can("step"):
        return Finding("dead_codes", None, "needs reset and step")
    if record.precision.half:
        return Finding("dead_codes", None, f"{record.precision.name} rounds directions too coarsely")
    seen = None
    for name in ("steps", "long"):
        outputs, (batches, E0) = record.get(name), record.cases[name].arguments.values()
        E = outputs.get("E")
        if E is None:
            continue
        E, E0, batches = (a.astype(np.float64) for a in (E, E0, batches))
        found, seen = moves(E0, E, batches, record.precision.eps)
        if found:
            stored = (outputs.get("N"), outputs.get("m"))
            return _judged(E, batches, seen, found, stored, record.precision.eps)
    if seen is None:
        return Finding("dead_codes", None, "needs reset and step")
    if len(seen) < LONG_STEPS:
        return Finding("dead_codes", None, f"at step {len(seen) + 1} of the long trajectory E is not finite")
    if not seen.sum(axis=0).all():
        why = f"codes stay unused for {LONG_STEPS} steps and no one restarts them"
        return Finding("dead_codes", "never", why)
    why = "every code is used in the long trajectory" if seen.shape[1] > 1 else "needs two codes at least"
    return Finding("dead_codes", None, why)


def _judged(
    E: Array, batches: Array, n: Array, found: list[Move],
    stored: tuple[Array | None, Array | None], eps: float,
) -> Finding:  # fmt: skip
    """The finding from all restarts: each votes, or has nothing to say."""
    places = ", ".join(dict.fromkeys(m.to for m in found))
    first = found[0]
    evidence = f"from step {first.t + 1} on, unused codes restart {len(found)} times, at {places}"
    put = {(m.t, m.j) for m in found}
    by_average = _from_averages(E, found, stored)
    votes = [_stays(E, batches, n, m, eps) for m in found] if by_average is None else by_average
    kept, undone = votes.count(True), votes.count(False)
    if not kept + undone:
        again = sum((m.t + 1, m.j) in put for m in found)
        also = "; those that stay unused restart at the next step, too" if again else ""
        return Finding("dead_codes", None, f"{evidence}{also}", ("restart", "undone"))
    if undone > 0.8 * (kept + undone):
        how = f"{undone} of {kept + undone} that can be followed go back with the next update"
        return Finding("dead_codes", "undone", f"{evidence}; {how}")
    if kept > 0.8 * (kept + undone):
        return Finding("dead_codes", "restart", f"{evidence}, and stay")
    some = f"{evidence}; {undone} of {kept + undone} are undone"
    return Finding("dead_codes", None, some, ("restart", "undone"))


def _from_averages(
    E: Array, found: list[Move], stored: tuple[Array | None, Array | None]
) -> list[bool | None] | None:
    """Whether e = m/N after each restart, where both can be seen, and are averages elsewhere; else None."""
    N, m = stored
    if N is None or m is None or not np.isfinite(N[: len(E)]).all() or not np.isfinite(m[: len(E)]).all():
        return None
    N, m = N.astype(np.float64), m.astype(np.float64)

    def off(t: Array, j: Array) -> Array:
        quotient = m[t, j] / np.maximum(N[t, j], 1e-300)[:, None]
        apart = np.linalg.norm(quotient - E[t, j], axis=1)
        result: Array = apart / np.maximum(np.linalg.norm(E[t, j], axis=1), 1e-300)
        return result

    t, j = np.array([(move.t, move.j) for move in found]).T
    put = set(zip(t.tolist(), j.tolist(), strict=True))
    every = np.argwhere(N[: len(E)] > 0.05).tolist()
    others = [(a, b) for a, b in every if (a, b) not in put]
    if not others or np.median(off(*np.array(others).T)) > 0.1:  # some other figures, not these averages
        return None
    return [bool(apart < 0.02) for apart in off(t, j)]


def _stays(E: Array, batches: Array, n: Array, move: Move, eps: float) -> bool | None:
    """True if the next update went on from the new place, False if from the old; None if neither is clear."""
    t, j, _, was = move
    if t + 1 >= len(n) or t + 1 >= len(E) or not np.isfinite(E[t + 1, j]).all():
        return None
    now, after = E[t, j], E[t + 1, j]
    s = sums_of(batches[t + 1], distances(batches[t + 1], E[t]).argmin(axis=1), len(E[t]))[j]
    basis = [s] if n[t + 1, j] else []
    if len(basis) + 1 >= len(now):
        return None  # so few dimensions that anything fits
    holds = [_fits(after, [place, *basis], eps) for place in (now, was)]
    if holds == [True, False]:
        ratio = float(np.linalg.norm(after)) / max(float(np.linalg.norm(now)), 1e-300)
        return bool(n[t + 1, j]) or 0.5 < ratio < 2  # another length: N was left as it was
    return False if holds == [False, True] else None


def _fits(target: Array, basis: list[Array], eps: float) -> bool:
    M = np.stack([b / max(float(np.linalg.norm(b)), 1e-300) for b in basis], axis=1)
    rest = target - M @ np.linalg.lstsq(M, target, rcond=None)[0]
    return bool(np.linalg.norm(rest) <= 1e3 * eps * max(float(np.linalg.norm(target)), 1e-300))
