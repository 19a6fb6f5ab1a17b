"""Counts and sums of the vectors of each code, in float64 and in the order of the vectors."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LAYOUTS, fill, lay_out, quantizer_inputs, seeds

from vqnp import InputError, code_statistics, nearest_code
from vqnp.kernels import statistics


@given(quantizer_inputs(), seeds, st.sampled_from(["i1", "u1", "i4", "i8", "u8"]))
def test_it_is_the_oracle_bit_for_bit(inputs, seed, integers):
    z, E = inputs
    K = len(E)
    k = np.random.default_rng(seed).integers(0, K, len(z)).astype(integers)
    before = z.tobytes(), k.tobytes()
    counts, sums = code_statistics(z, k, K)
    their_counts, their_sums = oracles.code_statistics(z, k, K)
    assert counts.dtype == np.int64 and sums.dtype == np.float64
    np.testing.assert_array_equal(counts, their_counts)
    np.testing.assert_array_equal(sums, their_sums)
    assert (z.tobytes(), k.tobytes()) == before


@pytest.mark.skipif(not statistics.JIT, reason="NUMBA_DISABLE_JIT=1: only the plain form runs")
@given(quantizer_inputs())
def test_the_kernel_is_its_plain_form_bit_for_bit(inputs):
    z, E = (np.ascontiguousarray(a) for a in inputs)
    k = nearest_code(z, E)
    *compiled, right = statistics._code_statistics(z, k, len(E))
    assert right
    plain = statistics.code_statistics_plain(z, k, len(E))
    for ours, theirs in zip(compiled, plain, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@given(quantizer_inputs(kinds=("lattice", "duplicates"), dtypes=st.just(np.float32)), st.data())
def test_those_of_a_whole_are_the_sum_of_those_of_its_parts(inputs, data):
    z, E = inputs
    k, cut = nearest_code(z, E), data.draw(st.integers(0, len(z)))
    parts = [code_statistics(z[part], k[part], len(E)) for part in (slice(cut), slice(cut, None))]
    merged, whole = parts[0].merge(parts[1]), code_statistics(z, k, len(E))
    assert isinstance(merged, statistics.CodeStatistics)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(merged.sums, parts[1].merge(parts[0]).sums)


@given(quantizer_inputs())
def test_every_vector_is_counted_once(inputs):
    z, E = inputs
    counts, sums = code_statistics(z, nearest_code(z, E), len(E))
    assert counts.sum() == len(z)
    size = np.abs(z.astype(np.float64)).sum(axis=0) + np.finfo(np.float64).tiny
    np.testing.assert_allclose((sums.sum(axis=0) - z.astype(np.float64).sum(axis=0)) / size, 0, atol=1e-12)


def test_float32_is_summed_in_float64():
    """2²⁴ + 1 + … + 1: in float32 the ones would be lost."""
    z = np.ones((11, 1), np.float32)
    z[0] = 2**24
    assert code_statistics(z, np.zeros(11, int), 1).sums[0, 0] == 2**24 + 10


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3), (4, 5, 3), (4, 0), (0,)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_leading_axes(rng, shape, layout):
    z, k = rng.standard_normal(shape), rng.integers(0, 6, shape[:-1])
    counts, sums = code_statistics(lay_out(z, layout), k, 6)
    n = k.size
    their_counts, their_sums = oracles.code_statistics(z.reshape(n, shape[-1]), k.reshape(-1), 6)
    np.testing.assert_array_equal(counts, their_counts)
    np.testing.assert_array_equal(sums, their_sums)


Z, K0 = np.zeros((2, 3)), np.zeros(2, int)


@pytest.mark.parametrize(
    ("z", "k", "K", "sentence"),
    [
        (Z, K0, 0, "num_embeddings must be an integer of at least 1; got 0"),
        (Z, K0, 2.0, "num_embeddings must be an integer of at least 1; got 2.0"),
        (Z, K0, True, "num_embeddings must be an integer of at least 1; got True"),
        ([[0.0]], K0, 2, "z must be a NumPy array of float32 or float64; got list"),
        (Z.astype(int), K0, 2, "z must be float32 or float64; got int64"),
        (np.array(0.0), K0, 2, "z must have shape (..., D); got shape ()"),
        (Z, K0 + 0.5, 2, "codes must be integers; got float64"),
        (Z, np.array([0, 2]), 2, "codes must be in [0, 2); got 2 at index 1"),
        (Z, np.array([-1, 0]), 2, "codes must be in [0, 2); got -1 at index 0"),
        (Z, np.array(7), 2, "codes must be in [0, 2); got 7"),
        (Z[None], np.array([[0, 9]]), 2, "codes must be in [0, 2); got 9 at index (0, 1)"),
        (Z, K0[:1], 2, "k must have shape (2,), one code for each vector; got shape (1,)"),
    ],
)
def test_bad_input_is_refused(z, k, K, sentence):
    with pytest.raises(InputError) as error:
        code_statistics(z, k, K)
    assert str(error.value) == f"code_statistics: {sentence}"


def test_only_statistics_of_the_same_codebook_merge(rng):
    z = fill("normal", rng, 4, 1, 3, np.float64)[0]
    ours = code_statistics(z, np.zeros(4, int), 5)
    for z2, K in ((z, 4), (z[:, :2], 5)):
        other = code_statistics(z2, np.zeros(4, int), K)
        with pytest.raises(InputError) as error:
            ours.merge(other)
        came = f"sums of shape {(K, z2.shape[1])}"
        needed = "other must be of 5 codes of 3 dimensions"
        assert str(error.value) == f"CodeStatistics.merge: {needed}; got {came}"
