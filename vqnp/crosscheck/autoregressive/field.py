"""Which codes before i does a_i never depend on, and which mistake or shape of network leaves them out?

seen: (M, M) -> one of VARIANTS["field"]
"""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.autoregressive.influence import Influence
from vqnp.crosscheck.findings import Finding

WRONG_ORDER = ("reversed", "by_columns")


def find_field(found: Influence, order: str | None, tolerance: float) -> Finding:
    """The blind spots, provided that earlier codes are seen at all."""
    before, unseen = found.before, found.unseen
    pairs = int(before.sum())
    if order is None or order in WRONG_ORDER or not pairs:
        return Finding("field", None, "the codes before are not what it sees")
    complete = int((~unseen.any(axis=1)).sum())
    share = f"{100 * unseen.sum() / pairs:.1f} % of pairs unseen, {complete} of {found.M} positions see all"
    if not unseen.any():
        return Finding("field", "complete", f"all {pairs} pairs of an earlier and a later code")
    if not (before & found.seen).any():
        return Finding("field", None, "no code before is ever seen")
    if found.faint(tolerance):
        few = f"no influence is above {found.ratio.max():.1g} of the logits, near rounding"
        return Finding("field", None, f"{few}: what is not seen may be lost in it; float64 shows it")
    variant = _in_raster_order(found) or (_on_a_grid(found, tolerance) if len(found.shape) > 1 else "gaps")
    return Finding("field", variant, f"{share}; the first: {found.example(unseen)}")


def _in_raster_order(found: Influence) -> str | None:
    """A pattern that depends on the distance i − j alone."""
    distance: Array = np.arange(found.M)[:, None] - np.arange(found.M)
    before, seen = found.before, found.seen
    near, far = int(distance[before & seen].min()), int(distance[before & seen].max())
    if not (seen == ((distance >= near) & (distance <= far)))[before].all():
        return None
    if near == 1:
        return "window"
    return "shifted_twice" if near == 2 and far == found.M - 1 else "mask_a_everywhere"


def _on_a_grid(found: Influence, tolerance: float) -> str:
    """A pattern of offsets (rows up, columns to the right); with several channels, any of them counts."""
    H, W = found.shape[:2]
    C = found.M // (H * W)

    def places(a: Array) -> Array:
        return a.reshape(H * W, C, H * W, C).max(axis=(1, 3))

    seen, ratio = places(found.seen), places(found.ratio)
    before = places(found.before) & np.tri(H * W, k=-1, dtype=bool)
    unseen = before & ~seen
    row, column = np.divmod(np.arange(H * W), W)
    up = np.broadcast_to(row[:, None] - row, seen.shape)
    right = column - column[:, None]
    strength = _by_offset(np.where(before & seen, np.maximum(ratio, 1e-300), 0), up, right, H, W)
    asked = _by_offset(before, up, right, H, W) > 0
    middle = W - 1
    if W > 1 and not strength[0, middle - 1]:
        nearest = int(np.argmax(strength.any(axis=1)))  # the row of the own code, or one above
        return "own_row" if nearest and strength[nearest, middle] else "mask_a_everywhere"
    # Above to the right: never seen, though what is as far above to the left is, and clearly so.
    mirrored = strength[:, ::-1] > tolerance
    blind = asked & (strength == 0) & mirrored
    if blind[1:, middle + 1 :].any():
        return "blind_spot"
    for r, c in np.argwhere(_by_offset(unseen, up, right, H, W) > 0):
        further = strength[r:, c:] if c > middle else strength[r:, : c + 1]
        outside = strength[r, c] == 0 and (further.any() if c != middle else strength[r:].any())
        if outside and not _beyond_the_edge(strength, int(r), int(c), middle):
            return "gaps"
    return "window"


def _beyond_the_edge(strength: Array, r: int, c: int, middle: int) -> bool:
    """Whether nothing is seen farther out than the offset (r, c) in its row, or above it in its column."""
    outward = strength[r, c:] if c >= middle else strength[r, : c + 1]
    return not outward.any() or not strength[r:, c].any()


def _by_offset(values: Array, up: Array, right: Array, H: int, W: int) -> Array:
    """The largest value of all pairs with each offset: (H, 2 W − 1); column W − 1 is straight above."""
    out = np.zeros((H, 2 * W - 1))
    inside = up >= 0
    np.maximum.at(out, (up[inside], right[inside] + W - 1), values[inside].astype(float))
    return out
