"""Hypothesis strategies for latents and codebooks, the awkward ones first.

Hypothesis picks the kind, the sizes, the layout and a seed; NumPy fills the arrays, which is fast
and lets a failing example be written down in one line.
"""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st


def at_most(n):
    """Settings of a test that needs no more than n examples; the profile may ask for fewer (conftest.py)."""
    return settings(max_examples=min(n, settings().max_examples))


seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])
shapes = st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)
"""Of arrays for elementwise functions, empty ones included."""


def lay_out(a, layout):
    """The same numbers in memory another way; "read-only" is a contiguous array that refuses writes."""
    if layout == "fortran":
        return np.asfortranarray(a)
    if layout == "strided":
        wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan, a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]
    if layout == "reversed":
        return np.ascontiguousarray(a[::-1])[::-1]
    if layout == "offset":
        return np.concatenate([np.full(1, np.nan, a.dtype), a.reshape(-1)])[1:].reshape(a.shape)
    a = a.copy()
    a.flags.writeable = layout != "read-only"
    return a


LAYOUTS = ("C", "fortran", "strided", "reversed", "offset", "read-only")
layouts = st.sampled_from(LAYOUTS)

KINDS = (
    "normal",  # nothing special
    "lattice",  # small integers: many exact ties, duplicated codes, vectors that are codes
    "signed zeros",  # 0 and −0 are equal, whatever their bits say
    "duplicates",  # every code is there several times: the lowest index wins
    "near ties",  # vectors halfway between two codes, and a few units in the last place beside it
    "far off",  # an offset of up to 1e6: where ‖z‖² − 2z·e + ‖e‖² cancels
    "large",  # 1e30: squares that float32 cannot hold
    "small",  # 1e-30: squares that float32 rounds to 0
    "mixed",  # 1e-30 to 1e30 in one array
    "subnormal",  # the smallest numbers there are
)


def fill(kind, r, N, K, D, dtype):
    """z: (N, D), E: (K, D) of a kind."""
    z, E = r.standard_normal((N, D)), r.standard_normal((K, D))
    if kind == "lattice":
        z, E = r.integers(-2, 3, (N, D)), r.integers(-2, 3, (K, D))
    elif kind == "signed zeros":
        z, E = (r.choice([0.0, -0.0, 1.0], shape) for shape in ((N, D), (K, D)))
    elif kind == "duplicates":
        E = E[r.integers(0, 1 + K // 3, K)]
    elif kind == "far off":
        offset = r.choice([1e2, 1e3, 1e4, 1e5, 1e6]) * r.choice([-1, 1])
        z, E = z + offset, E + offset
    elif kind in ("large", "small"):
        scale = 1e30 if kind == "large" else 1e-30
        z, E = z * scale, E * scale
    elif kind == "mixed":
        z, E = z * 10.0 ** r.integers(-30, 31, (N, 1)), E * 10.0 ** r.integers(-30, 31, (K, 1))
    elif kind == "subnormal":
        tiny = float(np.finfo(dtype).smallest_subnormal)
        z, E = r.integers(-9, 10, (N, D)) * tiny, r.integers(-9, 10, (K, D)) * tiny
    z, E = z.astype(dtype), E.astype(dtype)
    if kind == "near ties" and K > 1:
        i, j = r.integers(0, K, N), r.integers(0, K, N)
        z = (E[i] + E[j]) / 2
        z = z + r.integers(-2, 3, (N, D)).astype(dtype) * np.spacing(z)
    return z, E


@st.composite
def quantizer_inputs(draw, kinds=KINDS, dtypes=dtypes, min_n=0, max_n=70, max_k=20, max_d=9):
    """(z: (N, D), E: (K, D)) of one dtype, in any layout; N may be 0, K and D may be 1.

    70 vectors are more than one block of the compiled kernel.
    """
    kind, dtype, r = draw(st.sampled_from(kinds)), draw(dtypes), np.random.default_rng(draw(seeds))
    sizes = draw(st.integers(min_n, max_n)), draw(st.integers(1, max_k)), draw(st.integers(1, max_d))
    z, E = fill(kind, r, *sizes, dtype)
    return lay_out(z, draw(layouts)), lay_out(E, draw(layouts))


TAME = ("normal", "lattice", "duplicates", "near ties")
"""Kinds whose sums need no care: for tests of arithmetic rather than of comparisons."""


@st.composite
def labelled_codes(draw):
    """(k: (n, M), c: (n,), K), drawn so that some codes are rare."""
    n, M, K, C = (draw(st.integers(1, top)) for top in (40, 4, 9, 5))
    r = np.random.default_rng(draw(seeds))
    p = r.dirichlet(np.full(K, 0.5))
    return r.choice(K, (n, M), p=p), r.integers(C, size=n), K
