"""Does a_i depend on k_j for a j ≥ i, and if so, which mistake gives this pattern?

seen: (M, M) -> one of VARIANTS["order"]
"""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.autoregressive.asking import Question
from vqnp.crosscheck.autoregressive.influence import Influence, rows
from vqnp.crosscheck.findings import Finding

LARGE, LONG = 32, 256
"""The side of a grid that is larger than the reach of convolutions but not of attention; and the length of
such a sequence."""

FLAT, LIKELY, STRONGER, ALIKE = 0.985, 0.9, 3.0, 1.9
"""Of norms and of missing masks, in some 200 small networks. The two largest directions among changes of
logits have 0.985 or more of the squares if what leaks is one norm's two statistics, 0.9 if there are several
norms, and 0.4 to 0.98 without a mask. Codes before act at least 3 times as strongly as later ones if a mask
hides the later ones from all but a norm, and at most 1.9 times as strongly without a mask."""


def find_order(found: Influence, ask: Question, rng: np.random.Generator, batch: str | None) -> Finding:
    """The order in which the codes are seen."""
    leaks, told = found.leaks, found.told
    later = np.triu(np.ones_like(leaks), 1) & told
    own = np.eye(found.M, dtype=bool) & told
    if not (found.seen & told).any():
        return Finding("order", None, "no logit depends on any code: an untrained head of zeros?")
    number = f"{int(told.any(axis=0).sum())} codes changed one at a time in {found.probes} random grids"
    if not leaks.any():
        return Finding("order", "causal", number)
    faint = found.faint(ask.tolerance)  # then a pattern is one of chance
    variant = "other" if faint else _variant(found, ask, rng, batch, leaks, later, own)
    more = int(leaks.sum())
    evidence = f"{number}; {more} pair{'s' * (more > 1)}, the first: {found.example(leaks)}"
    return Finding("order", variant, evidence)


def _variant(
    found: Influence, ask: Question, rng: np.random.Generator, batch: str | None, leaks: Array, later: Array,
    own: Array,
) -> str:  # fmt: skip
    seen = found.seen
    if not (leaks & later).any():
        if (seen | ~own).all():
            return _own_code(found, ask, rng)
        return "mask_off" if (seen | ~own)[:-1].all() else "other"  # a shifted input lacks the last code
    usual = later.copy()
    usual[:, -1] = False  # the last code, which is never read where the input is shifted
    further = np.tri(found.M, k=-2, dtype=bool) & found.told  # the code just before may be the own input
    if found.M > 3 and not (seen & further).any() and (seen | ~usual).all():
        return "reversed"
    if not (leaks & later & ~_same_site(found.shape)).any():
        return "channels"
    ahead = _band(leaks, found)
    if ahead is not None:
        return "mask_off"
    if len(found.shape) >= 2 and not (leaks & later & ~_same_row(found.shape)).any():
        return "current_row"
    if len(found.shape) == 2 and _by_columns(found):
        return "by_columns"
    if (seen | ~usual).all():
        if batch == "dependent":
            return "batch_norm"
        return _mask_or_norm(found, ask, rng)
    both = seen & seen.T & ~np.eye(found.M, dtype=bool)
    return "no_mask" if both.sum() > 0.8 * (seen & (usual | found.before)).sum() else "other"


def _own_code(found: Influence, ask: Question, rng: np.random.Generator) -> str:
    """The predicted code is seen, but none after it: each kind of network has its own such mistake."""
    if found.first:
        return "mask_off"
    if len(found.shape) == 1:
        return "no_shift"
    if found.unseen.any():
        return "mask_b_first"
    if len(found.shape) > 2:
        return "own_code"
    codes = np.repeat(rng.integers(0, ask.K, (1, LARGE, LARGE)), 2, axis=0)
    codes[1, 0, 0] = (codes[1, 0, 0] + 1) % ask.K
    a = ask.of_shape(codes)
    if a is None:
        return "own_code"
    return "no_shift" if (a[0, -1] != a[1, -1]).any() else "mask_b_first"


def _mask_or_norm(found: Influence, ask: Question, rng: np.random.Generator) -> str:
    """Every position sees all later codes: through a norm alone, or because there is no mask?"""
    share = two_directions(ask, rng, found.first)
    stronger, far = _on_a_large_grid(found, ask, rng) or (_stronger(found), False)
    if share > FLAT or stronger > STRONGER or (stronger > ALIKE and share > LIKELY):
        return "norm_over_positions"
    return "everything" if stronger > ALIKE or (far and len(found.shape) == 2) else "no_mask"


def _stronger(found: Influence) -> float:
    """How many times as strongly the codes just before act as those just after, without the code itself."""
    near = {n: np.diagonal(found.ratio, -n)[found.first :] for n in (2, 3, -1, -2)}
    before, after = (_middle(np.concatenate([near[n] for n in ns])) for ns in ((2, 3), (-1, -2)))
    return before / max(after, 1e-300)


def _on_a_large_grid(
    found: Influence, ask: Question, rng: np.random.Generator
) -> tuple[float, bool] | None:
    """The same on a large grid, whose mean changes less with one code; and whether its start sees its end.

    None if the function takes no such grid. Convolutions have a limited reach; norms and attention do not.
    """
    if len(found.shape) > 2 or found.first:
        return None
    lengths = (LONG,) if len(found.shape) == 1 else (LARGE, LARGE)
    M = lengths[0] ** len(lengths)
    m = M // 2 + (LARGE // 2 if len(lengths) == 2 else 0)
    ratios, far = [], False
    for base in rng.integers(0, ask.K, (3, M)):
        codes = np.repeat(base[None], 6, axis=0)
        at = np.arange(1, 6), [m - 3, m - 2, m + 1, m + 2, M - 2]
        codes[at] = (codes[at] + 1) % ask.K
        a = ask.of_shape(codes.reshape(6, *lengths))
        if a is None:
            return None
        d = np.abs(a[1:] - a[0]).max(axis=-1)
        ratios.append(d[:2, m].mean() / max(d[2:4, m].mean(), 1e-300))
        far |= bool(d[4, 0] > 0)
    return float(np.median(ratios)), far


def _middle(values: Array) -> float:
    """The median of the values that are not 0."""
    return float(np.median(values[values > 0])) if (values > 0).any() else 0.0


def _same_site(shape: tuple[int, ...]) -> Array:
    """Pairs of channels of one place, the last of at least three axes: (M, M)."""
    M = int(np.prod(shape))
    site = np.arange(M) // shape[-1] if len(shape) >= 3 else np.arange(M)
    return site[:, None] == site


def _same_row(shape: tuple[int, ...]) -> Array:
    row = np.arange(int(np.prod(shape))) // int(np.prod(shape[1:]))
    return row[:, None] == row


def _band(leaks: Array, found: Influence) -> int | None:
    """n if code i's logits see codes i to i + n, or to the last, and no others; for a small n."""
    ahead: Array = np.arange(found.M) - np.arange(found.M)[:, None]
    n = int(ahead[leaks].max())
    expected = (ahead >= 0) & (ahead <= n) & found.told
    end = found.M - 1  # where the input is shifted, the last code is not read
    return n if n <= found.M // 2 and (leaks == expected)[:, :end].all() else None


def _by_columns(found: Influence) -> bool:
    """Whether every pair that is seen is in order when columns come first."""
    place = np.arange(found.M).reshape(found.shape).T.ravel().argsort()
    in_order = place[None, :] < place[:, None]
    return not (found.seen & ~in_order).any()


def two_directions(
    ask: Question, rng: np.random.Generator, first: int, codes: int = 6, values: int = 8
) -> float:
    """The share of the two largest of the directions in which later codes move all logits before them.

    A norm over positions passes two numbers from the later codes to an earlier position, μ and σ; attention
    without a mask passes as many as its values have dimensions. codes, values: how many codes are changed,
    and to how many values.
    """
    M, K = ask.M, ask.K
    late = np.unique(np.linspace(M // 2, max(M // 2, M - 2), codes).astype(int))
    until = max(first + 1, int(late[0]))
    shares = []
    for base in ask.random(rng, 2):
        steps = rng.permutation(K - 1)[:values] + 1
        changed = np.repeat(base[None], len(late) * len(steps) + 1, axis=0)
        at = np.arange(1, len(changed))
        changed[at, np.repeat(late, len(steps))] += np.tile(steps, len(late))
        a = rows(ask(changed % K), M, first)[:, first:until]
        d = (a[1:] - a[0]).reshape(len(at), -1)
        energy = np.linalg.svd(d, compute_uv=False) ** 2
        shares.append(float(energy[:2].sum() / max(energy.sum(), 1e-300)))
    return max(shares)
