"""The tile: what it certifies is right, its bound on rounding holds, and few are left undecided.

The truth is computed here in float64, or for float64 in integers: scores of exact differences.
"""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import KINDS, fill, seeds

from vqnp import nearest_code
from vqnp.kernels import bound, nearest, tile

pytestmark = pytest.mark.skipif(not nearest.JIT, reason="NUMBA_DISABLE_JIT=1: there is the plain twin alone")


def prepare(E):
    return bound.prepare(E, tile.CODES)


@numba.njit
def run_tile(zT, panels, bias, code, lead):
    tile._tile(zT, panels, bias, code, lead)


@numba.njit
def run_transpose(z, n, d, zT, r):
    tile._transpose(z, n, d, zT, r)


def lanes(dtype):
    return tile.vector_bytes() // np.dtype(dtype).itemsize


def true_scores(z, E, centre):
    """s_j of one row, in rational arithmetic."""

    def centred(a):
        return [Fraction(float(x)) - Fraction(float(c)) for x, c in zip(a, centre, strict=True)]

    row = centred(z)
    codes = [centred(e) for e in E]
    return [sum(x * y for x, y in zip(row, e, strict=True)) - sum(y * y for y in e) / 2 for e in codes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "duplicates", "near ties", "far off", "lattice"])
@given(seed=seeds, K=st.integers(2, 20), D=st.sampled_from([1, 2, 7, 30]))
@settings(max_examples=8)
def test_the_lead_is_right_to_twice_the_bound(dtype, kind, seed, K, D):
    """Without the part of B that is for the rounding of the float64 answer itself."""
    r = np.random.default_rng(seed)
    rows = tile.VECTORS * lanes(dtype)
    z, E = fill(kind, r, rows, K, D, dtype)
    book = prepare(E)
    if book is None:
        return
    zT = np.ascontiguousarray((z - book.centre).T)
    code, lead = np.empty(rows, np.int32), np.empty(rows, dtype)
    run_tile(zT, book.panels, book.bias, code, lead)
    for n in r.choice(rows, 4, replace=False):
        zeta = float(np.linalg.norm(zT[:, n].astype(np.float64)))
        B = book.bound.g * book.bound.R * (0.5 * book.bound.R + zeta)
        scores = true_scores(z[n], E, book.centre)
        best = scores.pop(code[n]) if lead[n] > 0 else scores.pop(int(np.argmax(scores)))  # 0: no code's lead
        assert abs(float(Fraction(float(lead[n])) - (best - max(scores)))) <= 2 * B


def test_the_bound_is_no_more_than_some_tens_of_times_the_rounding_that_happens(rng):
    """Were it far too large, it would still be right, and send good rows to the slow path."""
    D, K, rows = 64, 512, tile.VECTORS * lanes(np.float32)
    worst = []
    for _ in range(4):
        z, E = fill("normal", rng, rows, K, D, np.float32)
        book = prepare(E)
        zT = np.ascontiguousarray((z - book.centre).T)
        code, lead = np.empty(rows, np.int32), np.empty(rows, np.float32)
        run_tile(zT, book.panels, book.bias, code, lead)
        e = E.astype(np.float64) - book.centre
        score = (z.astype(np.float64) - book.centre) @ e.T - 0.5 * np.square(e).sum(1)
        two = np.sort(score, axis=1)[:, -2:]
        zeta = np.linalg.norm(zT, axis=0)
        B = book.bound.g * book.bound.R * (0.5 * book.bound.R + zeta)
        worst.append(np.max(np.abs(lead - (two[:, 1] - two[:, 0])) / (2 * B)))
    assert 1 / 100 < max(worst) < 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 100, 1000])
def test_few_ordinary_rows_are_left_to_the_direct_sums(rng, dtype, offset):
    """At most 1 % of standard normal data at D = 64, K = 512, also where they lie off the origin."""
    z, E = rng.standard_normal((4096, 64)) + offset, rng.standard_normal((512, 64)) + offset
    _, rescored = nearest_code(z.astype(dtype), E.astype(dtype), return_rescored=True)
    assert rescored <= 0.01 * len(z)


def test_exact_ties_are_all_left_to_the_direct_sums(rng):
    E = rng.standard_normal((40, 8)).astype(np.float32)
    z = rng.standard_normal((100, 8)).astype(np.float32)
    k, rescored = nearest_code(z, np.concatenate([E, E]), return_rescored=True)
    assert rescored == len(z)
    np.testing.assert_array_equal(k, nearest_code(z, E))
    assert nearest_code(z[:0], E, return_rescored=True)[1] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-6, 1e-4, 1e-2])
def test_rows_beside_a_bisector(rng, dtype, gap):
    """Vectors halfway between two codes, moved by a little: the side they are on is never mistaken."""
    E = rng.standard_normal((100, 24))
    i, j = rng.integers(0, 100, (2, 3000))
    i, j = i[i != j], j[i != j]
    z = (0.5 * (E[i] + E[j]) + gap * rng.standard_normal((len(i), 1)) * (E[i] - E[j])).astype(dtype)
    E = E.astype(dtype)
    np.testing.assert_array_equal(nearest_code(z, E), nearest.nearest_code_plain(z, E))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("N", "K", "D"), [(500, 700, 3), (300, 64, 100), (100, 5, 1000), (1000, 2, 1)])
def test_larger_ones_are_the_plain_twin_index_for_index(rng, kind, N, K, D):
    for dtype in (np.float32, np.float64):
        z, E = fill(kind, rng, N, K, D, dtype)
        np.testing.assert_array_equal(nearest_code(z, E), nearest.nearest_code_plain(z, E))


@pytest.mark.parametrize("D", [bound.MAX_D, bound.MAX_D + 1])
def test_beyond_its_limits_the_tile_certifies_nothing(rng, D):
    z, E = rng.standard_normal((8, D)).astype(np.float32), rng.standard_normal((3, D)).astype(np.float32)
    assert (prepare(E) is None) == (bound.MAX_D < D)
    np.testing.assert_array_equal(nearest_code(z, E), nearest.nearest_code_plain(z, E))
    assert prepare(np.float32(1e20) * E[:, :4]) is None
    assert prepare(np.float32(1e-20) * E[:, :4]) is None
    assert prepare(np.ones((5, 4))) is None  # all codes alike: nothing to tell apart
    far = np.float32(1e17) * z[:, :4]
    k, rescored = nearest_code(far, E[:, :4], return_rescored=True)
    assert rescored == len(z)
    np.testing.assert_array_equal(k, nearest.nearest_code_plain(far, E[:, :4]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transposing(rng, dtype):
    L = lanes(dtype)
    z = rng.standard_normal((L + 3, L + 5)).astype(dtype)
    zT = np.zeros((L + 6, tile.VECTORS * L), dtype)
    run_transpose(z, 2, 4, zT, L)
    expected = np.zeros_like(zT)
    expected[4 : 4 + L, L : 2 * L] = z[2 : 2 + L, 4 : 4 + L].T
    np.testing.assert_array_equal(zT, expected)


PROGRAM = """
import hashlib, sys
import numpy as np
from vqnp import nearest_code
from vqnp.kernels import tile
digest, r = hashlib.sha256(), np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for N, K, D in ((200, 70, 40), (77, 13, 3)):
        for offset in (0, 1000):
            z, E = (r.standard_normal(s) + offset for s in ((N, D), (K, D)))
            k, rescored = nearest_code(z.astype(dtype), E.astype(dtype), return_rescored=True)
            assert rescored < N / 2
            digest.update(k.tobytes())
print(tile.vector_bytes(), digest.hexdigest())
"""

PROCESSORS = {
    "as it is": {},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2"},
    "SSE2 only": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}


def on(processor):
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, **PROCESSORS[processor]}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_every_width_of_vectors_gives_the_same_codes():
    here = on("as it is")
    assert int(here[0]) == tile.vector_bytes()
    if tile.vector_bytes() >= 32:
        width, digest = on("AVX2")
        assert (int(width), digest) == (32, here[1])
    width, digest = on("SSE2 only")
    assert (int(width), digest) == (16, here[1])
