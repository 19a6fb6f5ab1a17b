"""A block at the next positions, with kept keys and values: its bits are those of all positions at once."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, seeds

from vqnp.kernels import threads
from vqnp.kernels.attention import attention
from vqnp.kernels.decoding import KeysAndValues, attend, attend_plain, block_step
from vqnp.kernels.jit import JIT
from vqnp.nn import TransformerBlock

compiled_only = pytest.mark.skipif(not JIT, reason="NUMBA_DISABLE_JIT=1: NumPy's sums are of another order")


def cut(r, T):
    """Places at which T positions are cut into chunks: 0, …, T."""
    return [0, *sorted(set(r.integers(1, T + 1, 3)) - {T}), T]


@given(seeds, dtypes, st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(1, 20))
@at_most(20)
def test_attention_to_what_is_kept(seed, dtype, B, T, H, d):
    r = np.random.default_rng(seed)
    qkv = r.standard_normal((B, T, 3, H, d)).astype(dtype)
    whole, _ = attention(*qkv.transpose(2, 0, 1, 3, 4))
    kept, plain = (KeysAndValues.room(B, H, T + 2, d, dtype) for _ in range(2))
    places = cut(r, T)
    for start, stop in zip(places[:-1], places[1:], strict=True):
        rows = attend(qkv[:, start:stop], kept, start)
        assert not JIT or rows.tobytes() == whole[:, start:stop].tobytes()
        oracles.close(rows, attend_plain(qkv[:, start:stop], plain, start), 10)
    for ours, theirs in zip(kept, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert not ours[:, :, T:].any()


@compiled_only
@given(seeds, dtypes, st.integers(1, 40), st.integers(1, 20), st.sampled_from([1, 3]))
@at_most(20)
def test_a_block_at_once_is_layer_by_layer(seed, dtype, B, T, number):
    r = np.random.default_rng(seed)
    block, x = TransformerBlock(12, 3, 0.1, r, dtype), r.standard_normal((B, T, 12)).astype(dtype)
    for p in block.parameters():
        p.value += 0.1 * r.standard_normal(p.value.shape).astype(dtype)
    whole, _ = block.forward(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 1)
        patch.setattr(threads.config, "NUMBA_NUM_THREADS", number)
        kept, plain = (block.attention.room(B, T) for _ in range(2))
        places = cut(r, T)
        for start, stop in zip(places[:-1], places[1:], strict=True):
            chunk = x[:, start:stop]
            rows = block_step(chunk, block._weights(), kept, start)
            assert rows.tobytes() == block.extend_plain(chunk, plain, start).tobytes()
            assert rows.tobytes() == block.extend(chunk, plain, start).tobytes()
            assert rows.tobytes() == whole[:, start:stop].tobytes()
