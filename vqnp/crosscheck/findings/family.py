"""Do the answers come from E by the nearest-code rule at all? If not, one sentence, and nothing else is told.

z_q: (N, D) should consist of rows of E, or of E after one step: z_q,n = E[k_n]. Codebooks that are replaced
in the first call, normalised, projected or reparametrised, and layers of another family, do not do so.
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings.weights import batch
from vqnp.crosscheck.questions.plain import distances, nearest
from vqnp.crosscheck.questions.record import Record

ONLY = "this tool knows only E[k], the nearest codes"


class Family(NamedTuple):
    """Why nothing else is told; and whether it is a known bug, for which the layer does not conform."""

    sentence: str
    mixed_up: bool = False


def find_family(record: Record) -> Family | None:
    """None where z_q consists of rows of E, or cannot be seen."""
    z_q, used = record.output("base", "z_q"), batch(record, "")
    if z_q is None:
        return None
    z_q, E, tol = z_q.astype(np.float64), used.E, 4 * record.precision.tolerance
    size = float(np.abs(E).max())
    rows = [E, *([e] if (e := _after(record)) is not None else [])]
    if any(_off(z_q, book) <= tol * max(size, float(np.abs(book).max())) for book in rows):
        return None
    again = _without_E(record)
    if again is not None and np.abs(again - z_q).max() <= tol * np.abs(z_q).max():
        # The same z_q whatever E is: a codebook of its own, or none.
        if _made_of(z_q, used.z):
            flags: list[str] = getattr(record.adapter, "flags", list)()
            which = f"candidates: {', '.join(flags)}" if flags else "by whatever it keeps for that"
            how = "mark the layer as initialized before it is asked"
            return Family(f"E was replaced in the first call by vectors of that batch: {how} ({which})")
        return Family(f"z_q does not depend on E: {ONLY}")
    if _same_entries(z_q, E, tol * size):
        return Family("z_q has the entries of E, and none of its rows: a wrong axis or view", mixed_up=True)
    vectors = _one_vector_each(z_q, record.output("base", "k"), tol)
    if vectors is None:
        return Family(f"z_q is not one vector for each code: {ONLY}")
    return Family(f"{_made_from(vectors, E, tol)}: {ONLY}")


def _off(z_q: Array, book: Array) -> float:
    if not np.isfinite(book).all():
        return np.inf
    return float(np.abs(z_q - book[nearest(z_q, book)]).max())


def _after(record: Record) -> Array | None:
    E = record.output("one step", "E")
    return None if E is None or not np.isfinite(E[0]).all() else E[0].astype(np.float64)


def _without_E(record: Record) -> Array | None:
    """z_q of the same z with another E."""
    case = record.cases["base"]
    z, E = case.arguments.values()
    arguments = {"z": z, "E": (np.roll(E, 1, axis=1) * 1.5 + 0.25).astype(E.dtype)}
    other = case._replace(arguments=arguments)
    z_q = record.answer("forward", record.adapter.forward, other).get("z_q")
    return None if z_q is None else z_q.astype(np.float64)


def _made_of(z_q: Array, z: Array) -> bool:
    """Whether every z_q is a vector of the batch or a mean of those that share it: codes from this batch."""
    size = np.abs(z).max()
    if np.sqrt(distances(z_q, z).min(axis=1)).max() <= 1e-3 * size:
        return True
    _, group = np.unique(np.round(z_q / size, 6), axis=0, return_inverse=True)
    group = group.reshape(-1)
    if len(np.unique(group)) > len(z) // 2 + 1:
        return False
    means = np.stack([z[group == g].mean(axis=0) for g in range(group.max() + 1)])
    close = np.abs(means[group] - z_q).max(axis=1) <= 0.5 * size
    return bool(close.mean() > 0.9)


def _same_entries(z_q: Array, E: Array, tol: float) -> bool:
    flat = np.sort(E.reshape(-1))
    at = np.clip(np.searchsorted(flat, z_q.reshape(-1)), 1, len(flat) - 1)
    off = np.minimum(np.abs(flat[at] - z_q.reshape(-1)), np.abs(flat[at - 1] - z_q.reshape(-1)))
    return len(flat) > 1 and bool((off <= tol).all())


def _one_vector_each(z_q: Array, k: Array | None, tol: float) -> dict[int, Array] | None:
    """Code -> its vector; None if a code has several."""
    if k is None:
        return None
    vectors = {int(j): z_q[k == j].mean(axis=0) for j in np.unique(k)}
    off = np.abs(z_q - np.stack([vectors[int(j)] for j in k])).max()
    return vectors if off <= tol * np.abs(z_q).max() and len(vectors) < len(k) else None


def _made_from(vectors: dict[int, Array], E: Array, tol: float) -> str:
    """How each code's vector is made from its row of E, if in a simple way."""
    v, e = np.stack(list(vectors.values())), E[list(vectors)]
    share = float((v * e).sum() / (e * e).sum())
    if np.abs(v - share * e).max() <= tol * np.abs(v).max():
        return f"z_q is {share:.6g} times the rows of E"
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    length = float((v * unit).sum(axis=1).mean())
    if np.abs(v - length * unit).max() <= tol * np.abs(v).max():
        return f"z_q is the rows of E brought to length {length:.6g}: give a codebook that has it"
    return "z_q is one vector for each code, but no row of E: a projection, or codes made of other arrays?"
