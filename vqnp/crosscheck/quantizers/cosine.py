"""ẑ = z/‖z‖, ê = e/‖e‖, k = argmax ẑ·ê: choice, output, gradient and losses of a layer on the sphere.

z: (N, D), E: (K, D) -> z_q: (N, D), k: (N,)
"""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.asking import Question, Unanswered, combination, relative
from vqnp.crosscheck.quantizers.estimators import rotated
from vqnp.ops.sphere import normalize_backward, normalize_forward

HUGE = 1e3
"""Times ‖G‖ from which the gradient of a vector of length 0 is called huge."""


class Sphere:
    """z and the codes it got, with their unit vectors."""

    def __init__(self, z: Array, E: Array, k: Array) -> None:
        self.z, self.E, self.k, self.e = z, E, k, E[k]
        self.z_hat, self.z_cache = normalize_forward(z)
        self.E_hat, _ = normalize_forward(E)
        self.e_hat, self.e_cache = normalize_forward(self.e)

    @property
    def unit(self) -> bool:
        """Whether the codes are of length 1, so that all three rules choose the same."""
        return relative(self.E, self.E_hat) < 1e-5


def directions(E: Array, N: int, rng: np.random.Generator) -> Array:
    """z: (N, D) around the codes' directions, of lengths 0.3 to 3."""
    z = normalize_forward(E)[0][rng.integers(0, len(E), N)] * np.sqrt(E.shape[1])
    z, _ = normalize_forward(z + rng.standard_normal(z.shape))
    return z * np.exp(rng.uniform(np.log(0.3), np.log(3), (N, 1)))


def find_cosine_choice(ask: Question, p: Sphere) -> Finding:
    """By cosine, distance or product?"""
    rows = np.arange(len(p.k))
    scores = {
        "cosine": p.z_hat @ p.E_hat.T,
        "distance": 2 * p.z @ p.E.T - np.square(p.E).sum(axis=1),
        "distance_of_unit": 2 * p.z_hat @ p.E.T - np.square(p.E).sum(axis=1),
        "product": p.z @ p.E.T,
    }
    for name, a in scores.items():
        if (a[rows, p.k] >= a.max(axis=1) - 8 * ask.tolerance * np.abs(a).max()).all():
            unit = "; the codes are of length 1, so the nearest code is the same" if p.unit else ""
            return Finding("choice", name, f"{len(p.k)} vectors{unit}")
    return Finding("choice", None, "neither the largest cosine nor product, nor the nearest code of E")


def find_cosine_output(ask: Question, p: Sphere, z_q: Array) -> Finding:
    """The unit code, the code, or a vector of z's length?"""
    length = np.linalg.norm(p.z, axis=1, keepdims=True)
    known = {"unit_code": p.e_hat, "code": p.e, "length_of_z": p.e_hat * length}
    found = ask.equal(z_q, known)
    text = f"relative difference {ask.difference:.1g}" + ("; E has codes of length 1" if p.unit else "")
    return Finding("output", found[0] if found else None, text)


def find_cosine_estimator(ask: Question, p: Sphere, G: Array, J: Array) -> Finding:
    """Jᵀ G: through the normalisation or past it, copied or rotated."""
    known = {
        "through_norm": normalize_backward(G, p.z_cache),
        "rotation_through_norm": normalize_backward(rotated(p.z_hat, p.e_hat, G), p.z_cache),
        "skips_norm": G,
        "rotation_skips_norm": rotated(p.z, p.e_hat, G),
        "rotation_of_code": rotated(p.z, p.e, G),
        "zero": np.zeros_like(G),
    }
    found = ask.equal(J, known)
    text = f"relative difference {ask.difference:.1g}"
    return Finding("estimator", found[0] if found else None, text if found else f"no known estimator: {text}")


def find_cosine_losses(
    ask: Question, p: Sphere, dz: Array, dE: Array | None, L: float | None
) -> list[Finding]:  # fmt: skip
    """Commitment, codebook loss and the value of L: between unit vectors, or between the vectors?"""
    bases: dict[str, tuple[Array, Array]] = {
        "of_unit": (p.z_hat - p.e_hat, normalize_backward(p.z_hat - p.e_hat, p.z_cache)),
        "of_vectors": (p.z - p.e, p.z - p.e),
        "of_vector_and_unit_code": (p.z - p.e_hat, p.z - p.e_hat),
        "of_unit_past_norm": (p.z_hat - p.e_hat, p.z_hat - p.e_hat),
    }
    if not dz.any():
        commitment, c, square = Finding("commitment", "none", "L has no gradient with respect to z"), 0.0, 0.0
    else:
        for name, (r, gradient) in bases.items():
            (c,), rest = combination(dz, [gradient])
            if ask.small(rest):
                square = float(np.square(r).sum())
                weight = c * dz.size / 2
                variant = name if c > 0 else "negative"
                commitment = Finding("commitment", variant, f"weight of the mean squared error: {weight:.4g}")
                break
        else:
            text = "L has other terms than distances to codes"
            return [Finding(name, None, text) for name in ("commitment", "codebook_loss", "loss")]
    codebook, b = _codebook(ask, p, dE)
    if L is None:
        return [commitment, codebook, Finding("loss", None, "no loss was returned")]
    total = np.array([(c + b) / 2 * (square or float(np.square(p.z_hat - p.e_hat).sum()))])
    one = {"terms": total}
    if b and abs(c - b) < 1e-3 * abs(c):
        one["undetached"] = total / 2
    found = ask.equal(np.array([L]), one)
    value = f"{L:.6g}, relative difference {ask.difference:.1g}" if found else f"{L:.6g} is not explained"
    return [commitment, codebook, Finding("loss", found[0] if found else None, value)]


def _codebook(ask: Question, p: Sphere, dE: Array | None) -> tuple[Finding, float]:
    if dE is None:
        return Finding("codebook_loss", None, "no gradient of the codebook was given"), 0.0
    dE = dE.reshape(p.E.shape)
    if not dE.any():
        return Finding("codebook_loss", "none", "L has no gradient with respect to E"), 0.0
    for name, r in (
        ("of_unit", normalize_backward(p.e_hat - p.z_hat, p.e_cache)), ("of_vectors", p.e - p.z),
    ):  # fmt: skip
        basis = np.zeros_like(dE)
        np.add.at(basis, p.k, r)
        (b,), rest = combination(dE, [basis])
        if ask.small(rest):
            text = f"weight of the mean squared error: {b * p.z.size / 2:.4g}"
            return Finding("codebook_loss", name if b > 0 else "negative", text), float(b)
    return Finding("codebook_loss", None, "not a known gradient"), 0.0


def find_zero_vector(ask: Question, p: Sphere, rng: np.random.Generator) -> Finding:
    """z = 0 among other vectors: are output and gradient finite, and of what size?"""
    z = p.z[:8].copy()
    z[3] = 0
    G = rng.standard_normal(z.shape)
    if not ask.has("backward"):
        return Finding("zero_vector", None, "no gradient was given")
    try:
        ask.forward(z)
        row = ask.gradients(z, G)[0][3]
    except Unanswered as problem:
        if "must be finite" not in str(problem):
            raise
        return Finding("zero_vector", "nan", str(problem))
    times = float(np.linalg.norm(row) / np.linalg.norm(G[3]))
    name = "huge" if times > HUGE else "none" if times == 0 else "finite"
    return Finding("zero_vector", name, f"its gradient is {times:.2g} times as long as that of z_q")
