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
from strategies import KINDS, at_most, fill, seeds

from vqnp import nearest_code
from vqnp.kernels import nearest
from vqnp.kernels.llvm import vector_bytes
from vqnp.kernels.nearest import bound, tile
from vqnp.kernels.transpose import transpose, transpose_square

pytestmark = pytest.mark.skipif(not nearest.JIT, reason="NUMBA_DISABLE_JIT=1: only the plain form runs")


def prepare(E):
    return bound.prepare(E, tile.CODES_PER_TILE)


@numba.njit
def run_tile(zT, panels, bias, code, lead):
    tile._tile(zT, panels, bias, code, lead)


@numba.njit
def run_transpose(z, n, d, zT, r):
    transpose_square(z, n * z.shape[1] + d, z.shape[1], zT, d * zT.shape[1] + r, zT.shape[1])


def lanes(dtype):
    return vector_bytes() // np.dtype(dtype).itemsize


def true_scores(z, E, centre):
    """s_j of one row, in rational arithmetic."""

    def centred(a):
        return [Fraction(float(x)) - Fraction(float(c)) for x, c in zip(a, centre, strict=True)]

    row = centred(z)
    codes = [centred(e) for e in E]
    return [sum(x * y for x, y in zip(row, e, strict=True)) - sum(y * y for y in e) / 2 for e in codes]


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=seeds,
    N=st.integers(0, 70),
    K=st.integers(2, 20),
    D=st.sampled_from([1, 2, 7, 30]),
    wide=st.booleans(),
)
@settings(max_examples=10)
def test_what_the_kernel_and_its_plain_form_certify_is_the_nearest_code(kind, seed, N, K, D, wide):
    """They round differently, so either may leave a row undecided that the other certifies."""
    z, E = fill(kind, np.random.default_rng(seed), N, K, D, np.float64 if wide else np.float32)
    with np.errstate(all="ignore"):  # beyond the limits of the bound the plain form may overflow
        exact, plain = nearest.nearest_code_plain(z, E), tile.certify_plain(z, E)
    compiled = np.full(N, -1)
    if (codebook := prepare(E)) is not None:
        undecided = tile.certify(z, codebook, lanes(z.dtype), compiled)
        assert undecided == (compiled < 0).sum()
    for k in (plain, compiled):
        np.testing.assert_array_equal(k[k >= 0], exact[k >= 0])


@given(st.tuples(*[st.floats(1e-3, 1e3)] * 4))
def test_the_plain_bound_is_its_formula(values):
    """With g and h of one size, so that both terms show: in use the second is far below the first."""
    R, g, h, zeta = (Fraction(x) for x in values)
    B = g * R * (R / 2 + zeta) + h * (R + zeta) ** 2 / 2
    assert bound.Bound(*values[:3], limit=1e15).at(values[3]) == pytest.approx(float(B), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_certifies_as_many_rows_as_its_plain_form(rng, dtype):
    z, E = rng.standard_normal((2000, 16)).astype(dtype), rng.standard_normal((64, 16)).astype(dtype)
    k = np.empty(len(z), np.int64)
    tile.certify(z, prepare(E), lanes(dtype), k)
    plain = tile.certify_plain(z, E)
    assert (plain >= 0).mean() > 0.99
    assert ((plain < 0) != (k < 0)).mean() < 0.001


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=seeds, K=st.integers(1, 20), D=st.sampled_from([1, 2, 7, 30]), codes=st.sampled_from([1, 4, 6]))
@at_most(20)
def test_the_packed_codebook_is_that_of_the_plain_form(dtype, seed, K, D, codes):
    E = np.random.default_rng(seed).standard_normal((K, D)).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    for ours, plain in zip(bound._pack(E, codes), bound.pack_plain(E, codes), strict=True):
        assert np.shape(ours) == np.shape(plain)
        np.testing.assert_allclose(ours, plain, rtol=8 * eps, atol=8 * eps)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "duplicates", "near ties", "far off", "lattice"])
@given(seed=seeds, K=st.integers(2, 20), D=st.sampled_from([1, 2, 7, 30]))
@settings(max_examples=8)
def test_the_lead_is_right_to_twice_the_bound(dtype, kind, seed, K, D):
    """Without the part of B that is for the rounding of the float64 answer itself."""
    r = np.random.default_rng(seed)
    rows = tile.VECTORS_PER_TILE * lanes(dtype)
    z, E = fill(kind, r, rows, K, D, dtype)
    codebook = prepare(E)
    if codebook is None:
        return
    zT = np.ascontiguousarray((z - codebook.centre).T)
    code, lead = np.empty(rows, np.int32), np.empty(rows, dtype)
    run_tile(zT, codebook.panels, codebook.bias, code, lead)
    for n in r.choice(rows, 4, replace=False):
        zeta = float(np.linalg.norm(zT[:, n].astype(np.float64)))
        B = codebook.bound.g * codebook.bound.R * (0.5 * codebook.bound.R + zeta)
        scores = true_scores(z[n], E, codebook.centre)
        best = scores.pop(code[n]) if lead[n] > 0 else scores.pop(int(np.argmax(scores)))  # 0: no code's lead
        assert abs(float(Fraction(float(lead[n])) - (best - max(scores)))) <= 2 * B


def test_the_bound_is_no_more_than_some_tens_of_times_the_rounding_that_happens(rng):
    """Were it far too large, it would still be right, and send good rows to the slow path."""
    D, K, rows = 64, 512, tile.VECTORS_PER_TILE * lanes(np.float32)
    worst = []
    for _ in range(4):
        z, E = fill("normal", rng, rows, K, D, np.float32)
        codebook = prepare(E)
        zT = np.ascontiguousarray((z - codebook.centre).T)
        code, lead = np.empty(rows, np.int32), np.empty(rows, np.float32)
        run_tile(zT, codebook.panels, codebook.bias, code, lead)
        e = E.astype(np.float64) - codebook.centre
        score = (z.astype(np.float64) - codebook.centre) @ e.T - 0.5 * np.square(e).sum(1)
        two = np.sort(score, axis=1)[:, -2:]
        zeta = np.linalg.norm(zT, axis=0)
        B = codebook.bound.g * codebook.bound.R * (0.5 * codebook.bound.R + zeta)
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("N", "K", "D"), [(500, 700, 3), (300, 64, 100), (100, 5, 1000), (1000, 2, 1)])
def test_larger_ones_are_the_plain_form_index_for_index(rng, kind, N, K, D):
    for dtype in (np.float32, np.float64):
        z, E = fill(kind, rng, N, K, D, dtype)
        np.testing.assert_array_equal(nearest_code(z, E), nearest.nearest_code_plain(z, E))


@pytest.mark.parametrize("D", [bound.MOST_DIMENSIONS, bound.MOST_DIMENSIONS + 1])
def test_beyond_its_limits_the_tile_certifies_nothing(rng, D):
    z, E = rng.standard_normal((8, D)).astype(np.float32), rng.standard_normal((3, D)).astype(np.float32)
    assert (prepare(E) is None) == (bound.MOST_DIMENSIONS < D)
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
    zT = np.zeros((L + 6, tile.VECTORS_PER_TILE * L), dtype)
    run_transpose(z, 2, 4, zT, L)
    expected = np.zeros_like(zT)
    expected[4 : 4 + L, L : 2 * L] = z[2 : 2 + L, 4 : 4 + L].T
    np.testing.assert_array_equal(zT, expected)


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([np.float32, np.float64]))
def test_transposing_any_shape(R, C, dtype):
    x = np.arange(R * C, dtype=dtype).reshape(R, C)
    y = np.full(3 + R * C + 1, -1, dtype)
    transpose(x.reshape(-1), 0, C, R, C, y, 3, R, lanes(dtype))
    np.testing.assert_array_equal(y, [-1, -1, -1, *x.T.reshape(-1), -1])


PROGRAM = """
import hashlib, sys
import numpy as np
from vqnp import nearest_code
from vqnp.kernels.llvm import vector_bytes
digest, r = hashlib.sha256(), np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for N, K, D in ((200, 70, 40), (77, 13, 3)):
        for offset in (0, 1000):
            z, E = (r.standard_normal(s) + offset for s in ((N, D), (K, D)))
            k, rescored = nearest_code(z.astype(dtype), E.astype(dtype), return_rescored=True)
            assert rescored < N / 2
            digest.update(k.tobytes())
print(vector_bytes(), digest.hexdigest())
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
    assert int(here[0]) == vector_bytes()
    if vector_bytes() >= 32:
        width, digest = on("AVX2")
        assert (int(width), digest) == (32, here[1])
    width, digest = on("SSE2 only")
    assert (int(width), digest) == (16, here[1])
