"""Nearest code is the answer of the direct float64 sum, index for index, however it is computed."""

import tracemalloc

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import KINDS, LAYOUTS, at_most, fill, lay_out, quantizer_inputs, seeds

from vqnp import InputError, nearest_code
from vqnp._check import NonFiniteError
from vqnp.kernels import nearest, threads
from vqnp.kernels.nearest import plain


def by_direct_sums(z, E):
    """The kernel that decides what the tile left undecided, given every row."""
    k = np.full(len(z), -1)
    assert len(z) == 0 or plain.decide(z, E, k, len(z))
    return k


def in_small_blocks(z, E):
    """The whole, with blocks of a few rows on several threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
        patch.setattr(threads.config, "NUMBA_NUM_THREADS", 3)
        patch.setattr(threads, "MOST_BLOCKS_PER_THREAD", 1000)
        return nearest_code(z, E)


def in_parts(z, E):
    """The whole, of a z that has to be copied a few rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "ROWS_PER_COPY", 40)
        return nearest_code(np.asfortranarray(z), E)


def in_chunks(z, E):
    """As it runs without compiled kernels, three rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "DISTANCES_PER_CHUNK", 3 * len(E))
        return nearest._in_chunks(z, E)


IMPLEMENTATIONS = [
    nearest.nearest_code_plain,
    in_chunks,
    by_direct_sums,
    in_small_blocks,
    in_parts,
]


@given(quantizer_inputs())
def test_it_is_the_oracle_index_for_index(inputs):
    z, E = inputs
    before = z.tobytes(), E.tobytes()
    k = nearest_code(z, E)
    assert k.dtype == np.int64 and k.shape == (len(z),)
    np.testing.assert_array_equal(k, oracles.nearest(z, E))
    assert (z.tobytes(), E.tobytes()) == before


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=seeds,
    N=st.sampled_from([0, 1, 31, 32, 33, 130]),
    K=st.sampled_from([1, 5, 6, 7, 60]),
    D=st.sampled_from([1, 5, 16, 35]),
    wide=st.booleans(),
)
@at_most(12)
def test_all_implementations_agree_bit_for_bit(kind, seed, N, K, D, wide):
    """The whole and each of its parts, at sizes on both sides of a tile's."""
    z, E = fill(kind, np.random.default_rng(seed), N, K, D, np.float64 if wide else np.float32)
    expected = nearest_code(z, E)
    with np.errstate(over="ignore"):  # without JIT the kernels are Python, which warns
        for find in IMPLEMENTATIONS:
            k = find(z, E)
            assert k.dtype == np.int64
            np.testing.assert_array_equal(k, expected)


@pytest.mark.parametrize("shape", [(500, 3), (5, 100, 3), (2, 3, 90, 3), (1, 1, 500, 3), (0, 7, 3)])
def test_a_non_contiguous_array_is_copied_in_parts(monkeypatch, shape):
    z = np.asfortranarray(np.random.default_rng(0).standard_normal(shape))
    monkeypatch.setattr(nearest, "ROWS_PER_COPY", 64)
    parts = list(nearest._contiguous_parts(z))
    assert all(part.flags.c_contiguous and len(part) <= 64 for part in parts)
    np.testing.assert_array_equal(np.concatenate([*parts, np.empty((0, 3))]), z.reshape(-1, 3))
    assert len(list(nearest._contiguous_parts(np.ascontiguousarray(z)))) == 1


def test_memory_apart_from_the_codes_does_not_grow_with_the_vectors(tmp_path):
    """A memory-mapped array, then one in Fortran order: no copy of all vectors is made."""
    E = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    nearest_code(E, E)
    peaks = []
    for N in (1 << 17, 1 << 19):
        mapped = np.lib.format.open_memmap(tmp_path / f"{N}.npy", "w+", np.float32, (N, 8))
        fortran = np.zeros((8, N), np.float32).T
        for z in (mapped, fortran):
            tracemalloc.start()
            k = nearest_code(z, E)
            peaks.append(tracemalloc.get_traced_memory()[1] - k.nbytes)
            tracemalloc.stop()
    limit = 2 * nearest.ROWS_PER_COPY * 8 * 4 + 100_000 if nearest.JIT else 1 << 62
    assert max(peaks) < limit
    assert peaks[2] < 100_000 or not nearest.JIT


@given(quantizer_inputs(max_n=6, max_k=6, max_d=5))
@at_most(50)
def test_no_code_is_nearer_in_exact_arithmetic(inputs):
    """In integers, without any rounding: what is left over is the rounding of D differences and sums.

    Where a square falls below the smallest float64, the answer of float64 is a tie; such are left out.
    """
    z, E = inputs
    for row, j in zip(z, nearest_code(z, E), strict=True):
        exact = [oracles.exact_squared_distance(row, e) for e in E]
        chosen, best = exact[j], min(exact)
        slack = best * (len(row) + 2) // 2**51 + len(row) * 2 ** (2148 - 1074)
        assert chosen <= best + slack
        assert exact.index(chosen) == j  # of codes exactly as far, the lowest


@pytest.mark.parametrize("offset", [0, 100, 1000, 1e6])
def test_adversarial_offsets(rng, offset):
    """Offsets at which float32's expanded form is wrong for up to 3328 of 4096 vectors."""
    K, D, N = 512, 64, 512
    E = (rng.standard_normal((K, D)) + offset).astype(np.float32)
    z = (rng.standard_normal((N, D)) + offset).astype(np.float32)
    distance = np.zeros((N, K))
    for d in range(D):
        distance += np.square(z[:, d, None].astype(np.float64) - E[None, :, d].astype(np.float64))
    np.testing.assert_array_equal(nearest_code(z, E), distance.argmin(axis=1))
    if offset >= 1000:  # and it is no easy case: the expanded form does fail here
        expanded = (z**2).sum(1)[:, None] - 2 * z @ E.T + (E**2).sum(1)
        assert (expanded.argmin(axis=1) != nearest_code(z, E)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("copies", [1, 2, 7])
def test_ties_go_to_the_lowest_index(rng, dtype, copies):
    E = rng.standard_normal((5, 3)).astype(dtype)
    tiled, z = np.tile(E, (copies, 1)), rng.standard_normal((40, 3)).astype(dtype)
    np.testing.assert_array_equal(nearest_code(z, tiled), nearest_code(z, E))
    np.testing.assert_array_equal(nearest_code(z, np.repeat(E, copies, axis=0)), copies * nearest_code(z, E))
    np.testing.assert_array_equal(nearest_code(E, tiled), range(5))
    assert nearest_code(np.zeros((1, 3), dtype), np.stack([E[0], -E[0]])) == 0
    assert nearest_code(np.zeros((1, 3), dtype), np.stack([-E[0], E[0]])) == 0


@given(quantizer_inputs(kinds=tuple(set(KINDS) - {"subnormal"})), seeds)
def test_permuting_the_codebook_permutes_the_codes(inputs, seed):
    """Up to ties: the code that is found elsewhere is as near, to the last bit."""
    z, E = inputs
    order = np.random.default_rng(seed).permutation(len(E))
    k, moved = nearest_code(z, E), order[nearest_code(z, E[order])]
    for row, i, j in zip(z, k, moved, strict=True):
        distances = [oracles.squared_distance(row, e) for e in E]
        assert distances[i] == distances[j]
        if distances.count(distances[i]) == 1:
            assert i == j


@given(quantizer_inputs(min_n=1), st.data())
def test_a_vectors_code_does_not_depend_on_the_rest_of_the_batch(inputs, data):
    z, E = inputs
    start = data.draw(st.integers(0, len(z) - 1))
    stop = data.draw(st.integers(start, len(z)))
    np.testing.assert_array_equal(nearest_code(z[start:stop], E), nearest_code(z, E)[start:stop])


@given(quantizer_inputs(kinds=("lattice",), dtypes=st.just(np.float64)), st.integers(-40, 40))
def test_scaling_by_a_power_of_two_and_shifting_change_nothing(inputs, power):
    z, E = inputs
    k = nearest_code(z, E)
    np.testing.assert_array_equal(nearest_code(np.ldexp(z, power), np.ldexp(E, power)), k)
    np.testing.assert_array_equal(nearest_code(z + 2.0**40, E + 2.0**40), k)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3), (4, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_leading_axes(rng, shape, layout):
    z, E = rng.standard_normal(shape), rng.standard_normal((6, 3))
    k = nearest_code(lay_out(z, layout), lay_out(E, layout))
    assert k.shape == shape[:-1] and k.dtype == np.int64
    np.testing.assert_array_equal(k.reshape(-1), oracles.nearest(z.reshape(-1, 3), E))


def test_float64_beyond_its_squares_is_infinitely_far():
    E = np.array([[1e200], [-1e200], [3.0]])
    np.testing.assert_array_equal(nearest_code(np.array([[-1e200], [0.0], [1e300]]), E), [1, 2, 0])


Z, E = np.zeros((2, 3)), np.zeros((4, 3))


def with_value(a, at, value):
    a = a.copy()
    a[at] = value
    return a


@pytest.mark.parametrize(
    ("z", "codebook", "sentence"),
    [
        ([[1.0]], E, "z must be a NumPy array of float32 or float64; got list"),
        (Z, [[1.0]], "E must be a NumPy array of float32 or float64; got list"),
        (Z.astype(int), E, "z must be float32 or float64; got int64"),
        (Z, E.astype(np.float16), "E must be float32 or float64; got float16"),
        (Z.astype(np.float32), E, "z must be float64, like the other arrays; got float32"),
        (Z[:, :2], E, "z must have shape (..., 3); got shape (2, 2)"),
        (np.array(1.0), E, "z must have shape (..., 3); got shape ()"),
        (Z, E[0], "E must have shape (K, D); got shape (3,)"),
        (Z, E[:0], "E must have at least one code of at least one dimension; got shape (0, 3)"),
        (Z[:, :0], E[:, :0], "E must have at least one code of at least one dimension; got shape (4, 0)"),
    ],
)
def test_wrong_arrays_are_refused(z, codebook, sentence):
    with pytest.raises(InputError) as error:
        nearest_code(z, codebook)
    assert str(error.value) == f"nearest_code: {sentence}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_place(dtype, value):
    z, codebook = Z.astype(dtype), E.astype(dtype)
    with pytest.raises(NonFiniteError) as error:
        nearest_code(with_value(z, (1, 2), value), codebook)
    assert str(error.value) == f"nearest_code: z must be finite; got {value} at index (1, 2)"
    with pytest.raises(NonFiniteError) as error:
        nearest_code(with_value(z[0], 1, value), codebook)
    assert str(error.value) == f"nearest_code: z must be finite; got {value} at index 1"
    with pytest.raises(NonFiniteError) as error:
        nearest_code(z[:0], with_value(codebook, (3, 0), value))
    assert str(error.value) == f"nearest_code: E must be finite; got {value} at index (3, 0)"
