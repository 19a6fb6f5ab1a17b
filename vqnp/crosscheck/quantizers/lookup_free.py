"""Signs, bits, gradient and losses of a layer with one bit for each coordinate.

z: (N, D) -> z_q = s·sign(u): (N, D), k: (N,); u = z, or z/‖z‖
"""

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.asking import Answer, Question
from vqnp.ops.sphere import normalize_backward, normalize_forward


def find_code(ask: Question, z: Array, z_q: Array) -> tuple[Finding, float]:
    """Is z_q = s·sign(z)? And s."""
    s = float(np.abs(z_q).mean())
    signs = np.where(z > 0, s, -s)
    found = ask.equal(z_q, {"signs": signs, "flipped": -signs, "not_quantized": z})
    if not found or s == 0:
        return Finding("code", "other" if s else "zeros", f"relative difference {ask.difference:.1g}"), s
    D = z.shape[1]
    unit = abs(s * np.sqrt(D) - 1) < 1e-5
    what = f"±{s:.6g}" + (f" = 1/√{D}: of length 1" if unit else "")
    return Finding("code", found[0], f"{what}, relative difference {ask.difference:.1g}"), s


def find_zero_sign(ask: Question, D: int, s: float) -> Finding:
    """What becomes of a coordinate that is 0."""
    z = np.ones((D, D)) - np.eye(D)
    value = np.diag(ask.forward(z).z_q) / s
    for name, sign in (("minus", -1), ("plus", 1), ("no_code", 0)):
        if np.abs(value - sign).max() <= 1e-3:
            return Finding("sign_of_zero", name, f"each of {D} coordinates")
    return Finding("sign_of_zero", None, f"z_q/s = {', '.join(f'{v:.3g}' for v in value[:4])}")


def find_bits(answer: Answer, bits: Array) -> Finding:
    """What number the signs have; bits: (N, D) bool."""
    k, D = answer.k, bits.shape[1]
    if k is None or k.shape[1] != 1:
        return Finding("index", None, "no codes, one for each vector")
    code = k[:, 0]
    if code.min() < 0 or code.max() >= 1 << D:
        return Finding("index", "out_of_range", f"{code.min()} to {code.max()}, for {1 << D} codes")
    up = 1 << np.arange(D)
    for name, numbers in (
        ("first_lowest", bits @ up), ("first_highest", bits @ up[::-1]), ("descending", ~bits @ up),
    ):  # fmt: skip
        if (numbers == code).all():
            return Finding("index", name, f"{len(code)} vectors, {len(np.unique(code))} of {1 << D} codes")
    different = len(np.unique(bits, axis=0))
    pairs = len(np.unique(np.column_stack([bits, code]), axis=0))
    name = "one_to_one" if pairs == different == len(np.unique(code)) else "collides"
    return Finding("index", name, f"{different} different vectors, {len(np.unique(code))} codes")


def find_sign_estimator(ask: Question, z: Array, G: Array, J: Array) -> Finding:
    """Jᵀ G: copied, or through a normalisation or a clip."""
    _, cache = normalize_forward(z)
    known = {
        "straight_through": G, "through_norm": normalize_backward(G, cache),
        "clipped": G * (np.abs(z) <= 1), "through_tanh": G * (1 - np.tanh(z) ** 2), "zero": np.zeros_like(G),
    }  # fmt: skip
    if z.shape[1] == 1 and not J.any():
        return Finding("estimator", None, "there is none, as through the normalisation of one coordinate")
    found = ask.equal(J, known)
    text = f"relative difference {ask.difference:.1g}"
    return Finding("estimator", found[0] if found else None, text if found else f"no known estimator: {text}")
