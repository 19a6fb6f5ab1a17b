"""Product codes: one quantizer with K^G codes, found in G small searches."""

import itertools

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, lay_out, layouts, seeds

from vqnp import ops
from vqnp.gradcheck import surrogate_check
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.product_codes import joint_codes

sizes = st.tuples(*(st.integers(1, n) for n in (6, 3, 4, 3)))  # N, G, K, d
variants = st.fixed_dictionaries(
    {"beta": st.floats(0, 4), "codebook_loss": st.booleans(), "reduction": st.sampled_from(REDUCTIONS)}
)


def draw(seed, size, dtype=np.float64):
    r, (N, G, K, d) = np.random.default_rng(seed), size
    return r.standard_normal((N, G * d)).astype(dtype), r.standard_normal((G, K, d)).astype(dtype), r


def combinations(E):
    """The K^G codes of D dimensions, in the order of joint_codes: (K^G, D)."""
    return np.stack([np.concatenate(parts) for parts in itertools.product(*E)])


@given(seeds, sizes, st.sampled_from("fd"), variants, layouts, st.floats(-3, 3))
@at_most(60)
def test_it_is_one_quantizer_with_every_combination(seed, size, dtype, variant, layout, dL):
    z, E, r = draw(seed, size, dtype)
    z, dz_q = lay_out(z, layout), r.standard_normal(z.shape).astype(dtype)
    z_q, codebook, commitment, k, cache = ops.product_quantize_forward(z, E, **variant)
    dz, dE = ops.product_quantize_backward(dz_q, dL, cache)
    whole = combinations(E)
    joint = joint_codes(k, size[2])
    np.testing.assert_array_equal(joint, oracles.nearest(z, whole))
    assert z_q.tobytes() == whole[joint].tobytes()
    _, their_codebook, their_commitment, _ = oracles.quantize(z, whole, k=joint, **variant)
    their_dz, whole_dE = oracles.quantize_gradients(dz_q, dL, z, whole, joint, **variant)
    scale = 10 * (1 + variant["beta"]) * (1 + abs(dL)) * len(z)
    oracles.close(codebook, their_codebook, scale)
    oracles.close(commitment, their_commitment, scale)
    oracles.close(dz, their_dz, scale)
    d = size[3]
    for g, j in np.ndindex(size[1], size[2]):  # a code's gradient is that of every combination it is in
        contains = np.array([parts[g] == j for parts in itertools.product(range(size[2]), repeat=size[1])])
        oracles.close(dE[g, j], whole_dE[contains, g * d : (g + 1) * d].sum(axis=0), scale)
    assert {x.dtype for x in (z_q, codebook, commitment, dz, dE)} == {np.dtype(dtype)}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(seeds, sizes, st.floats(0, 4))
@at_most(15)
def test_the_declared_estimator(reduction, seed, size, beta):
    z, E, r = draw(seed, size)

    def forward(z, E):
        options = {"beta": beta, "reduction": reduction}
        z_q, codebook, commitment, k, cache = ops.product_quantize_forward(z, E, **options)
        return z_q, np.asarray(codebook + commitment), k, cache

    def freeze(z0, E0):
        joint, z0, e0 = oracles.nearest(z0, combinations(E0)), z0.copy(), combinations(E0)
        c = 1 / oracles.count(z0.shape, reduction)
        return lambda z, E: (
            z + (e0[joint] - z0),
            c * (((z0 - combinations(E)[joint]) ** 2).sum() + beta * ((z - e0[joint]) ** 2).sum()),
        )

    surrogate_check(forward, ops.product_quantize_backward, freeze, z, E, rng=r).raise_if_failed()


@given(seeds, sizes)
@at_most(20)
def test_one_part_is_the_plain_quantizer(seed, size):
    z, E, r = draw(seed, (size[0], 1, *size[2:]))
    *ours, k, cache = ops.product_quantize_forward(z, E)
    *theirs, their_k, their_cache = ops.quantize_forward(z, E[0])
    for a, b in zip((*ours, k[..., 0]), (*theirs, their_k), strict=True):
        np.testing.assert_array_equal(a, b)
    dz, dE = ops.product_quantize_backward(z, 0.5, cache)
    their_dz, their_dE = ops.quantize_backward(z, 0.5, their_cache)
    np.testing.assert_array_equal(dz, their_dz)
    np.testing.assert_array_equal(dE[0], their_dE)


def test_the_rotation_is_that_of_each_part(rng):
    z, E, dz_q = rng.standard_normal((5, 4)), rng.standard_normal((2, 3, 2)), rng.standard_normal((5, 4))
    z_q, *_, cache = ops.product_quantize_forward(z, E, beta=0.0, estimator="rotation")
    dz, _ = ops.product_quantize_backward(dz_q, 0.0, cache)
    for part in (slice(0, 2), slice(2, 4)):
        turned = ops.rotate_backward(dz_q[:, part], ops.rotate_forward(z[:, part], z_q[:, part])[1])
        np.testing.assert_array_equal(dz[:, part], turned)


def test_shapes_and_joint_codes():
    z, E = np.empty((0, 5, 4)), np.ones((2, 3, 2))
    z_q, codebook, commitment, k, cache = ops.product_quantize_forward(z, E)
    assert z_q.shape == (0, 5, 4) and k.shape == (0, 5, 2) and codebook == commitment == 0
    assert ops.product_quantize_backward(z_q, 1.0, cache)[1].shape == (2, 3, 2)
    assert joint_codes(np.array([[1, 2, 0], [0, 0, 2]]), 3).tolist() == [15, 2]
    assert joint_codes(np.array([[2**9 - 1] * 6]), 2**9) == [2**54 - 1]


Z, E = np.zeros((2, 4)), np.zeros((2, 3, 2))


def test_bad_input_is_refused():
    where = "product_quantize_forward"
    with refused("z", "must have last axis 4, 2 parts of 2", "shape (2, 3)", where=where):
        ops.product_quantize_forward(Z[:, :3], E)
    with refused("E", "must have shape (G, K, d)", "shape (3, 2)", where=where):
        ops.product_quantize_forward(Z, E[0])
    with refused("k", "must have shape (2, 2)", "shape (2,)", where=where):
        ops.product_quantize_forward(Z, E, np.zeros(2, int))
    with refused("k", "must be in [0, 3)", "3 at index (0, 0)", where=where):
        ops.product_quantize_forward(Z, E, np.full((2, 2), 3))
    with refused("dz_q", "must have last axis 4", "shape (2, 2)", where="product_quantize_backward"):
        ops.product_quantize_backward(Z[:, :2], 1.0, ops.product_quantize_forward(Z, E)[-1])
    assert ops.product_quantize_forward(Z, E, np.full((2, 2), 1))[3].tolist() == [[1, 1], [1, 1]]
